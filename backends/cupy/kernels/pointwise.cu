// y = a + b (OP 0), activation(a) * b (OP 1), activation(a) (OP 2), cap * tanh(a / cap) (OP 3)
//
// Must move: what stands in the formula, once.

#include "numbers.cuh"
#include "activation.cuh"

extern "C" __global__ void pointwise(float* __restrict__ y, const float* __restrict__ a,
                                     const float* __restrict__ b, float cap, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
#if OP == 0
    y[i] = a[i] + b[i];
#elif OP == 1
    y[i] = activation(a[i]) * b[i];
#elif OP == 2
    y[i] = activation(a[i]);
#else
    y[i] = cap * tanhf(a[i] / cap);
#endif
}
