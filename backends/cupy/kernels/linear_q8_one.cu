// linear_q8.cu for one token: the same sums, in the same order                       (act="q8")
//
// Must move: the packed weights, once.  Must do: 2 * rows * columns operations on bytes, and for
// each 32 of them a scale, a product and a sum in float32.
//
// Eight tiles of a row at once (eight.cuh says how).
//
// With KIND the token comes as float32, and every thread block prepares it for itself, as
// prepare.cu would (with NORM it norms it first): a kernel of its own would take longer to begin
// than this takes.
//
// Weights come through rings in shared memory (row_ring.cuh).
//
// A token that is asked for after all stages comes when they have come.  So where it is still to be
// normed, two thirds of them are asked for after it.  The norm's weights are asked for before the
// kernel waits: were they declared __restrict__, the compiler would ask for them later.

#define STRANDS 8
#define ONE_TOKEN 1
#define TOKEN_TILES 1
#ifdef NORM
#define EARLY_STAGES ((STAGES + 2) / 3)
#else
#define EARLY_STAGES STAGES
#endif

#include "numbers.cuh"
#include "tensor_core.cuh"
#define FROM_STAGES
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"
#include "eight.cuh"
#include "row_ring.cuh"
#ifdef KIND
#include "half_row.cuh"
#include "prepare.cuh"
#endif

// `aside`: how many of a group of eight come before the first tile.
__device__ __forceinline__ void read_eight(Eight& into, u8* stage, int aside, int lane) {
    u8 *high = stage + TILES * LOW_TILE, *scales = high + TILES * HIGH_TILE;
    Planes from = {stage, high, scales, scales + TILES * SCALE_TILE};
    int c = lane & 3;
    Planes mine = of_lane(from, 0, lane);
#pragma unroll
    for (int u = 0; u < TILES; u++) load_weights(into.weights[u], mine, u);
    if (FORMAT != PARTS_MIN) from.supers += (aside + 2 * c) / 8 * SUPERS;
    Planes my_scales = of_lane(from, 2 * c, lane);
#pragma unroll
    for (int j = 0; j < 2; j++) load_scales(into.scales[j], my_scales, j);
}

#ifdef KIND
#define TOKEN const float *x, const float *weight, float eps
#define PREPARED prepare_token(token, mine, ordered, by, eps, blocks)

// This thread's columns of the token, or of the norm's weights: N times four.
template <int N>
struct Columns {
    float4 piece[N];
};

