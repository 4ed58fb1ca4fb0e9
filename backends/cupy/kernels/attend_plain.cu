// softmax(q @ k.T * scale + causal mask) @ v, over a cache in any format, with heads of any size
//
// Must move: the context's keys and values, once for COLUMNS queries that share them.  Must do:
// 4 * dim operations in float32 for each of the queries and keys.
//
// A warp has COLUMNS *columns*: a token and one of the heads that share a key/value head (GQA).  It
// takes one split of the context, for attend_combine.cu to add up (PARTS), or walks over all.  Keys
// come 32 at a time, from multiples of 32, and then their values; while they are worked on, the
// next ones are copied to shared memory, in pieces of PIECE bytes.  There rows lie an odd number of
// pieces apart, so that lanes, each of which weighs a key, find the same piece of their rows in
// different banks.  Values are added key after key, lanes along the coordinates.  All in float32;
// positions alone decide the order.
//
// CACHE: 0 float32, 1 float16, 2 bfloat16, 3 q8_0 (a row of dim bytes, then dim / 32 float16
// scales).  PIECE: what divides a row, up to 16.  MOST_DIM: dim or more.
//
// Grid: (columns / COLUMNS, kv heads, splits or 1); `work`, where sequences have more than one
// token, says whose columns a warp has: (sequence, first column).

#include "numbers.cuh"
#include "merge.cuh"

#if CACHE == 0
#define OF_WORD 1  // numbers
#define ROW_BYTES(dim) (4 * (dim))
#elif CACHE == 3
#define OF_WORD 4
#define ROW_BYTES(dim) ((dim) + (dim) / 32 * 2)
#else
#define OF_WORD 2
#define ROW_BYTES(dim) (2 * (dim))
#endif
#define PIECE_WORDS (PIECE > 4 ? PIECE / 4 : 1)
#define WORDS (MOST_DIM / WARP / OF_WORD ? MOST_DIM / WARP / OF_WORD : 1)  // of a value, a lane's
#define AT_ONCE (WORDS < PIECE_WORDS ? WORDS : PIECE_WORDS)  // of them, side by side

// The numbers of a word, those of q8_0 without their scale.
__device__ __forceinline__ void unpack(float x[OF_WORD], u32 word) {
#if CACHE == 0
    x[0] = __uint_as_float(word);
#elif CACHE == 1
    x[0] = from_f16(word & 0xffff), x[1] = from_f16(word >> 16);
#elif CACHE == 2
    x[0] = from_bf16(word & 0xffff), x[1] = from_bf16(word >> 16);
#else
    word ^= 0x80808080;  // each byte and 128, as the last of 2**23 and it
    for (int i = 0; i < 4; i++)
        x[i] = __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 + i)) - 8388736.0f;
#endif
}

__device__ __forceinline__ float scale_of(const u32* row, int word, int dim) {
    return CACHE == 3 ? from_f16(((const u16*)row)[dim / 2 + word / 8]) : 1.0f;
}

template <int N>
__device__ __forceinline__ void load_words(u32 to[N], const u32* from) {
    if (N == 4) *(uint4*)to = *(const uint4*)from;
    if (N == 2) *(uint2*)to = *(const uint2*)from;
    if (N == 1) to[0] = from[0];
}

// A row into shared memory, by a whole warp.
__device__ __forceinline__ void ask_row(u32* to, const u8* row, int bytes, int lane) {
    u32 at = (u32)__cvta_generic_to_shared(to);
#pragma unroll
    for (int i = lane * PIECE; i < ROW_BYTES(MOST_DIM); i += WARP * PIECE) {
        if (i >= bytes) continue;
#if PIECE == 2
        ((u16*)to)[i / 2] = *(const u16*)(row + i);
#else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(at + i), "l"(row + i),
                     "n"(PIECE));
#endif
    }
}

__device__ __forceinline__ void end_of_rows() { asm volatile("cp.async.commit_group;"); }

// What was asked for before the last rows has come, for all lanes.
__device__ __forceinline__ void wait_for_older() {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncwarp();
}

// A number for each column, from shared memory; all lanes ask for the same.
__device__ __forceinline__ void load_columns(float x[COLUMNS], const float* from) {
#if COLUMNS % 4 == 0
#pragma unroll
    for (int c = 0; c < COLUMNS; c += 4) {
        float4 four = *(const float4*)(from + c);
        x[c] = four.x, x[c + 1] = four.y, x[c + 2] = four.z, x[c + 3] = four.w;
    }
#else
    for (int c = 0; c < COLUMNS; c++) x[c] = from[c];
#endif
}

