// Four columns of a row as KIND wants them, and where they lie (prepare.cu says both); and the root
// of a row's mean square.  Of prepare.cu, and of linear_q8_one.cu, which prepares a token by
// itself.

#define KIND_F32 0
#define KIND_Q8_0 1
#define KIND_Q8_K 2
#define KIND_F16 3
#define KIND_BF16 4

#ifdef NORM
__device__ float row_sum(float x) {
    __shared__ float sums[WARP];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_sum(threadIdx.x % WARP < blockDim.x / WARP ? sums[threadIdx.x % WARP] : 0.0f);
}

// sqrt(mean(x * x) + eps).  The order: 256 threads' columns, then by halves (of fewer threads the
// rest would add zeros).
__device__ __forceinline__ float root_of(const float* row, int columns, float eps) {
    float squares = 0;
    for (int i = threadIdx.x; i < columns / 4; i += blockDim.x) {
        float4 v = ((const float4*)row)[i];
        squares = fmaf(v.x, v.x, squares), squares = fmaf(v.y, v.y, squares);
        squares = fmaf(v.z, v.z, squares), squares = fmaf(v.w, v.w, squares);
    }
    return __fsqrt_rn(__fdiv_rn(row_sum(squares), (float)columns) + eps);
}

__device__ __forceinline__ void normalise(float v[4], const float* weight, int i, float root) {
    float4 by = ((const float4*)weight)[i];
    v[0] = __fdiv_rn(v[0], root) * by.x, v[1] = __fdiv_rn(v[1], root) * by.y;
    v[2] = __fdiv_rn(v[2], root) * by.z, v[3] = __fdiv_rn(v[3], root) * by.w;
}
#endif

// Where column k of a token lies among the tile-ordered 32 of its block.
__device__ __forceinline__ int tile_order(int k) {
    return (k >> 2 & 3) * 8 + (k >> 4 & 1) * 4 + (k & 3);
}

// Each thread has the 4 columns from 4 * i on; 8 threads make a block of 32, 64 one of 256.
__device__ __forceinline__ void store(float x[4], int i, int t, int padded, void* packed, float* dx,
                                      float2* sums, bool here) {
#if KIND == KIND_F16 || KIND == KIND_BF16
    if (!here) return;
#endif
#if KIND == KIND_F32
    return;
#elif KIND == KIND_F16 || KIND == KIND_BF16
    int k = 4 * i;
#if KIND == KIND_F16
    u32 first = pair_f16(x[0], x[1]), second = pair_f16(x[2], x[3]);
#else
    u32 first = pair_bf16(x[0], x[1]), second = pair_bf16(x[2], x[3]);
#endif
#ifdef HOPPER  // 8 tokens by 8 products after one another (wgmma.cuh)
    u32* to = (u32*)packed + ((long long)(k / 32) * padded + t / 8 * 8) * 16;
    to += (k >> 4 & 1) * 64 + t % 8 * 4 + (k >> 2 & 3);
    to[0] = first, to[32] = second;
#else
    u16* to = (u16*)packed + ((long long)(k / 32) * padded + t) * 32 + tile_order(k % 32);
    *(uint2*)to = make_uint2(first, second);
#endif
#else
    int q[4], k = 4 * i;
    float d;
#if KIND == KIND_Q8_0
    float most = fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3])));
    for (int step = 1; step < 8; step <<= 1)
        most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, step));
    d = __fdiv_rn(most, 127.0f);
    float inverse = d ? __fdiv_rn(1.0f, d) : 0.0f;
    for (int j = 0; j < 4; j++) q[j] = (int)roundf(x[j] * inverse);
    d = from_f16(to_f16(d));
#else
    // The first of the columns of largest magnitude: a magnitude and how far from the end it is.
    __shared__ u64 tops[32];
    u64 top = 0;
    for (int j = 0; j < 4; j++) {
        u64 mine =
            (u64)__float_as_uint(fabsf(x[j])) << 32 | (u64)(255 - (k + j) % 256) << 1 | (x[j] < 0);
        top = mine > top ? mine : top;
    }
    for (int step = 1; step < WARP; step <<= 1) {
        u64 other = __shfl_xor_sync(EVERY_LANE, top, step);
        top = other > top ? other : top;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) tops[threadIdx.x / WARP] = top;
    __syncthreads();
    u64 other = tops[threadIdx.x / WARP ^ 1];
    top = other > top ? other : top;
    float magnitude = __uint_as_float((u32)(top >> 32));
    float inverse = __fdiv_rn(-127.0f, top & 1 ? -magnitude : magnitude);
    for (int j = 0; j < 4; j++)
        q[j] = magnitude ? min(__float2int_rn(__fmul_rn(inverse, x[j])), 127) : 0;
    d = magnitude ? __fdiv_rn(1.0f, inverse) : 0.0f;
#endif
    int sum = q[0] + q[1] + q[2] + q[3];
    sum += __shfl_xor_sync(EVERY_LANE, sum, 1);
    sum += __shfl_xor_sync(EVERY_LANE, sum, 2);
    int other_half = __shfl_xor_sync(EVERY_LANE, sum, 4);
    long long at = (long long)(k / 32) * padded + t;
    if (!here) return;
    u32 bytes = (q[0] & 255) | (q[1] & 255) << 8 | (q[2] & 255) << 16 | (u32)q[3] << 24;
    *(u32*)((i8*)packed + at * 32 + tile_order(k % 32)) = bytes;
    if (i % 8 == 0) {
        dx[at] = d;
        sums[at] = make_float2(sum, other_half);
    }
#endif
}
