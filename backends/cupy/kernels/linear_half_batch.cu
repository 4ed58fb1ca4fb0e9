// linear_half.cu on Hopper for some tokens: the same sums, in the same order         (act="half")
//
// Must move: the weights, once.  Must do: 2 * rows * columns * tokens operations on the tensor
// cores: for 64 tokens a third of the time that memory takes.
//
// A multiprocessor copies only so much a second.  So a block stands on each, and takes all tokens
// and TILES row tiles: as many as make the blocks' shares equal (sharing.py).  Where they would be
// so few that tokens are far more to copy, CLUSTER of them (2 instead of 1) share the columns, and
// then read each other's sums.  Of a block, COPIERS warps bring what BLOCKS times 32 columns need
// (2 or 4 times: a run has a multiple of four) into one of STAGES stages of shared memory; the
// others have a row tile each.  They multiply by fours (wgmma.cuh), so some may have the last one
// again.
//
// ACTIVATION: w is [gate, up], of which a block takes the same row tiles, TILES / 2 of each, and
// makes of them what the next product reads (gated_half.cuh).
//
// x: [block of 32 columns][8 tokens][matrix of 8 columns][token] 8 numbers (prepare.cu, HOPPER);
// what is read of tokens beyond the last, of the next block or nobody, has columns of its own.

#define STRANDS 8
#define COLS 64

#include "numbers.cuh"
#include "wgmma.cuh"
#include "pipeline.cuh"
#include "cluster.cuh"
#include "strands.cuh"
#include "results.cuh"

#ifdef ACTIVATION
#define SIDES 2
#else
#define SIDES 1
#endif
#define SIDE_TILES (TILES / SIDES)
#define SIDE_WARPS ((SIDE_TILES + 3) / 4 * 4)
#define WARPS (SIDES * SIDE_WARPS)
#define THREADS (WARPS * WARP)  // that multiply
#define COPIERS 2  // warps
#define WEIGHT_BYTES (TILES * BLOCKS * 1024)  // of a stage
#define TOKEN_BYTES (COLS * 64)  // of a block
#define STAGE_BYTES (WEIGHT_BYTES + BLOCKS * TOKEN_BYTES)
#define MINE (STRANDS / CLUSTER)  // strands of a block
#define SHARE (COLS / 8 / CLUSTER)  // times eight tokens that each block of a cluster adds up

#include "stages_half.cuh"

#ifdef ACTIVATION
#include "activation.cuh"
#include "gated_half.cuh"
#define RESULTS u8* y
#else
#define RESULTS float* y, const float *__restrict__ bias, const float* residual
#endif

// What nobody reads again need not push out of the cache what somebody will.
__device__ __forceinline__ void copy_once(u32 to, const void* from, int bytes, u32 barrier) {
    u64 first_to_go;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first_to_go));
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1], %2, [%3], %4;" ::"r"(to),
        "l"(from), "r"(bytes), "r"(barrier), "l"(first_to_go)
        : "memory");
}

// The row tile that is number i of this block's, of so many in all; the last again beyond them.
__device__ __forceinline__ int row_tile_of(int i, int row_tiles) {
    int block = blockIdx.x / CLUSTER, side = i / SIDE_TILES;
    row_tiles /= SIDES;
    return side * row_tiles + min(block * SIDE_TILES + i % SIDE_TILES, row_tiles - 1);
}

