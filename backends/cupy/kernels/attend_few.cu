// attend_split.cu for few splits: the same parts, from eight warps instead of one     (decoding)
//
// Must move: each key and value once (4 * DIM bytes a key and kv head).  What takes the time is not
// that, but one thing after another: a short context has few splits, each a walk of 16 steps.  So
// here what does not depend on the step before is done side by side:
//
//   scores    a warp takes every eighth step's 16 keys
//   weights   the same; a step's top is the highest so far, known once all scores are
//   values    a warp takes DIM / 8 coordinates, and walks over the steps, in their order
//
// Each number is made of the same operations in the same order as there.  ONE_SPLIT: the part is
// all there is, and attend_combine.cu's division is done here.
//
// ROPE: what rope_store.cu does is done here as well, each block for its own heads.  Where each
// token has its own slot and no other query of the step sees it, nobody else asks for the new key.
// All older ones were there before the step began: EARLY, they are asked for before the kernel before
// this one has ended.  What that kernel made comes past the next one's weights (rows.cuh).
//
// OUT: the result is rounded for the next product, as prepare.cu does it (half_row.cuh).
//
// Grid: (splits, kv heads, sequences).

#define LOAD_KV __ldcs  // nobody else asks for them
#define TILES 1
#define WARPS 8
#define STEPS (SPLIT / 16)
#define ROW (DIM * 2 + 16)  // bytes of a value in shared memory: rows begin in different banks

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "merge.cuh"
#include "attend.cuh"
#include "half_row.cuh"
#ifdef ROPE
#include "rope.cuh"
#include "pipeline.cuh"
#include "rows.cuh"
#define QUERY const float* x
#define IS_NEW(key) ((key) >= position)
#define TO_HALF(x) (HALF == 16 ? to_f16(x) : to_bf16(x))
#else
#define QUERY const float* q
#define IS_NEW(key) false
#endif
#if defined(ROPE) && defined(EARLY)
#define WAIT_FOR_KEYS()
#else
#define WAIT_FOR_KEYS() wait_for_previous()
#endif

extern "C" __global__ void __launch_bounds__(WARPS* WARP)
    attend_few(float* parts, float2* tops, QUERY, u16* keys, u16* values,
               const int* __restrict__ tables, const int* __restrict__ context_lens,
               const int* __restrict__ first_token, const float* __restrict__ sinks,
               int table_width, int table_block, int block_size, int group, int most_splits,
               int window, float scale, float soft_cap, int padded
#ifdef ROPE
               ,
               const float2* table, int stride, int k_offset, int v_offset, int pairs,
               int interleaved
#endif
    ) {
    extern __shared__ __align__(16) u8 rows_of_values[];
    __shared__ int rows[SPLIT];
    __shared__ float step_top[STEPS][8], step_shrink[STEPS][8];
    __shared__ float2 step_total[STEPS][WARP];
    constexpr int OF_WEIGHTS = STEPS * PARTS_OF * 2 * WARP * 4, OF_ROWS = 10 * DIM * 4;
    __shared__ __align__(16) u8 either[OF_WEIGHTS > OF_ROWS ? OF_WEIGHTS : OF_ROWS];
    auto step_weights = (u32(*)[PARTS_OF][2][WARP])either;
    int split = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    int position = context_lens[sequence] - 1;
    int first = window > 0 ? max(0, position - window + 1) : 0;
    int from = max(first, split * SPLIT), to = min(position, split * SPLIT + SPLIT - 1);
    int token = first_token[sequence], heads = gridDim.y * group;
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.y,
                head};
    bool some = position >= 0 && from <= to;
    let_next_begin();
    if (!some) return;
#ifdef ROPE
    __shared__ u64 come;
    __shared__ __align__(16) float2 near_turns[DIM / 2];
    bool even = pairs % 2 == 0;  // else they are no multiple of 16 bytes
    expect_rows(&come, 3 + even);
