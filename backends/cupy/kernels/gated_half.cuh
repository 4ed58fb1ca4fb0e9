// The end of gate and up's product for some tokens: activation(gate) * up, rounded and laid out as
// prepare.cu does it for the next product, without any of it having been in memory.

__device__ __forceinline__ u32 pair(float low, float high) {
    u32 both;
    asm("cvt.rn." HALF_TYPE "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// Half of the warps have the sums of gates, half those of what they let through, of 16 rows and
// COLS tokens each (tensor_core.cuh says who has which).  A warp and its partner give each other
// half of their tokens: then both have gate and up of the other half, and of the next product's
// columns 16 * tile .. + 16.  `shared`: room for 4 * COLS bytes of each row.
__device__ __forceinline__ void finish_gated(u8* y, const float (&sum)[1][COLS / 8][4],
                                             float4* shared, int tile, bool is_up, int tokens,
                                             int padded) {
    constexpr int HALF = COLS / 16;
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    int partner = threadIdx.x + (is_up ? -THREADS / 2 : THREADS / 2), first = is_up ? HALF : 0;
#pragma unroll
    for (int n = 0; n < HALF; n++) {
        const float(&low)[4] = sum[0][n], (&high)[4] = sum[0][HALF + n];
        shared[n * THREADS + threadIdx.x] = is_up ? make_float4(low[0], low[1], low[2], low[3])
                                                  : make_float4(high[0], high[1], high[2], high[3]);
    }
    asm volatile("barrier.sync 1, %0;" ::"n"(THREADS) : "memory");
    // Of a block's column k and eight tokens: matrix k / 16 * 2 + k / 2 % 2, word k / 4 % 4.
    u8* to = y + (long long)(tile / 2) * padded * 64 + (tile & 1) * 256 + (g >> 1 & 1) * 128 +
             (g >> 2) * 4;
#pragma unroll
    for (int n = 0; n < HALF; n++) {
        float4 four = shared[n * THREADS + partner];
        float its[4] = {four.x, four.y, four.z, four.w}, v[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float gate = is_up ? its[i] : sum[0][n][i], up = is_up ? sum[0][HALF + n][i] : its[i];
            v[i] = activation(gate) * up;
        }
        // Lanes of an even row and the next one: each gets both rows of one of two tokens.
        bool odd = g & 1;
        int token = (first + n) * 8 + 2 * c + odd;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float given = odd ? v[2 * h] : v[2 * h + 1];
            float taken = __shfl_xor_sync(EVERY_LANE, given, 4);
            u32 both = odd ? pair(taken, v[2 * h + 1]) : pair(v[2 * h], taken);
            if (token < tokens) *(u32*)(to + (first + n) * 512 + token % 8 * 16 + h * 8) = both;
        }
    }
}
