// out = the parts of attend_split.cu, added up split after split, over their total
//
// Must move: each part once (they were just written, and mostly lie in the L2 cache).
// What takes the time of a long context is to wait for them: so of MANY splits 64 are asked for
// before the first is added, and the first 64 before the highest top is known.
//
// OUT: the result is rounded for the next product, as prepare.cu does it (half_row.cuh).
//
// Grid: (heads, sequences), a thread for each coordinate, and whole warps.

#include "numbers.cuh"
#include "merge.cuh"
#include "half_row.cuh"

#define AT_ONCE 64

struct Some {  // splits: a coordinate's parts, and tops and totals, of which a lane knows two
    float part[AT_ONCE];
    float2 of[AT_ONCE / WARP];

    __device__ __forceinline__ void ask(const float* parts, const float2* tops, int dim, int from,
                                        int to) {
#pragma unroll
        for (int h = 0; h < AT_ONCE / WARP; h++)
            of[h] = __ldcg(tops + min(from + h * WARP + (int)threadIdx.x % WARP, to));
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (from + i <= to) part[i] = __ldcg(parts + (long long)(from + i) * dim);
    }

    __device__ __forceinline__ void add(float& value, float& total, float top, int count) {
        float by[AT_ONCE / WARP];
#pragma unroll
        for (int h = 0; h < AT_ONCE / WARP; h++) by[h] = power_of_two(of[h].x - top);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            float factor = __shfl_sync(EVERY_LANE, by[i / WARP], i % WARP);
            float its_total = __shfl_sync(EVERY_LANE, of[i / WARP].y, i % WARP);
            if (i >= count) continue;
            total = fmaf(its_total, factor, total);
            value = fmaf(part[i], factor, value);
        }
    }
};

extern "C" __global__ void attend_combine(float* out, const float* parts, const float2* tops,
                                          const int* __restrict__ context_lens,
                                          const int* __restrict__ first_token,
                                          const float* __restrict__ sinks, int dim, int most_splits,
                                          int window, int padded) {
    int head = blockIdx.x, sequence = blockIdx.y, d = min((int)threadIdx.x, dim - 1);
    int position = context_lens[sequence] - 1;
    wait_for_previous();
    let_next_begin();
    if (position < 0) return;
    int first = window > 0 ? max(0, position - window + 1) : 0;
    int token = first_token[sequence];
    long long row = (long long)token * gridDim.x + head;
    const float2* of = tops + row * most_splits;
    int from = first / SPLIT, to = position / SPLIT;
    const float* part = parts + row * most_splits * dim + d;
#ifdef MANY
    Some held;
    held.ask(part, of, dim, from, to);
#endif
    float top = with_sink(NEVER, sinks, head);
#pragma unroll 4
    for (int split = from + threadIdx.x % WARP; split <= to; split += WARP)
        top = fmaxf(top, of[split].x);
    for (int step = 16; step; step >>= 1) top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, step));
    float total = sink_weight(top, sinks, head), value = 0;
#ifdef MANY
    for (; from <= to; from += AT_ONCE) {
        held.add(value, total, top, to - from + 1);
        if (from + AT_ONCE <= to) held.ask(part, of, dim, from + AT_ONCE, to);
    }
#else
#pragma unroll 16
    for (int split = from; split <= to; split++) {
        float2 one = of[split];
        float by = power_of_two(one.x - top);
        total = fmaf(one.y, by, total);
        value = fmaf(part[(long long)split * dim], by, value);
    }
#endif
    // Lanes too many write what the last one does.
    put_result(out, value / total, head * dim + d, token, gridDim.x * dim, padded);
}
