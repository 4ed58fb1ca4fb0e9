// A tile of weights: 16 rows by 32 columns, stored so that a warp reads it with whole 16- or 8-byte
// loads and finds it in the registers where the tensor cores want it.
//
// Lane (g, c) = (lane / 4, lane % 4) holds, of the rows g and g + 8, the columns 4c .. 4c+3 (half
// 0) and 16 + 4c .. 16 + 4c+3 (half 1).  A *piece* is four weights of one row: piece[2 * half +
// (row is g + 8)].  backends/cupy/tiles.py packs, and its docstring draws the picture.
//
//   weight = scale[piece] * q - minimum[piece]
//
// A format is where the bits of q are (planes `low` and `high`), how a byte is made of them, and
// where the scales are (planes `scales` and `supers`).  Bytes may come out multiplied by 2**SHIFT,
// which saves sign extension; the scale is divided by it, which is exact.
//
//   format   low    high  SHIFT  scales, for rows g and g + 8     supers, for 8 tiles
//   Q8_0     int8         0      float16 d
//   Q4_0     s4           4      float16 d
//   Q5_0     4      1     3      float16 d
//   IQ4_NL   index        0      float16 d
//   MXFP4    index        0      E8M0
//   Q4_K     u4           0      scale, minimum: uint8            float16 d, dmin
//   Q5_K     4      1     0      scale, minimum: uint8            float16 d, dmin
//   Q6_K     4      2     2      int8, for each half              float16 d
//   PARTS    int8         0      float32, for each half           (float32 minima, a tile's)

struct Planes {  // in global memory, or a stage of ring.cuh
    const u8* low;
    const u8* high;
    const u8* scales;
    const u8* supers;
};

#define Q8_0 1
#define Q4_0 2
#define Q5_0 3
#define IQ4_NL 4
#define MXFP4 5
#define Q4_K 6
#define Q5_K 7
#define Q6_K 8
#define PARTS 9
#define PARTS_MIN 10

#if FORMAT == Q8_0 || FORMAT == PARTS || FORMAT == PARTS_MIN
#define LOW_BYTES 16
#else
#define LOW_BYTES 8
#endif
#if FORMAT == Q4_K || FORMAT == Q5_K || FORMAT == PARTS_MIN
#define HAS_MINIMUM 1
#else
#define HAS_MINIMUM 0
#endif
#if FORMAT == Q6_K || FORMAT == PARTS || FORMAT == PARTS_MIN
#define SCALES_OF_16 1  // the two halves of a tile have scales of their own
#else
#define SCALES_OF_16 0
#endif
#if FORMAT == Q4_0
#define SHIFT 4
#elif FORMAT == Q5_0
#define SHIFT 3
#elif FORMAT == Q6_K
#define SHIFT 2
#else
#define SHIFT 0
#endif

// Bytes of a tile in each plane.
#if FORMAT >= 20  // not quantised: float32, or half precision
#define LOW_TILE (FORMAT == 20 ? 2048 : 1024)
#else
#define LOW_TILE (LOW_BYTES * WARP)
#endif
#if FORMAT == Q5_0 || FORMAT == Q5_K
#define HIGH_TILE 64
#elif FORMAT == Q6_K
#define HIGH_TILE 128
#else
#define HIGH_TILE 0
#endif
#if FORMAT >= 20
#define SCALE_TILE 0
#elif FORMAT == PARTS || FORMAT == PARTS_MIN
#define SCALE_TILE 128
#elif FORMAT == MXFP4
#define SCALE_TILE 16
#else
#define SCALE_TILE 32
#endif
#if FORMAT == Q4_K || FORMAT == Q5_K
#define SUPERS 64  // of 8 tiles
#elif FORMAT == Q6_K
#define SUPERS 32
#elif FORMAT == PARTS_MIN
#define SUPERS 128  // of one
#else
#define SUPERS 0
#endif

