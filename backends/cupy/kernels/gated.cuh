// The end of gate and up's product for many tokens: activation(gate) * up, made Q8_0 as prepare.cu
// makes it for the next product, without any of it having been in memory.
//
// sum as tensor_core.cuh holds it, of two tiles of gates and the two of what they let through: so a
// warp has the 32 columns that are the next product's `block`, of 32 tokens, and a lane (g, c) the
// columns 16 r + 8 h + g of the tokens 8 n + 2 c + j.
//
// Nothing here branches but for numbers near the ends of the range of exponents: a lane's 32
// activations wait for each other's steps, not one for the other.

#if ACTIVATION == 0
// silu, divided as prepare.cuh does it, but by 2**-30 of e, so that no step goes beyond the range:
// every finite e is usual then.
__device__ __forceinline__ bool usual_gate(float x) { return fabsf(x) < 1e20f; }

__device__ __forceinline__ float usual_activation(float x) {
    float by = (1.0f + expf(-x)) * 0x1p-30f;
    float y = quotient(x, by, reciprocal(by)) * 0x1p-30f;
    return by < 1e30f ? y : -0.0f;
}
#else
__device__ __forceinline__ bool usual_gate(float x) { return true; }

__device__ __forceinline__ float usual_activation(float x) { return activation(x); }
#endif

// roundf(x), where |x| < 2**22.
__device__ __forceinline__ int rounded(float x) {
    return __float2int_rz(__fadd_rz(x, copysignf(0.5f, x)));
}

// Lanes 4 q + rest, q = 0 .. 3, have a byte for each of four tokens: lane q gets token q's four.
__device__ __forceinline__ u32 bytes_across(u32 mine, int g) {
    u32 other = __shfl_xor_sync(EVERY_LANE, mine, 4);
    mine = __byte_perm(mine, other, g & 1 ? 0x3715 : 0x6240);
    other = __shfl_xor_sync(EVERY_LANE, mine, 8);
    return __byte_perm(mine, other, g & 2 ? 0x3276 : 0x5410);
}

__device__ __forceinline__ void finish_gated(i8* xq, float* dx, float2* sums,
                                             const float (&sum)[4][4][4], int block, int token,
                                             int tokens, int padded) {
    int g = threadIdx.x % WARP >> 2, c = threadIdx.x & 3;
    float v[8][4], most[8];  // of the tokens 4 j + n, and their columns 2 h + r
    bool all_usual = true;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        int r = i & 1, n = i >> 2 & 3, of = (i & 2) + (i >> 4);
        all_usual &= usual_gate(sum[r][n][of]);
        v[i >> 2][i & 3] = usual_activation(sum[r][n][of]) * sum[2 + r][n][of];
    }
    if (!__all_sync(EVERY_LANE, all_usual))
#pragma unroll
        for (int i = 0; i < 32; i++) {
            int r = i & 1, n = i >> 2 & 3, of = (i & 2) + (i >> 4);
            v[i >> 2][i & 3] = activation(sum[r][n][of]) * sum[2 + r][n][of];
        }
#pragma unroll
    for (int t = 0; t < 8; t++)
        most[t] = fmaxf(fmaxf(fabsf(v[t][0]), fabsf(v[t][1])), fmaxf(fabsf(v[t][2]), fabsf(v[t][3])));
#pragma unroll
    for (int step = 4; step < WARP; step <<= 1)
#pragma unroll
        for (int t = 0; t < 8; t++)
            most[t] = fmaxf(most[t], __shfl_xor_sync(EVERY_LANE, most[t], step));
    all_usual = true;
#pragma unroll
    for (int t = 0; t < 8; t++) all_usual &= usual(most[t]);
    Scale scale[8];
    if (__all_sync(EVERY_LANE, all_usual))
#pragma unroll
        for (int t = 0; t < 8; t++) scale[t] = scale_of<true>(most[t]);
    else
#pragma unroll
        for (int t = 0; t < 8; t++) scale[t] = scale_of<false>(most[t]);

    u32 bytes[2][4] = {};  // of j, and 2 h + r: a byte for each n
    int both[8];  // sums of columns 0 .. 15, and of 16 .. 31 times 2**16
#pragma unroll
    for (int t = 0; t < 8; t++) {
        int q[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            q[i] = rounded(v[t][i] * scale[t].inverse);
            bytes[t / 4][i] |= (u32)(q[i] & 255) << 8 * (t % 4);
        }
        both[t] = q[0] + q[2] + (q[1] + q[3]) * 65536;
    }
#pragma unroll
    for (int step = 4; step < WARP; step <<= 1)
#pragma unroll
        for (int t = 0; t < 8; t++) both[t] += __shfl_xor_sync(EVERY_LANE, both[t], step);

    token += 2 * c;
    long long at = (long long)block * padded + token;
#pragma unroll
    for (int t = 0; t < 8; t++) {
        int further = t % 4 * 8 + t / 4, first = (short)both[t];
        if (t != g || token + further >= tokens) continue;
        dx[at + further] = scale[t].d;
        sums[at + further] = make_float2(first, (both[t] - first) >> 16);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) bytes[j][i] = bytes_across(bytes[j][i], g);
        int further = (g & 3) * 8 + j;
        uint2* to = (uint2*)(xq + (at + further) * 32) + (g >> 2);
        if (token + further < tokens) {
            to[0] = make_uint2(bytes[j][0], bytes[j][1]);
            to[2] = make_uint2(bytes[j][2], bytes[j][3]);
        }
    }
}
