// linear_half.cu for many tokens: the same sums, in the same order        (act="half", prefill)
//
// Must move: weights and activations, each once (the L2 cache holds what blocks share).  Must do:
// 2 * rows * columns * tokens operations on the tensor cores.
//
// A block takes 128 rows and 128 tokens, each of its 8 warps 32 rows and 64 tokens.  What a block
// needs of 32 columns, 8 KB of weights and 8 KB of activations, comes into one of STAGES stages of
// shared memory while the ones before it are multiplied.  Both lie in memory as the lanes want
// them, so a stage is nine straight copies, and each lane reads 16 bytes beside its neighbour's.

#define STRANDS 8
#define STAGES 5
#define ROW_TILES 2
#define TOKEN_TILES 8

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "strands.cuh"

#define STAGE_BYTES 16384

__device__ __forceinline__ void copy_16(u32 to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}

extern "C" __global__ void __launch_bounds__(8 * WARP, 1)
    linear_half_wide(float* __restrict__ y, const float* __restrict__ bias,
                     const float* __restrict__ residual, const uint4* __restrict__ w,
                     const uint4* __restrict__ x, int rows, int stride, int blocks, int tokens,
                     int padded) {
    extern __shared__ uint4 stages[];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, first_tile = blockIdx.y * 8, first_token = blockIdx.x * 128;
    int row_tile = warp / 2 * ROW_TILES, token = warp % 2 * 64;  // within the block
    int run = run_length(blocks);
    float total[ROW_TILES][TOKEN_TILES][4];

    u32 shared = (u32)__cvta_generic_to_shared(stages);
    long long my_tile = min(first_tile + warp, row_tiles - 1);
    auto fetch = [&](int at) {
        if (at < blocks) {
            u32 to = shared + at % STAGES * STAGE_BYTES;
            const uint4* weights = w + (my_tile * blocks + at) * 2 * WARP;  // a warp brings a tile
            const uint4* rows_of_x = x + ((long long)at * padded + first_token) * 4;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                copy_16(to + (warp * 64 + i * WARP + lane) * 16, weights + i * WARP + lane);
                copy_16(to + 8192 + (i * 256 + threadIdx.x) * 16,
                        rows_of_x + i * 256 + threadIdx.x);
            }
        }
        asm volatile("cp.async.commit_group;");
    };
    for (int at = 0; at < STAGES - 1; at++) fetch(at);
    for (int strand = 0; strand < STRANDS; strand++) {
        float acc[ROW_TILES][TOKEN_TILES][4] = {};
        for (int at = min(strand * run, blocks); at < min((strand + 1) * run, blocks); at++) {
            asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
            __syncthreads();  // everyone's copies have come, and everyone is done with the slot to
                              // fill
            fetch(at + STAGES - 1);
            const uint4* weights = stages + at % STAGES * (STAGE_BYTES / 16) + row_tile * 64 + lane;
            const uint4* mine =
                stages + at % STAGES * (STAGE_BYTES / 16) + 512 + (token + g) * 4 + c;
            uint4 a[ROW_TILES][2], b[TOKEN_TILES];
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++)
                a[r][0] = weights[r * 64], a[r][1] = weights[r * 64 + WARP];
#pragma unroll
            for (int n = 0; n < TOKEN_TILES; n++) b[n] = mine[n * 32];
#pragma unroll
            for (int m = 0; m < 2; m++)
#pragma unroll
                for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
                    for (int n = 0; n < TOKEN_TILES; n++)
                        MMA(acc[r][n], a[r][m].x, a[r][m].y, a[r][m].z, a[r][m].w,
                            m ? b[n].z : b[n].x, m ? b[n].w : b[n].y);
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
                finish(y, bias, residual, total[r][n][i],
                       (first_tile + row_tile + r) * 16 + g + 8 * (i >> 1),
                       first_token + token + n * 8 + 2 * c + (i & 1), rows, stride, tokens);
}