// Fours of columns; beyond the last there are zeros.
__device__ __forceinline__ float4 four_at(const float* from, int i, int columns) {
    return i < columns / 4 ? ((const float4*)from)[i] : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ void load_columns(Columns<PIECES>& mine, const float* from,
                                             int columns) {
#pragma unroll
    for (int j = 0; j < PIECES; j++) mine.piece[j] = four_at(from, four_of(j), columns);
}

// The columns whose squares this thread adds up, in the order of root_of: of 256 threads.
template <int N>
__device__ __forceinline__ Columns<N * SIDES> in_order(const Columns<N>& mine, const float* from,
                                                       int columns) {
    if constexpr (UNIT * SIDES == 1) {
        return mine;
    } else {
        Columns<N * SIDES> ordered;
#pragma unroll
        for (int j = 0; j < N * SIDES; j++)
            ordered.piece[j] = four_at(from, threadIdx.x + j * STRANDS * WARP,
                                       my_side() == 0 ? columns : 0);
        return ordered;
    }
}

__device__ __forceinline__ Prepared prepare_token(u8* shared, const Columns<PIECES>& mine,
                                                  const Columns<PIECES * SIDES>& ordered,
                                                  const Columns<PIECES>& by, float eps,
                                                  int blocks) {
    int columns = blocks * 32;
    Prepared p = room_of(shared, room_for(blocks));
#ifdef NORM
    float squares = 0;  // zeros change nothing
#pragma unroll
    for (int j = 0; j < PIECES * SIDES; j++) add_squares(squares, ordered.piece[j]);
    float root = root_of_sum(squares, columns, eps);
#endif
    float v[PIECES][4];
#pragma unroll
    for (int j = 0; j < PIECES; j++) {
        float4 four = mine.piece[j];
        v[j][0] = four.x, v[j][1] = four.y, v[j][2] = four.z, v[j][3] = four.w;
    }
#ifdef NORM
    normalise(v, by.piece, root);
#endif
    store(v, 0, columns, 0, 1, p.xq, p.dx, p.sums);
    __syncthreads();
    return p;
}
#else
#define TOKEN const i8 *xq, const float *dx, const float2 *sums
#ifdef FAR  // a token for which there is no room beside the rings
#define PREPARED Prepared{(i8*)xq, (float2*)sums, (float*)dx}
#else
#define PREPARED fetch_token(token, xq, dx, sums, blocks)
#endif

// 16 bytes at a time, of 512 blocks at once; what is read beyond the last block is room.
__device__ __forceinline__ Prepared fetch_token(u8* shared, const i8* xq, const float* dx,
                                                const float2* sums, int blocks) {
    Prepared p = room_of(shared, room_for(blocks));
    const uint4 *bytes = (const uint4*)xq, *of_sums = (const uint4*)sums, *of_dx = (const uint4*)dx;
    for (int start = 0; start < blocks; start += 512) {
        uint4 some[1024 / THREADS], sum, d;
        int i = start * 2 + threadIdx.x, s = start / 2 + threadIdx.x, e = start / 4 + threadIdx.x;
        bool has_sum = HAS_MINIMUM && threadIdx.x < 256 && s < (blocks + 1) / 2;
        bool has_d = threadIdx.x < 128 && e < (blocks + 3) / 4;
#pragma unroll
        for (int j = 0; j < 1024 / THREADS; j++)
            if (i + j * THREADS < blocks * 2) some[j] = bytes[i + j * THREADS];
        if (has_sum) sum = of_sums[s];
        if (has_d) d = of_dx[e];
#pragma unroll
        for (int j = 0; j < 1024 / THREADS; j++)
            if (i + j * THREADS < blocks * 2) ((uint4*)p.xq)[i + j * THREADS] = some[j];
        if (has_sum) ((uint4*)p.sums)[s] = sum;
        if (has_d) ((uint4*)p.dx)[e] = d;
    }
    __syncthreads();
    return p;
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 2 / SIDES)
    linear_q8_one(float* y, const float* __restrict__ bias, const float* residual, const u8* low,
                  const u8* high, const u8* scales, const u8* supers, TOKEN, int rows,
                  int blocks) {
    extern __shared__ __align__(16) u8 rings[];
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3, row_tiles = (rows + 15) / 16;
    RowRing ring = make_row_ring(rings, {low, high, scales, supers}, row_tiles, blocks);
    u8* token = rings + SIDES * STRANDS * STAGES * STAGE;
    fill(ring, 0, EARLY_STAGES);
    let_next_begin();
#ifdef KIND
    Columns<PIECES> mine, by;
#endif
#ifdef NORM
    load_columns(by, weight, blocks * 32);
#endif
    wait_for_previous();  // for the token, y and residual
#ifdef KIND
    load_columns(mine, x, blocks * 32);
    auto ordered = in_order(mine, x, blocks * 32);
#endif
    fill(ring, EARLY_STAGES, STAGES);
    Prepared prepared = PREPARED;

    multiply_rows({y, bias, residual, rows}, row_tiles, [&](float* sums) {
        float acc = 0;
#pragma unroll 1
        for (int at = ring.first; at < ring.last; at += TILES) {
            Eight eight;
            read_eight(eight, wait_for_stage(ring), ring.first & 7, lane);
            ask_again(ring);
            acc = add_eight(acc, eight, prepared, at, ring.last, lane);
        }
        if (c >> 1) sums[g + 8 * (c & 1)] = acc;
    });
}
