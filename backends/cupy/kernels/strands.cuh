// The end of every linear map: the strands' sums are added in order, then the bias, then what the
// result is to be added to; each addition rounds, as separate operations would.

// The runs into which a row's blocks of 32 columns are cut: of equal length, a multiple of four.
__device__ __forceinline__ int run_length(int blocks) {
    return (blocks + 4 * STRANDS - 1) / (4 * STRANDS) * 4;
}

__device__ __forceinline__ void finish(float* y, const float* bias, const float* residual,
                                       float sum, int row, int t, int rows, int stride,
                                       int tokens) {
    if (row >= rows || t >= tokens) return;
    long long at = (long long)t * stride + row;
    if (bias) sum += bias[row];
    if (residual) sum = residual[at] + sum;
    y[at] = sum;
}

// acc as tensor_core.cuh holds it, a strand a warp: rows g, g + 8; tokens 2c, 2c + 1.  Where shared
// memory has room for all strands nobody waits; otherwise they take turns.
template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void add_strands(float (&acc)[ROW_TILES_][TOKEN_TILES_][4], float* y,
                                            const float* bias, const float* residual, int row_tile,
                                            int token, int rows, int stride, int tokens) {
    constexpr int SIZE = ROW_TILES_ * TOKEN_TILES_ * 4 * WARP;
    constexpr int ROOMS = SIZE <= 1024 ? STRANDS : 1;
    __shared__ float shared[ROOMS][SIZE];
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP;
    for (int s = 0; s < STRANDS; s += ROOMS) {
        if (ROOMS > 1 || strand == s) {
#pragma unroll
            for (int r = 0; r < ROW_TILES_; r++)
#pragma unroll
                for (int n = 0; n < TOKEN_TILES_; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        float& sum =
                            shared[strand % ROOMS][((r * TOKEN_TILES_ + n) * 4 + i) * WARP + lane];
                        sum = ROOMS > 1 || s == 0 ? acc[r][n][i] : sum + acc[r][n][i];
                    }
        }
        __syncthreads();
    }
    for (int at = threadIdx.x; at < SIZE; at += blockDim.x) {
        int of = at % WARP, i = at / WARP % 4, n = at / WARP / 4 % TOKEN_TILES_;
        int r = at / WARP / 4 / TOKEN_TILES_;
        int row = (row_tile + r) * 16 + (of >> 2) + 8 * (i >> 1);
        int t = token + n * 8 + 2 * (of & 3) + (i & 1);
        float sum = shared[0][at];
        for (int s = 1; s < ROOMS; s++) sum += shared[s][at];
        finish(y, bias, residual, sum, row, t, rows, stride, tokens);
    }
}
