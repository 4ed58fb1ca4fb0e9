// y = rounded(x) @ w.T, of float16 (or bfloat16) weights, for few tokens          (act="half")
//
// Must move: the weights, once.  Must do: 2 * rows * columns * tokens operations, on the tensor
// cores, which multiply exactly and add in float32 (cutting off what does not fit, instead of
// rounding).
//
// The order of addition is that of linear_q8.cu: STRANDS runs of columns, a warp each; within a run
// the tensor core's, 16 columns after 16.  linear_half_wide.cu keeps it.
//
// A lane's 16 weights of a tile are two matrices of 16 columns: w: [row tile][block][matrix][lane]
// 16 bytes; x: [block][token][lane % 4] 16 bytes (prepare.cu).

#define STRANDS 8

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "strands.cuh"

extern "C" __global__ void __launch_bounds__(STRANDS* WARP)
    linear_half(float* y, const float* __restrict__ bias, const float* residual,
                const uint4* __restrict__ w, const uint4* x, int rows, int stride, int blocks,
                int tokens, int padded) {
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, row_tile = blockIdx.x * ROW_TILES,
        token = blockIdx.y * TOKEN_TILES * 8;
    int run = run_length(blocks);
    int first = min(strand * run, blocks), last = min(first + run, blocks);
    float acc[ROW_TILES][TOKEN_TILES][4] = {};

    auto load_weights = [&](uint4(&a)[ROW_TILES][2], int at) {
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
            for (int m = 0; m < 2; m++)
                a[r][m] = __ldcs(
                    w +
                    (((long long)min(row_tile + r, row_tiles - 1) * blocks + at) * 2 + m) * WARP +
                    lane);
    };
    auto load_tokens = [&](uint4(&b)[TOKEN_TILES], int at) {
#pragma unroll
        for (int n = 0; n < TOKEN_TILES; n++) {
            int t = min(token + n * 8 + g, padded - 1);  // a token alone is not padded
            b[n] = x[((long long)at * padded + t) * 4 + c];
        }
    };
    auto add_block = [&](uint4(&a)[ROW_TILES][2], uint4(&b)[TOKEN_TILES]) {
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
            for (int n = 0; n < TOKEN_TILES; n++) {
                MMA(acc[r][n], a[r][0].x, a[r][0].y, a[r][0].z, a[r][0].w, b[n].x, b[n].y);
                MMA(acc[r][n], a[r][1].x, a[r][1].y, a[r][1].z, a[r][1].w, b[n].z, b[n].w);
            }
    };

    uint4 a[AHEAD][ROW_TILES][2], b[AHEAD][TOKEN_TILES];  // on their way
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
        if (first + u < last) load_weights(a[u], first + u);
    wait_for_previous();  // for x, and for y and residual
    let_next_begin();
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
        if (first + u < last) load_tokens(b[u], first + u);
    for (int at = first; at < last; at += AHEAD) {
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            if (at + u < last) add_block(a[u], b[u]);
            if (at + u + AHEAD < last) {
                load_weights(a[u], at + u + AHEAD);
                load_tokens(b[u], at + u + AHEAD);
            }
        }
    }
    add_strands<ROW_TILES, TOKEN_TILES>(acc, y, bias, residual, row_tile, token, rows, stride,
                                        tokens);
}