#ifdef FROM_STAGES  // of ring.cuh
#define LOAD(at) (*(at))
#define LOAD_ONCE(at) (*(at))
#else
#define LOAD(at) __ldg(at)
#define LOAD_ONCE(at) __ldcs(at)  // weights: what the caches hold of them is not asked for again
#endif

// A lane's share of a tile as it lies in memory.
struct Raw {
    u32 low[4];
    u32 high;
    float scales[4], minima[4];
    u32 scale, super_d, super_m;
};

__device__ __forceinline__ u32 load_32(const u8* at) { return LOAD_ONCE((const u32*)at); }

__device__ __forceinline__ u32 load_16(const u8* at) { return LOAD_ONCE((const u16*)at); }

__device__ __forceinline__ void load_floats(float x[4], const u8* at) {
    float4 four = LOAD_ONCE((const float4*)at);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
}

// The planes from a tile on, as this lane reads them: then a tile is one multiple away.
__device__ __forceinline__ Planes of_lane(const Planes& w, long long tile, int lane) {
    int g = lane >> 2, per_row = SCALE_TILE / 8;
    long long super = FORMAT == PARTS_MIN ? tile : tile / 8;
    return {w.low + tile * LOW_TILE + lane * LOW_BYTES,
            w.high + tile * HIGH_TILE + lane * (HIGH_TILE / WARP),
            w.scales + tile * SCALE_TILE + g * per_row,
            w.supers + super * SUPERS + g * (SUPERS / 8)};
}

__device__ __forceinline__ void load_weights(Raw& r, const Planes& mine, int at) {
#if LOW_BYTES == 16
    uint4 four = LOAD_ONCE((const uint4*)(mine.low + at * LOW_TILE));
    r.low[0] = four.x, r.low[1] = four.y, r.low[2] = four.z, r.low[3] = four.w;
#else
    uint2 two = LOAD_ONCE((const uint2*)(mine.low + at * LOW_TILE));
    r.low[0] = two.x, r.low[1] = two.y;
#endif
#if FORMAT == Q5_0 || FORMAT == Q5_K
    r.high = load_16(mine.high + at * HIGH_TILE);
#elif FORMAT == Q6_K
    r.high = load_32(mine.high + at * HIGH_TILE);
#endif
}

__device__ __forceinline__ void load_scales(Raw& r, const Planes& mine, int at) {
#if FORMAT == PARTS || FORMAT == PARTS_MIN
    load_floats(r.scales, mine.scales + at * SCALE_TILE);
#elif FORMAT == MXFP4
    r.scale = load_16(mine.scales + at * SCALE_TILE);
#else
    r.scale = load_32(mine.scales + at * SCALE_TILE);
#endif
#if FORMAT == PARTS_MIN
    load_floats(r.minima, mine.supers + at * SUPERS);
#elif FORMAT == Q4_K || FORMAT == Q5_K
    uint2 both = LOAD((const uint2*)(mine.supers + (u32)at / 8 * SUPERS));
    r.super_d = both.x, r.super_m = both.y;
#elif FORMAT == Q6_K
    r.super_d = LOAD((const u32*)(mine.supers + (u32)at / 8 * SUPERS));
#endif
}

__device__ __forceinline__ void load_tile(Raw& r, const Planes& mine, int at) {
    load_weights(r, mine, at);
    load_scales(r, mine, at);
}

// Bit i of four goes to bit 0 of byte i.
__device__ __forceinline__ u32 spread_bits(u32 four) { return (four * 0x00204081u) & 0x01010101u; }

#if FORMAT == IQ4_NL
#define TABLE_0 0xbfad9881u  // -127 -104 -83 -65
#define TABLE_1 0xf6eaddcfu  // -49 -35 -22 -10
#define TABLE_2 0x26190d01u  // 1 13 25 38
#define TABLE_3 0x71594535u  // 53 69 89 113
#elif FORMAT == MXFP4
#define TABLE_0 0x03020100u  // 0 1 2 3: E2M1, doubled
#define TABLE_1 0x0c080604u  // 4 6 8 12
#define TABLE_2 0xfdfeff00u
#define TABLE_3 0xf4f8fafcu
#endif

