// Attention of a few queries over a run of keys in a paged cache, on the tensor cores, to float32's
// precision.  attend_split.cu and attend_walk.cu are made of this, and so give the same bits.
//
// A warp has 8 * TILES *columns*.  A column is a query: a token and one of the heads that share a
// key/value head (GQA), so a single token of a model with 8 such heads fills a tile.  Keys come 16
// at a time, from positions that are multiples of 16:
//
//   scores   [16 keys, columns]  = K [16, DIM]    @ q.T [DIM, columns]
//   weights  [16 keys, columns]  = 2**(scores - top)
//   gathered [DIM, columns]     += V.T [DIM, 16]  @ weights
//
// Both products take registers only.  Since a sum over coordinates does not care for their names, a
// lane takes as "its" coordinates those that it can load with 16 bytes at a time; scores come out
// with lanes along the columns, and `transposed` turns them into the second product's operand.
//
// Precision: keys and values are in half precision, exactly as they are.  Queries and weights are
// float32, so each is split into PARTS_OF half-precision numbers whose sum it is (to 2**-22), and
// the products are added up.  Powers of two keep the parts clear of float16's subnormals.
//
// Order: 16 keys after 16 within SPLIT keys; then split after split (`merge`).  Positions decide
// it, so neither the batch, nor the schedule, nor the blocks have a say in a bit.

#if HALF == 16  // float16: 11 bits a part
#define PARTS_OF 2
#define PAIR pair_f16
#define HALF_VALUE(bits) from_f16(bits)
#define MMA mma_f16
#else  // bfloat16: 8 bits a part
#define PARTS_OF 3
#define PAIR pair_bf16
#define HALF_VALUE(bits) from_bf16(bits)
#define MMA mma_bf16
#endif
#define K_CHUNKS (DIM / 32)  // of 8 coordinates, a lane's of a key
#define V_CHUNKS (DIM / 64)  // of 8 coordinates, a lane's of a value
#define DIM_TILES (DIM / 16)

struct Paged {  // one layer's keys and values: [block][kv head][place in the block][DIM]
    const u16* keys;
    const u16* values;
    const int* table;  // of the sequence: blocks of table_block slots (1 in a tree of guesses)
    int table_block, block_size, kv_heads, kv_head;
};

// Which row of keys, and of values, the key at a position is.
__device__ __forceinline__ int row_at(const Paged& kv, int position) {
#ifdef PAGE_SHIFT  // blocks of 2**PAGE_SHIFT, and tables of blocks: dividing takes no time
    int block = __ldg(kv.table + (position >> PAGE_SHIFT)), page = 1 << PAGE_SHIFT;
    return (block * kv.kv_heads + kv.kv_head) * page + (position & (page - 1));
#else
    int slot = __ldg(kv.table + position / kv.table_block) * kv.table_block +
               position % kv.table_block;
    return (slot / kv.block_size * kv.kv_heads + kv.kv_head) * kv.block_size + slot % kv.block_size;
#endif
}

// The same of each key of a split; those after the last are the last.
__device__ __forceinline__ void find_rows(int rows[SPLIT], const Paged& kv, int split_start,
                                          int last) {
    __syncwarp();
    for (int i = threadIdx.x % WARP; i < SPLIT; i += WARP)
        rows[i] = row_at(kv, min(split_start + i, last));
    __syncwarp();
}

struct Queries {  // a lane's share of the columns' queries, split, and scaled by a power of two
    u32 part[TILES][PARTS_OF][2 * K_CHUNKS][2];
    float unit[TILES][2];  // what undoes the scaling, for columns 2c and 2c + 1
};

struct Gathered {  // lanes hold columns 2c and 2c + 1 of a tile, and DIM / 8 of their coordinates
    float top[TILES][2], total[TILES][2];
    float value[TILES][DIM_TILES][4];
};

__device__ __forceinline__ void clear(Gathered& into) {
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) into.top[n][j] = NEVER, into.total[n][j] = 0;
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int t = 0; t < DIM_TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) into.value[n][t][i] = 0;
}

// Two numbers as PARTS_OF pairs in half precision, largest first.
__device__ __forceinline__ void split_pair(u32 part[PARTS_OF], float x, float y) {
#pragma unroll
    for (int p = 0; p < PARTS_OF; p++) {
        part[p] = PAIR(x, y);
        x -= HALF_VALUE(part[p] & 0xffff), y -= HALF_VALUE(part[p] >> 16);
    }
}

