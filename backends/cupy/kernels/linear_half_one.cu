// linear_half.cu for one token: the same sums, in the same order                   (act="half")
//
// Must move: the weights, once.  Must do: 2 * rows * columns operations, on the tensor cores, which
// multiply all eight columns of a matrix where one token is: there is time for it.
//
// Weights come through rings in shared memory (row_ring.cuh); x is prepared as linear_half.cu wants
// it.

#define STRANDS 8
#define TILES 4  // of a stage

#include "numbers.cuh"
#include "tensor_core.cuh"
#define FROM_STAGES
#include "tile.cuh"
#include "strands.cuh"
#include "row_ring.cuh"

extern "C" __global__ void __launch_bounds__(STRANDS* WARP, 2)
    linear_half_one(float* y, const float* __restrict__ bias, const float* residual, const u8* w,
                    const uint4* x, int rows, int blocks) {
    extern __shared__ __align__(16) u8 rings[];
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3, row_tiles = (rows + 15) / 16;
    RowRing ring = make_row_ring(rings, {w, w, w, w}, row_tiles, blocks);
    uint4* token = (uint4*)(rings + STRANDS * STAGES * STAGE);  // [block][c]
    fill(ring, 0, STAGES);
    let_next_begin();
    wait_for_previous();  // for x, y and residual
#pragma unroll 4
    for (int i = threadIdx.x; i < blocks * 4; i += STRANDS * WARP) token[i] = x[i];
    __syncthreads();

    multiply_rows({y, bias, residual, rows}, row_tiles, [&](float* sums) {
        float acc[4] = {};
#pragma unroll 1
        for (int at = ring.first; at < ring.last; at += TILES) {
            const uint4* stage = (const uint4*)wait_for_stage(ring);
            uint4 a[TILES][2], b[TILES];
#pragma unroll
            for (int u = 0; u < TILES; u++) {
                a[u][0] = stage[u * 2 * WARP + lane], a[u][1] = stage[(u * 2 + 1) * WARP + lane];
                b[u] = token[(at + u) * 4 + c];
            }
            ask_again(ring);
#pragma unroll
            for (int u = 0; u < TILES; u++) {
                if (at + u >= ring.last) break;
                MMA(acc, a[u][0].x, a[u][0].y, a[u][0].z, a[u][0].w, b[u].x, b[u].y);
                MMA(acc, a[u][1].x, a[u][1].y, a[u][1].z, a[u][1].w, b[u].z, b[u].w);
            }
        }
        if (c == 0) sums[g] = acc[0], sums[g + 8] = acc[2];
    });
}