#ifdef TABLE_0
// Four nibbles (the low 16 bits) as indices into the table of 16 bytes.
__device__ __forceinline__ u32 looked_up(u32 nibbles) {
    u32 below = __byte_perm(TABLE_0, TABLE_1, nibbles & 0x7777u);
    u32 above = __byte_perm(TABLE_2, TABLE_3, nibbles & 0x7777u);
    return __byte_perm(below, above, 0x3210u | (nibbles & 0x8888u) >> 1);
}
#endif

// The four pieces as signed bytes, q * 2**SHIFT.
__device__ __forceinline__ void unpack(const Raw& r, u32 piece[4]) {
#if LOW_BYTES == 16
    for (int i = 0; i < 4; i++) piece[i] = r.low[i];
#elif defined(TABLE_0)
    for (int h = 0; h < 2; h++) {  // a byte is a weight of each half: they come out in turns
        u32 first = looked_up(r.low[h]), second = looked_up(r.low[h] >> 16);
        piece[h] = __byte_perm(first, second, 0x6420);
        piece[2 + h] = __byte_perm(first, second, 0x7531);
    }
#else
    for (int i = 0; i < 4; i++) {
        u32 word = r.low[i & 1];
#if FORMAT == Q4_0
        piece[i] = (i < 2 ? word << 4 : word) & 0xf0f0f0f0u;
#elif FORMAT == Q5_0
        piece[i] = (i < 2 ? word << 3 : word >> 1) & 0x78787878u;
        piece[i] |= spread_bits(r.high >> 4 * i & 15) << 7;
#elif FORMAT == Q5_K
        piece[i] = (i < 2 ? word : word >> 4) & 0x0f0f0f0fu;
        piece[i] |= spread_bits(r.high >> 4 * i & 15) << 4;
#elif FORMAT == Q6_K
        piece[i] = (i < 2 ? word << 2 : word >> 2) & 0x3c3c3c3cu;
        piece[i] |= (i < 3 ? r.high << (6 - 2 * i) : r.high) & 0xc0c0c0c0u;
#elif FORMAT == Q4_K
        piece[i] = (i < 2 ? word : word >> 4) & 0x0f0f0f0fu;
#endif
    }
#endif
}

// Byte i of four as a number: it becomes the last bits of 2**23, which is then taken away.
__device__ __forceinline__ float from_byte(u32 four, int i) {
    return __uint_as_float(__byte_perm(four, 0x4b000000u, 0x7440 | i)) - 8388608.0f;
}

// The scale of each piece, divided by 2**SHIFT.
__device__ __forceinline__ void scales_of(const Raw& r, float scale[4]) {
    const float unit = 1.0f / (1 << SHIFT);
    for (int i = 0; i < 4; i++) {
#if FORMAT == PARTS || FORMAT == PARTS_MIN
        scale[i] = r.scales[i];
#elif FORMAT == Q6_K
        scale[i] = (float)(i8)(r.scale >> 8 * i) * (from_f16(r.super_d >> 16 * (i & 1)) * unit);
#elif FORMAT == Q4_K || FORMAT == Q5_K
        scale[i] = from_byte(r.scale, i & 1) * from_f16(r.super_d >> 16 * (i & 1));
#elif FORMAT == MXFP4
        u32 e = r.scale >> 8 * (i & 1) & 255;
        scale[i] = e ? __uint_as_float(e << 23) * 0.5f : __uint_as_float(0x00200000u);
#else
        scale[i] = from_f16(r.scale >> 16 * (i & 1)) * unit;
#endif
    }
}

__device__ __forceinline__ void minima_of(const Raw& r, float minimum[4]) {
    for (int i = 0; i < 4; i++) {
#if FORMAT == PARTS_MIN
        minimum[i] = r.minima[i];
#elif HAS_MINIMUM
        minimum[i] = from_byte(r.scale, 2 + (i & 1)) * from_f16(r.super_m >> 16 * (i & 1));
#else
        minimum[i] = 0;
#endif
    }
}
