// What a draw asks, and what became of it; backends/cupy/sampling.py fills and reads these records.

#define THREADS 1024  // of a block, which takes a draw

struct Draw {
    double temperature, top_p, min_p, chance, repetition, frequency, presence;
    int row, vocab;
    int top_k;               // 0: off
    int mask, mask_words;    // from this word on; -1 words: everything is allowed
    int banned, n_banned;    // from this word on: ids
    int biased, n_biased;    // ids, and as many numbers from `amount` on
    int seen, n_seen;        // ids, then how often each was seen
    int amount;
};

struct Drawn {
    double logit, peak, total;      // the model's law: log p = logit - peak - log(total)
    double left, left_total;        // the law drawn from: log p = left - log(left_total)
    int token;
    int decided;  // 0: nothing was, and the definition must be asked
};

// Numbers in argmax's order: of equals the first.
struct Candidate {
    double x;
    int at;
};

__device__ __forceinline__ bool before(Candidate a, Candidate b) {
    return a.x > b.x || (a.x == b.x && a.at < b.at);
}

// The first of a block's candidates: every thread gets it.
__device__ Candidate first_of_block(Candidate mine) {
    __shared__ Candidate of_warps[WARP];
    for (int round = 0; round < 2; round++) {
        for (int step = 16; step; step >>= 1) {
            Candidate other = {__shfl_xor_sync(EVERY_LANE, mine.x, step),
                               __shfl_xor_sync(EVERY_LANE, mine.at, step)};
            if (before(other, mine)) mine = other;
        }
        if (round) return mine;
        __syncthreads();
        if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = mine;
        __syncthreads();
        mine = of_warps[threadIdx.x % WARP];
    }
    return mine;
}

// The sum of a warp's integers: every lane gets it.
__device__ __forceinline__ u64 warp_total(u64 x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, step);
    return x;
}