struct Sums {  // of COLUMNS; each lane holds other coordinates, and of a split's totals other keys
    float top[COLUMNS], total[COLUMNS], value[COLUMNS][WORDS][OF_WORD];
};

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        sums.top[c] = NEVER, sums.total[c] = 0;
#pragma unroll
        for (int w = 0; w < WORDS; w++)
#pragma unroll
            for (int i = 0; i < OF_WORD; i++) sums.value[c][w][i] = 0;
    }
}

__device__ __forceinline__ void multiply(float value[WORDS][OF_WORD], float by) {
#pragma unroll
    for (int w = 0; w < WORDS; w++)
#pragma unroll
        for (int i = 0; i < OF_WORD; i++) value[w][i] *= by;
}

// q @ k of the lane's key and each column.
__device__ __forceinline__ void score_key(float score[COLUMNS], const u32* key, const float* query,
                                          int words, int dim) {
    float sum[COLUMNS] = {};
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) score[c] = 0;
#pragma unroll 2
    for (int w = 0; w < words; w += PIECE_WORDS) {
        u32 piece[PIECE_WORDS];
        load_words<PIECE_WORDS>(piece, key + w);
#pragma unroll
        for (int j = 0; j < PIECE_WORDS; j++) {
            float x[OF_WORD], y[COLUMNS];
            unpack(x, piece[j]);
#pragma unroll
            for (int i = 0; i < OF_WORD; i++) {
                load_columns(y, query + ((w + j) * OF_WORD + i) * COLUMNS);
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) sum[c] = fmaf(x[i], y[c], sum[c]);
            }
        }
        if (CACHE != 3 || (w + PIECE_WORDS) % 8) continue;
        float by = scale_of(key, w, dim);  // of a block of 32
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) score[c] = fmaf(sum[c], by, score[c]), sum[c] = 0;
    }
    if (CACHE == 3) return;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) score[c] = sum[c];
}

// A score in powers of two becomes a weight; what was gathered shrinks if no other was as high.
__device__ __forceinline__ float weigh(Sums& sums, int c, float score) {
    float top = score;
    for (int step = 16; step; step >>= 1)
        top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, step));
    top = fmaxf(ceilf(top), sums.top[c]);
    float anchor = top == NEVER ? 0.0f : top, shrink = power_of_two(sums.top[c] - anchor);
    float weight = power(score - anchor) * WEIGHT_UNIT;
    sums.total[c] = fmaf(sums.total[c], shrink, weight);
    if (top != sums.top[c]) multiply(sums.value[c], shrink);
    sums.top[c] = top;
    return weight;
}

// sums.value += weights @ v, of 32 keys.
__device__ __forceinline__ void gather_values(Sums& sums, const u32* v, const float* weights,
                                              int stride, int words, int dim, int lane) {
#pragma unroll 4
    for (int r = 0; r < WARP; r++, v += stride, weights += COLUMNS) {
        float weight[COLUMNS];
        load_columns(weight, weights);
#pragma unroll
        for (int n = 0; n < WORDS; n += AT_ONCE) {
            int w = lane * AT_ONCE + n * WARP;
            if (w >= words) continue;
            u32 piece[AT_ONCE];
            load_words<AT_ONCE>(piece, v + w);
            float by = scale_of(v, w, dim);
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
                float x[OF_WORD];
                unpack(x, piece[j]);
#pragma unroll
                for (int i = 0; i < OF_WORD; i++) {
                    if (CACHE == 3) x[i] *= by;  // rounds nothing: eleven bits and seven
#pragma unroll
                    for (int c = 0; c < COLUMNS; c++) {
                        float& value = sums.value[c][n + j][i];
                        value = fmaf(weight[c], x[i], value);
                    }
                }
            }
        }
    }
}

__device__ __forceinline__ void add_split(Sums& sums, const Sums& split) {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        Shrink by = merge(sums.top[c], sums.total[c], split.top[c], split.total[c]);
#pragma unroll
        for (int n = 0; n < WORDS; n++)
#pragma unroll
            for (int i = 0; i < OF_WORD; i++) {
                float& value = sums.value[c][n][i];
                value = merge_value(value, split.value[c][n][i], by);
            }
    }
}

