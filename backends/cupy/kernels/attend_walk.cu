// softmax(q @ k.T * scale + causal mask) @ v, for sequences with many new tokens (prefill)
//
// Must move: a sequence's keys and values, once if the caches hold them; must do: 4 * DIM
// operations a visible key and query, times PARTS_OF.  A warp takes 8 * TILES columns (token after
// token, and for each the heads that share a kv head) and walks over all their keys, split after
// split, adding each up as attend_split.cu and attend_combine.cu do: the bits are theirs.
//
// Grid: (column tiles / 4, kv heads); `work` says whose a warp's columns are: (sequence, first
// column).

#define LOAD_KV __ldg  // other warps ask for them too

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "merge.cuh"
#include "attend.cuh"

extern "C" __global__ void __launch_bounds__(4 * WARP)
    attend_walk(float* __restrict__ out, const float* __restrict__ q, const u16* __restrict__ keys,
                const u16* __restrict__ values, const int* __restrict__ tables,
                const int* __restrict__ context_lens, const int* __restrict__ seq_starts,
                const int2* __restrict__ work, const float* __restrict__ sinks, int n_work,
                int table_width, int table_block, int block_size, int group, int window,
                float scale, float soft_cap) {
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3, head = blockIdx.y;
    int item = blockIdx.x * 4 + threadIdx.x / WARP;
    if (item >= n_work) return;
    int sequence = work[item].x, first_column = work[item].y, heads = gridDim.y * group;
    int start = seq_starts[sequence], columns = (seq_starts[sequence + 1] - start) * group;
    int before = context_lens[sequence] - (seq_starts[sequence + 1] - start);  // tokens of the past
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.y,
                head};

    auto row_of = [&](int column) {
        return (long long)(start + column / group) * heads + head * group + column % group;
    };
    auto first_key = [&](int position) { return window > 0 ? max(0, position - window + 1) : 0; };
    Queries mine;
    Sight sight;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        split_query(mine, n, q + row_of(min(first_column + n * 8 + g, columns - 1)) * DIM, scale,
                    c);
        for (int j = 0; j < 2; j++) {
            int column = min(first_column + n * 8 + 2 * c + j, columns - 1);
            sight.last[n][j] = before + column / group;
            sight.first[n][j] = first_key(sight.last[n][j]);
        }
    }
    int last = before + min(first_column + 8 * TILES - 1, columns - 1) / group;
    int first = first_key(before + first_column / group);

    float top[TILES][2], total[TILES][2];
    __shared__ int rows[4][SPLIT];
    __shared__ float value[TILES][DIM_TILES][4][4 * WARP];  // registers are short
    for (int i = 0; i < TILES * DIM_TILES * 4; i++)
        (&value[0][0][0][threadIdx.x])[i * 4 * WARP] = 0;
    for (int n = 0; n < TILES; n++)
        for (int j = 0; j < 2; j++) {
            int column = min(first_column + n * 8 + 2 * c + j, columns - 1);
            float sink = sinks ? sinks[head * group + column % group] * LOG2_E : NEVER;
            top[n][j] = ceilf(sink);
            total[n][j] = sinks ? exp2f(sink - ceilf(sink)) * WEIGHT_UNIT : 0.0f;
        }
    for (int split = first / SPLIT; split <= last / SPLIT; split++) {
        Gathered sum;
        int from = max(first, split * SPLIT), to = min(last, split * SPLIT + SPLIT - 1);
        attend_run(sum, mine, kv, rows[threadIdx.x / WARP], sight, from, to, soft_cap);
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            Shrink by[2];
            for (int j = 0; j < 2; j++)
                by[j] = merge(top[n][j], total[n][j], sum.top[n][j], sum.total[n][j]);
#pragma unroll
            for (int t = 0; t < DIM_TILES; t++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float& before = value[n][t][i][threadIdx.x];
                    before = merge_value(before, sum.value[n][t][i], by[i & 1]);
                }
        }
    }
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = first_column + n * 8 + 2 * c + j;
            if (column >= columns) continue;
            float* to = out + row_of(column) * DIM;
#pragma unroll
            for (int t = 0; t < DIM_TILES; t++) {
                to[coordinate(first_of(t), g)] = value[n][t][j][threadIdx.x] / total[n][j];
                to[coordinate(second_of(t), g)] = value[n][t][2 + j][threadIdx.x] / total[n][j];
            }
        }
}
