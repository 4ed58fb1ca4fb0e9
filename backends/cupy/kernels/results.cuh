// What strands.cuh's `finish` does, for all that a warp of a many-token kernel holds: the same bias
// and residual, in the same order.  Everything that is added is asked for before anything is
// written.  (y may be the residual, so otherwise each number would wait for memory by itself.)
//
// sum as tensor_core.cuh holds it: this lane's rows are row, row + 8, and 16 further for each tile;
// its tokens are token, token + 1, and 8 further for each.

#define SUMS(name) float (&name)[ROW_TILES_][TOKEN_TILES_][4]

template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void add_bias(SUMS(sum), const float* bias, int row, int rows) {
#pragma unroll
    for (int r = 0; r < ROW_TILES_; r++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float add = bias[min(row + r * 16 + 8 * h, rows - 1)];
#pragma unroll
            for (int n = 0; n < TOKEN_TILES_; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) sum[r][n][2 * h + j] += add;
        }
}

template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void ask_residual(SUMS(before), const float* residual, int row,
                                             int token, int rows, int stride, int tokens) {
#pragma unroll
    for (int n = 0; n < TOKEN_TILES_; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const float* of = residual + (long long)min(token + n * 8 + j, tokens - 1) * stride;
#pragma unroll
            for (int r = 0; r < ROW_TILES_; r++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    before[r][n][2 * h + j] = of[min(row + r * 16 + 8 * h, rows - 1)];
        }
}

template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void add_residual(SUMS(sum), const SUMS(before)) {
#pragma unroll
    for (int n = 0; n < TOKEN_TILES_; n++)
#pragma unroll
        for (int r = 0; r < ROW_TILES_; r++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[r][n][i] = before[r][n][i] + sum[r][n][i];
}

template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void write_all(float* y, const SUMS(sum), int row, int token, int rows,
                                          int stride, int tokens) {
#pragma unroll
    for (int n = 0; n < TOKEN_TILES_; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int t = token + n * 8 + j;
            float* to = y + (long long)t * stride + row;
#pragma unroll
            for (int r = 0; r < ROW_TILES_; r++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    if (t < tokens && row + r * 16 + 8 * h < rows)
                        to[r * 16 + 8 * h] = sum[r][n][2 * h + j];
        }
}

template <int ROW_TILES_, int TOKEN_TILES_>
__device__ __forceinline__ void finish_all(float* y, const float* bias, const float* residual,
                                           SUMS(sum), int row, int token, int rows, int stride,
                                           int tokens) {
    if (bias) add_bias(sum, bias, row, rows);
    if (residual) {
        float before[ROW_TILES_][TOKEN_TILES_][4];
        ask_residual(before, residual, row, token, rows, stride, tokens);
        add_residual(sum, before);
    }
    write_all(y, sum, row, token, rows, stride, tokens);
}
