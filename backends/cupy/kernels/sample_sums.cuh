// Weights as integers, whose sums are exact in any order, and the place where one passes a goal.
//
//   fixed(w)   w in [0, 1] in units of 1 / one: of n of them, one being 2**62 / n, the sum fits
//   doubt      how far a sum and a goal may be apart, here and in the definition, in these units
//
// One more rounding than the definition's float64, and none where it has thousands.  Where a goal
// is farther from a sum than the doubt, both agree on which side it is (docs/cuda.md).

#define TILE 1024
#define MOST_TILES 512

struct Place {
    int at;           // -1: the goal is not passed
    u64 lower, upper;  // the sum before it, and with it
};

struct Sums {
    u64 tiles[MOST_TILES];
    u64 total;
    Place found;
};

// The places 0 .. n-1 in tiles: a warp adds up one after the other.
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
    __syncthreads();
    if (threadIdx.x < WARP) {
        u64 sum = 0;
        for (int tile = lane; tile * TILE < n; tile += WARP) sum += s.tiles[tile];
        sum = warp_total(sum);
        if (lane == 0) s.total = sum;
    }
    __syncthreads();
    return s.total;
}

// Of the numbers from `first` on, the one at which the running sum passes the goal; `running` comes
// with the sum before the first, and leaves with that before the one found.  For a whole warp.
template <class Number>
__device__ int passing(int first, int end, u64& running, u64 goal, Number number) {
    int lane = threadIdx.x % WARP;
    for (int base = first; base < end; base += WARP) {
        u64 mine = base + lane < end ? number(base + lane) : 0, sum = mine;
        for (int step = 1; step < WARP; step <<= 1) {
            u64 lower = __shfl_up_sync(EVERY_LANE, sum, step);
            if (lane >= step) sum += lower;
        }
        u32 beyond = __ballot_sync(EVERY_LANE, running + sum > goal);
        if (beyond) {
            int who = __ffs(beyond) - 1;
            running += __shfl_sync(EVERY_LANE, sum - mine, who);
            return base + who;
        }
        running += __shfl_sync(EVERY_LANE, sum, WARP - 1);
    }
    return -1;
}

// The first place at which the sum of the weights is greater than the goal, after `add_up`.
template <class Weight>
__device__ Place place_of(Sums& s, int n, u64 goal, Weight weight) {
    if (threadIdx.x < WARP) {
        u64 running = 0;
        int n_tiles = (n + TILE - 1) / TILE;
        int at = passing(0, n_tiles, running, goal, [&](int tile) { return s.tiles[tile]; });
        if (at >= 0) at = passing(at * TILE, min(n, (at + 1) * TILE), running, goal, weight);
        if (threadIdx.x == 0)
            s.found = {at, running, running + (at < 0 ? 0 : weight(at))};
    }
    __syncthreads();
    return s.found;
}

__device__ __forceinline__ u64 apart(u64 a, u64 b) { return a > b ? a - b : b - a; }

// Does the definition find the same place, whatever the last bits of its sums?
__device__ __forceinline__ bool sure(Place p, u64 goal, u64 doubt) {
    bool enough = p.at >= 0 && apart(p.upper, goal) > doubt;
    return enough && (p.at == 0 || apart(p.lower, goal) > doubt);
}

__device__ __forceinline__ u64 doubt_of(int n, u64 total) {
    return 2ull * n + (u64)ceil((3.0 * n + 64) * 0x1p-53 * (double)total);
}
