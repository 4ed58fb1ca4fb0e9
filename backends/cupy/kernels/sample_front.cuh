// The few most probable tokens, in order: top_k and top_p draw their line among them.
//
// Numbers are counted in bins of 1/32 below the greatest, and the bins that together hold at most
// FRONT are sorted.  A line that lies beyond is left to the definition.

#define FRONT 2048
#define BINS 2048

struct Front {
    u32 counts[BINS];
    double x[FRONT];
    int at[FRONT];
    int n, last_bin;
};

__device__ __forceinline__ int bin_of(double below) {
    return below > -BINS / 32 ? (int)(-32 * below) : BINS - 1;
}

__device__ __forceinline__ void in_order(Front& f, int a, int b, bool down) {
    Candidate one = {f.x[a], f.at[a]}, two = {f.x[b], f.at[b]};
    if (before(two, one) == down) {
        f.x[a] = two.x, f.at[a] = two.at;
        f.x[b] = one.x, f.at[b] = one.at;
    }
}

// Batcher's bitonic sort, of `size` places, a power of two.
__device__ void sort(Front& f, int size) {
    for (int run = 2; run <= size; run <<= 1)
        for (int step = run / 2; step; step >>= 1) {
            for (int i = threadIdx.x; i < size / 2; i += THREADS) {
                int a = i / step * step * 2 + i % step;
                in_order(f, a, a + step, (a & run) == 0);
            }
            __syncthreads();
        }
}

// The last bin of those that hold at most FRONT together; -1 where the first holds more.
__device__ int last_bin(const Front& f) {
    u64 running = 0;
    int over = passing(0, BINS, running, FRONT, [&](int i) { return (u64)f.counts[i]; });
    return over < 0 ? BINS - 1 : over - 1;
}

// x [n] -> the front's n greatest numbers and their places; `top` is the greatest.  Whether nothing
// that can be drawn was left out.
__device__ bool take_front(Front& f, const double* x, int n, double top) {
    for (int i = threadIdx.x; i < BINS; i += THREADS) f.counts[i] = 0;
    for (int i = threadIdx.x; i < FRONT; i += THREADS) f.x[i] = NEVER, f.at[i] = 0x7fffffff;
    if (threadIdx.x == 0) f.n = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS)
        if (x[i] > NEVER) atomicAdd(&f.counts[bin_of(x[i] - top)], 1u);
    __syncthreads();
    if (threadIdx.x < WARP) {
        int last = last_bin(f);
        if (threadIdx.x == 0) f.last_bin = last;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS)
        if (x[i] > NEVER && bin_of(x[i] - top) <= f.last_bin) {
            int to = atomicAdd(&f.n, 1);
            f.x[to] = x[i], f.at[to] = i;
        }
    __syncthreads();
    int size = 2;
    while (size < f.n) size <<= 1;
    sort(f, size);
    return f.last_bin == BINS - 1;
}
