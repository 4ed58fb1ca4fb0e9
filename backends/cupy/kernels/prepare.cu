// What a linear map reads: x as float32, quantised, or in half precision.
//
//   KIND Q8_0       d = max |x| / 127 of 32 columns, q = round(x / d), d in float16
//   KIND Q8_K       q = nearest(x * (-127 / the largest)) of 256 columns
//   KIND F16, BF16  x.astype(float16), x.astype(bfloat16)
//
// as ggml's quantize_row_q8_0_ref and quantize_row_q8_K_ref do.
//
// With NORM first  x / sqrt(mean(x * x) + eps) * weight  of the row, rounded to float32; with GLU
// first  activation(gate) * up  of a row [gate, up].  Must move: x once, the result once.
// A block takes a row.  PIECES: so many times four columns a thread has of it, and keeps them; then
// the norm's weights, which mostly come from memory, are asked for before the row is there.
//
// Results lie as the linear kernels read them: [block of 32 columns][token][32], and within those
// 32 columns in the order of a tile's lanes: 0-3 16-19 4-7 20-23 ... (F16: the same).

#include "numbers.cuh"
#include "activation.cuh"

#include "half_row.cuh"
#include "prepare.cuh"

#ifdef PIECES
// Four columns; beyond the last there are zeros.
__device__ __forceinline__ float4 four_at(const float4* from, int i, int columns) {
    return i < columns / 4 ? from[i] : make_float4(0, 0, 0, 0);
}
#endif

// columns is a multiple of 32 (of 256 for Q8_K); blockDim.x of 32.
extern "C" __global__ void prepare(const float* x, const float* __restrict__ weight, float eps,
                                   float* plain, void* packed, float* dx, float2* sums, int columns,
                                   int padded) {
    int t = blockIdx.x;
    let_next_begin();
#ifdef PIECES
    const float4* row = (const float4*)(x + (long long)t * columns);
    float4 four[PIECES], by[PIECES];
    float v[PIECES][4], squares = 0;
#pragma unroll
    for (int j = 0; j < PIECES; j++) by[j] = four_at((const float4*)weight, four_of(j), columns);
    wait_for_previous();
#pragma unroll
    for (int j = 0; j < PIECES; j++) four[j] = four_at(row, four_of(j), columns);
#pragma unroll
    for (int j = 0; j < PIECES; j++) {
        add_squares(squares, four[j]);
        v[j][0] = four[j].x, v[j][1] = four[j].y, v[j][2] = four[j].z, v[j][3] = four[j].w;
    }
    normalise(v, by, root_of_sum(squares, columns, eps));
    store(v, 0, columns, t, padded, packed, dx, sums);
#else
    wait_for_previous();
#ifdef NORM
    float root = root_of(x + (long long)t * columns, columns, eps);
#endif
    int step = UNIT * blockDim.x;
    for (int start = blockIdx.y * step; start < columns / 4; start += step * gridDim.y) {
        float v[UNIT][4] = {};
#ifdef NORM
        float4 by[UNIT] = {};
#endif
#pragma unroll
        for (int h = 0; h < UNIT; h++) {
            int i = start + four_of(h);
            if (i >= columns / 4) continue;
#if defined(GLU)
            const float4* both = (const float4*)(x + 2ll * t * columns);
            float4 gate = both[i], up = both[columns / 4 + i];
            v[h][0] = activation(gate.x) * up.x, v[h][1] = activation(gate.y) * up.y;
            v[h][2] = activation(gate.z) * up.z, v[h][3] = activation(gate.w) * up.w;
#else
            float4 four = ((const float4*)(x + (long long)t * columns))[i];
            v[h][0] = four.x, v[h][1] = four.y, v[h][2] = four.z, v[h][3] = four.w;
#endif
#ifdef NORM
            by[h] = ((const float4*)weight)[i];
#endif
        }
#ifdef NORM
        normalise(v, by, root);
#endif
#pragma unroll
        for (int h = 0; h < UNIT; h++) {
            int i = start + four_of(h);
            if (plain && i < columns / 4)
                ((float4*)(plain + (long long)t * columns))[i] =
                    make_float4(v[h][0], v[h][1], v[h][2], v[h][3]);
        }
        store(v, start, columns, t, padded, packed, dx, sums);
    }
#endif
}
