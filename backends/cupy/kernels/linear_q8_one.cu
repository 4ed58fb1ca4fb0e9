// linear_q8.cu for one token: the same sums, in the same order                       (act="q8")
//
// Must move: the packed weights, once.  Must do: 2 * rows * columns operations on bytes, and for
// each 32 of them a scale, a product and a sum in float32.
//
// Eight tiles of a row at once (eight.cuh says how).
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
#define CHAINS 1  // of products
#define BUFFERS (LOW_BYTES == 16 ? 2 : 3)  // of eight tiles: one worked on, the others on their way
#define MOST_ROW_TILES 32  // of a thread block

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"
#include "eight.cuh"
#ifdef KIND
#include "prepare.cuh"
#endif

__device__ __forceinline__ void load_eight(Eight& into, const Planes& w, long long tile, int lane) {
    Planes mine = of_lane(w, tile, lane), my_scales = of_lane(w, tile + 2 * (lane & 3), lane);
#pragma unroll
    for (int u = 0; u < TILES; u++) load_weights(into.weights[u], mine, u);
#pragma unroll
    for (int j = 0; j < 2; j++) load_scales(into.scales[j], my_scales, j);
}

#ifdef KIND
__device__ __forceinline__ Prepared prepare_token(u8* shared, const float* x, const float* weight,
                                                  float eps, int blocks) {
    int columns = blocks * 32, step = UNIT * blockDim.x;
    Prepared p = room_of(shared, room_for(blocks));
#ifdef NORM
    float root = root_of(x, columns, eps);
#endif
    for (int start = 0; start < columns / 4; start += step) {
        float v[UNIT][4] = {};
        bool here = start + four_of(0) < columns / 4;
#pragma unroll
        for (int h = 0; h < UNIT; h++) {
            if (!here) continue;
            int i = start + four_of(h);
            float4 four = ((const float4*)x)[i];
            v[h][0] = four.x, v[h][1] = four.y, v[h][2] = four.z, v[h][3] = four.w;
#ifdef NORM
            normalise(v[h], ((const float4*)weight)[i], root);
#endif
        }
        store(v, start + four_of(0), 0, 1, p.xq, p.dx, p.sums, here);
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
#else
    Prepared prepared = {(i8*)xq, (float2*)sums, (float*)dx};
#endif
#pragma unroll 1
    while (here.tile < row_tiles) {
#pragma unroll
        for (int b = 0; b < BUFFERS; b++) {
            load(eight[(b + BUFFERS - 1) % BUFFERS], ahead);
            ahead = next(ahead);
            acc = add_eight(acc, eight[b], prepared, here.at, end, lane);
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
