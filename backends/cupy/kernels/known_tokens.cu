// tokens[i] = drawn[-1 - tokens[i]], where tokens[i] < 0
//
// Must move: a number for each token.  What a step is to begin with, while the draws of the step
// before have not been read by anybody: they are records of `stride` integers.  A thread takes a
// token.

// Grid: (tokens / blockDim.x).
extern "C" __global__ void known_tokens(int* __restrict__ tokens, const int* __restrict__ drawn,
                                        int n, int stride) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && tokens[i] < 0) tokens[i] = drawn[(-1 - tokens[i]) * stride];
}
