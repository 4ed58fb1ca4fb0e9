// tokens = the first id at which the running sum of weights exceeds chance * the sum of all
//
// Must move: the sums of the tiles; one tile, or the front.  A block takes a draw.
//
// Without top_k and top_p the tiles' sums say in which one the token is.  With them the front is
// sorted, cut where they draw their line, and put back in the order of ids.

#include "numbers.cuh"
#include "sample.cuh"
#include "sample_sums.cuh"

#define THREADS 1024
#define MOST_TILES 512

struct Place {
    int at;            // -1: the goal is not passed
    u64 lower, upper;  // the sum before it, and with it
};

struct Front {
    double x[FRONT];
    int at[FRONT];
};

struct Sums {
    u64 tiles[MOST_TILES];
    u64 total;
    Place found;
};

__device__ __forceinline__ u64 apart(u64 a, u64 b) { return a > b ? a - b : b - a; }

// Does the definition find the same place, whatever the last bits of its sums?
__device__ __forceinline__ bool sure(Place p, u64 goal, u64 doubt) {
    bool enough = p.at >= 0 && apart(p.upper, goal) > doubt;
    return enough && (p.at == 0 || apart(p.lower, goal) > doubt);
}

// The sum of the tiles' sums: for the whole block.
__device__ u64 total_of(Sums& s, int n_tiles) {
    __syncthreads();
    if (threadIdx.x < WARP) {
        u64 sum = 0;
        for (int tile = threadIdx.x; tile < n_tiles; tile += WARP) sum += s.tiles[tile];
        sum = warp_total(sum);
        if (threadIdx.x == 0) s.total = sum;
    }
    __syncthreads();
    return s.total;
}

// The sum of n weights, by tiles: a warp adds up one after the other.
template <class Weight>
__device__ u64 add_up(Sums& s, int n, Weight weight) {
    int lane = threadIdx.x % WARP;
    __syncthreads();
    for (int tile = threadIdx.x / WARP; tile * TILE < n; tile += THREADS / WARP) {
        u64 sum = 0;
        for (int i = tile * TILE + lane; i < min(n, (tile + 1) * TILE); i += WARP) sum += weight(i);
        sum = warp_total(sum);
        if (lane == 0) s.tiles[tile] = sum;
    }
    return total_of(s, (n + TILE - 1) / TILE);
}

// The first place at which the sum of the weights is greater than the goal; their tiles are added.
template <class Weight>
__device__ Place place_of(Sums& s, int n, u64 goal, Weight weight) {
    if (threadIdx.x < WARP) {
        u64 running = 0;
        auto of_tile = [&](int tile) { return s.tiles[tile]; };
        int at = passing(0, (n + TILE - 1) / TILE, running, goal, of_tile);
        if (at >= 0) at = passing(at * TILE, min(n, (at + 1) * TILE), running, goal, weight);
        if (threadIdx.x == 0) s.found = {at, running, running + (at < 0 ? 0 : weight(at))};
    }
    __syncthreads();
    return s.found;
}

// Batcher's bitonic sort of a power of two of places, by an order of pairs.  A thread has one pair
// in each round; as long as those are within its warp's 64 places, only the warp needs to wait.
template <class Before>
__device__ void sort(Front& f, int size, Before in_order) {
    int i = threadIdx.x;
    for (int run = 2; run <= size; run <<= 1)
        for (int step = run / 2; step; step >>= 1) {
            int a = 2 * i - (i & step - 1), b = a + step;
            if (i < size / 2) {
                Candidate one = {f.x[a], f.at[a]}, two = {f.x[b], f.at[b]};
                if (in_order(two, one) == ((a & run) == 0)) {
                    f.x[a] = two.x, f.at[a] = two.at;
                    f.x[b] = one.x, f.at[b] = one.at;
                }
            }
            if (step > WARP || (step == 1 && run > WARP))
                __syncthreads();
            else
                __syncwarp();
        }
    __syncthreads();
}
static_assert(FRONT == 2 * THREADS, "a pair for each thread");

__device__ __forceinline__ int next_power(int n) {
    int size = 1;
    while (size < n) size <<= 1;
    return size;
}

// The places from n on hold nothing.
__device__ void clear_from(Front& f, int n) {
    __syncthreads();
    for (int i = n + threadIdx.x; i < FRONT; i += THREADS) f.x[i] = NEVER, f.at[i] = 0x7fffffff;
    __syncthreads();
}

// The front, the most probable first.
__device__ void take_front(Front& f, const Work& work) {
    for (int i = threadIdx.x; i < work.n_front; i += THREADS)
        f.x[i] = work.x[i], f.at[i] = work.at[i];
    clear_from(f, work.n_front);
    sort(f, next_power(work.n_front), before);
}

// How many tokens are not in the front, of those whose weight is a number at all?
__device__ int n_behind(const Work& work) {
    u64 n = 0;
    for (int i = threadIdx.x % WARP; i < BINS; i += WARP) n += work.counts[i];
    return (int)warp_total(n) - work.n_front;
}

