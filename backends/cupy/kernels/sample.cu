// A token for each draw: mask, bias, penalties, temperature, top_k, top_p, min_p, then chance, as
// refimpl.sampling.sample has them
//
// Must move: the draw's row of logits, once.  Must do: an exponential in float64 for each token and
// law (the model's own, that drawn from).  A block takes a draw, and reads its row again for each
// step below, from the cache.
//
// Logits after temperature are the definition's in every bit (sample_adjust.cuh).  Their weights
// are added as integers (sample_sums.cuh): the same sum in any order, so a draw has the same result
// beside any others.  Where a sum lies so close to a line that the definition's rounding could put
// it on the other side, the draw is not decided.

#include "numbers.cuh"
#include "sample.cuh"
#include "sample_adjust.cuh"
#include "sample_sums.cuh"
#include "sample_front.cuh"

// Temperature's numbers, and what is still there of them.
struct Law {
    const double* x;
    double top;         // the greatest of them
    double one;         // units of a weight of 1
    double min_p;
    Candidate last;     // of those that top_k and top_p keep
    bool* close;        // set where min_p is too close to a weight

    __device__ __forceinline__ double weight(int i) const { return exp(x[i] - top); }

    __device__ __forceinline__ u64 fixed(double w) const { return __double2ull_rn(w * one); }

    __device__ __forceinline__ u64 all(int i) const { return fixed(weight(i)); }

    __device__ __forceinline__ u64 kept(int i) const {
        if (before(last, {x[i], i})) return 0;
        double w = weight(i);
        if (min_p > 0 && fabs(w - min_p) <= 0x1p-48 * min_p && x[i] != top) *close = true;
        return w < min_p ? 0 : fixed(w);
    }
};

// How many tokens top_k and top_p keep, or 0: undecided.
__device__ int n_kept(Front& f, Sums& s, const Law& law, const Draw& d, bool complete, u64 all) {
    int n = d.top_k ? min(d.top_k, f.n) : f.n;
    if (n < d.top_k && !complete) return 0;
    if (d.top_p >= 1) return n;
    auto weight = [&](int i) { return law.fixed(exp(f.x[i] - law.top)); };
    u64 total = add_up(s, n, weight);
    if (!d.top_k) total = all;
    u64 goal = (u64)(d.top_p * (double)total);
    Place line = place_of(s, n, goal, weight);
    return sure(line, goal, doubt_of(d.vocab, total)) ? line.at + 1 : 0;
}

__device__ void choose(Drawn& out, Law law, const Draw& d, Front& f, Sums& s, u64 all) {
    if (d.top_k || d.top_p < 1) {
        bool complete = take_front(f, law.x, d.vocab, law.top);
        int n = n_kept(f, s, law, d, complete, all);
        if (n == 0) return;
        law.last = {f.x[n - 1], f.at[n - 1]};
    }
    auto weight = [&](int i) { return law.kept(i); };
    u64 total = add_up(s, d.vocab, weight), goal = (u64)(d.chance * (double)total);
    Place drawn = place_of(s, d.vocab, goal, weight);
    if (*law.close || !sure(drawn, goal, doubt_of(d.vocab, total))) return;
    if (threadIdx.x) return;
    out.token = drawn.at, out.decided = 1;
    out.left = law.x[drawn.at] - law.top, out.left_total = (double)total / law.one;
}

// One draw.  x: room for the row; one: a power of two, 2**62 / vocab or less, 2**52 at most.
__device__ void sample_one(Drawn& out, double* x, const float* row, const Draw& d,
                           const double* amounts, const int* words, double one) {
    __shared__ Front front;
    __shared__ Sums sums;
    __shared__ bool close;
    double peak = take_allowed(x, row, d, words);
    if (threadIdx.x == 0) out.decided = 0, close = false;
    penalise(x, d, words, amounts);
    Candidate best = {NEVER, 0x7fffffff};
    for (int i = threadIdx.x; i < d.vocab; i += THREADS)
        if (before({x[i], i}, best)) best = {x[i], i};
    best = first_of_block(best);
    if (!(fabs(peak) < -NEVER && fabs(best.x) < -NEVER)) return;  // no law: the definition says why
    u64 model = add_up(sums, d.vocab, [&](int i) {
        double logit = among(words + d.banned, d.n_banned, i) ? NEVER : row[i];
        return __double2ull_rn(exp(logit - peak) * one);
    });
    double t = d.temperature;
    if (t == 0) {
        if (threadIdx.x == 0) {
            out.token = best.at, out.decided = 1;
            out.left = 0, out.left_total = 1;
        }
    } else {
        if (t != 1)
            for (int i = threadIdx.x; i < d.vocab; i += THREADS)
                x[i] = __ddiv_rn(__dsub_rn(x[i], best.x), t);
        __syncthreads();
        Law law = {x, t == 1 ? best.x : 0.0, one, d.min_p, {NEVER, 0x7fffffff}, &close};
        u64 all = d.top_p < 1 && !d.top_k
                      ? add_up(sums, d.vocab, [&](int i) { return law.all(i); })
                      : 0;
        choose(out, law, d, front, sums, all);
    }
    if (threadIdx.x == 0 && out.decided) {
        out.logit = row[out.token];
        out.peak = peak, out.total = (double)model / one;
    }
}

// Grid: any; a block takes every gridDim.x-th draw, and has `columns` places of `room`.
extern "C" __global__ void __launch_bounds__(THREADS)
    sample(Drawn* __restrict__ out, double* __restrict__ room, const float* __restrict__ logits,
           const Draw* __restrict__ draws, const double* __restrict__ amounts,
           const int* __restrict__ words, double one, int n_draws, int columns) {
    for (int j = blockIdx.x; j < n_draws; j += gridDim.x) {
        Draw d = draws[j];
        const float* row = logits + (long long)d.row * columns;
        sample_one(out[j], room + (long long)blockIdx.x * columns, row, d, amounts, words, one);
        __syncthreads();
    }
}
