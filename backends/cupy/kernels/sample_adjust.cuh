// What a request says about single tokens: a mask, bans, a bias, penalties.
//
// The definition's additions, products and divisions in its order, each rounded by itself (no fused
// multiply-add), so these logits are the definition's in every bit (refimpl.sampling.penalties).

__device__ __forceinline__ bool has_bit(const int* mask, int n_words, int i) {
    return n_words < 0 || (i / 32 < n_words && mask[i / 32] >> i % 32 & 1);
}

__device__ __forceinline__ bool among(const int* ids, int n, int i) {
    for (int j = 0; j < n; j++)
        if (ids[j] == i) return true;
    return false;
}

// x = the row's logits as far as they are allowed.  Returns the row's greatest; a NaN in it, which
// no number is greater than, comes out as infinity.
__device__ double take_allowed(double* x, const float* row, const Draw& d, const int* words) {
    Candidate peak = {NEVER, 0};
    for (int i = threadIdx.x; i < d.vocab; i += THREADS) {
        double logit = among(words + d.banned, d.n_banned, i) ? NEVER : row[i];
        x[i] = has_bit(words + d.mask, d.mask_words, i) ? logit : NEVER;
        peak.x = logit == logit ? fmax(peak.x, logit) : -NEVER;
    }
    return first_of_block(peak).x;  // which also waits until all of x is written
}

__device__ void penalise(double* x, const Draw& d, const int* words, const double* amounts) {
    for (int j = threadIdx.x; j < d.n_biased; j += THREADS)
        x[words[d.biased + j]] = __dadd_rn(x[words[d.biased + j]], amounts[d.amount + j]);
    __syncthreads();
    for (int j = threadIdx.x; j < d.n_seen; j += THREADS) {
        double* at = x + words[d.seen + j];
        double y = *at > 0 ? __ddiv_rn(*at, d.repetition) : __dmul_rn(*at, d.repetition);
        y = __dsub_rn(y, __dmul_rn(d.frequency, (double)words[d.seen + d.n_seen + j]));
        *at = __dsub_rn(y, d.presence);
    }
    __syncthreads();
}
