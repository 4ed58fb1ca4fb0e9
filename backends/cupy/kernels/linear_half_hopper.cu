// linear_half_wide.cu on Hopper: the same sums, in the same order          (act="half", prefill)
//
// Must move: weights and activations, each once (the L2 cache holds what blocks share).  Must do:
// 2 * rows * columns * tokens operations on the tensor cores.
//
// A thread block takes 128 rows and COLS tokens, and then others, as many as are left.  One warp
// brings what 64 columns need into one of STAGES stages of shared memory; twice four warps multiply
// 64 rows each.  While they write their results, the copies for the next rows and tokens go on.
//
// x: [block of 32 columns][8 tokens][matrix of 8 columns][token] 8 numbers (prepare.cu, HOPPER).

#define STRANDS 8
#define BLOCKS 2  // of 32 columns, a stage; a row has an even number
#define COLS 192

#include "numbers.cuh"
#include "wgmma.cuh"
#include "pipeline.cuh"
#include "strands.cuh"

#define WEIGHT_BYTES (8 * BLOCKS * 1024)  // of a stage: 8 row tiles
#define TOKEN_BYTES (COLS * 64)  // of a block
#define STAGE_BYTES (WEIGHT_BYTES + BLOCKS * TOKEN_BYTES)
#define STAGES 5

extern "C" __global__ void __launch_bounds__(384, 1)
    linear_half_hopper(float* y, const float* __restrict__ bias, const float* residual,
                       const u8* __restrict__ w, const u8* __restrict__ x, int rows, int stride,
                       int blocks, int tokens, int padded) {
    extern __shared__ __align__(128) u8 stages[];
    __shared__ u64 barriers[2][STAGES];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int row_tiles = (rows + 15) / 16, run = run_length(blocks), steps = blocks / BLOCKS;
    int across = (tokens + COLS - 1) / COLS, pieces = across * ((row_tiles + 7) / 8);
    u32 memory = (u32)__cvta_generic_to_shared(stages);
    u32 full = (u32)__cvta_generic_to_shared(barriers[0]);
    u32 empty = (u32)__cvta_generic_to_shared(barriers[1]);
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; i++)
            make_barrier(full + 8 * i, 1), make_barrier(empty + 8 * i, 8);
    barriers_made();

    int turn = 0;  // stages so far
    if (warp < 4) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (warp > 0) return;
        for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x)
            for (int step = 0; step < steps; step++, turn++) {
                int slot = turn % STAGES, at = step * BLOCKS;
                u32 to = memory + slot * STAGE_BYTES, barrier = full + 8 * slot;
                if (lane == 0) {
                    wait(empty + 8 * slot, turn / STAGES & 1 ^ 1);
                    expect(barrier, STAGE_BYTES);
                }
                __syncwarp();
                if (lane < 8) {
                    long long tile = min(piece / across * 8 + lane, row_tiles - 1);
                    copy(to + lane * BLOCKS * 1024, w + (tile * blocks + at) * 1024, BLOCKS * 1024,
                         barrier);
                } else if (lane < 8 + BLOCKS) {
                    int i = lane - 8;
                    copy(to + WEIGHT_BYTES + i * TOKEN_BYTES,
                         x + ((long long)(at + i) * padded + piece % across * COLS) * 64,
                         TOKEN_BYTES, barrier);
                }
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    int mine = warp - 4;  // row tile
#pragma unroll 1
    for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        float total[COLS / 2], acc[COLS / 2];
        int step = 0;
#pragma unroll 1
        for (int strand = 0; strand < STRANDS; strand++) {
#pragma unroll
            for (int i = 0; i < COLS / 2; i++) acc[i] = 0;
            int last = min((strand + 1) * run, blocks) / BLOCKS;
#pragma unroll 1
            for (; step < last; step++, turn++) {
                int slot = turn % STAGES;
                wait(full + 8 * slot, turn / STAGES & 1);
                const uint4* a = (const uint4*)(stages + slot * STAGE_BYTES) + mine * BLOCKS * 64;
                u32 b = memory + slot * STAGE_BYTES + WEIGHT_BYTES;
                uint4 weights[BLOCKS][2];
#pragma unroll
                for (int i = 0; i < BLOCKS; i++)
#pragma unroll
                    for (int m = 0; m < 2; m++) weights[i][m] = a[(i * 2 + m) * WARP + lane];
                wgmma_begin();
#pragma unroll
                for (int i = 0; i < BLOCKS; i++)
#pragma unroll
                    for (int m = 0; m < 2; m++)
                        wgmma(acc, weights[i][m], matrices_at(b + i * TOKEN_BYTES + m * 2 * LEAD));
                wgmma_go();
                wgmma_wait();
                if (lane == 0) arrive(empty + 8 * slot);
            }
#pragma unroll
            for (int i = 0; i < COLS / 2; i++) total[i] = strand == 0 ? acc[i] : total[i] + acc[i];
        }
        int row = (piece / across * 8 + mine) * 16 + lane / 4;
        int token = piece % across * COLS + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < COLS / 2; i++)
            finish(y, bias, residual, total[i], row + 8 * (i >> 1 & 1), token + i / 4 * 8 + (i & 1),
                   rows, stride, tokens);
    }
}
