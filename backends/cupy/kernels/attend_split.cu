// One split of softmax(q @ k.T * scale) @ v, for sequences with one new token (decoding)
//
//   part[split] = (max s, sum 2**(s - max), 2**(s - max) @ v)  over keys  split * SPLIT .. + SPLIT
//   - 1
//
// Must move: each key and value once (4 * DIM bytes a key and kv head).  Must do: 4 * DIM
// operations a key and query head, times PARTS_OF.  A warp takes a split of a sequence and a kv
// head: long contexts make many warps, and attend_combine.cu adds up their parts in order
// (Flash-Decoding; Dao et al. 2023).
//
// Grid: (splits, kv heads, sequences).  parts: [token][head][split] of DIM values; tops: pairs.

#define LOAD_KV __ldcs  // nobody else asks for them

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "merge.cuh"
#include "attend.cuh"

extern "C" __global__ void __launch_bounds__(WARP)
    attend_split(float* parts, float2* tops, const float* q, const u16* keys, const u16* values,
                 const int* __restrict__ tables, const int* __restrict__ context_lens,
                 const int* __restrict__ first_token, int table_width, int table_block,
                 int block_size, int group, int most_splits, int window, float scale,
                 float soft_cap) {
    int split = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    int position = context_lens[sequence] - 1;
    int first = window > 0 ? max(0, position - window + 1) : 0;
    int from = max(first, split * SPLIT), to = min(position, split * SPLIT + SPLIT - 1);
    wait_for_previous();
    let_next_begin();
    if (position < 0 || from > to) return;
    int lane = threadIdx.x, g = lane >> 2, c = lane & 3, token = first_token[sequence];
    int heads = gridDim.y * group;
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.y,
                head};

    Queries mine;
    Sight sight;
    const float* row = q + ((long long)token * heads + head * group) * DIM;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        split_query(mine, n, row + min(n * 8 + g, group - 1) * DIM, scale, c);
        for (int j = 0; j < 2; j++) sight.first[n][j] = first, sight.last[n][j] = position;
    }
    __shared__ int rows[SPLIT];
    Gathered sum;
    attend_run(sum, mine, kv, rows, sight, from, to, soft_cap);
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = n * 8 + 2 * c + j;
            if (column >= group) continue;
            long long part =
                ((long long)token * heads + head * group + column) * most_splits + split;
            if (g == 0) tops[part] = make_float2(sum.top[n][j], sum.total[n][j]);
#pragma unroll
            for (int t = 0; t < DIM_TILES; t++) {
                parts[part * DIM + coordinate(first_of(t), g)] = sum.value[n][t][j];
                parts[part * DIM + coordinate(second_of(t), g)] = sum.value[n][t][2 + j];
            }
        }
}