#endif
    if (warp == 0) find_rows(rows, kv, split * SPLIT, to);
    WAIT_FOR_KEYS();
    __syncthreads();

    int start = from / 16 * 16, steps = (to - start) / 16 + 1;
    u32 shared = (u32)__cvta_generic_to_shared(rows_of_values);
    for (int i = threadIdx.x; i < steps * 16 * (DIM / 8); i += WARPS * WARP) {
        int key = i / (DIM / 8), chunk = i % (DIM / 8);
        if (IS_NEW(start + key)) continue;
        const u16* value = kv.values + (long long)rows[start % SPLIT + key] * DIM + chunk * 8;
        asm volatile(
            "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared + key * ROW + chunk * 16),
            "l"(value));
    }
    asm volatile("cp.async.commit_group;");

    // Scores, and each step's top.
    constexpr int MINE = STEPS / WARPS;
    uint4 k[MINE][2][K_CHUNKS];
    float score[MINE][4];
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int step = min(warp + i * WARPS, steps - 1);
        load_keys(k[i], kv, rows + (start % SPLIT + step * 16), g, c);
    }
    Queries mine;
    Sight sight;
#ifdef ROPE
    auto of_token = (float(*)[DIM])either;  // queries, key and value; weights' turn is later
    __shared__ uint4 new_key[DIM / 8];
    wait_for_previous();
    const float* from_token = x + (long long)token * stride;
    const float2* turns = table + (long long)token * pairs;
    bring_row(&come, 0, of_token, from_token + head * group * DIM, group * DIM);
    bring_row(&come, 1, of_token[group], from_token + k_offset + head * DIM, DIM);
    bring_row(&come, 2, of_token[group + 1], from_token + v_offset + head * DIM, DIM);
    if (even) bring_row(&come, 3, near_turns, turns, 2 * pairs), turns = near_turns;
    wait_for_rows(&come);
    for (int part = warp; part < group + (to == position ? 2 : 0); part += WARPS) {
        bool is_q = (part < group), is_v = (part > group);
        float* own = of_token[part];
        long long row = (long long)rows[position % SPLIT] * DIM;
        float number[DIM / WARP];
#pragma unroll
        for (int e = 0; e < DIM / WARP; e++) {
            int d = lane + e * WARP;
            number[e] = is_v ? own[d] : turned(own, d, turns, pairs, interleaved);
        }
        __syncwarp();
#pragma unroll
        for (int e = 0; e < DIM / WARP; e++) {
            int d = lane + e * WARP;
            u16 half = TO_HALF(number[e]);
            if (is_q) own[d] = number[e];
            if (is_v) values[row + d] = half;
            if (!is_q && !is_v) keys[row + d] = ((u16*)new_key)[d] = half;
            for (int at = position - start; is_v && at < steps * 16; at++)  // and what is after
                *(u16*)(rows_of_values + at * ROW + 2 * d) = half;
        }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < MINE; i++)
#pragma unroll
        for (int r = 0; r < 2; r++)
            if (IS_NEW(start + (warp + i * WARPS) * 16 + g + 8 * r))
#pragma unroll
                for (int e = 0; e < K_CHUNKS; e++) k[i][r][e] = new_key[c + 4 * e];
    split_query(mine, 0, of_token[min(g, group - 1)], scale, c);
#else
    split_query(mine, 0, q + ((long long)token * heads + head * group + min(g, group - 1)) * DIM,
                scale, c);
#endif
    for (int j = 0; j < 2; j++) sight.first[0][j] = first, sight.last[0][j] = position;
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int step = warp + i * WARPS;
        score_keys(score[i], mine, 0, k[i], sight, start + step * 16, soft_cap, g);
        float top[2] = {top_of(score[i], 0), top_of(score[i], 1)};
        if (g == 0) step_top[step][2 * c] = top[0], step_top[step][2 * c + 1] = top[1];
    }
    __syncthreads();

    // Weights below the highest top so far.
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int step = warp + i * WARPS;
        if (step >= steps) break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float before = NEVER, top;