// q: the column's query, DIM numbers, for the column of this lane (g) in tile n.
__device__ __forceinline__ void split_query(Queries& into, int n, const float* q, float scale,
                                            int c) {
    float x[K_CHUNKS][8], most = 0;
#pragma unroll
    for (int e = 0; e < K_CHUNKS; e++) {
        float4 a = *(const float4*)(q + (c + 4 * e) * 8),
               b = *(const float4*)(q + (c + 4 * e) * 8 + 4);
        x[e][0] = a.x, x[e][1] = a.y, x[e][2] = a.z, x[e][3] = a.w;
        x[e][4] = b.x, x[e][5] = b.y, x[e][6] = b.z, x[e][7] = b.w;
#pragma unroll
        for (int j = 0; j < 8; j++) x[e][j] *= scale, most = fmaxf(most, fabsf(x[e][j]));
    }
    most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 1));
    most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 2));
    int exponent = (int)(__float_as_uint(most) >> 23) - 127;  // 2**exponent <= most
    int raise = min(max(13 - exponent, -100), 100);
    float up = __uint_as_float((u32)(raise + 127) << 23),
          down = __uint_as_float((u32)(127 - raise) << 23);
#pragma unroll
    for (int e = 0; e < K_CHUNKS; e++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 part[PARTS_OF];
            split_pair(part, x[e][2 * j] * up, x[e][2 * j + 1] * up);
#pragma unroll
            for (int p = 0; p < PARTS_OF; p++) into.part[n][p][2 * e + j / 2][j % 2] = part[p];
        }
    into.unit[n][0] = __shfl_sync(EVERY_LANE, down, 8 * c);
    into.unit[n][1] = __shfl_sync(EVERY_LANE, down, 8 * c + 4);
}

__device__ __forceinline__ void load_keys(uint4 k[2][K_CHUNKS], const Paged& kv, const int* rows,
                                          int g, int c) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const uint4* row = (const uint4*)(kv.keys + (long long)rows[g + 8 * r] * DIM);
#pragma unroll
        for (int e = 0; e < K_CHUNKS; e++) k[r][e] = LOAD_KV(row + c + 4 * e);
    }
}

__device__ __forceinline__ void load_values(uint4 v[4][V_CHUNKS], const Paged& kv, const int* rows,
                                            int g, int c) {
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int key = 2 * c + (r & 1) + 8 * (r >> 1);
        const uint4* row = (const uint4*)(kv.values + (long long)rows[key] * DIM);
#pragma unroll
        for (int e = 0; e < V_CHUNKS; e++) v[r][e] = LOAD_KV(row + g + 8 * e);
    }
}

__device__ __forceinline__ u32 word(const uint4& four, int i) {
    return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w;
}

// A value's coordinates in the lane: 8 e + j of V_CHUNKS chunks; `pairs` puts two keys' side by
// side.
__device__ __forceinline__ u32 pairs(const uint4 one[V_CHUNKS], const uint4 other[V_CHUNKS],
                                     int at) {
    int e = at / 8, j = at % 8;
    return __byte_perm(word(one[e], j / 2), word(other[e], j / 2), j % 2 ? 0x7632 : 0x5410);
}

// Which two of a lane's coordinates are rows g and g + 8 of dimension tile t, and where they lie.
__device__ __forceinline__ int first_of(int t) { return DIM == 64 ? t : t + t / 8 * 8; }
__device__ __forceinline__ int second_of(int t) { return first_of(t) + (DIM == 64 ? 4 : 8); }
__device__ __forceinline__ int coordinate(int at, int g) { return (g + at / 8 * 8) * 8 + at % 8; }

struct Sight {  // the keys that columns 2c and 2c + 1 see: first .. last
    int first[TILES][2], last[TILES][2];
};

// Scores of the keys start .. start + 15 in powers of two, NEVER where a column does not see the
// key: of keys g, g, g + 8, g + 8 and columns 2c, 2c + 1, 2c, 2c + 1 of tile n.
__device__ __forceinline__ void score_keys(float score[4], const Queries& q, int n,
                                           const uint4 k[2][K_CHUNKS], const Sight& sight,
                                           int start, float soft_cap, int g) {
    float sums[PARTS_OF][2][4] = {};  // short chains: a product waits for the one it adds to
#pragma unroll
    for (int e = 0; e < K_CHUNKS; e++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int p = 0; p < PARTS_OF; p++)
                MMA(sums[p][half], word(k[0][e], 2 * half), word(k[1][e], 2 * half),
                    word(k[0][e], 2 * half + 1), word(k[1][e], 2 * half + 1),
                    q.part[n][p][2 * e + half][0], q.part[n][p][2 * e + half][1]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float sum = sums[PARTS_OF - 1][0][i] + sums[PARTS_OF - 1][1][i];
#pragma unroll
        for (int p = PARTS_OF - 2; p >= 0; p--) sum += sums[p][0][i] + sums[p][1][i];
        float s = sum * q.unit[n][i & 1];
        if (soft_cap > 0) s = soft_cap * tanhf(s / soft_cap);
        int key = start + g + 8 * (i >> 1);
        bool seen = sight.first[n][i & 1] <= key && key <= sight.last[n][i & 1];
        score[i] = seen ? s * LOG2_E : NEVER;
    }
}

// The least whole number above a column's scores (j: 2c or 2c + 1), in all of its lanes.
__device__ __forceinline__ float top_of(const float score[4], int j) {
    float top = fmaxf(score[j], score[2 + j]);
#pragma unroll
    for (int step = 4; step < WARP; step <<= 1)
        top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, step));
    return ceilf(top);
}

