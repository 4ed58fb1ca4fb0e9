// Coordinate d of a head, turned by its position: pairs (2i, 2i + 1), or (i, i + pairs), through
// the angle of `turns`; what lies beyond the pairs stays.
__device__ __forceinline__ float turned(const float* from, int d, const float2* turns, int pairs,
                                        int interleaved) {
    float value = from[d];
    if (d >= 2 * pairs) return value;
    bool second = interleaved ? d & 1 : d >= pairs;
    int i = interleaved ? d / 2 : second ? d - pairs : d;
    int other = interleaved ? d ^ 1 : second ? d - pairs : d + pairs;
    float2 turn = turns[i];
    return second ? fmaf(from[other], turn.y, value * turn.x)
                  : fmaf(value, turn.x, -from[other] * turn.y);
}
