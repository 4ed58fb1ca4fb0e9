// linear_q8_wide.cu on Hopper: the same sums, in the same order             (act="q8", prefill)
//
// Must move: weights and activations, each once (the L2 cache holds what blocks share).  Must do:
// 2 * rows * columns * tokens operations on bytes, and for each 32 of them two in float32, which is
// what takes the time: so everything else is kept away from the warps that do them.
//
// A thread block takes 128 rows and 128 tokens, and then others, as many as are left.  Four warps
// bring what GROUP blocks of 32 columns (of which a row has a multiple) need into one of STAGES
// stages of shared memory; eight others multiply, 64 rows by 32 tokens each.  They walk the strands
// one after the other, with a sum for the strand and one for the total.
//
// With ACTIVATION the rows are [gate, up], a warp's 64 are 32 of each, and what comes out is
// activation(gate) * up, made Q8_0 for the next product (gated.cuh).

#define STRANDS 8
#define ROW_TILES 4
#define TOKEN_TILES 4
#define ONE_TOKEN 0
#define FROM_STAGES
#define KIND KIND_Q8_0

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "tile.cuh"
#include "products_q8.cuh"
#include "strands.cuh"
#include "results.cuh"
#ifdef ACTIVATION
#include "activation.cuh"
#include "half_row.cuh"
#include "prepare.cuh"
#include "gated.cuh"
#define RESULTS i8 *next_xq, float *next_dx, float2 *next_sums
#else
#define RESULTS float *y, const float *__restrict__ bias, const float *residual
#endif
#include "pipeline.cuh"
#include "ring.cuh"

#define TOKENS 128
#define BYTES_OF_X (TOKENS * 32)  // of a block: bytes, scales, sums
#define SCALES_OF_X (TOKENS * 4)
#define SUMS_OF_X (HAS_MINIMUM * TOKENS * 8)
#define WEIGHTS (8 * WEIGHT_STAGE)
#define STAGE (WEIGHTS + GROUP * (BYTES_OF_X + SCALES_OF_X + SUMS_OF_X))

extern "C" __global__ void __launch_bounds__(384, 1)
    linear_q8_hopper(RESULTS, const u8* low, const u8* high, const u8* scales, const u8* supers,
                     const i8* __restrict__ xq, const float* __restrict__ dx,
                     const float2* __restrict__ sums, int rows, int stride, int blocks, int tokens,
                     int padded) {
    extern __shared__ __align__(128) u8 stages[];
    __shared__ u64 barriers[2][STAGES];
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tiles = (rows + 15) / 16, run = run_length(blocks), steps = blocks / GROUP;
    int across = (tokens + TOKENS - 1) / TOKENS, pieces = across * ((row_tiles + 7) / 8);
    u32 memory = (u32)__cvta_generic_to_shared(stages);
    u32 full = (u32)__cvta_generic_to_shared(barriers[0]);
    u32 empty = (u32)__cvta_generic_to_shared(barriers[1]);
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; i++)
            make_barrier(full + 8 * i, 4), make_barrier(empty + 8 * i, 8);
    barriers_made();

    int slot = 0, parity = 0;  // of the stage
    if (warp < 4) {  // each brings two row tiles, and a block's x; a lane asks
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        int mine = __shfl_sync(EVERY_LANE, warp, 0);  // the same in all lanes, as the compiler sees
        for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
            Stretch of_w[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int row_tile = mine * 2 + i;
#ifdef ACTIVATION  // of four tiles two of gates, and two of what they let through
                int half = row_tiles / 2, gate = piece / across * 4 + row_tile / 4 * 2 + i;
                long long tile = min(gate, half - 1) + (row_tile % 4 >= 2) * half;
#else
                long long tile = min(piece / across * 8 + row_tile, row_tiles - 1);
#endif
#pragma unroll
                for (int p = 0; p < 4; p++) of_w[i][p] = weight_stretch(w, p, tile * blocks);
            }
            long long token = (long long)mine * padded + piece % across * TOKENS;
            const u8* of_x[3] = {(const u8*)(xq + token * 32), (const u8*)(dx + token),
                                 (const u8*)(sums + token)};
            for (int step = 0; step < steps; step++) {
                u32 barrier = full + 8 * slot, to = memory + slot * STAGE;
                wait(empty + 8 * slot, parity ^ 1);
                if (lane == 0) {
                    expect(barrier, 2 * WEIGHT_STAGE + BYTES_OF_X + SCALES_OF_X + SUMS_OF_X);
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        const Stretch& s = of_w[i / 4][i % 4];
                        int bytes = s.shared ? s.bytes : GROUP * s.bytes;
                        u32 there = to + (mine * 2 + i / 4) * WEIGHT_STAGE + s.to;
                        if (bytes) copy(there, s.from, bytes, barrier);
                    }
                    to += WEIGHTS + mine * BYTES_OF_X;
                    copy(to, of_x[0], BYTES_OF_X, barrier);
                    to += GROUP * BYTES_OF_X - mine * (BYTES_OF_X - SCALES_OF_X);
                    copy(to, of_x[1], SCALES_OF_X, barrier);
                    to += GROUP * SCALES_OF_X - mine * (SCALES_OF_X - SUMS_OF_X);
                    if (HAS_MINIMUM) copy(to, of_x[2], SUMS_OF_X, barrier);
                }
                __syncwarp();
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    Stretch& s = of_w[i / 4][i % 4];
                    if (!s.shared || step % 2) s.from += s.shared ? s.bytes : GROUP * s.bytes;
                }
                long long further = (long long)GROUP * padded;
                of_x[0] += 32 * further, of_x[1] += 4 * further, of_x[2] += 8 * further;
                if (++slot == STAGES) slot = 0, parity ^= 1;
            }
        }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    int first_tile = (warp - 4) / 4 * ROW_TILES, first_token = warp % 4 * 32;  // within the piece
