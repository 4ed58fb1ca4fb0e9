// Four columns of a row as KIND wants them, and where they lie (prepare.cu says both); and the root
// of a row's mean square.  Of prepare.cu, and of linear_q8_one.cu, which prepares a token by itself.

#define KIND_F32 0
#define KIND_Q8_0 1
#define KIND_Q8_K 2
#define KIND_F16 3
#define KIND_BF16 4

// A division that is right for any two numbers branches, and so nothing else is done meanwhile.  Far
// from the ends of the range of exponents these steps give the same bits, by Markstein's theorem
// (IBM J. Res. Dev. 34, 1990): what a quotient that is nearly right leaves over says what it lacks.
__device__ __forceinline__ bool usual(float x) { return fabsf(x) > 1e-12f && fabsf(x) < 1e12f; }

__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return fmaf(fmaf(-x, y, 1.0f), y, y);
}

// `inverse` is 1 / by, rounded.
__device__ __forceinline__ float quotient(float x, float by, float inverse) {
    float y = x * inverse;
    return fmaf(fmaf(-by, y, x), inverse, y);
}

#ifdef NORM
__device__ float row_sum(float x) {
    __shared__ float sums[WARP];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_sum(threadIdx.x % WARP < blockDim.x / WARP ? sums[threadIdx.x % WARP] : 0.0f);
}

__device__ __forceinline__ void add_squares(float& squares, float4 v) {
    squares = fmaf(v.x, v.x, squares), squares = fmaf(v.y, v.y, squares);
    squares = fmaf(v.z, v.z, squares), squares = fmaf(v.w, v.w, squares);
}

// sqrt(mean(x * x) + eps), of each thread's sum.  The order: 256 threads' columns, then by halves
// (of fewer threads the rest would add zeros, of more the rest does).
__device__ __forceinline__ float root_of_sum(float squares, int columns, float eps) {
    return __fsqrt_rn(__fdiv_rn(row_sum(squares), (float)columns) + eps);
}

__device__ __forceinline__ float root_of(const float* row, int columns, float eps) {
    float squares = 0;
    for (int i = threadIdx.x; i < columns / 4; i += blockDim.x)
        add_squares(squares, ((const float4*)row)[i]);
    return root_of_sum(squares, columns, eps);
}

template <int PIECES_>
__device__ __forceinline__ void normalise(float (&v)[PIECES_][4], const float4 (&by)[PIECES_],
                                          float root) {
    bool all_usual = usual(root);
#pragma unroll
    for (int i = 0; i < 4 * PIECES_; i++) all_usual &= usual(v[i / 4][i % 4]);
    if (__builtin_expect(all_usual, true)) {
        float inverse = reciprocal(root);
#pragma unroll
        for (int i = 0; i < 4 * PIECES_; i++)
            v[i / 4][i % 4] = quotient(v[i / 4][i % 4], root, inverse);
    } else {
#pragma unroll 1  // rare: so little code, that others need not be read past it
        for (int turn = 0; turn < 4 * PIECES_; turn++) {  // the first becomes the last
            float first = __fdiv_rn(v[0][0], root);
#pragma unroll
            for (int i = 0; i < 4 * PIECES_ - 1; i++)
                v[i / 4][i % 4] = v[(i + 1) / 4][(i + 1) % 4];
            v[PIECES_ - 1][3] = first;
        }
    }
#pragma unroll
    for (int j = 0; j < PIECES_; j++)
        v[j][0] *= by[j].x, v[j][1] *= by[j].y, v[j][2] *= by[j].z, v[j][3] *= by[j].w;
}
#endif

// How many times four columns a thread has of a block: of 32 columns eight threads have four each,
// of 256 a warp's threads have eight.
#define UNIT (KIND == KIND_Q8_K ? 2 : 1)

// Which four columns are a thread's number j, counted in fours.
__device__ __forceinline__ int four_of(int j) {
    int warp = threadIdx.x / WARP * UNIT, beyond = j / UNIT * UNIT * blockDim.x;
    return beyond + (warp + j % UNIT) * WARP + threadIdx.x % WARP;
}

#if KIND == KIND_Q8_0 || KIND == KIND_Q8_K
// Columns 4 * i .. as bytes; sums of 16, and the scale, of their 32.
__device__ __forceinline__ void store_bytes(const int q[4], float d, int i, int t, int padded,
                                            void* packed, float* dx, float2* sums, bool here) {
    int k = 4 * i, sum = q[0] + q[1] + q[2] + q[3];
    sum += __shfl_xor_sync(EVERY_LANE, sum, 1);
    sum += __shfl_xor_sync(EVERY_LANE, sum, 2);
    int other_half = __shfl_xor_sync(EVERY_LANE, sum, 4);
    long long at = (long long)(k / 32) * padded + t;
    u32 bytes = (q[0] & 255) | (q[1] & 255) << 8 | (q[2] & 255) << 16 | (u32)q[3] << 24;
    if (here) *(u32*)((i8*)packed + at * 32 + tile_order(k % 32)) = bytes;
    if (here && i % 8 == 0) dx[at] = d, sums[at] = make_float2(sum, other_half);
}
#endif

