// linear_q8.cu for one token: the same sums, in the same order                       (act="q8")
//
// Must move: the packed weights, once.  Must do: 2 * rows * columns operations on bytes, and for
// each 32 of them a scale, a product and a sum in float32.
//
// A tensor core multiplies a tile (16 rows, 32 columns) with 8 tokens; here is one.  So its eight
// columns stand for eight *blocks*: tile u meets a matrix that is zero but for column u, which has
// the token's 32 bytes of that block, and eight products are added up.  Column u of the sum is then
// tile u's product:
//
//   rows   [  t0 . . . ]   [ . t1 . . ]   [ . . t2 . ]         [ t0 t1 t2 .. t7 ]
//    of    [  t0 . . . ] + [ . t1 . . ] + [ . . t2 . ] + ... = [ t0 t1 t2 .. t7 ]
//   16     [  t0 . . . ]   [ . t1 . . ]   [ . . t2 . ]         [ t0 t1 t2 .. t7 ]
//
// and each lane holds four that are of use, for which it fetches and unpacks scales: once for 512
// weights what would be done 8 times over.  Sums must still be added up block after block.  Lanes
// 4g and 4g + 2 take row g, the others row g + 8: the first of two has blocks 0-3, and hands its
// sum to the second, which has blocks 4-7.
//
// With KIND the token comes as float32, and every thread block prepares it for itself, as
// prepare.cu would (with NORM it norms it first): the first weights are on their way meanwhile, and
// a kernel of its own would take longer to begin than this takes.
//
// A thread block takes every gridDim.x-th row tile, a warp of it a strand.  While eight tiles are
// worked on, the next are on their way.

#define STRANDS 8
#define ONE_TOKEN 1
#define TOKEN_TILES 1
#define TILES 8  // of a row, at once
#define BUFFERS (LOW_BYTES == 16 ? 2 : 3)  // of eight tiles: one worked on, the others on their way
#define MOST_ROW_TILES 32  // of a thread block

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"
#ifdef KIND
#include "prepare.cuh"
#endif

#define HALVES (1 + SCALES_OF_16)  // of a block, with scales of their own

// Eight tiles of a row, of one strand; a lane has the scales of tiles 2c and 2c + 1.
struct Eight {
    Raw weights[TILES], scales[2];
};

__device__ __forceinline__ void load_eight(Eight& into, const Planes& w, long long tile, int lane) {
    Planes mine = of_lane(w, tile, lane), my_scales = of_lane(w, tile + 2 * (lane & 3), lane);
#pragma unroll
    for (int u = 0; u < TILES; u++) load_weights(into.weights[u], mine, u);
#pragma unroll
    for (int j = 0; j < 2; j++) load_scales(into.scales[j], my_scales, j);
}

// The token's share: bytes of block g, sums of blocks 2c and 2c + 1, scales of a lane's four.
struct Token {
    uint2 bytes;
    float4 sums;
    float4 d;
};

__device__ __forceinline__ void load_token(Token& x, const i8* xq, const float* dx,
                                           const float2* sums, int at, int lane) {
    int g = lane >> 2, c = lane & 3;
    x.bytes = *((const uint2*)(xq + (at + g) * 32 + c * 8));
    x.d = *((const float4*)(dx + at + (c >> 1) * 4));
    if (HAS_MINIMUM) x.sums = *((const float4*)(sums + at + 2 * c));
}

// sum[half][0..3]: rows g, g, g + 8, g + 8 of tiles 2c, 2c + 1, 2c, 2c + 1.
__device__ __forceinline__ void multiply(int sum[HALVES][4], const Eight& w, uint2 bytes, int g) {
#pragma unroll
    for (int half = 0; half < HALVES; half++)
#pragma unroll
        for (int i = 0; i < 4; i++) sum[half][i] = FLOAT_START;
#pragma unroll
    for (int u = 0; u < TILES; u++) {
        u32 piece[4], b0 = g == u ? bytes.x : 0, b1 = g == u ? bytes.y : 0;
        unpack(w.weights[u], piece);
#if SCALES_OF_16
        mma_s8_half_add(sum[0], piece[0], piece[1], b0);
        mma_s8_half_add(sum[1], piece[2], piece[3], b1);
#else
        mma_s8_add(sum[0], piece, b0, b1);
#endif
    }
}

// The terms of linear_q8.cu, by row (g, g + 8), half and tile (2c, 2c + 1).
__device__ __forceinline__ void make_terms(float term[2][HALVES][2], const int sum[HALVES][4],
                                           const Eight& w, const Token& x) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        Scales of = scales_for(w.scales[j]);
        float low = j ? x.sums.z : x.sums.x, high = j ? x.sums.w : x.sums.y;
#pragma unroll
        for (int half = 0; half < HALVES; half++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float sum_of_x = !HAS_MINIMUM ? 0 : HALVES == 1 ? low + high : half ? high : low;
                int piece = 2 * half + h;
                term[h][half][j] =
                    term_of(of.scale[piece], of.start[piece], __int_as_float(sum[half][2 * h + j]),
                            of.minimum[piece], sum_of_x);
            }
    }
}

