// attend_walk.cu for long prompts: the same sums, in the same order                      (prefill)
//
// Must move: a sequence's keys and values, once if the caches hold them; must do: 4 * DIM
// operations a visible key and query, times PARTS_OF.  In attend_walk.cu each warp asks the caches
// for all keys by itself, which takes longer than the products.  Here the WARPS of a block, with 16
// columns each, side by side, walk together over the keys that any of them sees: KEYS keys and
// their values come into one of STAGES stages of shared memory while those before them are worked
// on.  What takes the time is to wait for products and powers: a multiprocessor has registers for
// eight such warps.  So they meet only once a stage, a warp has 32 keys' scores on their way at
// once, though its sums take 16 after 16, and on Hopper it goes on while values are added.
//
// Both products stand on their side: queries are the rows of the first, weights those of the second
//
//   scores   [columns, 16 keys] = q [columns, DIM]        @ K.T [DIM, 16]
//   gathered [columns, DIM]    += weights [columns, 16]   @ V [16, DIM]
//
// since then what shared memory gives is an operand as it is, and so is what the first product
// gives to the second.  An element is the sum of the same products, whichever of them is the row.
//
// Grid: (kv heads, work); `work` says whose a block's columns are: (sequence, first column).  It
// begins with the longest walks: blocks start in the order of their numbers, heads first, so the
// longest of all heads start before any shorter one, and all end at about the same time.

#define LOAD_KV __ldg  // of attend.cuh; nothing here asks
#define TILES 2
#define WARPS 8
#define KEYS 64
#define STAGES_AHEAD 2
#if __CUDA_ARCH__ == 900 && HALF == 16  // (some bfloat16 sums had another last bit than mma.sync's)
#define HOPPER
#define STAGES (STAGES_AHEAD + 2)  // of the one before last, values may still be read
#else
#define STAGES (STAGES_AHEAD + 1)
#endif
#ifdef CAPPED
#define CAP soft_cap
#else
#define CAP 0.0f
#endif

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "merge.cuh"
#include "attend.cuh"
#include "wgmma.cuh"
#include "stage_values.cuh"

// A stage: values (stage_values.cuh), and then keys, which are read 16 bytes a lane, four lanes a
// row: rows lie so that lanes find them in different banks.
#define KEYS_AT (KEYS * VALUE_ROW)
#define KEY_ROW (DIM * 2 + 64)
#define STAGE_BYTES (KEYS_AT + KEYS * KEY_ROW)

#define FEW_PARTS (PARTS_OF == 2)  // then registers hold more
#define RUN (FEW_PARTS ? 32 : 16)  // keys that a warp works on at once

struct Asked {  // a lane's share of 16 columns' queries; and more of columns g and g + 8
    uint4 part[PARTS_OF][2 * K_CHUNKS];
    float unit[2];
    int first[2], last[2];
};

struct Found {  // of columns g and g + 8; 4 u ..: coordinates 8 u + 2c and the next
    float top[2], total[2][2];  // totals of even and of odd keys
    float value[DIM / 2];
};

// The scores of keys 2c + b, and of 8 further (+ 2), of columns g and g + 8 (+ 1).  ALL_SEEN: by
// all of the warp's columns.
template <bool ALL_SEEN>
__device__ __forceinline__ void score_step(float score[2][4], const Asked& q, const u8* stage,
                                           int start, float soft_cap) {
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sums[PARTS_OF][2][4] = {};
#pragma unroll
        for (int e = 0; e < K_CHUNKS; e++) {
            uint4 k = *(const uint4*)(stage + KEYS_AT + (g + 8 * r) * KEY_ROW + (c + 4 * e) * 16);
#pragma unroll
            for (int p = 0; p < PARTS_OF; p++) {
                const uint4 &even = q.part[p][2 * e], &odd = q.part[p][2 * e + 1];
                MMA(sums[p][0], even.x, even.y, even.z, even.w, k.x, k.y);
                MMA(sums[p][1], odd.x, odd.y, odd.z, odd.w, k.z, k.w);
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int b = i & 1, j = i >> 1, key = start + 8 * r + 2 * c + b;
            float sum = sums[PARTS_OF - 1][0][i] + sums[PARTS_OF - 1][1][i];
#pragma unroll
            for (int p = PARTS_OF - 2; p >= 0; p--) sum += sums[p][0][i] + sums[p][1][i];
            float s = sum * q.unit[j];
            if (soft_cap > 0) s = soft_cap * tanhf(s / soft_cap);
            bool seen = ALL_SEEN || (q.first[j] <= key && key <= q.last[j]);
            score[b][2 * r + j] = seen ? __fmul_rn(s, LOG2_E) : NEVER;  // never part of an fma
        }
    }
}

