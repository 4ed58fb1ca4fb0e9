// attend_split.cu for Hopper, where all splits are at work at once: the same parts          (decoding)
//
// Must move: each key and value once (4 * DIM bytes a key and kv head).  With one wave of warps
// nobody else's loads fill the time in which a warp waits for its own.  So more are on their way:
// 16 keys of a kv head lie side by side in a page, and so do their values, and two bulk copies are a
// stage of a ring in shared memory.  A warp takes a stage into registers, asks for another in its
// place at once, and works on it as attend_split.cu does: the same order, the same bits.
//
// Its rows are looked up before the kernel before this one has ended, and queries are split while
// the first keys are on their way.
//
// Grid: (splits, kv heads, sequences).  parts: [token][head][split] of DIM values; tops: pairs.

#define LOAD_KV __ldcs
#define TILES 1

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "pipeline.cuh"
#include "merge.cuh"
#include "attend.cuh"
#include "key_ring.cuh"

extern "C" __global__ void __launch_bounds__(WARP)
    attend_ring(float* parts, float2* tops, const float* q, const u16* keys, const u16* values,
                const int* __restrict__ tables, const int* __restrict__ context_lens,
                const int* __restrict__ first_token, int table_width, int table_block,
                int block_size, int group, int most_splits, int window, float scale,
                float soft_cap) {
    int split = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    int position = context_lens[sequence] - 1, token = first_token[sequence];
    int first = window > 0 ? max(0, position - window + 1) : 0;
    int from = max(first, split * SPLIT), to = min(position, split * SPLIT + SPLIT - 1);
    bool some = position >= 0 && from <= to;
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.y,
                head};
    extern __shared__ __align__(128) u8 stages[];
    __shared__ u64 barriers[STAGES];
    int lane = threadIdx.x, g = lane >> 2, c = lane & 3, start = from / 16 * 16;
    u32 ring = (u32)__cvta_generic_to_shared(stages);
    u32 full = (u32)__cvta_generic_to_shared(barriers);
    int row = some && lane < SPLIT / 16 ? row_at(kv, min(start + lane * 16, to / 16 * 16)) : 0;
    if (lane == 0)
        for (int i = 0; i < STAGES; i++) make_barrier(full + i * 8, 1);
    fence_barriers();
    __syncwarp();
    wait_for_previous();
    let_next_begin();
    if (!some) return;
    int steps = (to - start) / 16 + 1;
    auto ask = [&](int step, int slot) {
        int its_row = __shfl_sync(EVERY_LANE, row, step);
        if (step < steps && lane == 0)
            ask_stage(ring + slot * 2 * HALF_STAGE, full + slot * 8, kv, its_row,
                      min(16, to + 1 - start - step * 16));
    };
#pragma unroll
    for (int i = 0; i < STAGES; i++) ask(i, i);

    Queries mine;
    Sight sight;
    long long first_head = ((long long)token * gridDim.y + head) * group;
    split_query(mine, 0, q + (first_head + min(g, group - 1)) * DIM, scale, c);
    for (int j = 0; j < 2; j++) sight.first[0][j] = first, sight.last[0][j] = position;
    Gathered sum;
    clear(sum);
    int slot = 0, parity = 0;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        uint4 k[2][K_CHUNKS], v[4][V_CHUNKS];
        u32 weights[TILES][PARTS_OF][2];
        wait(full + slot * 8, parity);
        take_keys(k, stages + slot * 2 * HALF_STAGE, g, c);
        take_values(v, stages + slot * 2 * HALF_STAGE + HALF_STAGE, g, c);
        loads_have_come();
        __syncwarp();
        ask(step + STAGES, slot);
        slot = slot + 1 == STAGES ? 0 : slot + 1, parity ^= slot == 0;
        weigh_keys(weights, sum, mine, k, sight, start + step * 16, soft_cap, g);
        gather_values(sum, weights, v);
    }
    add_totals(sum);
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int column = 2 * c + j;
        if (column >= group) continue;
        long long part = (first_head + column) * most_splits + split;
        if (g == 0) tops[part] = make_float2(sum.top[0][j], sum.total[0][j]);
        put_part(parts + part * DIM, sum, j, g);
    }
}
