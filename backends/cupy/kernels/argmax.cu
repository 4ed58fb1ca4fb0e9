// tokens = logits[:, :vocab].argmax(axis=1)
//
// Must move: the logits, once.  As NumPy has it: of equals the first, and a NaN before everything
// else.  A block takes a piece of a row; the last one to come writes the token.  A greatest integer
// is the same in whatever order they come.

#include "numbers.cuh"

// A number and its place: the greater, the earlier in argmax's order.  0: none.
__device__ __forceinline__ u64 rank_of(float x, int at) {
    u32 bits = __float_as_uint(x + 0.0f);  // which makes one zero of two
    bits = x != x ? EVERY_LANE : bits >> 31 ? ~bits : bits | 1u << 31;
    return (u64)bits << 32 | ~(u32)at;
}

__device__ __forceinline__ u64 warp_most(u64 x) {
    for (int step = 16; step; step >>= 1) x = max(x, __shfl_xor_sync(EVERY_LANE, x, step));
    return x;
}

#define PIECE 16  // numbers of a thread

struct Best {
    u64 rank;
    u32 pieces, unused;
};

// Grid: (pieces of a row, rows); blockDim.x: 256.  Rows are `columns` apart, of which `vocab`
// count.  best: zeros, which are left behind again.
extern "C" __global__ void __launch_bounds__(256)
    argmax(int* tokens, Best* best, const float* logits, int vocab, int columns) {
    __shared__ u64 of_warps[8];
    const float* row = logits + (long long)blockIdx.y * columns;
    int first = blockIdx.x * 256 * PIECE + threadIdx.x;
    u64 mine = 0;
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
        int i = first + 256 * j;
        if (i < vocab) mine = max(mine, rank_of(row[i], i));
    }
    mine = warp_most(mine);
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = mine;
    __syncthreads();
    if (threadIdx.x) return;
    for (int w = 1; w < 8; w++) mine = max(mine, of_warps[w]);
    Best* row_best = best + blockIdx.y;
    atomicMax(&row_best->rank, mine);
    __threadfence();
    if (atomicAdd(&row_best->pieces, 1u) + 1 < gridDim.x) return;
    tokens[blockIdx.y] = ~(u32)atomicExch(&row_best->rank, 0ull);
    row_best->pieces = 0;
}
