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

// The copy engine can also turn rows, so that whoever loads a column of them finds it in different
// banks.  A tile is 64 coordinates of 16 values, 128 bytes a row, and of row k the 16 bytes g lie in
// place g ^ k % 8 (PTX ISA 9.0, swizzling modes: 128B): eight lanes that load together, of four
// rows 2c and two g, meet in no bank.  One copy is both tiles of a row's 128 coordinates, which the
// map of all values describes (backends/cupy/tile_map.py).

#define TILE (16 * 128)  // bytes; a stage begins at a multiple of eight rows

struct __align__(64) TileMap {
    u64 words[16];
};

// Sixteen keys and values from `row` on, which a page has room for, if not all exist.
__device__ __forceinline__ void ask_tiles(u32 stage, u32 full, const u16* keys,
                                          const TileMap& values, int row, int lane) {
    if (lane == 0) {
        expect(full, 2 * HALF_STAGE);
        copy(stage, keys + (long long)row * DIM, HALF_STAGE, full);
        asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
            "[%0], [%1, {0, %2, 0}], [%3];" ::"r"(stage + HALF_STAGE),
            "l"(&values), "r"(row), "r"(full)
            : "memory");
    }
    __syncwarp();
}

// Values after the last become 0, as their weights are: what was in memory might not be a number.
__device__ __forceinline__ void take_tiles(uint4 v[4][V_CHUNKS], const u8* tiles, int count, int g,
                                           int c) {
    static_assert(V_CHUNKS * TILE == HALF_STAGE, "two tiles");
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int e = 0; e < V_CHUNKS; e++) {
            int row = 2 * c + (r & 1) + 8 * (r >> 1);
            v[r][e] = *(const uint4*)(tiles + e * TILE + row * 128 + (g ^ row % 8) * 16);
        }
    if (count >= 16) return;
#pragma unroll
    for (int r = 0; r < 4; r++)
        if (2 * c + (r & 1) + 8 * (r >> 1) >= count)
            for (int e = 0; e < V_CHUNKS; e++) v[r][e] = {0, 0, 0, 0};
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
