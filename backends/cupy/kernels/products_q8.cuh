// One tile of quantised weights times 8 tokens, scaled and added to acc (the terms of
// linear_q8.cu).

// A block's activations of this lane: its columns' bytes, scales and sums.  Tokens are padded to
// whole tiles, but for a token alone.
struct Activations {
    uint2 b[TOKEN_TILES];
    float d[TOKEN_TILES][2];
    float2 s[TOKEN_TILES][2];
};

// Where this lane reads them, from block 0 on.
struct Sources {
    const i8* xq;
    const float* dx;
    const float2* sums;
};

__device__ __forceinline__ Sources sources_of_lane(const i8* xq, const float* dx,
                                                   const float2* sums, int token, int g, int c) {
    if (ONE_TOKEN) return {xq + c * 8, dx, sums};
    return {xq + (token + g) * 32 + c * 8, dx + token + 2 * c, sums + token + 2 * c};
}

__device__ __forceinline__ void load_activations(Activations& x, const Sources& from, int at,
                                                 int padded) {
    if (ONE_TOKEN) {
        x.b[0] = *((const uint2*)(from.xq + at * 32));
        x.d[0][0] = *(from.dx + at);
        if (HAS_MINIMUM) x.s[0][0] = *(from.sums + at);
        return;
    }
    at *= padded;
#pragma unroll
    for (int n = 0; n < TOKEN_TILES; n++) {
        x.b[n] = *((const uint2*)(from.xq + at * 32 + n * 256));
        float2 d = *((const float2*)(from.dx + at + n * 8));
        x.d[n][0] = d.x, x.d[n][1] = d.y;
        if (HAS_MINIMUM) {
            float4 s = *((const float4*)(from.sums + at + n * 8));
            x.s[n][0] = make_float2(s.x, s.y), x.s[n][1] = make_float2(s.z, s.w);
        }
    }
}

// scale * products - minimum * sum, where `from_start` is FLOAT_START_VALUE + products.  A scale of
// few bits times that constant is exact (`start`), and then one fused operation both takes the
// constant away and rounds scale * products.
__device__ __forceinline__ float term_of(float scale, float start, float from_start, float minimum,
                                         float sum) {
#if FORMAT == PARTS || FORMAT == PARTS_MIN
    float term = scale * (from_start - FLOAT_START_VALUE);
#else
    float term = fmaf(scale, from_start, start);
#endif
    if (HAS_MINIMUM) term = fmaf(-minimum, sum, term);
    return term;
}

__device__ __forceinline__ float add_term(float acc, float d, float scale, float start,
                                          float from_start, float minimum, float sum) {
    return fmaf(d, term_of(scale, start, from_start, minimum, sum), acc);
}

struct Scales {  // of a tile's four pieces
    float scale[4], start[4], minimum[4];
};

__device__ __forceinline__ Scales scales_for(const Raw& raw) {
    Scales s;
    scales_of(raw, s.scale);
    minima_of(raw, s.minimum);
    for (int i = 0; i < 4; i++) s.start[i] = -FLOAT_START_VALUE * s.scale[i];
    return s;
}

__device__ __forceinline__ void add_products(float acc[4], const u32 piece[4], const Scales& w,
                                             uint2 b, const float d[2], const float2 s[2]) {
    float low[4], high[4];
#if SCALES_OF_16
    mma_s8_half(low, piece[0], piece[1], b.x);
    mma_s8_half(high, piece[2], piece[3], b.y);
#else
    mma_s8(low, piece, b.x, b.y);
#endif
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int h = i >> 1, j = i & 1;
        if (ONE_TOKEN && j) continue;
#if SCALES_OF_16
        acc[i] = add_term(acc[i], d[j], w.scale[h], w.start[h], low[i], w.minimum[h], s[j].x);
        acc[i] = add_term(acc[i], d[j], w.scale[2 + h], w.start[2 + h], high[i], w.minimum[2 + h],
                          s[j].y);
#else
        float sum = HAS_MINIMUM ? s[j].x + s[j].y : 0.0f;
        acc[i] = add_term(acc[i], d[j], w.scale[h], w.start[h], low[i], w.minimum[h], sum);
#endif
    }
}
