// Hopper's tensor cores as four warps drive them (wgmma; PTX ISA 9.0, section 9.7.16): 64 rows,
// some columns and 16 products at a time, twice as fast as mma.sync.  A warp holds 16 of the rows,
// as tensor_core.cuh says; a, from registers, is what mma.sync takes; b is read from shared memory.

// Registers that were written are ready for what follows; what was asked for goes on its way; has
// come.
__device__ __forceinline__ void wgmma_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_go() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#define D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define D16(i) D4(i), D4(i + 4), D4(i + 8), D4(i + 12)

#define OPERANDS "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b)

#ifdef COLS  // 64 or 192 columns, in matrices of 8 columns and 8 products, 128 bytes each:
// {columns 0-7: products 0-7, 8-15}, {columns 8-15: ...}, so that two that follow in the products
// lie LEAD bytes apart, two that follow in the columns STRIDE.
#define LEAD 128
#define STRIDE 512

// What says where b is: bytes divided by 16, no swizzling.
__device__ __forceinline__ u64 matrices_at(u32 shared) {
    return (u64)(shared >> 4 & 0x3fff) | (u64)(LEAD >> 4) << 16 | (u64)(STRIDE >> 4) << 32;
}

// d += a b; d[4 j ..] are columns 8 j ...
__device__ __forceinline__ void wgmma(float d[COLS / 2], const uint4& a, u64 b) {
#if COLS == 64
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." HALF_TYPE "." HALF_TYPE
                 " {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
                 : D16(0), D16(16)
                 : OPERANDS);
#else
    asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32." HALF_TYPE "." HALF_TYPE
                 " {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
                 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
                 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95 "
                 "}, {%96, %97, %98, %99}, %100, 1, 1, 1, 0;"
                 : D16(0), D16(16), D16(32), D16(48), D16(64), D16(80)
                 : OPERANDS);
#endif
}
#endif
