// q, k = rope(q), rope(k); cache.keys[slots] = stored(k); cache.values[slots] = stored(v)
//
// Must move: q, k and v, once in and once out.  A warp takes a token and a head: of q, then k, then
// v. Lanes lie along coordinates, 32 at a time: the blocks of q8_0.  x: [tokens][stride], q, k, v
// from their offsets on.  The cache: [block][kv head][place][row] (attend_plain.cu says what a row
// is). Without a cache (keys null) q is all there is; without a table (pairs 0) nothing turns.

#include "numbers.cuh"
#include "rope.cuh"

#if CACHE == 0
#define ROW_BYTES(dim) (4 * (dim))
#elif CACHE == 3
#define ROW_BYTES(dim) ((dim) + (dim) / 32 * 2)
#else
#define ROW_BYTES(dim) (2 * (dim))
#endif

__device__ __forceinline__ void put(u8* row, int d, int dim, float x, bool here) {
#if CACHE == 0
    if (here) ((float*)row)[d] = x;
#elif CACHE == 1
    if (here) ((u16*)row)[d] = to_f16(x);
#elif CACHE == 2
    if (here) ((u16*)row)[d] = to_bf16(x);
#else
    float most = fabsf(x);
    for (int step = 16; step; step >>= 1)
        most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, step));
    float scale = __fdiv_rn(most, 127.0f), inverse = scale ? __fdiv_rn(1.0f, scale) : 0.0f;
    if (!here) return;
    ((i8*)row)[d] = (i8)(int)roundf(x * inverse);
    if (d % 32 == 0) *(u16*)(row + dim + d / 32 * 2) = to_f16(scale);
#endif
}

extern "C" __global__ void rope_store(float* q, u8* keys, u8* values, const float* x,
                                      const float2* table, const int* __restrict__ slots,
                                      int stride, int k_offset, int v_offset, int heads,
                                      int kv_heads, int dim, int pairs, int interleaved,
                                      int block_size) {
    int lane = threadIdx.x % WARP, token = blockIdx.y;
    int part =
        blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;  // 0 .. heads + 2 * kv_heads - 1
    wait_for_previous();
    let_next_begin();
    if (part >= heads + (keys ? 2 * kv_heads : 0)) return;
    bool is_q = part < heads, is_v = part >= heads + kv_heads;
    int head = is_q ? part : is_v ? part - heads - kv_heads : part - heads;
    const float* from = x + (long long)token * stride +
                        (is_q   ? 0
                         : is_v ? v_offset
                                : k_offset) +
                        head * dim;
    u8* row = 0;
    if (!is_q) {
        int slot = slots[token];
        if (slot < 0) return;  // a place in a bucket that nobody uses
        long long at =
            ((long long)(slot / block_size) * kv_heads + head) * block_size + slot % block_size;
        row = (is_v ? values : keys) + at * ROW_BYTES(dim);
    }
    for (int start = 0; start < dim; start += WARP) {
        int d = start + lane;
        bool here = d < dim;
        float value = !here ? 0.0f
                      : is_v
                          ? from[d]
                          : turned(from, d, table + (long long)token * pairs, pairs, interleaved);
        if (is_q) {
            if (here) q[((long long)token * heads + head) * dim + d] = value;
        } else {
            put(row, d, dim, value, here);
        }
    }
}
