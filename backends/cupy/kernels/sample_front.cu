// front = the most probable tokens, as many as top_k asks for, or as there is room for
//
// Must move: x, once; the front, out.
//
// Whole bins of the counts that sample_weigh made: those that together hold top_k tokens, or for
// top_p alone, at most FRONT.  A line that lies beyond is left to the definition.

#include "numbers.cuh"
#include "sample.cuh"
#include "sample_sums.cuh"

// The last bin that belongs to the front; -1 where there is none.  For a whole warp.
__device__ int last_bin(const Work& work, int top_k) {
    u64 running = 0;
    auto count = [&](int i) { return (u64)work.counts[i]; };
    if (top_k > FRONT) top_k = 0;
    int bin = passing(0, BINS, running, top_k ? top_k - 1 : FRONT, count);
    if (bin < 0) return BINS - 1;
    if (!top_k) return bin - 1;
    return running + count(bin) <= FRONT ? bin : -1;
}

// Grid: (tiles, draws).
extern "C" __global__ void __launch_bounds__(256)
    sample_front(const double* __restrict__ x, const Piece* __restrict__ pieces, Work* works,
                 const Draw* __restrict__ draws, int columns) {
    __shared__ int last;
    int tile = blockIdx.x;
    Draw d = draws[blockIdx.y];
    if (!d.cuts() || d.temperature == 0) return;
    Work& work = works[blockIdx.y];
    x += (long long)blockIdx.y * columns;
    Top top = top_of(pieces + blockIdx.y * gridDim.x, gridDim.x);
    if (!top.lawful()) return;
    if (threadIdx.x < WARP) last = last_bin(work, d.top_k);
    __syncthreads();
    double greatest = d.temperature == 1 ? top.best.x : 0.0;
    int end = min(d.vocab, (tile + 1) * TILE);
    for (int i = tile * TILE + threadIdx.x; i < end; i += blockDim.x) {
        double below = x[i] - greatest;
        if (exp(below) > 0 && bin_of(below) <= last) {
            int to = atomicAdd(&work.n_front, 1);
            work.x[to] = x[i], work.at[to] = i;
        }
    }
}
