// linear_q8.cu for one token, where a weight has a byte: the same sums, in the same order (act="q8")
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
// A warp takes a strand of each of its block's row tiles.  It has a ring in shared memory
// (ring.cuh) and asks for weights without a pause, row tile after row tile: every gridDim.x-th.
//
// The rings are so large that a multiprocessor has room for one block, and for small ones of other
// kernels: a block of the next launch comes where one has just ended, and fills its rings while it
// waits for the others.  So memory is busy while one token's result becomes the next one's input.

#define STRANDS 8
#define ONE_TOKEN 1
#define TOKEN_TILES 1
#define CHAINS 2  // of products
#define GROUP 8  // of a stage

#include "numbers.cuh"
#include "tensor_core.cuh"
#define FROM_STAGES
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"
#include "eight.cuh"
#include "pipeline.cuh"
#include "ring.cuh"
#ifdef KIND
#include "prepare.cuh"
#endif

__device__ __forceinline__ void load_eight(Eight& into, const Planes& stage, int lane) {
    Planes mine = of_lane(stage, 0, lane), my_scales = of_lane(stage, 2 * (lane & 3), lane);
#pragma unroll
    for (int u = 0; u < TILES; u++) load_weights(into.weights[u], mine, u);
#pragma unroll
    for (int j = 0; j < 2; j++) load_scales(into.scales[j], my_scales, j);
}

#ifdef KIND
#define TOKEN const float *x, const float *__restrict__ weight, float eps
#define PREPARED prepare_token(token, mine, UNIT == 1 ? mine : ordered, by, eps, blocks)

// This thread's columns of the token, or of the norm's weights: PIECES times four.
struct Columns {
    float4 piece[PIECES];
};

// Fours of columns; beyond the last there are zeros.
__device__ __forceinline__ float4 four_at(const float* from, int i, int columns) {
    return i < columns / 4 ? ((const float4*)from)[i] : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ void load_columns(Columns& mine, const float* from, int columns) {
#pragma unroll
    for (int j = 0; j < PIECES; j++) mine.piece[j] = four_at(from, four_of(j), columns);
}

__device__ __forceinline__ void load_ordered(Columns& mine, const float* from, int columns) {
#pragma unroll
    for (int j = 0; j < PIECES; j++)
        mine.piece[j] = four_at(from, threadIdx.x + j * STRANDS * WARP, columns);
}

// `ordered` are the columns whose squares this thread adds up, in the order of root_of.
__device__ __forceinline__ Prepared prepare_token(u8* shared, const Columns& mine,
                                                  const Columns& ordered, const Columns& by,
                                                  float eps, int blocks) {
    int columns = blocks * 32;
    Prepared p = room_of(shared, room_for(blocks));
#ifdef NORM
    float squares = 0;  // zeros change nothing
#pragma unroll
    for (int j = 0; j < PIECES; j++) add_squares(squares, ordered.piece[j]);
    float root = root_of_sum(squares, columns, eps);
#endif
#pragma unroll
    for (int j = 0; j < PIECES; j += UNIT) {
        float v[UNIT][4];
#pragma unroll
        for (int h = 0; h < UNIT; h++) {
            float4 four = mine.piece[j + h];
            v[h][0] = four.x, v[h][1] = four.y, v[h][2] = four.z, v[h][3] = four.w;
#ifdef NORM
            normalise(v[h], by.piece[j + h], root);
#endif
        }
        store(v, four_of(j), 0, 1, p.xq, p.dx, p.sums, four_of(j) < columns / 4);
    }
    __syncthreads();
    return p;
}
#else
#define TOKEN const i8 *xq, const float *dx, const float2 *sums
#define AT_ONCE 8  // loads of a thread
#define PREPARED fetch_token(token, xq, dx, sums, blocks)

// 16 bytes at a time; what is read beyond the last block is room.
__device__ __forceinline__ Prepared fetch_token(u8* shared, const i8* xq, const float* dx,
                                                const float2* sums, int blocks) {
    Prepared p = room_of(shared, room_for(blocks));
    int of_bytes = blocks * 2, of_sums = (blocks + 1) / 2, of_scales = (blocks + 3) / 4;
    auto from = [&](int i) {
        if (i < of_bytes) return (const uint4*)xq + i;
        i -= of_bytes;
        return i < of_sums ? (const uint4*)sums + i : (const uint4*)dx + (i - of_sums);
    };
    auto to = [&](int i) {
        if (i < of_bytes) return (uint4*)p.xq + i;
        i -= of_bytes;
        return i < of_sums ? (uint4*)p.sums + i : (uint4*)p.dx + (i - of_sums);
    };
    int n = of_bytes + of_sums + of_scales;
    for (int start = threadIdx.x; start < n; start += AT_ONCE * STRANDS * WARP) {
        uint4 held[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++)
            if (start + j * STRANDS * WARP < n) held[j] = *from(start + j * STRANDS * WARP);
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++)
            if (start + j * STRANDS * WARP < n) *to(start + j * STRANDS * WARP) = held[j];
    }
    __syncthreads();
    return p;
}
#endif

