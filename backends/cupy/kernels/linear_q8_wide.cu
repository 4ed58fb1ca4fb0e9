// linear_q8.cu for many tokens: the same sums, in the same order            (act="q8", prefill)
//
// Must move: weights and activations, each once (the L2 cache holds what blocks share).  Must do:
// 2 * rows * columns * tokens operations on bytes, and for each 32 of them two in float32, which is
// what takes the time.
//
// A block takes 128 rows and 64 tokens, a warp 32 rows and 32 tokens.  It walks the strands one
// after the other, with a sum for the strand and one for the total.

#define STRANDS 8
#define ROW_TILES 2
#define TOKEN_TILES 4
#define ONE_TOKEN 0

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"

extern "C" __global__ void __launch_bounds__(8 * WARP, 2)
    linear_q8_wide(float* __restrict__ y, const float* __restrict__ bias,
                   const float* __restrict__ residual, const u8* low, const u8* high,
                   const u8* scales, const u8* supers, const i8* __restrict__ xq,
                   const float* __restrict__ dx, const float2* __restrict__ sums, int rows,
                   int stride, int blocks, int tokens, int padded) {
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, row_tile = blockIdx.y * 8 + warp / 2 * ROW_TILES;
    int token = blockIdx.x * 64 + warp % 2 * 32;
    int run = run_length(blocks);
    float total[ROW_TILES][TOKEN_TILES][4];

    Planes mine[ROW_TILES];
#pragma unroll
    for (int r = 0; r < ROW_TILES; r++)
        mine[r] = of_lane(w, (long long)min(row_tile + r, row_tiles - 1) * blocks, lane);
    Sources from = sources_of_lane(xq, dx, sums, token, g, c);
    auto load = [&](Raw(&raw)[ROW_TILES], Activations& x, int at) {
        at = min(at, blocks - 1);
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++) load_tile(raw[r], mine[r], at);
        load_activations(x, from, at, padded);
    };
    Raw raw[ROW_TILES];
    Activations x;
    load(raw, x, 0);
    for (int strand = 0; strand < STRANDS; strand++) {
        float acc[ROW_TILES][TOKEN_TILES][4] = {};
        for (int at = min(strand * run, blocks); at < min((strand + 1) * run, blocks); at++) {
            Raw next_raw[ROW_TILES];
            Activations next_x;
            load(next_raw, next_x, at + 1);
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++) {
                u32 piece[4];
                unpack(raw[r], piece);
                Scales scales = scales_for(raw[r]);
#pragma unroll
                for (int n = 0; n < TOKEN_TILES; n++)
                    add_products(acc[r][n], piece, scales, x.b[n], x.d[n], x.s[n]);
            }
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++) raw[r] = next_raw[r];
            x = next_x;
        }
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
            for (int n = 0; n < TOKEN_TILES; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    total[r][n][i] = strand == 0 ? acc[r][n][i] : total[r][n][i] + acc[r][n][i];
    }
#pragma unroll
    for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
        for (int n = 0; n < TOKEN_TILES; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                finish(y, bias, residual, total[r][n][i], (row_tile + r) * 16 + g + 8 * (i >> 1),
                       token + n * 8 + 2 * c + (i & 1), rows, stride, tokens);
}