// RUN keys and their values, from a stage, on top of those before.
template <bool ALL_SEEN>
__device__ __forceinline__ void add_run(Found& sum, const Asked& q, const u8* stage, int start,
                                        float soft_cap) {
    float weight[RUN / 16][2][4];
#pragma unroll
    for (int i = 0; i < RUN / 16; i++)
        score_step<ALL_SEEN>(weight[i], q, stage + (start % KEYS + 16 * i) * KEY_ROW,
                             start + 16 * i, soft_cap);
    u32 values = (u32)__cvta_generic_to_shared(stage) + value_place(start % KEYS, 0);
#pragma unroll
    for (int i = 0; i < RUN / 16; i++) {
        float shrink[2];
        bool raised = false;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float top = fmaxf(weight[i][0][j], weight[i][1][j]);
            top = fmaxf(top, fmaxf(weight[i][0][2 + j], weight[i][1][2 + j]));
            top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, 1));
            top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, 2));
            top = fmaxf(ceilf(top), sum.top[j]);
#pragma unroll
            for (int b = 0; b < 2; b++) {
                shrink[j] = weigh(weight[i][b], j, top, sum.top[j]);
                sum.total[j][b] =
                    fmaf(sum.total[j][b], shrink[j], weight[i][b][j] + weight[i][b][2 + j]);
            }
            raised |= top != sum.top[j];
            sum.top[j] = top;
        }
        u32 part[4][PARTS_OF];
#pragma unroll
        for (int m = 0; m < 4; m++) split_pair(part[m], weight[i][0][m], weight[i][1][m]);
        wait_for_values();
        if (__any_sync(EVERY_LANE, raised)) {  // otherwise every factor is 1
#pragma unroll
            for (int k = 0; k < DIM / 2; k++) sum.value[k] *= shrink[k >> 1 & 1];
        }
        add_values(sum.value, part, values + i * (value_place(16, 0) - value_place(0, 0)));
    }
}

__device__ __forceinline__ void copy_16(u32 to, const u16* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}

extern "C" __global__ void __launch_bounds__(WARPS* WARP, 1)
    attend_together(float* __restrict__ out, const float* __restrict__ q,
                    const u16* __restrict__ keys, const u16* __restrict__ values,
                    const int* __restrict__ tables, const int* __restrict__ context_lens,
                    const int* __restrict__ seq_starts, const int2* __restrict__ work,
                    const float* __restrict__ sinks, int table_width, int table_block,
                    int block_size, int group, int window, float scale, float soft_cap) {
    extern __shared__ __align__(1024) u8 stages[];
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    int warp = __shfl_sync(EVERY_LANE, threadIdx.x / WARP, 0);  // one number, as the compiler sees
    int sequence = work[blockIdx.y].x, all_first = work[blockIdx.y].y, head = blockIdx.x;
    int start = seq_starts[sequence], columns = (seq_starts[sequence + 1] - start) * group;
    int before = context_lens[sequence] - (seq_starts[sequence + 1] - start);  // tokens of the past
    int heads = gridDim.x * group;
    Paged kv = {keys,        values,     tables + (long long)sequence * table_width,
                table_block, block_size, (int)gridDim.x,
                head};
    auto first_key = [&](int column) {
        return window > 0 ? max(0, before + column / group - window + 1) : 0;
    };
    auto last_key = [&](int column) { return before + min(column, columns - 1) / group; };
    int least = first_key(all_first) / 16 * 16, first = least / KEYS * KEYS;
    int last = last_key(all_first + WARPS * 16 - 1);

    // A thread brings 16 bytes of some keys and of their values; it knows a stage ahead of which.
    constexpr int ACROSS = WARPS * WARP * 8 / DIM;  // keys that the block's threads bring at once
    u32 shared = (u32)__cvta_generic_to_shared(stages);
    int key = threadIdx.x / (DIM / 8), chunk = threadIdx.x % (DIM / 8);
    int steps = (last - first) / KEYS + 1, rows[KEYS / ACROSS];
    auto find = [&](int step) {
#pragma unroll
        for (int i = 0; i < KEYS / ACROSS; i++)
            rows[i] = row_at(kv, max(least, min(first + step * KEYS + i * ACROSS + key, last)));
    };
    find(0);
    auto fetch = [&](int step) {
        if (step < steps) {
            u32 to = shared + step % STAGES * STAGE_BYTES;
#pragma unroll
            for (int i = 0; i < KEYS / ACROSS; i++) {
                int place = i * ACROSS + key;
                u32 to_key = to + KEYS_AT + place * KEY_ROW + chunk * 16;
                u32 to_value = to + value_place(place, chunk);
                const u16* of_key = keys + (long long)rows[i] * DIM + chunk * 8;
                const u16* of_value = values + (long long)rows[i] * DIM + chunk * 8;
                copy_16(to_key, of_key), copy_16(to_value, of_value);
            }
            find(step + 1);
        }
        asm volatile("cp.async.commit_group;");
    };
#pragma unroll 1
    for (int step = 0; step < STAGES_AHEAD; step++) fetch(step);

    int first_column = all_first + warp * 16;  // (maybe beyond the last)
    auto row_of = [&](int column) {
        return (long long)(start + column / group) * heads + head * group + column % group;
    };
    Asked mine;
    Queries split;
    float top[2], total[2];
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int column = min(first_column + 8 * j + g, columns - 1);
        split_query(split, j, q + row_of(column) * DIM, scale, c);
        float units[2] = {__shfl_sync(EVERY_LANE, split.unit[j][0], g / 2),
                          __shfl_sync(EVERY_LANE, split.unit[j][1], g / 2)};
        mine.unit[j] = g % 2 ? units[1] : units[0];
        mine.first[j] = first_key(column), mine.last[j] = last_key(column);
        float sink = sinks ? sinks[head * group + column % group] * LOG2_E : NEVER;
        top[j] = ceilf(sink);
        total[j] = sinks ? exp2f(sink - ceilf(sink)) * WEIGHT_UNIT : 0.0f;
    }