// Scores become weights below `top`; what it comes to is how far older sums shrink.
__device__ __forceinline__ float weigh(float score[4], int j, float top, float top_before) {
    float anchor = top == NEVER ? 0.0f : top;
#pragma unroll
    for (int r = 0; r < 2; r++) score[2 * r + j] = power(score[2 * r + j] - anchor) * WEIGHT_UNIT;
    return power_of_two(top_before - anchor);
}

// Weights as the second product's operand.
__device__ __forceinline__ void split_weights(u32 weights[PARTS_OF][2], const float weight[4]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        u32 part[PARTS_OF];
        split_pair(part, weight[2 * r], weight[2 * r + 1]);
#pragma unroll
        for (int p = 0; p < PARTS_OF; p++) weights[p][r] = transposed(part[p]);
    }
}

// Which weight each of the keys start .. start + 15 takes, split for the second product; into.value
// is shrunk wherever a higher score has come.
__device__ __forceinline__ void weigh_keys(u32 weights[TILES][PARTS_OF][2], Gathered& into,
                                           const Queries& q, const uint4 k[2][K_CHUNKS],
                                           const Sight& sight, int start, float soft_cap, int g) {
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        float weight[4], shrink[2];
        score_keys(weight, q, n, k, sight, start, soft_cap, g);
        bool raised = false;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float top = fmaxf(top_of(weight, j), into.top[n][j]);
            shrink[j] = weigh(weight, j, top, into.top[n][j]);
            raised |= top != into.top[n][j];
            into.top[n][j] = top;
            into.total[n][j] = fmaf(into.total[n][j], shrink[j], weight[j] + weight[2 + j]);
        }
        if (__any_sync(EVERY_LANE, raised)) {  // otherwise every factor is 1
#pragma unroll
            for (int t = 0; t < DIM_TILES; t++)
#pragma unroll
                for (int i = 0; i < 4; i++) into.value[n][t][i] *= shrink[i & 1];
        }
        split_weights(weights[n], weight);
    }
}

// into.value += V.T @ weights
__device__ __forceinline__ void gather_values(Gathered& into, const u32 weights[TILES][PARTS_OF][2],
                                              const uint4 v[4][V_CHUNKS]) {
#pragma unroll
    for (int t = 0; t < DIM_TILES; t++) {
        u32 a0 = pairs(v[0], v[1], first_of(t)), a1 = pairs(v[0], v[1], second_of(t));
        u32 a2 = pairs(v[2], v[3], first_of(t)), a3 = pairs(v[2], v[3], second_of(t));
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int p = PARTS_OF - 1; p >= 0; p--)
                MMA(into.value[n][t], a0, a1, a2, a3, weights[n][p][0], weights[n][p][1]);
    }
}

// Totals over the lanes of a column.
__device__ __forceinline__ void add_totals(Gathered& into) {
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int step = 4; step < WARP; step <<= 1)
                into.total[n][j] += __shfl_xor_sync(EVERY_LANE, into.total[n][j], step);
}

// Keys from .. to, of one split, on top of nothing; the totals summed over the lanes of a column.
// While 16 keys are worked on, the next 16 are on their way (AHEAD), or at least their keys are
// while values are gathered, and their values while keys are weighed.
__device__ __forceinline__ void attend_run(Gathered& into, const Queries& q, const Paged& kv,
                                           int rows[SPLIT], const Sight& sight, int from, int to,
                                           float soft_cap) {
    int lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    clear(into);
    find_rows(rows, kv, from / SPLIT * SPLIT, to);
    uint4 k[2][K_CHUNKS], v[4][V_CHUNKS];
    int start = from / 16 * 16;
    load_keys(k, kv, rows + start % SPLIT, g, c);
    load_values(v, kv, rows + start % SPLIT, g, c);
#pragma unroll 1
    for (; start <= to; start += 16) {
        u32 weights[TILES][PARTS_OF][2];
        const int* next = rows + (start + 16) % SPLIT;
        bool more = start + 16 <= to;
#if AHEAD
        uint4 next_k[2][K_CHUNKS], next_v[4][V_CHUNKS];
        if (more) load_keys(next_k, kv, next, g, c);
        if (more) load_values(next_v, kv, next, g, c);
#endif
        weigh_keys(weights, into, q, k, sight, start, soft_cap, g);
#if !AHEAD
        if (more) load_keys(k, kv, next, g, c);
#endif
        gather_values(into, weights, v);
#if AHEAD
#pragma unroll
        for (int e = 0; e < K_CHUNKS; e++) k[0][e] = next_k[0][e], k[1][e] = next_k[1][e];
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int e = 0; e < V_CHUNKS; e++) v[r][e] = next_v[r][e];
#else
        if (more) load_values(v, kv, next, g, c);
#endif
    }
    add_totals(into);
}
