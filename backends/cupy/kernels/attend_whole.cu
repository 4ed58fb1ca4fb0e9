// softmax(q @ k.T * scale) @ v for many sequences with one new token (decoding), on Hopper
//
// Must move: each key and value once (4 * DIM bytes a key and kv head).  A block takes a sequence and
// a kv head, its warps a split each, turn after turn.  What splits come to stays in shared memory
// until all are added up, in order: the bits are those of attend_split.cu and attend_combine.cu,
// whose parts go to memory and back.  At the end of a split the next one's keys are on their way.
//
// Grid: (1, kv heads, sequences).

#define LOAD_KV __ldcs
#define TILES 1
#define WARPS 4

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "pipeline.cuh"
#include "merge.cuh"
#include "attend.cuh"
#include "key_ring.cuh"

#define STEPS (SPLIT / 16)

// A coordinate of a column, of `splits` parts: attend_combine.cu's sums.
__device__ __forceinline__ float fold(const float* part, const float2* of, int splits, int group,
                                      const float* sinks, int head) {
    float top = with_sink(NEVER, sinks, head);
    for (int s = 0; s < splits; s++) top = fmaxf(top, of[s * group].x);
    float total = sink_weight(top, sinks, head), value = 0;
#pragma unroll 4
    for (int s = 0; s < splits; s++) {
        float2 one = of[s * group];
        float by = power_of_two(one.x - top);
        total = fmaf(one.y, by, total);
        value = fmaf(part[s * group * DIM], by, value);
    }
    return value / total;
}

extern "C" __global__ void __launch_bounds__(WARPS* WARP)
    attend_whole(float* out, const float* q, const u16* keys, const u16* values,
                 const int* __restrict__ tables, const int* __restrict__ context_lens,
                 const int* __restrict__ first_token, const float* __restrict__ sinks,
                 int table_width, int table_block, int block_size, int group, int window,
                 float scale, float soft_cap) {
    extern __shared__ __align__(128) u8 stages[];  // of each warp; then parts, and tops
    __shared__ u64 barriers[WARPS][STAGES];
    int head = blockIdx.y, sequence = blockIdx.z, warp = threadIdx.x / WARP;
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    int position = context_lens[sequence] - 1, token = first_token[sequence];
    int first = window > 0 ? max(0, position - window + 1) : 0;
    int oldest = first / SPLIT, newest = position / SPLIT;
    int mine = oldest + warp, splits = newest - oldest + 1;
    bool some = position >= 0;
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.y,
                head};
    // Steps are counted over this warp's splits, STEPS each: from .. to - 1 see something.
    int turns = mine <= newest ? (newest - mine) / WARPS + 1 : 0;
    bool has_last = mine + (turns - 1) * WARPS == newest;
    int from = mine == oldest ? first % SPLIT / 16 : 0;
    int to = some && turns ? turns * STEPS - (has_last ? STEPS - 1 - position % SPLIT / 16 : 0) : 0;
    auto start_of = [&](int step) {
        return (mine + step / STEPS * WARPS) * SPLIT + step % STEPS * 16;
    };
    auto row_of_lane = [&](int turn) {
        int at = start_of(turn * STEPS + lane % STEPS);
        return turn < turns && some ? row_at(kv, max(first / 16, min(at, position) / 16) * 16) : 0;
    };
    u8* ring = stages + warp * STAGES * 2 * HALF_STAGE;
    u32 full = (u32)__cvta_generic_to_shared(barriers[warp]);
    int row = row_of_lane(0), next_row = row_of_lane(1), asked = from;
    if (lane < STAGES) make_barrier(full + lane * 8, 1);
    fence_barriers();
    __syncwarp();
    wait_for_previous();
    let_next_begin();
    if (!some) return;

    auto ask = [&](int slot) {
        if (asked >= to) return;
        if (asked % STEPS == 0 && asked) row = next_row, next_row = row_of_lane(asked / STEPS + 1);
        int its_row = __shfl_sync(EVERY_LANE, row, asked % STEPS);
        if (lane == 0)
            ask_stage((u32)__cvta_generic_to_shared(ring) + slot * 2 * HALF_STAGE, full + slot * 8,
                      kv, its_row, min(16, position + 1 - start_of(asked)));
        asked++;
    };
#pragma unroll
    for (int i = 0; i < STAGES; i++) ask(i);

    Queries split;
    Sight sight;
    long long first_head = ((long long)token * gridDim.y + head) * group;
    split_query(split, 0, q + (first_head + min(g, group - 1)) * DIM, scale, c);
    for (int j = 0; j < 2; j++) sight.first[0][j] = first, sight.last[0][j] = position;
    float* parts = (float*)(stages + WARPS * STAGES * 2 * HALF_STAGE);
    float2* tops = (float2*)(parts + splits * group * DIM);
    int slot = 0, parity = 0;
#pragma unroll 1
    for (int step = from; step < to;) {
        int its_split = mine + step / STEPS * WARPS, end = min(to, (step / STEPS + 1) * STEPS);
        Gathered sum;
        clear(sum);
#pragma unroll 1
        for (; step < end; step++) {
            uint4 k[2][K_CHUNKS], v[4][V_CHUNKS];
            u32 weights[TILES][PARTS_OF][2];
            wait(full + slot * 8, parity);
            take_keys(k, ring + slot * 2 * HALF_STAGE, g, c);
            take_values(v, ring + slot * 2 * HALF_STAGE + HALF_STAGE, g, c);
            loads_have_come();
            __syncwarp();
            ask(slot);
            slot = slot + 1 == STAGES ? 0 : slot + 1, parity ^= slot == 0;
            weigh_keys(weights, sum, split, k, sight, start_of(step), soft_cap, g);
            gather_values(sum, weights, v);
        }
        add_totals(sum);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 2 * c + j;
            if (column >= group) continue;
            int part = (its_split - oldest) * group + column;
            if (g == 0) tops[part] = make_float2(sum.top[0][j], sum.total[0][j]);
            put_part(parts + part * DIM, sum, j, g);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < group * DIM; i += WARPS * WARP)
        out[first_head * DIM + i] =
            fold(parts + i, tops + i / DIM, splits, group, sinks, head * group + i / DIM);
}