#pragma unroll
    for (int p = 0; p < PARTS_OF; p++)
#pragma unroll
        for (int e = 0; e < 2 * K_CHUNKS; e++)
            mine.part[p][e] = make_uint4(split.part[0][p][e][0], split.part[1][p][e][0],
                                         split.part[0][p][e][1], split.part[1][p][e][1]);
    // What the splits before came to: registers are short.  [coordinate][...][thread]
    float* value = (float*)(stages + STAGES * STAGE_BYTES) + threadIdx.x;
    constexpr int THREADS = WARPS * WARP;
#pragma unroll
    for (int i = 0; i < DIM / 2; i++) value[i * THREADS] = 0;

    int side_first = all_first + warp / SIDE * SIDE * 16, side_last = side_first + SIDE * 16 - 1;
    int my_first = first_key(side_first), my_last = last_key(side_last), step = 0;
    int all_from = first_key(side_last), all_to = last_key(side_first);  // all columns see these
#pragma unroll 1
    for (int split = first / SPLIT; split <= last / SPLIT; split++) {
        Found sum = {{NEVER, NEVER}};
        int at = max(first, split * SPLIT), to = min(last, split * SPLIT + SPLIT - 1);
#pragma unroll 1
        for (; at <= to; at += KEYS, step++) {
            asm volatile("cp.async.wait_group %0;" ::"n"(STAGES_AHEAD - 1));
            copies_for_wgmma();
            __syncthreads();  // everyone's copies have come, and the stage to fill is read
            fetch(step + STAGES_AHEAD);
            const u8* stage = stages + step % STAGES * STAGE_BYTES;
#pragma unroll 1
            for (int key = at; key < at + KEYS; key += RUN) {
                if (side_first >= columns || key + RUN <= my_first || my_last < key) {
                    wait_for_values();  // of a stage that may be filled again when warps meet
                    continue;
                }
                if (FEW_PARTS && all_from <= key && key + RUN - 1 <= all_to)
                    add_run<true>(sum, mine, stage, key, CAP);
                else
                    add_run<false>(sum, mine, stage, key, CAP);
            }
        }
        if (split < my_first / SPLIT || my_last / SPLIT < split) continue;
        wait_for_values();
        Shrink by[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {  // the order of attend_run: keys 0 and 1, 2 and 3, ...
            float all = sum.total[j][0] + sum.total[j][1];
            all += __shfl_xor_sync(EVERY_LANE, all, 1);
            all += __shfl_xor_sync(EVERY_LANE, all, 2);
            by[j] = merge(top[j], total[j], sum.top[j], all);
        }
#pragma unroll
        for (int u = 0; u < DIM / 8; u++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float& so_far = value[(u * 4 + i) * THREADS];
                so_far = merge_value(so_far, sum.value[4 * u + i], by[i >> 1]);
            }
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int column = first_column + 8 * j + g;
        if (column >= columns) continue;
        float* to = out + row_of(column) * DIM + 2 * c;
#pragma unroll
        for (int u = 0; u < DIM / 8; u++)
            *(float2*)(to + 8 * u) = make_float2(value[(u * 4 + 2 * j) * THREADS] / total[j],
                                                 value[(u * 4 + 2 * j + 1) * THREADS] / total[j]);
    }
}
