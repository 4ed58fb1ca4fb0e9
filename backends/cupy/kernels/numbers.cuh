// Small numbers: half precision by conversion instructions, so that no header of CUDA's is needed.
typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32
#define EVERY_LANE 0xffffffffu
#define NEVER (-__int_as_float(0x7f800000))  // minus infinity: a score that takes no part

__device__ __forceinline__ float from_f16(u32 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)bits));
    return x;
}

__device__ __forceinline__ u16 to_f16(float x) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

__device__ __forceinline__ float from_bf16(u32 bits) { return __uint_as_float(bits << 16); }

__device__ __forceinline__ u16 to_bf16(float x) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Two numbers in one register: `low` in the low half, as the tensor cores want them.
__device__ __forceinline__ u32 pair_f16(float low, float high) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ u32 pair_bf16(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// The sum of a warp's values, in one order: every lane gets it.
__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, step);
    return x;
}

// A launch may begin while the one before it ends (backends/cupy/driver.py).  What that one, or any
// before it, wrote may be read from `wait_for_previous` on, through pointers that are not declared
// __restrict__: the compiler must not take them for what never changes.  Weights, which nobody
// writes, may be asked for before.  Every launch that may begin early waits before it writes, and
// before it ends: so whoever has waited knows that all before have ended.  `let_next_begin` says
// when the next one may come: best when this one has asked for its last weights.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
