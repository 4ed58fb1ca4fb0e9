// linear_half_wide.cu on Hopper: the same sums, in the same order          (act="half", prefill)
//
// Must move: weights and activations, each once (the L2 cache holds what blocks share).  Must do:
// 2 * rows * columns * tokens operations on the tensor cores.
//
// A thread block takes 128 rows and COLS tokens, and then others, as many as are left.  Four warps
// bring what 64 columns need into one of STAGES stages of shared memory; twice four multiply 64
// rows each.  While they write their results, the copies for the next rows and tokens go on.
//
// x: [block of 32 columns][8 tokens][matrix of 8 columns][token] 8 numbers (prepare.cu, HOPPER).

#define STRANDS 8
#define BLOCKS 2  // of 32 columns, a stage; a row has an even number
#define COLS 192

#include "numbers.cuh"
#include "wgmma.cuh"
#include "pipeline.cuh"
#include "strands.cuh"
#include "results.cuh"

#define WEIGHT_BYTES (8 * BLOCKS * 1024)  // of a stage: 8 row tiles
#define TOKEN_BYTES (COLS * 64)  // of a block
#define STAGE_BYTES (WEIGHT_BYTES + BLOCKS * TOKEN_BYTES)
#define STAGES 5

#include "stages_half.cuh"

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
            make_barrier(full + 8 * i, 4), make_barrier(empty + 8 * i, 8);
    barriers_made();

    if (warp < 4) {  // each brings two row tiles, and the first ones a block of tokens
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        bool of_w = lane < 2, of_x = (lane == 2 && warp < BLOCKS);
        int bytes = of_w ? BLOCKS * 1024 : TOKEN_BYTES, slot = 0, parity = 1;
        int to = of_w ? (warp * 2 + lane) * BLOCKS * 1024 : WEIGHT_BYTES + warp * TOKEN_BYTES;
        long long further = of_w ? BLOCKS * 1024 : BLOCKS * 64ll * padded;
        for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
            long long tile = min(piece / across * 8 + warp * 2 + lane, row_tiles - 1);
            const u8* from = of_w ? w + tile * blocks * 1024
                                  : x + ((long long)warp * padded + piece % across * COLS) * 64;
            for (int step = 0; step < steps; step++, from += further) {
                wait(empty + 8 * slot, parity);
                if (lane == 0)
                    expect(full + 8 * slot, 2 * BLOCKS * 1024 + (warp < BLOCKS) * TOKEN_BYTES);
                __syncwarp();
                if (of_w || of_x)
                    copy(memory + slot * STAGE_BYTES + to, from, bytes, full + 8 * slot);
                if (++slot == STAGES) slot = 0, parity ^= 1;
            }
        }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    int mine = warp - 4;  // row tile
    Stages ready = {stages, memory, full, empty, 0, 0};
#pragma unroll 1
    for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        float total[1][COLS / 8][4], acc[COLS / 2];
        nothing_yet(total);
        int step = 0;
#pragma unroll 1
        for (int strand = 0; strand < STRANDS; strand++) {
            int last = min((strand + 1) * run, blocks) / BLOCKS;
            multiply_strand(acc, ready, step, last, mine, lane);
            add_strand(total, acc);
        }
        int row = (piece / across * 8 + mine) * 16 + lane / 4;
        int token = piece % across * COLS + lane % 4 * 2;
        finish_all(y, bias, residual, total, row, token, rows, stride, tokens);
    }
}
