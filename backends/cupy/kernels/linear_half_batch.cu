// linear_half.cu on Hopper for some tokens: the same sums, in the same order         (act="half")
//
// Must move: the weights, once.  Must do: 2 * rows * columns * tokens operations on the tensor
// cores: for 64 tokens a third of the time that memory takes.
//
// What can take longer than memory is to bring the tokens to the multiprocessors again and again:
// so a thread block takes many rows, 128, and all tokens.  Where that makes too few blocks, CLUSTER
// of them (8 instead of 1) share the rows' columns, a strand each, and then read each other's sums.
// One warp of a block brings what 64 columns need into one of STAGES stages of shared memory; twice
// four multiply 64 rows each.
//
// ACTIVATION: w is [gate, up], of which a block takes the same 64 rows each, and makes of them what
// the next product reads (gated_half.cuh).  Both have a multiple of 64 rows.
//
// x: [block of 32 columns][8 tokens][matrix of 8 columns][token] 8 numbers (prepare.cu, HOPPER);
// what is read of tokens beyond the last, of the next block or nobody, has columns of its own.

#define STRANDS 8
#define BLOCKS 2  // of 32 columns, a stage; a run has an even number
#define COLS 64

#include "numbers.cuh"
#include "wgmma.cuh"
#include "pipeline.cuh"
#include "cluster.cuh"
#include "strands.cuh"
#include "results.cuh"

#define WARPS 8
#define THREADS (WARPS * WARP)  // that multiply
#define WEIGHT_BYTES (8 * BLOCKS * 1024)  // of a stage: 8 row tiles
#define TOKEN_BYTES (COLS * 64)  // of a block
#define STAGE_BYTES (WEIGHT_BYTES + BLOCKS * TOKEN_BYTES)
#define STAGES 4
#define SHARE (COLS / 2 / STRANDS)  // numbers of a thread that each block of a cluster adds up

#include "stages_half.cuh"

#ifdef ACTIVATION
#include "activation.cuh"
#include "gated_half.cuh"
#define RESULTS u8* y
#else
#define RESULTS float* y, const float *__restrict__ bias, const float *residual
#endif

// The row tile of a warp of this block, of so many in all.
__device__ __forceinline__ int row_tile_of(int warp, int row_tiles) {
    int block = blockIdx.x / CLUSTER;
#ifdef ACTIVATION
    return block * (WARPS / 2) + warp % (WARPS / 2) + (warp < WARPS / 2 ? 0 : row_tiles / 2);
#else
    return min(block * WARPS + warp, row_tiles - 1);
#endif
}

// Of a cluster, each block has a strand of all tokens; it gets all strands of eight tokens.
__device__ __forceinline__ void exchange(float (&total)[1][1][SHARE], const float acc[COLS / 2],
                                         float* shared, int mine) {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) shared[i * THREADS + threadIdx.x] = acc[i];
    cluster_arrive();
    cluster_wait();
    float part[STRANDS][SHARE];
    u32 place = (u32)__cvta_generic_to_shared(shared + mine * SHARE * THREADS + threadIdx.x);
#pragma unroll
    for (int strand = 0; strand < STRANDS; strand++)
#pragma unroll
        for (int i = 0; i < SHARE; i++)
            part[strand][i] = read_there(place_in(strand, place) + i * THREADS * 4);
    cluster_arrive();
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        total[0][0][i] = part[0][i];
#pragma unroll
        for (int strand = 1; strand < STRANDS; strand++) total[0][0][i] += part[strand][i];
    }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS + WARP, 2)
    linear_half_batch(RESULTS, const u8* __restrict__ w, const u8* x, int rows, int stride,
                      int blocks, int tokens, int padded) {
    extern __shared__ __align__(128) u8 stages[];
    __shared__ u64 barriers[2][STAGES];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int mine = CLUSTER == 1 ? 0 : rank_in_cluster();  // first strand
    int row_tiles = (rows + 15) / 16;
    int run = run_length(blocks), first = min(mine * run, blocks);
    int last = min(first + STRANDS / CLUSTER * run, blocks), steps = (last - first) / BLOCKS;
    u32 memory = (u32)__cvta_generic_to_shared(stages);
    u32 full = (u32)__cvta_generic_to_shared(barriers[0]);
    u32 empty = (u32)__cvta_generic_to_shared(barriers[1]);
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; i++)
            make_barrier(full + 8 * i, 1), make_barrier(empty + 8 * i, WARPS);
    barriers_made();

    if (warp == WARPS) {  // brings: eight lanes a row tile, and then some a block of tokens
        bool of_w = lane < 8, of_x = lane >= 8 && lane < 8 + BLOCKS;
        long long tile = row_tile_of(lane, row_tiles);
        const u8* from = of_w ? w + (tile * blocks + first) * 1024
                              : x + (long long)(first + lane - 8) * padded * 64;
        long long further = of_w ? BLOCKS * 1024 : BLOCKS * 64ll * padded;
        u32 to = memory;
        to += of_w ? lane * BLOCKS * 1024 : WEIGHT_BYTES + (lane - 8) * TOKEN_BYTES;
        int bytes = of_w ? BLOCKS * 1024 : TOKEN_BYTES, early = min(STAGES, steps);
        if (lane == 0)
            for (int step = 0; step < early; step++) expect(full + 8 * step, STAGE_BYTES);
        __syncwarp();
        for (int step = 0; step < early; step++)
            if (of_w) copy(to + step * STAGE_BYTES, from + step * further, bytes, full + 8 * step);
        wait_for_previous();  // for x
        for (int step = 0; step < early; step++)
            if (of_x) copy(to + step * STAGE_BYTES, from + step * further, bytes, full + 8 * step);
        from += early * further;
        for (int step = early, slot = 0, parity = 0; step < steps; step++, from += further) {
            wait(empty + 8 * slot, parity);
            if (lane == 0) expect(full + 8 * slot, STAGE_BYTES);
            __syncwarp();
            if (of_w || of_x) copy(to + slot * STAGE_BYTES, from, bytes, full + 8 * slot);
            if (++slot == STAGES) slot = 0, parity ^= 1;
        }
        return;
    }
    wait_for_previous();  // for y and residual
    let_next_begin();
    float total[1][COLS / 8][4], acc[COLS / 2];
    nothing_yet(total);
    Stages ready = {stages, memory, full, empty, 0, 0};
    int step = 0;
#pragma unroll 1
    for (int strand = 0; strand < STRANDS / CLUSTER; strand++) {
        int end = min((strand + 1) * run / BLOCKS, steps);
        multiply_strand(acc, ready, step, end, warp, lane);
        add_strand(total, acc);
    }
#if CLUSTER != 1 || defined(ACTIVATION)
    asm volatile("barrier.sync 1, %0;" ::"n"(THREADS) : "memory");  // the stages are read
#endif
#ifdef ACTIVATION
    int tile = blockIdx.x * (WARPS / 2) + warp % (WARPS / 2);
    finish_gated(y, total, (float4*)stages, tile, warp >= WARPS / 2, tokens, padded);
#else
    int row = (blockIdx.x / CLUSTER * WARPS + warp) * 16 + lane / 4, token = mine * 8 + lane % 4 * 2;
#if CLUSTER == 1
    finish_all(y, bias, residual, total, row, token, rows, stride, tokens);
#else
    float share[1][1][SHARE];
    exchange(share, acc, (float*)stages, mine);
    finish_all(y, bias, residual, share, row, token, rows, stride, tokens);
    cluster_wait();  // until nobody reads here
#endif
#endif
}
