// A lane's 16 weights of a tile as float32, in every bit what NumPy's dequantisation gives.
//
// The formats of tile.cuh, and three that are not quantised: F32 as [piece][lane] of four numbers;
// F16 and BF16 as linear_half.cu reads them, two matrices of 16 columns.

#define F32 20
#define F16 21
#define BF16 22

#if FORMAT < F32
typedef Raw Lane;
#elif FORMAT == F32
struct Lane {
    float4 piece[4];
};
#else
struct Lane {
    uint2 piece[4];
};
#endif

// Tile `at` of planes that begin with this lane's share (of_lane, or below).
__device__ __forceinline__ void load_lane(Lane& into, const Planes& mine, int at) {
#if FORMAT < F32
    load_tile(into, mine, at);
#elif FORMAT == F32
    for (int i = 0; i < 4; i++)
        into.piece[i] = *(const float4*)(mine.low + (at * 4 + i) * WARP * 16);
#else  // the matrices of linear_half.cu: a half of the columns each, {g, g + 8, g, g + 8}
    for (int m = 0; m < 2; m++) {
        uint4 a = *(const uint4*)(mine.low + (at * 2 + m) * WARP * 16);
        into.piece[2 * m] = make_uint2(a.x, a.z), into.piece[2 * m + 1] = make_uint2(a.y, a.w);
    }
#endif
}

__device__ __forceinline__ Planes planes_of_lane(const Planes& w, long long tile, int lane) {
#if FORMAT < F32
    return of_lane(w, tile, lane);
#else
    return {w.low + tile * LOW_TILE + lane * 16, w.high, w.scales, w.supers};
#endif
}

// The weights of a piece in float32, exactly as dequantised: scale * q, then minus the minimum.
__device__ __forceinline__ void weights_of(float weight[4][4], const Lane& lane) {
#if FORMAT < F32
    u32 piece[4];
    float scale[4], minimum[4];
    unpack(lane, piece);
    scales_of(lane, scale);
    minima_of(lane, minimum);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float q = (float)(i8)(piece[i] >> 8 * j);
            weight[i][j] =
                HAS_MINIMUM ? __fsub_rn(__fmul_rn(scale[i], q), minimum[i]) : scale[i] * q;
        }
#elif FORMAT == F32
#pragma unroll
    for (int i = 0; i < 4; i++) {
        weight[i][0] = lane.piece[i].x, weight[i][1] = lane.piece[i].y;
        weight[i][2] = lane.piece[i].z, weight[i][3] = lane.piece[i].w;
    }
#else
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 bits = (j < 2 ? lane.piece[i].x : lane.piece[i].y) >> 16 * (j & 1) & 0xffff;
            weight[i][j] = FORMAT == F16 ? from_f16(bits) : from_bf16(bits);
        }
#endif
}