#pragma unroll
            for (int s = 0; s < STEPS; s++)
                if (s < step) before = fmaxf(before, step_top[s][2 * c + j]);
            top = fmaxf(step_top[step][2 * c + j], before);
            float shrink = weigh(score[i], j, top, before);
            if (g == 0) step_shrink[step][2 * c + j] = shrink;
        }
        step_total[step][lane] = make_float2(score[i][0] + score[i][2], score[i][1] + score[i][3]);
        u32 weights[PARTS_OF][2];
        split_weights(weights, score[i]);
#pragma unroll
        for (int p = 0; p < PARTS_OF; p++)
            for (int r = 0; r < 2; r++) step_weights[step][p][r][lane] = weights[p][r];
    }
    asm volatile("cp.async.wait_group 0;");
    __syncthreads();

    // Values: coordinates 16 t .. of this warp; and the totals, of which every warp makes its own.
    constexpr int MY_TILES = (DIM_TILES + WARPS - 1) / WARPS;
    float value[MY_TILES][4] = {}, total[2] = {}, top[2] = {NEVER, NEVER};
    int row = (lane >> 4) * 8 + (lane & 7), chunk = lane >> 3 & 1;  // of load_transposed
    if (warp * MY_TILES >= DIM_TILES) return;
#pragma unroll 4
    for (int step = 0; step < steps; step++) {
        float2 shrink = *(const float2*)&step_shrink[step][2 * c], add = step_total[step][lane];
        total[0] = fmaf(total[0], shrink.x, add.x), total[1] = fmaf(total[1], shrink.y, add.y);
        u32 weights[PARTS_OF][2];
#pragma unroll
        for (int p = 0; p < PARTS_OF; p++)
            for (int r = 0; r < 2; r++) weights[p][r] = step_weights[step][p][r][lane];
#pragma unroll
        for (int t = 0; t < MY_TILES; t++) {
            u32 a[4];
            load_transposed(
                a, shared + (step * 16 + row) * ROW + ((warp * MY_TILES + t) * 2 + chunk) * 16);
#pragma unroll
            for (int i = 0; i < 4; i++) value[t][i] *= i & 1 ? shrink.y : shrink.x;
#pragma unroll
            for (int p = PARTS_OF - 1; p >= 0; p--)
                MMA(value[t], a[0], a[1], a[2], a[3], weights[p][0], weights[p][1]);
        }
    }
#pragma unroll
    for (int step = 0; step < STEPS; step++)
        for (int j = 0; j < 2; j++)
            if (step < steps) top[j] = fmaxf(top[j], step_top[step][2 * c + j]);
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int step = 4; step < WARP; step <<= 1)
            total[j] += __shfl_xor_sync(EVERY_LANE, total[j], step);
        int column = 2 * c + j;
        if (column >= group) continue;
        long long of = (long long)token * heads + head * group + column;
#ifdef ONE_SPLIT
        float highest = with_sink(top[j], sinks, head * group + column);
        float by = power_of_two(top[j] - highest);
        float all = fmaf(total[j], by, sink_weight(highest, sinks, head * group + column));
        int row = (head * group + column) * DIM + 16 * warp * MY_TILES + g;
#pragma unroll
        for (int t = 0; t < MY_TILES; t++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                put_result(parts, fmaf(value[t][2 * h + j], by, 0.0f) / all, row + 16 * t + 8 * h,
                           token, heads * DIM, padded);
#else
        if (g == 0 && warp == 0) tops[of * most_splits + split] = make_float2(top[j], total[j]);
        float* to = parts + (of * most_splits + split) * DIM + 16 * warp * MY_TILES + g;
#pragma unroll
        for (int t = 0; t < MY_TILES; t++)
            to[16 * t] = value[t][j], to[16 * t + 8] = value[t][2 + j];
#endif
    }
}
