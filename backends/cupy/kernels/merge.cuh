// Adding what one split gathered to what those before it did.
//
// A split's `top` is the least whole number above its scores (in powers of two), its weights are
// 2**(score - top).  Bringing two splits to one top then multiplies by a power of two, which rounds
// nothing: attend_combine.cu, which knows the highest top at once, and attend_walk.cu, which meets
// it on its way, round the same sums.  A split in which nothing is seen changes no bit.

#define WEIGHT_UNIT 32768.0f  // what a weight of 1 is held as: its parts are then no subnormals
#define LOG2_E 1.44269504f  // scores are kept in powers of two

// 2**x for x <= 0, to two units in the last place, and 0 where it is below the normal numbers.
__device__ __forceinline__ float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 2**x for whole x <= 0, and 0 below the normal numbers.
__device__ __forceinline__ float power_of_two(float x) {
    return __int_as_float(max(127 + (int)fmaxf(x, -200.0f), 0) << 23);
}

// A head's sink, a score that takes a share and gives no value: the top with it, and its weight.
__device__ __forceinline__ float with_sink(float top, const float* sinks, int head) {
    return sinks ? fmaxf(top, ceilf(sinks[head] * LOG2_E)) : top;
}

__device__ __forceinline__ float sink_weight(float top, const float* sinks, int head) {
    if (!sinks) return 0;
    float sink = sinks[head] * LOG2_E;
    return exp2f(sink - ceilf(sink)) * WEIGHT_UNIT * power_of_two(ceilf(sink) - top);
}

struct Shrink {
    float before, split;
};

__device__ __forceinline__ Shrink merge(float& top, float& total, float split_top,
                                        float split_total) {
    float higher = fmaxf(top, split_top), anchor = higher == NEVER ? 0.0f : higher;
    Shrink by = {power_of_two(top - anchor), power_of_two(split_top - anchor)};
    top = higher;
    total = fmaf(total, by.before, __fmul_rn(split_total, by.split));
    return by;
}

__device__ __forceinline__ float merge_value(float before, float split, Shrink by) {
    return fmaf(before, by.before, __fmul_rn(split, by.split));
}
