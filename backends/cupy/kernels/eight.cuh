// One token by eight tiles of a row at once.  A tensor core multiplies a tile (16 rows, 32 columns)
// with 8 tokens; here is one.  So its eight columns stand for eight *blocks*: each of eight tiles
// meets the same matrix, the token's 32 bytes of all eight blocks.  Of tile u's eight columns of
// products the u-th is of use:
//
//   tile 0 [ t0 t1 .. t7 ] = [ * . .. . ]
//   tile 1 [ t0 t1 .. t7 ] = [ . * .. . ]     eight products, none of which waits for another,
//     ..                                      and each lane keeps four numbers of the 32
//   tile 7 [ t0 t1 .. t7 ] = [ . . .. * ]
//
// for which it fetches and unpacks scales: once for 512 weights what would be done 8 times over.
// Sums must still be added up block after block.  Lanes 4g and 4g + 2 take row g, the others row
// g + 8: the first of two has blocks 0-3, and hands its sum to the second, which has blocks 4-7.

#define TILES 8  // of a row, at once
#define HALVES (1 + SCALES_OF_16)  // of a block, with scales of their own

// Eight tiles of a row, of one strand; a lane has the scales of tiles 2c and 2c + 1.
struct Eight {
    Raw weights[TILES], scales[2];
};

// The token's share: bytes of block g, sums of blocks 2c and 2c + 1, scales of a lane's four.
struct Token {
    uint2 bytes;
    float4 sums;
    float4 d;
};

__device__ __forceinline__ void load_token(Token& x, const i8* xq, const float* dx,
                                           const float2* sums, int at, int lane) {
    int g = lane >> 2, c = lane & 3;
    x.bytes = *((const uint2*)(xq + (at + g) * 32 + c * 8));
    x.d = *((const float4*)(dx + at + (c >> 1) * 4));
    if (HAS_MINIMUM) x.sums = *((const float4*)(sums + at + 2 * c));
}

// sum[half][0..3]: rows g, g, g + 8, g + 8 of tiles 2c, 2c + 1, 2c, 2c + 1.
__device__ __forceinline__ void multiply(float sum[HALVES][4], const Eight& w, uint2 bytes, int c) {
#pragma unroll
    for (int u = 0; u < TILES; u++) {
        u32 piece[4];
        float products[HALVES][4];
        unpack(w.weights[u], piece);
#if SCALES_OF_16
        mma_s8_half(products[0], piece[0], piece[1], bytes.x);
        mma_s8_half(products[1], piece[2], piece[3], bytes.y);
#else
        mma_s8(products[0], piece, bytes.x, bytes.y);
#endif
#pragma unroll
        for (int half = 0; half < HALVES; half++)
#pragma unroll
            for (int i = u % 2; i < 4; i += 2)
                sum[half][i] = u < 2 || c == u / 2 ? products[half][i] : sum[half][i];
    }
}

// The terms of linear_q8.cu, by row (g, g + 8), half and tile (2c, 2c + 1).
__device__ __forceinline__ void make_terms(float term[2][HALVES][2], const float sum[HALVES][4],
                                           const Eight& w, const Token& x) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        Scales of = scales_for(w.scales[j]);
        float low = j ? x.sums.z : x.sums.x, high = j ? x.sums.w : x.sums.y;
#pragma unroll
        for (int half = 0; half < HALVES; half++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float sum_of_x = !HAS_MINIMUM ? 0 : HALVES == 1 ? low + high : half ? high : low;
                int piece = 2 * half + h;
                term[h][half][j] =
                    term_of(of.scale[piece], of.start[piece], sum[half][2 * h + j],
                            of.minimum[piece], sum_of_x);
            }
    }
}

// The token's bytes, scales and sums, in shared memory with room for eight blocks more.
struct Prepared {
    i8* xq;
    float2* sums;
    float* dx;
};

__device__ __forceinline__ int room_for(int blocks) { return (blocks + 15) / 8 * 8; }

__device__ __forceinline__ Prepared room_of(u8* shared, int room) {
    return {(i8*)shared, (float2*)(shared + room * 32), (float*)(shared + room * 40)};
}

// acc + the eight tiles' terms, in order.  acc is of row g or g + 8, in the second of the row's two
// lanes; tiles from `end` on are not the strand's.
__device__ __forceinline__ float add_eight(float acc, const Eight& eight, const Prepared& token,
                                           int at, int end, int lane) {
    Token x;
    int c = lane & 3;
    float sum[HALVES][4], term[2][HALVES][2];
    load_token(x, token.xq, token.dx, token.sums, at, lane);
    multiply(sum, eight, x.bytes, c);
    make_terms(term, sum, eight, x);
    // Neighbours exchange: even lanes get all of row g, odd ones all of row g + 8.
    bool odd = c & 1;
    float mine[4][HALVES];  // blocks 0-3, or 4-7, in order
#pragma unroll
    for (int half = 0; half < HALVES; half++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float kept = odd ? term[1][half][j] : term[0][half][j];
            float given = odd ? term[0][half][j] : term[1][half][j];
            float taken = __shfl_xor_sync(EVERY_LANE, given, 1);
            mine[j][half] = odd ? taken : kept;
            mine[2 + j][half] = odd ? kept : taken;
        }
    float d[4] = {x.d.x, x.d.y, x.d.z, x.d.w};
#pragma unroll
    for (int turn = 0; turn < 2; turn++) {  // blocks 0-3 in lanes 0, 1; then 4-7 in lanes 2, 3
        acc = __shfl_xor_sync(EVERY_LANE, acc, 2);
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (at + (c >> 1) * 4 + i < end)
#pragma unroll
                for (int half = 0; half < HALVES; half++) acc = fmaf(d[i], mine[i][half], acc);
    }
    return acc;
}