extern "C" __global__ void __launch_bounds__(WARP)
    attend_plain(float* __restrict__ out, float2* __restrict__ tops, const float* __restrict__ q,
                 const u8* __restrict__ keys, const u8* __restrict__ values,
                 const int* __restrict__ tables, const int* __restrict__ positions,
                 const int* __restrict__ seq_starts, const int2* __restrict__ work,
                 const float* __restrict__ sinks, int table_width, int table_block, int block_size,
                 int group, int dim, int most_splits, int window, float scale, float soft_cap) {
    extern __shared__ __align__(16) u32 memory[];
    int lane = threadIdx.x, head = blockIdx.y * group, heads = gridDim.y * group;
    int row_bytes = ROW_BYTES(dim), pieces = (row_bytes + 4 * PIECE_WORDS - 1) / (4 * PIECE_WORDS);
    int stride = (pieces | 1) * PIECE_WORDS, words = dim / OF_WORD;
    u32 *k = memory, *v = k + WARP * stride;
    float *query = (float*)(v + WARP * stride), *weights = query + dim * COLUMNS;
    int tiles = (group + COLUMNS - 1) / COLUMNS;  // of a single token
    int2 mine = work ? work[blockIdx.x]
                     : make_int2(blockIdx.x / tiles, blockIdx.x % tiles * COLUMNS);
    int start = seq_starts[mine.x], columns = (seq_starts[mine.x + 1] - start) * group;
    const int* table = tables + (long long)mine.x * table_width;

    auto token_of = [&](int c) { return start + min(mine.y + c, columns - 1) / group; };
    auto row_of = [&](int c) {
        return (long long)token_of(c) * heads + head + min(mine.y + c, columns - 1) % group;
    };
    int position[COLUMNS], from = 1 << 30, last = -1;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        position[c] = positions[token_of(c)];
        from = min(from, window > 0 ? max(0, position[c] - window + 1) : 0);
        last = max(last, position[c]);
    }
#ifdef PARTS
    from = max(from, (int)blockIdx.z * SPLIT), last = min(last, (int)blockIdx.z * SPLIT + SPLIT - 1);
    if (from > last) return;
#endif
    for (int i = lane; i < dim * COLUMNS; i += WARP)
        query[i] = q[row_of(i % COLUMNS) * dim + i / COLUMNS];

    auto ask = [&](u32* to, const u8* rows, int at) {
        int key = min(max(at + lane, from), last);
        int slot = table[key / table_block] * table_block + key % table_block;
        int row = (slot / block_size * gridDim.y + blockIdx.y) * block_size + slot % block_size;
#pragma unroll 2
        for (int r = 0; r < WARP; r++)
            ask_row(to + r * stride, rows + (long long)__shfl_sync(EVERY_LANE, row, r) * row_bytes,
                    row_bytes, lane);
        end_of_rows();
    };

    Sums split;
#ifndef PARTS
    Sums sums;
    clear(sums);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        sums.top[c] = with_sink(NEVER, sinks, row_of(c) % heads);
        sums.total[c] = sink_weight(sums.top[c], sinks, row_of(c) % heads);
    }
#endif
    clear(split);
    int at = from / WARP * WARP;
    ask(k, keys, at);
    ask(v, values, at);
#pragma unroll 1
    for (; at <= last; at += WARP) {
        bool more = at + WARP <= last;
        wait_for_older();
        float score[COLUMNS];
        score_key(score, k + lane * stride, query, words, dim);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            float s = score[c] * scale;
            if (soft_cap > 0) s = soft_cap * tanhf(s / soft_cap);
            int first = window > 0 ? position[c] - window + 1 : 0;
            bool seen = first <= at + lane && at + lane <= position[c];
            s = seen ? __fmul_rn(s, LOG2_E) : NEVER;
            weights[lane * COLUMNS + c] = weigh(split, c, s);
        }
        __syncwarp();
        if (more) ask(k, keys, at + WARP);
        else end_of_rows();
        wait_for_older();
        gather_values(split, v, weights, stride, words, dim, lane);
        __syncwarp();
        if (more) ask(v, values, at + WARP);
        if (more && (at + WARP) % SPLIT) continue;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) split.total[c] = warp_sum(split.total[c]);
#ifndef PARTS
        add_split(sums, split);
        clear(split);
#endif
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        if (mine.y + c >= columns) continue;
#ifdef PARTS
        const Sums& sums = split;
        long long row = row_of(c) * most_splits + blockIdx.z;
        float over = 1;
        if (lane == 0) tops[row] = make_float2(split.top[c], split.total[c]);
#else
        long long row = row_of(c);
        float over = sums.total[c];
#endif
#pragma unroll
        for (int n = 0; n < WORDS; n++)
#pragma unroll
            for (int i = 0; i < OF_WORD; i++) {
                int word = lane * AT_ONCE + n / AT_ONCE * AT_ONCE * WARP + n % AT_ONCE;
                int d = word * OF_WORD + i;
                if (d < dim) out[row * dim + d] = sums.value[c][n][i] / over;
            }
    }
}
