// x / sqrt(mean(x * x) + eps) * weight, or with LAYER (x - mean) / sqrt(variance + eps) * weight +
// bias
//
// For rows of any length; prepare.cu is the fused one.  Must move: x, and the result.  A block
// takes a row; a thread adds up its columns in order, then come halves.

#include "numbers.cuh"

__device__ float row_sum(float x) {
    __shared__ float sums[WARP];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_sum(threadIdx.x % WARP < blockDim.x / WARP ? sums[threadIdx.x % WARP] : 0.0f);
}

extern "C" __global__ void normalise(float* __restrict__ y, const float* __restrict__ x,
                                     const float* __restrict__ weight,
                                     const float* __restrict__ bias, float eps, int columns) {
    const float* row = x + (long long)blockIdx.x * columns;
    float mean = 0, squares = 0;
#ifdef LAYER
    for (int k = threadIdx.x; k < columns; k += blockDim.x) mean += row[k];
    mean = __fdiv_rn(row_sum(mean), (float)columns);
#endif
    for (int k = threadIdx.x; k < columns; k += blockDim.x) {
        float centred = row[k] - mean;
        squares = fmaf(centred, centred, squares);
    }
    float root = __fsqrt_rn(__fdiv_rn(row_sum(squares), (float)columns) + eps);
    for (int k = threadIdx.x; k < columns; k += blockDim.x) {
        float scaled = __fdiv_rn(row[k] - mean, root) * weight[k];
        y[(long long)blockIdx.x * columns + k] = bias ? scaled + bias[k] : scaled;
    }
}
