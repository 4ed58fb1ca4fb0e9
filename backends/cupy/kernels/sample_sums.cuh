// Weights as integers, whose sums are exact in any order, and the place where one passes a goal.
//
//   fixed    a weight in [0, 1] in units of 1 / one; one is a power of two, so small that the
//            weights of a whole vocabulary fit 63 bits, and 2**52 at most
//   doubt    how far a sum and a goal may lie apart, here and in the definition together
//
// Where they lie farther apart, both agree which is greater.  With n weights of sum T: here a
// weight is good to 1/2 and to 8u of itself, u = 2**-53; in the definition to 8u, and its sum to
// 1.01 n u T (Higham, ch. 3).  Goals are a share of such a sum, in two more roundings, and one is
// cut off here.  That makes n + 1 + (2.02 n + 38) u T.

__device__ __forceinline__ u64 fixed(double w, double one) { return __double2ull_rn(w * one); }

__device__ __forceinline__ u64 doubt_of(int n, u64 total) {
    return 2ull * n + (u64)ceil((3.0 * n + 64) * 0x1p-53 * (double)total);
}

// Is a weight within the last bits of min_p?  Not that of the greatest, which is 1 for everyone.
__device__ __forceinline__ bool is_close(double below, double w, double min_p) {
    return min_p > 0 && below < 0 && fabs(w - min_p) <= 0x1p-48 * min_p;
}

__device__ __forceinline__ u64 warp_total(u64 x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, step);
    return x;
}

// For a whole warp: of the numbers from `first` on, the one at which the running sum passes the
// goal.  `running` comes with the sum before the first, and leaves with that before the one found.
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

// How far a number lies below the greatest, in steps of 1/8.
__device__ __forceinline__ int bin_of(double below) {
    return below > -BINS / 8 ? (int)(-8 * below) : BINS - 1;
}
