// A ring in shared memory for keys and values of a paged cache.  Sixteen keys of a kv head lie side
// by side in a page, and so do their values: two bulk copies are a stage (pipeline.cuh).

#define HALF_STAGE (16 * DIM * 2)  // bytes of 16 keys, or of their values

// Sixteen keys and values from `row` on, of which `count` exist.  Places after the last hold its
// value, whose weight there is 0: what was in memory might not be a number.
__device__ __forceinline__ void ask_stage(u32 stage, u32 full, const Paged& kv, int row,
                                          int count) {
    const u16 *keys = kv.keys + (long long)row * DIM, *values = kv.values + (long long)row * DIM;
    expect(full, HALF_STAGE + count * DIM * 2);
    copy(stage, keys, count * DIM * 2, full);
    copy(stage + HALF_STAGE, values, count * DIM * 2, full);
    for (int i = count; i < 16; i++)
        copy(stage + HALF_STAGE + i * DIM * 2, values + (count - 1) * DIM, DIM * 2, full);
}

__device__ __forceinline__ void take_keys(uint4 k[2][K_CHUNKS], const u8* keys, int g, int c) {
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int e = 0; e < K_CHUNKS; e++)
            k[r][e] = *(const uint4*)(keys + (g + 8 * r) * DIM * 2 + (c + 4 * e) * 16);
}

__device__ __forceinline__ void take_values(uint4 v[4][V_CHUNKS], const u8* values, int g, int c) {
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int e = 0; e < V_CHUNKS; e++)
            v[r][e] = *(const uint4*)(values + (2 * c + (r & 1) + 8 * (r >> 1)) * DIM * 2 +
                                      (g + 8 * e) * 16);
}

// Values apart: each two rows lie 32 bytes further on than they would, so that the eight lanes that
// load together, of four keys 2c and two chunks g, find them in eight different sets of banks.
#define SPREAD(row) ((row) * DIM * 2 + (row) / 2 * 32)
#define SPREAD_STAGE SPREAD(16)

__device__ __forceinline__ void ask_spread(u32 stage, u32 full, const Paged& kv, int row, int count,
                                           int lane) {
    const u16 *keys = kv.keys + (long long)row * DIM, *values = kv.values + (long long)row * DIM;
    u32 to = stage + HALF_STAGE;
    if (lane == 0) {
        expect(full, HALF_STAGE + count * DIM * 2);
        copy(stage, keys, count * DIM * 2, full);
    }
    __syncwarp();
    if (count < 16) {
        if (lane < 16) copy(to + SPREAD(lane), values + min(lane, count - 1) * DIM, DIM * 2, full);
    } else if (lane < 8) {
        copy(to + SPREAD(2 * lane), values + 2 * lane * DIM, DIM * 4, full);
    }
}

__device__ __forceinline__ void take_spread(uint4 v[4][V_CHUNKS], const u8* values, int g, int c) {
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int e = 0; e < V_CHUNKS; e++)
            v[r][e] = *(const uint4*)(values + SPREAD(2 * c + 8 * (r >> 1)) + (r & 1) * DIM * 2 +
                                      (g + 8 * e) * 16);
}

// A column's part: lanes hold four coordinates in a row.
__device__ __forceinline__ void put_part(float* part, const Gathered& sum, int j, int g) {
#pragma unroll
    for (int t = 0; t < DIM_TILES; t += 4)
#pragma unroll
        for (int second = 0; second < 2; second++) {
            int i = 2 * second + j, at = second ? second_of(t) : first_of(t);
            *(float4*)(part + coordinate(at, g)) =
                make_float4(sum.value[0][t][i], sum.value[0][t + 1][i], sum.value[0][t + 2][i],
                            sum.value[0][t + 3][i]);
        }
}
