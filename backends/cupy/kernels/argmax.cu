// tokens = logits[:, :vocab].argmax(axis=1)
//
// Must move: the logits, once.  As NumPy has it: of equals the first, and a NaN before everything
// else.  A block takes a row; whichever thread met a candidate, the same one wins.

#include "numbers.cuh"

// A number of a row, and where it stands.
struct Candidate {
    float x;
    int at;
};

__device__ __forceinline__ bool before(Candidate a, Candidate b) {
    bool a_nan = a.x != a.x, b_nan = b.x != b.x;
    if (a_nan != b_nan) return a_nan;
    return a_nan || a.x == b.x ? a.at < b.at : a.x > b.x;
}

// The first of a warp's candidates: every lane gets it.
__device__ __forceinline__ Candidate first_of_warp(Candidate mine) {
    for (int step = 16; step; step >>= 1) {
        Candidate other = {__shfl_xor_sync(EVERY_LANE, mine.x, step),
                           __shfl_xor_sync(EVERY_LANE, mine.at, step)};
        if (before(other, mine)) mine = other;
    }
    return mine;
}

// Grid: (rows); blockDim.x: 1024.  Rows are `columns` apart, of which `vocab` count.
extern "C" __global__ void __launch_bounds__(1024)
    argmax(int* __restrict__ tokens, const float* __restrict__ logits, int vocab, int columns) {
    __shared__ Candidate of_warps[WARP];
    const float* row = logits + (long long)blockIdx.x * columns;
    Candidate mine = {NEVER, 0x7fffffff};
#pragma unroll 8
    for (int i = threadIdx.x; i < vocab; i += 1024) {
        Candidate next = {row[i], i};
        if (before(next, mine)) mine = next;
    }
    mine = first_of_warp(mine);
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = mine;
    __syncthreads();
    mine = first_of_warp(of_warps[threadIdx.x % WARP]);
    if (threadIdx.x == 0) tokens[blockIdx.x] = mine.at;
}