extern "C" __global__ void __launch_bounds__(STRANDS* WARP, 2)
    linear_q8_ring(float* y, const float* __restrict__ bias, const float* residual, const u8* low,
                   const u8* high, const u8* scales, const u8* supers, TOKEN, int rows,
                   int blocks) {
    extern __shared__ __align__(16) u8 rings[];
    __shared__ float strand_sums[2][STRANDS][16];
    __shared__ u64 barriers[STRANDS][STAGES];
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, run = run_length(blocks);
    int first = min(strand * run, blocks), last = min(first + run, blocks);
    u8* stages = rings + strand * STAGES * WEIGHT_STAGE;
    u8* token = rings + STRANDS * STAGES * WEIGHT_STAGE;
    Stretch stretch = {};
    if (lane < 4) stretch = weight_stretch(w, lane, 0);
    bool has = stretch.bytes > 0;
    Ring ring = make_ring(stages, WEIGHT_STAGE, barriers[strand],
                          __popc(__ballot_sync(EVERY_LANE, has)));

    int ahead = blockIdx.x, ahead_at = first, slot = 0;
    auto ask_ahead = [&](int to) {
        if (first < last && ahead < row_tiles) {
            fetch(ring, to, stretch, has, ahead * blocks + ahead_at, min(GROUP, last - ahead_at));
            ahead_at += GROUP;
            if (ahead_at >= last) ahead += gridDim.x, ahead_at = first;
        }
        end_of_stage();
    };
    auto fill = [&]() {
        for (int i = 0; i < STAGES; i++) ask_ahead(i);
        let_next_begin();
    };

    // What to wait for is the token, y and residual.  Before a norm there was a
    // product, which ended everywhere at once: there weights would only stand in the token's way.
#ifdef KIND
    Columns mine, ordered, by;
#endif
#ifdef NORM
    load_columns(by, weight, blocks * 32);
    wait_for_previous();
#else
    fill();
    wait_for_previous();
#endif
#ifdef KIND
    load_columns(mine, x, blocks * 32);
#endif
#ifdef NORM
    if (UNIT == 2) load_ordered(ordered, x, blocks * 32);
    fill();
#endif
    Prepared prepared = PREPARED;

#pragma unroll 1
    for (int tile = blockIdx.x, k = 0; tile < row_tiles; tile += gridDim.x, k++) {
        bool finishes = strand == k % STRANDS && lane < 16 && tile * 16 + lane < rows;
        int row = tile * 16 + lane;
        float before = finishes && residual ? residual[row] : 0.0f;
        float acc = 0;
#pragma unroll 1
        for (int at = first; at < last; at += GROUP) {
            wait_for(ring, slot);
            Planes stage = planes_of(stages + slot * WEIGHT_STAGE);
            Eight eight;
            load_eight(eight, stage, lane);
            __syncwarp();
            ask_ahead(slot);
            acc = add_eight(acc, eight, prepared, at, last, lane);
            slot = slot + 1 == STAGES ? 0 : slot + 1;
        }
        if (c >> 1) strand_sums[k % 2][strand][g + 8 * (c & 1)] = acc;
        __syncthreads();
        if (!finishes) continue;
        float sum = strand_sums[k % 2][0][lane];
        for (int s = 1; s < STRANDS; s++) sum += strand_sums[k % 2][s][lane];
        if (bias) sum += bias[row];
        if (residual) sum = before + sum;
        y[row] = sum;
    }
}
