// out = the parts of attend_split.cu, added up split after split, over their total
//
// Must move: each part once (they were just written, and mostly lie in the L2 cache).
// Grid: (heads, sequences), a thread for each coordinate.

#include "numbers.cuh"
#include "merge.cuh"

extern "C" __global__ void attend_combine(float* out, const float* parts, const float2* tops,
                                          const int* __restrict__ context_lens,
                                          const int* __restrict__ first_token,
                                          const float* __restrict__ sinks, int dim, int most_splits,
                                          int window) {
    int head = blockIdx.x, sequence = blockIdx.y, d = threadIdx.x;
    int position = context_lens[sequence] - 1;
    wait_for_previous();
    let_next_begin();
    if (position < 0) return;
    int first = window > 0 ? max(0, position - window + 1) : 0;
    long long row = (long long)first_token[sequence] * gridDim.x + head;
    const float2* of = tops + row * most_splits;
    int from = first / SPLIT, to = position / SPLIT;
    float top = with_sink(NEVER, sinks, head);
    for (int split = from + threadIdx.x % WARP; split <= to; split += WARP)
        top = fmaxf(top, of[split].x);
    for (int step = 16; step; step >>= 1) top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, step));
    float total = sink_weight(top, sinks, head), value = 0;
    const float* part = parts + row * most_splits * dim + d;
#pragma unroll 16
    for (int split = from; split <= to; split++) {
        float2 one = of[split];
        float by = power_of_two(one.x - top);
        total = fmaf(one.y, by, total);
        value = fmaf(part[(long long)split * dim], by, value);
    }
    out[row * dim + d] = value / total;
}
