// y = x @ w.T, of quantised weights and quantised activations, for up to 64 tokens      (act="q8")
//
//   y[t, n] = sum over blocks b of 32 columns of
//             dx[b, t] * (scale * sum(q * qx) - minimum * sum(qx))
//
// Must move: the packed weights, once, and for every ROW_TILES of them the activations from the L2
// cache.  Must do: 2 * rows * columns * tokens operations, on bytes; a tensor core multiplies a
// tile (16 rows, 32 columns) with 8 tokens at a time, exactly.  For a token alone there is
// linear_q8_one.cu.
//
// The order of addition, which all kernels of this mode keep (linear_q8_wide.cu too): the blocks of
// a row are cut into STRANDS runs of equal length; each run is added up in order; then the runs
// are, in order.  A warp takes a run here.  So the bits of y depend on x[t] and w[n] alone.
//
// Grid: row tiles / ROW_TILES.  xq: [blocks][padded tokens][32] bytes, in the order of tile.cuh;
// dx: [blocks][padded]; sums: [blocks][padded] pairs, for the halves of a block.  Weights and
// activations go straight to registers, AHEAD blocks at a time.

#define STRANDS 8
#define ONE_TOKEN 0

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"

extern "C" __global__ void __launch_bounds__(STRANDS* WARP)
    linear_q8(float* y, const float* __restrict__ bias, const float* residual, const u8* low,
              const u8* high, const u8* scales, const u8* supers, const i8* xq, const float* dx,
              const float2* sums, int rows, int stride, int blocks, int tokens, int padded) {
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, row_tile = blockIdx.x * ROW_TILES,
        token = blockIdx.y * TOKEN_TILES * 8;
    int run = run_length(blocks), first = min(strand * run, blocks),
        last = min(first + run, blocks);
    float acc[ROW_TILES][TOKEN_TILES][4] = {};

    struct Held {
        Raw raw[ROW_TILES];
        Activations x;
    };
    Planes mine[ROW_TILES];
#pragma unroll
    for (int r = 0; r < ROW_TILES; r++)
        mine[r] = of_lane(w, (long long)min(row_tile + r, row_tiles - 1) * blocks, lane);
    Sources from = sources_of_lane(xq, dx, sums, token, g, c);
    // Both may reach beyond the run (planes end with room), and load something if nothing is left.
    auto load_rows = [&](Held(&held)[AHEAD], int at) {
        at = at < last ? at : first;
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++) load_tile(held[u].raw[r], mine[r], at + u);
    };
    auto load_tokens = [&](Held(&held)[AHEAD], int at) {
        at = at < last ? at : first;
#pragma unroll
        for (int u = 0; u < AHEAD; u++) load_activations(held[u].x, from, at + u, padded);
    };
    auto add = [&](const Held(&held)[AHEAD], int at) {
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            if (at + u >= last) break;
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++) {
                u32 piece[4];
                unpack(held[u].raw[r], piece);
                Scales scales = scales_for(held[u].raw[r]);
#pragma unroll
                for (int n = 0; n < TOKEN_TILES; n++)
                    add_products(acc[r][n], piece, scales, held[u].x.b[n], held[u].x.d[n],
                                 held[u].x.s[n]);
            }
        }
    };
    Held even[AHEAD], odd[AHEAD];
    load_rows(even, first);
    wait_for_previous();
    let_next_begin();
    if (first < last) {  // while AHEAD blocks are worked on, the next are on their way
        load_tokens(even, first);
#pragma unroll 1
        for (int at = first; at < last; at += 2 * AHEAD) {
            load_rows(odd, at + AHEAD);
            load_tokens(odd, at + AHEAD);
            add(even, at);
            load_rows(even, at + 2 * AHEAD);
            load_tokens(even, at + 2 * AHEAD);
            add(odd, at + AHEAD);
        }
    }
    add_strands<ROW_TILES, TOKEN_TILES>(acc, y, bias, residual, row_tile, token, rows, stride,
                                        tokens);
}
