// x = logits as far as a mask and bans allow, with a bias and penalties; and each tile's greatest
//
// Must move: the logits, once; x in float64, out.
//
// The definition's additions, products and divisions in its order, each rounded by itself (no fused
// multiply-add): refimpl.sampling.penalties.

#include "numbers.cuh"
#include "sample.cuh"

__device__ __forceinline__ bool has_bit(const int* mask, int n_words, int i) {
    return n_words < 0 || (i / 32 < n_words && mask[i / 32] >> i % 32 & 1);
}

// What a request says about the tokens of this tile.
__device__ void penalise(double* x, int tile, const Draw& d, const int* words,
                         const double* amounts) {
    for (int j = threadIdx.x; j < d.n_biased; j += blockDim.x) {
        int i = words[d.biased + j];
        if (i / TILE == tile) x[i] = __dadd_rn(x[i], amounts[d.amount + j]);
    }
    __syncthreads();
    for (int j = threadIdx.x; j < d.n_seen; j += blockDim.x) {
        int i = words[d.seen + j];
        if (i / TILE != tile) continue;
        double y = x[i] > 0 ? __ddiv_rn(x[i], d.repetition) : __dmul_rn(x[i], d.repetition);
        y = __dsub_rn(y, __dmul_rn(d.frequency, (double)words[d.seen + d.n_seen + j]));
        x[i] = __dsub_rn(y, d.presence);
    }
    __syncthreads();
}

// Grid: (tiles, draws).
extern "C" __global__ void __launch_bounds__(256)
    sample_allow(double* __restrict__ x, Piece* __restrict__ pieces, Work* __restrict__ works,
                 const float* __restrict__ logits, const Draw* __restrict__ draws,
                 const double* __restrict__ amounts, const int* __restrict__ words, int columns) {
    int tile = blockIdx.x, first = tile * TILE + threadIdx.x;
    Draw d = draws[blockIdx.y];
    int end = min(d.vocab, (tile + 1) * TILE);
    const float* row = logits + (long long)d.row * columns;
    x += (long long)blockIdx.y * columns;
    Candidate peak = none(), best = none();
    for (int i = first; i < end; i += blockDim.x) {
        double logit = logit_of(row, d, words, i);
        x[i] = has_bit(words + d.mask, d.mask_words, i) ? logit : NEVER;
        peak.x = logit == logit ? fmax(peak.x, logit) : -NEVER;
    }
    __syncthreads();
    penalise(x, tile, d, words, amounts);
    for (int i = first; i < end; i += blockDim.x)
        if (before({x[i], i}, best)) best = {x[i], i};
    peak = first_of_block(peak), best = first_of_block(best);
    if (threadIdx.x == 0) pieces[blockIdx.y * gridDim.x + tile] = {peak.x, best, 0, 0};
    if (tile) return;
    Work& work = works[blockIdx.y];
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) work.counts[i] = 0;
    if (threadIdx.x == 0) work.n_front = work.close = 0;
}
