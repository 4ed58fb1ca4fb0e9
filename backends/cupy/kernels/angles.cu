// table[t, i] = (cos, sin)(positions[t] * frequencies[i]) * magnitude, in float64 and rounded once
//
// Must move: the table, once out.  Must do: a sine and a cosine in float64 for each pair.
//
// Once a step: every layer and head with these frequencies reads it.  An angle in float32 would be
// off by a millionth of a radian at position 10, and by half a degree at 100,000.

extern "C" __global__ void angles(float2* __restrict__ table, const int* __restrict__ positions,
                                  const double* __restrict__ frequencies, double magnitude,
                                  int pairs) {
    int i = threadIdx.x + blockDim.x * blockIdx.x;
    if (i >= pairs) return;
    double sine, cosine;
    sincos(positions[blockIdx.y] * frequencies[i], &sine, &cosine);
    table[(long long)blockIdx.y * pairs + i] = make_float2(cosine * magnitude, sine * magnitude);
}