// Of a cluster, each block has strands of all tokens; it gets all strands of some tokens.
__device__ __forceinline__ void exchange(float (&total)[1][SHARE][4],
                                         const float (&acc)[MINE][COLS / 2], float4* shared,
                                         int rank) {
#pragma unroll
    for (int s = 0; s < MINE; s++)
#pragma unroll
        for (int n = 0; n < COLS / 8; n++)
            shared[(s * COLS / 8 + n) * THREADS + threadIdx.x] =
                make_float4(acc[s][4 * n], acc[s][4 * n + 1], acc[s][4 * n + 2], acc[s][4 * n + 3]);
    cluster_arrive();
    cluster_wait();
    float4 part[STRANDS][SHARE];
    u32 place = (u32)__cvta_generic_to_shared(shared + rank * SHARE * THREADS + threadIdx.x);
#pragma unroll
    for (int strand = 0; strand < STRANDS; strand++)
#pragma unroll
        for (int n = 0; n < SHARE; n++)
            part[strand][n] = read_there(place_in(strand / MINE, place) +
                                         (strand % MINE * COLS / 8 + n) * THREADS * 16);
    cluster_arrive();
#pragma unroll
    for (int n = 0; n < SHARE; n++) {
        float4 sum = part[0][n];
#pragma unroll
        for (int strand = 1; strand < STRANDS; strand++)
            sum.x += part[strand][n].x, sum.y += part[strand][n].y, sum.z += part[strand][n].z,
                sum.w += part[strand][n].w;
        total[0][n][0] = sum.x, total[0][n][1] = sum.y, total[0][n][2] = sum.z;
        total[0][n][3] = sum.w;
    }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1)
    __launch_bounds__(THREADS + COPIERS * WARP, 1)
        linear_half_batch(RESULTS, const u8* __restrict__ w, const u8* x, int rows, int stride,
                          int blocks, int tokens, int padded) {
    extern __shared__ __align__(128) u8 stages[];
    __shared__ u64 barriers[2][STAGES];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int rank = CLUSTER == 1 ? 0 : rank_in_cluster();
    int row_tiles = (rows + 15) / 16;
    int run = run_length(blocks), first = min(rank * MINE * run, blocks);
    int last = min(first + MINE * run, blocks), steps = (last - first) / BLOCKS;
    u32 memory = (u32)__cvta_generic_to_shared(stages);
    u32 full = (u32)__cvta_generic_to_shared(barriers[0]);
    u32 empty = (u32)__cvta_generic_to_shared(barriers[1]);
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; i++)
            make_barrier(full + 8 * i, 1), make_barrier(empty + 8 * i, WARPS);
    barriers_made();

    if (warp >= WARPS) {  // brings: a lane a row tile, and then some a block of tokens
        int own = lane * COPIERS + warp - WARPS, block = own - TILES;
        bool of_w = own < TILES, of_x = !of_w && block < BLOCKS, counts = own == 0;
        long long tile = row_tile_of(min(own, TILES - 1), row_tiles);
        const u8* from = of_w ? w + (tile * blocks + first) * 1024
                              : x + (long long)(first + block) * padded * 64;
        long long further = of_w ? BLOCKS * 1024 : BLOCKS * 64ll * padded;
        u32 to = memory + (of_w ? own * BLOCKS * 1024 : WEIGHT_BYTES + block * TOKEN_BYTES);
        int bytes = of_w ? BLOCKS * 1024 : TOKEN_BYTES, early = min(STAGES, steps);
        for (int step = 0; step < early; step++) {
            if (counts) expect(full + 8 * step, STAGE_BYTES);
            if (!of_w) continue;
            copy_once(to + step * STAGE_BYTES, from + step * further, bytes, full + 8 * step);
        }
        wait_for_previous();  // for x
        for (int step = 0; step < early; step++)
            if (of_x) copy(to + step * STAGE_BYTES, from + step * further, bytes, full + 8 * step);
        from += early * further;
        for (int step = early, slot = 0, parity = 0; step < steps; step++, from += further) {
            wait(empty + 8 * slot, parity);
            if (counts) expect(full + 8 * slot, STAGE_BYTES);
            if (of_w) copy_once(to + slot * STAGE_BYTES, from, bytes, full + 8 * slot);
            if (of_x) copy(to + slot * STAGE_BYTES, from, bytes, full + 8 * slot);
            if (++slot == STAGES) slot = 0, parity ^= 1;
        }
        return;
    }
    wait_for_previous();  // for y and residual
    let_next_begin();
    int side = warp / SIDE_WARPS, of_side = warp % SIDE_WARPS, step = 0;
    int number = side * SIDE_TILES + min(of_side, SIDE_TILES - 1);
    Stages ready = {stages, memory, full, empty, 0, 0};
#if CLUSTER == 1
    float total[1][COLS / 8][4], acc[COLS / 2];
    nothing_yet(total);
#pragma unroll 1
    for (int strand = 1; strand <= STRANDS; strand++) {
        multiply_strand(acc, ready, step, min(strand * run / BLOCKS, steps), number, lane);
        add_strand(total, acc);
    }
#else
    float acc[MINE][COLS / 2];
#pragma unroll
    for (int s = 0; s < MINE; s++)
        multiply_strand(acc[s], ready, step, min((s + 1) * run / BLOCKS, steps), number, lane);
#endif
#if CLUSTER != 1 || defined(ACTIVATION)
    asm volatile("barrier.sync 1, %0;" ::"n"(THREADS) : "memory");  // the stages are read
#endif
    int tile = blockIdx.x / CLUSTER * SIDE_TILES + of_side;
    bool here = of_side < SIDE_TILES;
#ifdef ACTIVATION
    here &= tile < row_tiles / 2;
    finish_gated(y, total, (float4*)stages, tile, side, here ? tokens : 0, padded);
#else
    int row = here ? tile * 16 + lane / 4 : rows, token = rank * SHARE * 8 + lane % 4 * 2;
#if CLUSTER == 1
    finish_all(y, bias, residual, total, row, token, rows, stride, tokens);
#else
    float share[1][SHARE][4], before[1][SHARE][4];
    if (residual) ask_residual(before, residual, row, token, rows, stride, tokens);
    exchange(share, acc, (float4*)stages, rank);
    if (bias) add_bias(share, bias, row, rows);
    if (residual) add_residual(share, before);
    write_all(y, share, row, token, rows, stride, tokens);
    cluster_wait();  // until nobody reads here
#endif
#endif
}