// A draw, its numbers, and what became of it.
struct Choice {
    const Draw& d;
    const double* x;
    double greatest;  // of x
    double one;
    Drawn& out;

    __device__ __forceinline__ u64 weight(double number) const {
        return fixed(exp(number - greatest), one);
    }

    // From n weights, in the order of ids, of which the tiles are added.
    template <class Weight, class Token>
    __device__ void pick(Sums& s, int n, u64 total, Weight weight, Token token) const {
        u64 goal = (u64)(d.chance * (double)total);
        Place drawn = place_of(s, n, goal, weight);
        if (threadIdx.x || !sure(drawn, goal, doubt_of(d.vocab, total))) return;
        out.token = token(drawn.at), out.decided = 1;
        out.left = x[out.token] - greatest, out.left_total = (double)total / one;
    }
};

// From all tokens.
__device__ void pick_of_all(const Choice& c, Sums& s, const Piece* pieces, const Work& work) {
    int n = c.d.vocab, n_tiles = (n + TILE - 1) / TILE;
    for (int i = threadIdx.x; i < n_tiles; i += THREADS) s.tiles[i] = pieces[i].law;
    u64 total = total_of(s, n_tiles);
    if (work.close) return;
    auto weight = [&](int i) {
        double w = exp(c.x[i] - c.greatest);
        return w < c.d.min_p ? 0 : fixed(w, c.one);
    };
    c.pick(s, n, total, weight, [](int i) { return i; });
}

// How many tokens of the sorted front top_k and top_p keep; 0: undecided.
__device__ int n_kept(const Choice& c, Front& f, Sums& s, const Work& work, u64 all) {
    int n = c.d.top_k ? min(c.d.top_k, work.n_front) : work.n_front;
    if (n < c.d.top_k && n_behind(work)) return 0;
    if (c.d.top_p >= 1) return n;
    auto weight = [&](int i) { return c.weight(f.x[i]); };
    u64 total = add_up(s, n, weight);
    if (!c.d.top_k) total = all;
    u64 goal = (u64)(c.d.top_p * (double)total);
    Place line = place_of(s, n, goal, weight);
    return sure(line, goal, doubt_of(c.d.vocab, total)) ? line.at + 1 : 0;
}

// From what top_k and top_p keep.
__device__ void pick_of_front(const Choice& c, Front& f, Sums& s, const Work& work, u64 all) {
    take_front(f, work);
    int n = n_kept(c, f, s, work, all);
    if (n == 0) return;
    clear_from(f, n);
    sort(f, next_power(n), [](Candidate a, Candidate b) { return a.at < b.at; });
    bool close = false;
    for (int i = threadIdx.x; i < n && c.d.min_p > 0; i += THREADS) {
        double below = f.x[i] - c.greatest;
        close |= is_close(below, exp(below), c.d.min_p);
    }
    if (__syncthreads_or(close)) return;
    auto weight = [&](int i) {
        double w = exp(f.x[i] - c.greatest);
        return w < c.d.min_p ? 0 : fixed(w, c.one);
    };
    c.pick(s, n, add_up(s, n, weight), weight, [&](int i) { return f.at[i]; });
}

// Grid: (draws).
extern "C" __global__ void __launch_bounds__(THREADS)
    sample_pick(Drawn* out, const double* __restrict__ x, const Piece* __restrict__ pieces,
                const Work* __restrict__ works, const float* __restrict__ logits,
                const Draw* __restrict__ draws, double one, int n_tiles, int columns) {
    __shared__ Front front;
    __shared__ Sums sums;
    Draw d = draws[blockIdx.x];
    out += blockIdx.x, x += (long long)blockIdx.x * columns, pieces += blockIdx.x * n_tiles;
    const Work& work = works[blockIdx.x];
    if (threadIdx.x == 0) out->token = 0, out->decided = 0;
    Top top = top_of(pieces, n_tiles);
    if (!top.lawful()) return;
    Choice choice = {d, x, d.temperature == 1 ? top.best.x : 0.0, one, *out};
    if (d.temperature == 0) {
        if (threadIdx.x == 0) {
            out->token = top.best.at, out->decided = 1;
            out->left = 0, out->left_total = 1;
        }
    } else if (d.cuts()) {
        for (int i = threadIdx.x; i < n_tiles; i += THREADS) sums.tiles[i] = pieces[i].law;
        u64 all = total_of(sums, n_tiles);
        pick_of_front(choice, front, sums, work, all);
    } else {
        pick_of_all(choice, sums, pieces, work);
    }
    for (int i = threadIdx.x; i < n_tiles; i += THREADS) sums.tiles[i] = pieces[i].model;
    u64 model = total_of(sums, n_tiles);
    if (threadIdx.x == 0 && out->decided) {
        out->logit = logits[(long long)d.row * columns + out->token];
        out->peak = top.peak, out->total = (double)model / one;
    }
}
