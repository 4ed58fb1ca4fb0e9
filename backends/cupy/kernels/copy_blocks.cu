// for src, dst in pairs: cache[:, dst] = cache[:, src]
//
// Must move: each block once, in and out.  A thread copies the same 2 bytes of every pair, one
// pair after the other, so a block may be copied on.  Grid: (words / threads, layers and keys or
// values).

#include "numbers.cuh"

extern "C" __global__ void copy_blocks(u16* __restrict__ cache, const int2* __restrict__ pairs,
                                       int n_pairs, long long n_blocks, int words) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= words) return;
    u16* layer = cache + blockIdx.y * n_blocks * words + i;
    for (int p = 0; p < n_pairs; p++)
        layer[(long long)pairs[p].y * words] = layer[(long long)pairs[p].x * words];
}
