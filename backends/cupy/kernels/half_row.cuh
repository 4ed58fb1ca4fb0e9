// Where columns of a token lie in half precision, as linear maps read them (prepare.cu): [block of
// 32 columns][token][32], in the order of a tile's lanes; HOPPER: eight tokens by eight products
// after one another (wgmma.cuh).  `padded`: how many tokens there is room for.

// Column k of the 32 of a block, among them.
__device__ __forceinline__ int tile_order(int k) {
    return (k >> 2 & 3) * 8 + (k >> 4 & 1) * 4 + (k & 3);
}

__device__ __forceinline__ long long half_place(int k, int t, int padded) {
#ifdef HOPPER
    long long at = ((long long)(k / 32) * padded + t / 8 * 8) * 32;
    return at + (k >> 4 & 1) * 128 + (k >> 1 & 1) * 64 + t % 8 * 8 + (k >> 2 & 3) * 2 + (k & 1);
#else
    return ((long long)(k / 32) * padded + t) * 32 + tile_order(k % 32);
#endif
}

// Columns k .. k + 3, k being a multiple of four.
__device__ __forceinline__ void put_four(void* packed, u32 first, u32 second, int k, int t,
                                         int padded) {
    u32* to = (u32*)((u16*)packed + half_place(k, t, padded));
#ifdef HOPPER
    to[0] = first, to[32] = second;
#else
    *(uint2*)to = make_uint2(first, second);
#endif
}

// Column k of a token's result: a float32 of so many, or with OUT rounded for the next product.
__device__ __forceinline__ void put_result(float* results, float x, int k, int t, int columns,
                                           int padded) {
#ifdef OUT
    ((u16*)results)[half_place(k, t, padded)] = OUT(x);
#else
    results[(long long)t * columns + k] = x;
#endif
}
