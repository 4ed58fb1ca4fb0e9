// The gate of a feed-forward network, ACTIVATION: 0 silu, 1 gelu, 2 gelu_tanh
// (refimpl.ops.activation)

__device__ __forceinline__ float activation(float x) {
#if ACTIVATION == 0
    return x / (1.0f + expf(-x));
#elif ACTIVATION == 1
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
#else
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * (x * x * x))));
#endif
}
