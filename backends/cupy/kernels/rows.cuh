// Rows of floats into shared memory while weights are on their way, too.  What is loaded into
// registers seems to wait for the cp.async copies that a multiprocessor's warps asked for before it;
// what Hopper's copy engine (pipeline.cuh) brings does not.  (A row that every block wants is better
// loaded: the engines all begin at its first bytes.)
//
// All threads of a block call these, in this order.

__device__ __forceinline__ void expect_rows(u64* barrier, int copies) {
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x == 0) {
        make_barrier((u32)__cvta_generic_to_shared(barrier), copies);
        fence_barriers();
    }
    __syncthreads();
#endif
}

// Copy number i: n floats, a multiple of four.
__device__ __forceinline__ void bring_row(u64* barrier, int i, void* to, const void* from, int n) {
#if __CUDA_ARCH__ >= 900
    u32 at = (u32)__cvta_generic_to_shared(barrier);
    if (threadIdx.x != i * WARP) return;
    expect(at, 4 * n);
    copy((u32)__cvta_generic_to_shared(to), from, 4 * n, at);
#else
    for (int j = threadIdx.x; j < n; j += blockDim.x) ((float*)to)[j] = ((const float*)from)[j];
#endif
}

__device__ __forceinline__ void wait_for_rows(u64* barrier) {
#if __CUDA_ARCH__ >= 900
    wait((u32)__cvta_generic_to_shared(barrier), 0);
#else
    __syncthreads();
#endif
}
