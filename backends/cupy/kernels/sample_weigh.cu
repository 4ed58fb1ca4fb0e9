// x = (x - x.max()) / temperature; exp(x).sum() and exp(logits - logits.max()).sum(), by tiles
//
// Must move: x, in and out; the logits, once.  Must do: two exponentials in float64 for each token.
//
// At temperature 1 x stays as it is, as the definition leaves it; at 0 there is nothing to weigh.
// Where top_k or top_p will cut, tokens are counted by how far they are below the greatest.

#include "numbers.cuh"
#include "sample.cuh"
#include "sample_sums.cuh"

__device__ u64 block_total(u64 x) {
    __shared__ u64 of_warps[8];
    x = warp_total(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_total(threadIdx.x % WARP < 8 ? of_warps[threadIdx.x % WARP] : 0);
}

// A token's weight after temperature, as far as min_p keeps it or a line comes first.
__device__ __forceinline__ u64 weigh(double below, const Draw& d, double one, u32* counts,
                                     Work& work) {
    double w = exp(below);
    if (d.cuts()) {
        if (w > 0) atomicAdd(&counts[bin_of(below)], 1u);
        return fixed(w, one);
    }
    if (is_close(below, w, d.min_p)) work.close = 1;
    return w < d.min_p ? 0 : fixed(w, one);
}

// Grid: (tiles, draws).
extern "C" __global__ void __launch_bounds__(256)
    sample_weigh(double* __restrict__ x, Piece* pieces, Work* works,
                 const float* __restrict__ logits, const Draw* __restrict__ draws,
                 const int* __restrict__ words, double one, int columns) {
    __shared__ u32 counts[BINS];
    int tile = blockIdx.x;
    Draw d = draws[blockIdx.y];
    Work& work = works[blockIdx.y];
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) counts[i] = 0;
    int end = min(d.vocab, (tile + 1) * TILE);
    const float* row = logits + (long long)d.row * columns;
    x += (long long)blockIdx.y * columns;
    pieces += blockIdx.y * gridDim.x;
    Top top = top_of(pieces, gridDim.x);
    if (!top.lawful()) return;
    double t = d.temperature;
    u64 model = 0, law = 0;
    for (int i = tile * TILE + threadIdx.x; i < end; i += blockDim.x) {
        model += fixed(exp(logit_of(row, d, words, i) - top.peak), one);
        if (t == 0) continue;
        double below = x[i] - top.best.x;
        if (t != 1) x[i] = below = __ddiv_rn(below, t);
        law += weigh(below, d, one, counts, work);
    }
    model = block_total(model), law = block_total(law);
    if (threadIdx.x == 0) pieces[tile].model = model, pieces[tile].law = law;
    for (int i = threadIdx.x; i < BINS; i += blockDim.x)
        if (counts[i]) atomicAdd(&work.counts[i], counts[i]);
}