#if KIND == KIND_Q8_K
__device__ __forceinline__ u32 warp_max(u32 x) {
    u32 most;
    asm volatile("redux.sync.max.u32 %0, %1, %2;" : "=r"(most) : "r"(x), "n"(EVERY_LANE));
    return most;
}

// Of 256 columns the one of the largest magnitude, and of these the first: lane i has columns 4i ..
// 4i + 3 of each half.
__device__ __forceinline__ float largest(const float x[UNIT][4]) {
    u32 most = 0, lanes[2], below_zero[2];
    for (int h = 0; h < 2; h++)
        for (int j = 0; j < 4; j++) most = max(most, __float_as_uint(fabsf(x[h][j])));
    most = warp_max(most);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        bool here = false, negative = false;  // is it one of these four; is the first such below 0
#pragma unroll
        for (int j = 3; j >= 0; j--)
            if (__float_as_uint(fabsf(x[h][j])) == most) here = true, negative = x[h][j] < 0;
        lanes[h] = __ballot_sync(EVERY_LANE, here);
        below_zero[h] = __ballot_sync(EVERY_LANE, negative);
    }
    u32 those = lanes[0] ? lanes[0] : lanes[1], negative = lanes[0] ? below_zero[0] : below_zero[1];
    float magnitude = __uint_as_float(most);
    return those & -those & negative ? -magnitude : magnitude;
}
#elif KIND == KIND_Q8_0
// Of 32 columns the largest magnitude.
__device__ __forceinline__ float largest(const float x[UNIT][4]) {
    const float* v = x[0];
    float most = fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
    for (int step = 1; step < 8; step <<= 1)
        most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, step));
    return most;
}
#endif

#if KIND == KIND_Q8_0 || KIND == KIND_Q8_K
struct Scale {
    float d, inverse;
};

template <bool USUAL>
__device__ __forceinline__ Scale scale_of(float most) {
#if KIND == KIND_Q8_0
    if (USUAL) {
        float d = quotient(most, 127.0f, 1.0f / 127.0f);
        return {from_f16(to_f16(d)), reciprocal(d)};
    }
    float d = __fdiv_rn(most, 127.0f);
    return {from_f16(to_f16(d)), d ? __fdiv_rn(1.0f, d) : 0.0f};
#else
    if (USUAL) {
        float inverse = quotient(-127.0f, most, reciprocal(most));
        return {reciprocal(inverse), inverse};
    }
    float inverse = __fdiv_rn(-127.0f, most);
    return most ? Scale{__fdiv_rn(1.0f, inverse), inverse} : Scale{0.0f, 0.0f};
#endif
}
#endif

// PIECES_ times four columns of a thread (four_of), those of number j of x from 4 * four_of(j) +
// `beyond` on.  Every lane of a warp takes part: they shuffle.
template <int PIECES_>
__device__ __forceinline__ void store(const float (&x)[PIECES_][4], int beyond, int columns, int t,
                                      int padded, void* packed, float* dx, float2* sums) {
#if KIND == KIND_F16 || KIND == KIND_BF16
#pragma unroll
    for (int p = 0; p < PIECES_; p++) {
        int k = 4 * (beyond + four_of(p));
        if (k >= columns) continue;
#if KIND == KIND_F16
        u32 first = pair_f16(x[p][0], x[p][1]), second = pair_f16(x[p][2], x[p][3]);
#else
        u32 first = pair_bf16(x[p][0], x[p][1]), second = pair_bf16(x[p][2], x[p][3]);
#endif
        put_four(packed, first, second, k, t, padded);
    }
#elif KIND == KIND_Q8_0 || KIND == KIND_Q8_K
    float most[PIECES_ / UNIT];
    Scale scale[PIECES_ / UNIT];
    bool all_usual = true;
#pragma unroll
    for (int p = 0; p < PIECES_; p += UNIT) {
        most[p / UNIT] = largest(x + p);
        all_usual &= usual(most[p / UNIT]);
    }
    if (__builtin_expect(all_usual, true)) {
#pragma unroll
        for (int p = 0; p < PIECES_ / UNIT; p++) scale[p] = scale_of<true>(most[p]);
    } else {
#pragma unroll 1
        for (int turn = 0; turn < PIECES_ / UNIT; turn++) {
            Scale first = scale_of<false>(most[0]);
#pragma unroll
            for (int p = 0; p < PIECES_ / UNIT - 1; p++)
                most[p] = most[p + 1], scale[p] = scale[p + 1];
            scale[PIECES_ / UNIT - 1] = first;
        }
    }
#pragma unroll
    for (int p = 0; p < PIECES_; p++) {
        int q[4], i = beyond + four_of(p);
        float d = scale[p / UNIT].d, inverse = scale[p / UNIT].inverse;
#pragma unroll
        for (int j = 0; j < 4; j++)
#if KIND == KIND_Q8_0
            q[j] = (int)roundf(x[p][j] * inverse);
#else
            q[j] = min(__float2int_rn(__fmul_rn(inverse, x[p][j])), 127);
#endif
        store_bytes(q, d, i, t, padded, packed, dx, sums, 4 * i < columns);
    }
#endif
}
