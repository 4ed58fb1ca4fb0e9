// y = x @ w.T, of float32 activations and weights of any format, for few tokens    (act="none")
//
// Must move: the packed weights, once.  Must do: for each weight 1 or 2 operations to make it the
// float32 that NumPy would see, in every bit, and a fused multiply-add for each token.  That is a
// float32 sum in an order of its own, which the bound of refimpl.ops.bounds covers.
//
// The order: a lane adds up its eight columns of each block, block after block of its run; the four
// lanes of a row in pairs; then the STRANDS runs in order.  Nothing of it depends on the batch.
//
// Grid: (row tiles, tokens / TOKENS).  x: [tokens][columns] float32.  Formats of tile.cuh, and
// three that are not quantised, [row tile][block][piece][lane] times four numbers: F32, F16, BF16.

#define STRANDS 8
#define FROM_STAGES

#include "numbers.cuh"
#include "tile.cuh"
#include "weights.cuh"
#include "strands.cuh"
#include "pipeline.cuh"
#include "ring.cuh"

extern "C" __global__ void __launch_bounds__(STRANDS* WARP)
    linear_exact(float* __restrict__ y, const float* __restrict__ bias,
                 const float* __restrict__ residual, const u8* low, const u8* high,
                 const u8* scales, const u8* supers, const float* __restrict__ x, int rows,
                 int stride, int blocks, int tokens) {
    Planes w = {low, high, scales, supers};
    int lane = threadIdx.x % WARP, strand = threadIdx.x / WARP, g = lane >> 2, c = lane & 3;
    int row_tile = blockIdx.x, token = blockIdx.y * TOKENS;
    int run = run_length(blocks);
    int first = min(strand * run, blocks), last = min(first + run, blocks);
    float acc[2][TOKENS] = {};

    // A stage: a row tile's weights, then of each token the GROUP * 32 columns.
    extern __shared__ __align__(16) u8 shared_ring[];
    __shared__ u64 barriers[STRANDS][STAGES];
    constexpr int STAGE = WEIGHT_STAGE + TOKENS * GROUP * 128;
    u8* stages = shared_ring + strand * STAGES * STAGE;
    Stretch mine = {};
    if (lane < 4) mine = weight_stretch(w, lane, (long long)row_tile * blocks);
    if (lane >= 4 && lane < 4 + TOKENS) {
        const float* row = x + (long long)min(token + lane - 4, tokens - 1) * blocks * 32;
        mine = {(const u8*)row, WEIGHT_STAGE + (lane - 4) * GROUP * 128, 128, false};
    }
    bool has = mine.bytes > 0;
    Ring ring = make_ring(stages, STAGE, barriers[strand], __popc(__ballot_sync(EVERY_LANE, has)));

    auto add_block = [&](const u8* stage, int u) {
        Lane held;
        float weight[4][4];
        load_lane(held, planes_of_lane(planes_of(stage), 0, lane), u);
        weights_of(weight, held);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const float4* from = (const float4*)(stage + WEIGHT_STAGE + (t * GROUP + u) * 128) + c;
            float4 low = from[0], high = from[4];
            float column[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    acc[i & 1][t] = fmaf(weight[i][j], column[i >> 1][j], acc[i & 1][t]);
        }
    };
    for (int i = 0; i < STAGES - 1; i++) {
        int at = first + i * GROUP;
        if (at < last) fetch(ring, i, mine, has, at, min(GROUP, last - at));
        end_of_stage();
    }
    int slot = 0, free_slot = STAGES - 1;
    for (int at = first; at < last; at += GROUP) {
        wait_for(ring, slot);
        int next = at + (STAGES - 1) * GROUP;
        if (next < last) fetch(ring, free_slot, mine, has, next, min(GROUP, last - next));
        end_of_stage();
#pragma unroll 2
        for (int u = 0; u < min(GROUP, last - at); u++) add_block(stages + slot * STAGE, u);
        free_slot = slot, slot = slot + 1 == STAGES ? 0 : slot + 1;
    }

    __shared__ float sums[STRANDS][16][TOKENS];
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int n = 0; n < TOKENS; n++) {
            float sum = acc[h][n];
            sum += __shfl_xor_sync(EVERY_LANE, sum, 1);
            sum += __shfl_xor_sync(EVERY_LANE, sum, 2);
            if (c == 0) sums[strand][g + 8 * h][n] = sum;
        }
    __syncthreads();
    for (int at = threadIdx.x; at < 16 * TOKENS; at += blockDim.x) {
        int row = at / TOKENS, n = at % TOKENS;
        float sum = sums[0][row][n];
        for (int s = 1; s < STRANDS; s++) sum += sums[s][row][n];
        finish(y, bias, residual, sum, row_tile * 16 + row, token + n, rows, stride, tokens);
    }
}
