// The values of a stage of attend_together.cu: how they lie, and sum += weights @ values.
//
// A warp has 16 columns: their weights with 16 keys are a, as tensor_core.cuh says, in PARTS_OF
// parts; sum[4 u ..] are coordinates 8 u ... of its columns.  `values`: where the first key's are.
//
// On Hopper (wgmma.cuh) the four warps of a SIDE add together, and sums come while they go on:
// until `wait_for_values` nobody touches them, nor fills the stage again.  Values lie as wgmma reads
// what follows in the columns (PTX ISA 9.0, section 9.7.16.5: 128-byte swizzling): 64 coordinates
// of a key are 128 bytes, in chunks of 16, each at its number xor the key's; EIGHT_KEYS bytes
// further are the next eight keys'; and behind all of them, FURTHER_64 bytes on, the other 64.

#ifdef HOPPER
#define SIDE 4
#define VALUE_ROW (DIM * 2)
#define EIGHT_KEYS 1024
#define FURTHER_64 (KEYS * 128)

__device__ __forceinline__ int value_place(int key, int chunk) {
    return chunk / 8 * FURTHER_64 + key * 128 + (chunk ^ key) % 8 * 16;
}

__device__ __forceinline__ u64 values_at(u32 shared) {
    return (u64)(shared >> 4 & 0x3fff) | (u64)(FURTHER_64 >> 4) << 16 |
           (u64)(EIGHT_KEYS >> 4) << 32 | (u64)1 << 62;
}

// d += a b of DIM columns; the last 1: what follows in b follows in the columns.
__device__ __forceinline__ void wgmma_values(float d[DIM / 2], const uint4& a, u64 b) {
#if DIM == 64
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : D16(0), D16(16)
                 : OPERANDS);
#else
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63 "
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : D16(0), D16(16), D16(32), D16(48)
                 : OPERANDS);
#endif
}

__device__ __forceinline__ void add_values(float sum[DIM / 2], const u32 part[4][PARTS_OF],
                                           u32 values) {
    wgmma_begin();
#pragma unroll
    for (int p = PARTS_OF - 1; p >= 0; p--)
        wgmma_values(sum, make_uint4(part[0][p], part[1][p], part[2][p], part[3][p]),
                     values_at(values));
    wgmma_go();
}

__device__ __forceinline__ void wait_for_values() { wgmma_wait(); }

// Before wgmma, of any warp, may read what this thread's copies have brought.
__device__ __forceinline__ void copies_for_wgmma() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
#else
#define SIDE 1
#define VALUE_ROW (DIM * 2 + 16)  // so that ldmatrix finds eight rows in different banks

__device__ __forceinline__ int value_place(int key, int chunk) {
    return key * VALUE_ROW + chunk * 16;
}

__device__ __forceinline__ void add_values(float sum[DIM / 2], const u32 part[4][PARTS_OF],
                                           u32 values) {
    int lane = threadIdx.x % WARP;
    values += (lane & 15) * VALUE_ROW + (lane >> 4) * 16;
#pragma unroll
    for (int t = 0; t < DIM_TILES; t++) {
        u32 v[4];
        load_transposed(v, values + t * 32);
#pragma unroll
        for (int p = PARTS_OF - 1; p >= 0; p--) {
            MMA(sum + 8 * t, part[0][p], part[1][p], part[2][p], part[3][p], v[0], v[1]);
            MMA(sum + 8 * t + 4, part[0][p], part[1][p], part[2][p], part[3][p], v[2], v[3]);
        }
    }
}

__device__ __forceinline__ void wait_for_values() {}
__device__ __forceinline__ void copies_for_wgmma() {}
#endif
