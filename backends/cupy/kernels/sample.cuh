// Choosing tokens, as refimpl.sampling.sample does, in four kernels:
//
//   sample_allow   logits as far as they are allowed, with bias and penalties; the greatest
//   sample_weigh   temperature; weights, added up; how many tokens lie how far below the greatest
//   sample_front   the most probable few, where top_k or top_p ask for them
//   sample_pick    the line they draw, and the token that chance falls on
//
// Logits after temperature are the definition's in every bit.  Weights are added as integers
// (sample_sums.cuh): the same sum in any order, so a draw has the same result beside any others.
// Where a sum lies so close to a line that the definition's rounding could put it on the other
// side, the draw is not decided.

#define TILE 1024  // tokens of a block of the first three kernels, which have 256 threads
#define FRONT 2048
#define BINS 512

// What a draw asks; backends/cupy/sampling.py fills these records.
struct Draw {
    double temperature, top_p, min_p, chance, repetition, frequency, presence;
    int row, vocab;
    int top_k;             // 0: off
    int mask, mask_words;  // from this word on; -1 words: everything is allowed
    int banned, n_banned;  // from this word on: ids
    int biased, n_biased;  // ids, and as many numbers from `amount` on
    int seen, n_seen;      // ids, then how often each was seen
    int amount;

    __device__ __forceinline__ bool cuts() const { return top_k || top_p < 1; }
};

// What became of it.
struct Drawn {
    double logit, peak, total;  // the model's law: log p = logit - peak - log(total)
    double left, left_total;    // the law drawn from: log p = left - log(left_total)
    int token;
    int decided;  // 0: nothing was, and the definition must be asked
};

// A number, and where it stands.
struct Candidate {
    double x;
    int at;
};

// What a tile of a row comes to.
struct Piece {
    double peak;     // the model's greatest logit; infinity: there is a NaN
    Candidate best;  // of those allowed
    u64 model, law;  // weights: the model's, and after temperature
};

// What a draw's blocks have in common.
struct Work {
    u32 counts[BINS];  // of tokens, by how far they are below the greatest
    double x[FRONT];   // the front, in no order
    int at[FRONT];
    int n_front;
    int close;  // a weight is too close to min_p
};
static_assert(sizeof(Piece) == 40 && sizeof(Work) == 26632, "as backends/cupy/sampling.py has it");

// In argmax's order: of equals the first.
__device__ __forceinline__ bool before(Candidate a, Candidate b) {
    return a.x > b.x || (a.x == b.x && a.at < b.at);
}

__device__ __forceinline__ Candidate none() { return {NEVER, 0x7fffffff}; }

// The first of a block's candidates: every thread gets it.
__device__ Candidate first_of_block(Candidate mine) {
    __shared__ Candidate of_warps[WARP];
    for (int round = 0; round < 2; round++) {
        for (int step = 16; step; step >>= 1) {
            Candidate other = {__shfl_xor_sync(EVERY_LANE, mine.x, step),
                               __shfl_xor_sync(EVERY_LANE, mine.at, step)};
            if (before(other, mine)) mine = other;
        }
        if (round) break;
        __syncthreads();
        if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = mine;
        __syncthreads();
        mine = threadIdx.x % WARP < blockDim.x / WARP ? of_warps[threadIdx.x % WARP] : none();
    }
    return mine;
}

// Of a row in tiles: the model's greatest logit, and the first of the greatest that are allowed.
struct Top {
    double peak;
    Candidate best;

    // Is there a law?  If not, the definition says why.
    __device__ __forceinline__ bool lawful() const {
        return fabs(peak) < -NEVER && fabs(best.x) < -NEVER;
    }
};

__device__ Top top_of(const Piece* pieces, int n) {
    Candidate peak = none(), best = none();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        if (before({pieces[i].peak, i}, peak)) peak = {pieces[i].peak, i};
        if (before(pieces[i].best, best)) best = pieces[i].best;
    }
    return {first_of_block(peak).x, first_of_block(best)};
}

__device__ __forceinline__ bool among(const int* ids, int n, int i) {
    for (int j = 0; j < n; j++)
        if (ids[j] == i) return true;
    return false;
}

// The model's logit, and minus infinity of a token that would end the text too early.
__device__ __forceinline__ double logit_of(const float* row, const Draw& d, const int* words,
                                           int i) {
    return among(words + d.banned, d.n_banned, i) ? NEVER : row[i];
}
