// x = table[tokens] * scale, from a packed table
//
// Must move: the tokens' rows.  Four lanes make a block of 32 columns; grid: (blocks / 8, tokens).

#include "numbers.cuh"
#include "tile.cuh"
#include "weights.cuh"

extern "C" __global__ void embed(float* __restrict__ x, const u8* low, const u8* high,
                                 const u8* scales, const u8* supers, const int* __restrict__ ids,
                                 float scale, int blocks, int columns) {
    Planes w = {low, high, scales, supers};
    int at = blockIdx.x * (blockDim.x / 4) + threadIdx.x / 4, c = threadIdx.x % 4,
        row = ids[blockIdx.y];
    if (at >= blocks) return;
    Lane held;
    float weight[4][4];
    load_lane(held, planes_of_lane(w, (long long)(row / 16) * blocks, row % 8 * 4 + c), at);
    weights_of(weight, held);
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 4; j++) {
            int column = at * 32 + half * 16 + 4 * c + j;
            float value = row % 16 < 8 ? weight[2 * half][j] : weight[2 * half + 1][j];
            if (column < columns) x[(long long)blockIdx.y * columns + column] = value * scale;
        }
}