#ifdef KIND
// The token's bytes, scales and sums, in shared memory with room for eight blocks more.
struct Prepared {
    i8* xq;
    float* dx;
    float2* sums;
};

__device__ __forceinline__ Prepared prepare_token(u8* shared, const float* x, const float* weight,
                                                  float eps, int blocks) {
    int room = blocks + 8, columns = blocks * 32;
    Prepared p = {(i8*)shared, (float*)(shared + room * 40), (float2*)(shared + room * 32)};
#ifdef NORM
    float root = root_of(x, columns, eps);
#endif
    for (int start = 0; start < columns / 4; start += blockDim.x) {
        int i = start + threadIdx.x;
        float v[4] = {};
        bool here = i < columns / 4;
        if (here) {
            float4 four = ((const float4*)x)[i];
            v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
#ifdef NORM
            normalise(v, weight, i, root);
#endif
        }
        store(v, i, 0, 1, p.xq, p.dx, p.sums, here);
    }
    __syncthreads();
    return p;
}
#define TOKEN const float *x, const float *__restrict__ weight, float eps
#else
#define TOKEN const i8 *xq, const float *dx, const float2 *sums
#endif

extern "C" __global__ void __launch_bounds__(STRANDS* WARP, 2)
    linear_q8_one(float* y, const float* __restrict__ bias, const float* residual, const u8* low,
                  const u8* high, const u8* scales, const u8* supers, TOKEN, int rows, int stride,
                  int blocks) {
    __shared__ float strand_sums[MOST_ROW_TILES][STRANDS][16];
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, run = run_length(blocks);
    int first = min(strand * run, blocks), last = min(first + run, blocks);
    int start = first < last ? first : 0, end = first < last ? last : 0;  // empty: sums of zero
    float acc = 0;  // of row g or g + 8, in the second of the row's two lanes

    auto add = [&](const Eight& eight, int at, const i8* xq, const float* dx, const float2* sums) {
        Token x;
        int sum[HALVES][4];
        float term[2][HALVES][2];
        load_token(x, xq, dx, sums, at, lane);
        multiply(sum, eight, x.bytes, g);
        make_terms(term, sum, eight, x);
        // Neighbours exchange: even lanes get all of row g, odd ones all of row g + 8.
        bool odd = c & 1;
        float mine[4][HALVES];  // blocks 0-3, or 4-7, in order
#pragma unroll
        for (int half = 0; half < HALVES; half++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float kept = odd ? term[1][half][j] : term[0][half][j];
                float given = odd ? term[0][half][j] : term[1][half][j];
                float taken = __shfl_xor_sync(EVERY_LANE, given, 1);
                mine[j][half] = odd ? taken : kept;
                mine[2 + j][half] = odd ? kept : taken;
            }
        float d[4] = {x.d.x, x.d.y, x.d.z, x.d.w};
#pragma unroll
        for (int turn = 0; turn < 2; turn++) {  // blocks 0-3 in lanes 0, 1; then 4-7 in lanes 2, 3
            acc = __shfl_xor_sync(EVERY_LANE, acc, 2);
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (at + (c >> 1) * 4 + i < end)
#pragma unroll
                    for (int half = 0; half < HALVES; half++) acc = fmaf(d[i], mine[i][half], acc);
        }
    };
    struct Place {
        int tile, at;
    };
    auto next = [&](Place p) {
        bool more = p.at + TILES < end;
        return Place{more ? p.tile : p.tile + (int)gridDim.x, more ? p.at + TILES : start};
    };
    auto load = [&](Eight& into, Place p) {
        if (p.tile < row_tiles) load_eight(into, w, (long long)p.tile * blocks + p.at, lane);
    };
    Eight eight[BUFFERS];
    Place here = {(int)blockIdx.x, start}, ahead = here;
    int slot = 0;
#pragma unroll
    for (int b = 0; b < BUFFERS - 1; b++) load(eight[b], ahead), ahead = next(ahead);
    wait_for_previous();  // for the token, and for y and residual
    let_next_begin();
#ifdef KIND
    extern __shared__ __align__(16) u8 token[];
    Prepared prepared = prepare_token(token, x, weight, eps, blocks);
    const i8* xq = prepared.xq;
    const float* dx = prepared.dx;
    const float2* sums = prepared.sums;
#endif
#pragma unroll 1
    while (here.tile < row_tiles) {
#pragma unroll
        for (int b = 0; b < BUFFERS; b++) {
            load(eight[(b + BUFFERS - 1) % BUFFERS], ahead);
            ahead = next(ahead);
            add(eight[b], here.at, xq, dx, sums);
            Place then = next(here);
            if (then.tile != here.tile) {
                if (c >> 1) strand_sums[slot][strand][g + 8 * (c & 1)] = acc;
                acc = 0, slot++;
            }
            here = then;
            if (here.tile >= row_tiles) break;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < slot * 16; i += blockDim.x) {
        float sum = strand_sums[i / 16][0][i % 16];
        for (int s = 1; s < STRANDS; s++) sum += strand_sums[i / 16][s][i % 16];
        int row = (blockIdx.x + i / 16 * gridDim.x) * 16 + i % 16;
        finish(y, bias, residual, sum, row, 0, rows, stride, 1);
    }
}
