// softmax(q @ k.T * scale + causal mask) @ v, over a cache in any format: the plain version
//
// Must move: the context's keys and values for each query head (the caches help).  A warp takes a
// token and a head.  Keys come 32 at a time, from multiples of 32, a lane each; then values, key
// after key, lanes along the coordinates.  All in float32; order decided by positions alone.
//
// CACHE: 0 float32, 1 float16, 2 bfloat16, 3 q8_0 (a row of DIM bytes, then DIM / 32 float16
// scales).

#include "numbers.cuh"

#if CACHE == 0
#define ROW_BYTES(dim) (4 * (dim))
#elif CACHE == 3
#define ROW_BYTES(dim) ((dim) + (dim) / 32 * 2)
#else
#define ROW_BYTES(dim) (2 * (dim))
#endif

__device__ __forceinline__ float stored(const u8* row, int d, int dim) {
#if CACHE == 0
    return ((const float*)row)[d];
#elif CACHE == 1
    return from_f16(((const u16*)row)[d]);
#elif CACHE == 2
    return from_bf16(((const u16*)row)[d]);
#else
    return (float)((const i8*)row)[d] * from_f16(*(const u16*)(row + dim + d / 32 * 2));
#endif
}

#define MOST_COORDINATES 16  // of a lane: heads of at most 512

extern "C" __global__ void __launch_bounds__(WARP)
    attend_plain(float* __restrict__ out, const float* __restrict__ q, const u8* __restrict__ keys,
                 const u8* __restrict__ values, const int* __restrict__ tables,
                 const int* __restrict__ positions, const int* __restrict__ sequence_of,
                 const float* __restrict__ sinks, int table_width, int table_block, int block_size,
                 int kv_heads, int dim, int window, float scale, float soft_cap) {
    extern __shared__ float query[];
    int head = blockIdx.x, token = blockIdx.y, lane = threadIdx.x, heads = gridDim.x;
    int kv_head = head / (heads / kv_heads), position = positions[token];
    const int* table = tables + (long long)sequence_of[token] * table_width;
    const float* mine = q + ((long long)token * heads + head) * dim;
    for (int d = lane; d < dim; d += WARP) query[d] = mine[d];
    __syncwarp();

    auto row_of = [&](int key) {
        int slot = table[key / table_block] * table_block + key % table_block;
        long long row = ((long long)(slot / block_size) * kv_heads + kv_head) * block_size;
        return (row + slot % block_size) * ROW_BYTES(dim);
    };
    float top = sinks ? sinks[head] : NEVER, total = sinks && lane == 0 ? 1.0f : 0.0f;
    float gathered[MOST_COORDINATES] = {};
    int first = window > 0 ? max(0, position - window + 1) : 0;
    for (int start = first / WARP * WARP; start <= position; start += WARP) {
        int key = start + lane;
        bool seen = first <= key && key <= position;
        long long row = row_of(min(max(key, first), position));
        float score = 0;
        for (int d = 0; d < dim; d++) score = fmaf(query[d], stored(keys + row, d, dim), score);
        score *= scale;
        if (soft_cap > 0) score = soft_cap * tanhf(score / soft_cap);
        if (!seen) score = NEVER;
        float higher = fmaxf(top, score);
        for (int step = 16; step; step >>= 1)
            higher = fmaxf(higher, __shfl_xor_sync(EVERY_LANE, higher, step));
        float shrink = expf(top - higher), weight = expf(score - higher);
        top = higher;
        total = fmaf(total, shrink, weight);
        for (int i = 0; i < MOST_COORDINATES; i++) gathered[i] *= shrink;
        for (int j = 0; j < WARP; j++) {
            float w = __shfl_sync(EVERY_LANE, weight, j);
            long long of = __shfl_sync(EVERY_LANE, row, j);
#pragma unroll
            for (int i = 0; i < MOST_COORDINATES; i++)
                if (lane + i * WARP < dim)
                    gathered[i] = fmaf(w, stored(values + of, lane + i * WARP, dim), gathered[i]);
        }
    }
    total = warp_sum(total);
    for (int i = 0; i < MOST_COORDINATES; i++)
        if (lane + i * WARP < dim)
            out[((long long)token * heads + head) * dim + lane + i * WARP] = gathered[i] / total;
}