#pragma unroll 1
    for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        float total[ROW_TILES][TOKEN_TILES][4];  // from -0.0f on, since -0.0f + x is x of any sign
#pragma unroll
        for (int i = 0; i < ROW_TILES * TOKEN_TILES * 4; i++)
            total[i / (TOKEN_TILES * 4)][i / 4 % TOKEN_TILES][i % 4] = -0.0f;
        int at = 0;
#pragma unroll 1
        for (int strand = 0; strand < STRANDS; strand++) {
            float acc[ROW_TILES][TOKEN_TILES][4] = {};
            int last = min((strand + 1) * run, blocks);
#pragma unroll 1
            for (; at < last; at += GROUP) {
                wait(full + 8 * slot, parity);
                const u8* stage = stages + slot * STAGE;
                const u8* of_x = stage + WEIGHTS;
                Sources from = sources_of_lane(
                    (const i8*)of_x, (const float*)(of_x + GROUP * BYTES_OF_X),
                    (const float2*)(of_x + GROUP * (BYTES_OF_X + SCALES_OF_X)), first_token, g, c);
#pragma unroll
                for (int u = 0; u < GROUP; u++) {
                    Activations x;
                    load_activations(x, from, u, TOKENS);
#pragma unroll
                    for (int r = 0; r < ROW_TILES; r++) {
                        Raw raw;
                        u32 piece_of[4];
                        Planes planes = planes_of(stage + (first_tile + r) * WEIGHT_STAGE);
                        load_tile(raw, of_lane(planes, 0, lane), u);
                        unpack(raw, piece_of);
                        Scales scales = scales_for(raw);
#pragma unroll
                        for (int n = 0; n < TOKEN_TILES; n++)
                            add_products(acc[r][n], piece_of, scales, x.b[n], x.d[n], x.s[n]);
                    }
                }
                loads_have_come();
                __syncwarp();
                if (lane == 0) arrive(empty + 8 * slot);
                if (++slot == STAGES) slot = 0, parity ^= 1;
            }
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
                for (int n = 0; n < TOKEN_TILES; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        total[r][n][i] += acc[r][n][i];
        }
        int token = piece % across * TOKENS + first_token;
#ifdef ACTIVATION
        int block = piece / across * 2 + first_tile / 4;
        int here = block < row_tiles / 4 ? tokens : 0;
        finish_gated(next_xq, next_dx, next_sums, total, block, token, here, padded);
#else
        int row = (piece / across * 8 + first_tile) * 16 + g;
        finish_all(y, bias, residual, total, row, token + 2 * c, rows, stride, tokens);
#endif
    }
}
