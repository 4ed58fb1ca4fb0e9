// softmax(q @ k.T * scale) @ v for many sequences with one new token (decoding), on Hopper
//
// Must move: each key and value once (4 * DIM bytes a key and kv head).  A *unit* is a sequence and a
// kv head.  Blocks stay: each is dealt unit after unit, and its warps take the splits of all of them
// turn by turn.  A warp asks for the first keys of its next split, of whichever unit, before it is
// done with this one, so that memory waits neither for a unit's end nor for the next one's beginning.
// What splits come to is added up in their order, warp after warp, in shared memory: the bits are
// those of attend_split.cu and attend_combine.cu, whose parts go to memory and back.
//
// EARLY: where each token has its own slot, and no other query of the step sees it, all keys but the
// last were there before the step began.  Then a warp asks for its first ones before the kernel
// before this one has ended: memory does not rest between launches.
//
// Grid: (blocks that the device has room for, or units if they are fewer).

#define LOAD_KV __ldcs
#define TILES 1

#include "numbers.cuh"
#include "tensor_core.cuh"
#include "pipeline.cuh"
#include "merge.cuh"
#include "attend.cuh"
#include "half_row.cuh"
#include "key_ring.cuh"
#include "deal.cuh"

#define STEPS (SPLIT / 16)
#define STAGE (2 * HALF_STAGE)
#define ITEMS 8  // more than a warp asks for ahead

struct Running {  // what a unit has come to: of each lane, for the columns 2c and 2c + 1
    float4 value[DIM_TILES][WARP], tops_and_totals[WARP];
};

// Adds a split, and leaves the sum in its place; `first` and `last` of a unit need no memory.
__device__ __forceinline__ float4 add_split(Running& running, Gathered& split, float4 so_far,
                                            bool first, bool last, int lane) {
    Shrink by0 = merge(so_far.x, so_far.y, split.top[0][0], split.total[0][0]);
    Shrink by1 = merge(so_far.z, so_far.w, split.top[0][1], split.total[0][1]);
#pragma unroll
    for (int t = 0; t < DIM_TILES; t++) {
        float* value = split.value[0][t];
        float4 before = {0, 0, 0, 0};
        if (!first) before = running.value[t][lane];
        value[0] = merge_value(before.x, value[0], by0);
        value[1] = merge_value(before.y, value[1], by1);
        value[2] = merge_value(before.z, value[2], by0);
        value[3] = merge_value(before.w, value[3], by1);
        if (!last) running.value[t][lane] = make_float4(value[0], value[1], value[2], value[3]);
    }
    if (!last) running.tops_and_totals[lane] = so_far;
    return so_far;
}

#ifdef OUT  // as put_part, but rounded for the next product: columns from `column` on
__device__ __forceinline__ void put_rounded(float* out, const Gathered& sum, int j, int g,
                                            int column, int t, int padded) {
#pragma unroll
    for (int i = 0; i < DIM_TILES; i += 4)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            u32 of[4];
#pragma unroll
            for (int e = 0; e < 4; e++) of[e] = OUT(sum.value[0][i + e][2 * h + j]);
            int k = column + coordinate(h ? second_of(i) : first_of(i), g);
            put_four(out, of[0] | of[1] << 16, of[2] | of[3] << 16, k, t, padded);
        }
}
#endif

extern "C" __global__ void __launch_bounds__(WARPS* WARP, BLOCKS)
    attend_whole(float* out, const float* q, const u16* keys, const u16* values,
                 const int* __restrict__ tables, const int* __restrict__ context_lens,
                 const int* __restrict__ first_token, const float* __restrict__ sinks,
                 int table_width, int table_block, int block_size, int group, int window,
                 float scale, float soft_cap, int kv_heads, int units, u32* dealt, int padded,
                 const __grid_constant__ TileMap value_tiles) {
    extern __shared__ __align__(1024) u8 stages[];  // of each warp
    __shared__ u64 barriers[WARPS][STAGES], turns_of[WARPS];
    __shared__ volatile u64 list[LISTED];
    __shared__ Item items[WARPS][ITEMS];
    __shared__ Running running;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane >> 2, c = lane & 3;
    u8* ring = stages + warp * STAGES * STAGE;
    u32 full = (u32)__cvta_generic_to_shared(barriers[warp]);
    u32 its_turn = (u32)__cvta_generic_to_shared(turns_of);
    Deal deal = {list, dealt, context_lens, units, kv_heads, window};
    auto paged = [&](const Item& item) {
        int sequence = item.unit / kv_heads;
        return Paged{keys,        values,     tables + (long long)sequence * table_width,
                     table_block, block_size, kv_heads,
                     item.unit % kv_heads};
    };
    auto row_of_lane = [&](const Item& item) {  // of its steps, as long as they see something
        if (item.unit >= units) return 0;
        int first = deal.first_seen(item) / 16, last = item.position / 16;
        return row_at(paged(item), max(first, min(item.split * STEPS + lane % STEPS, last)) * 16);
    };
    auto begin_of = [&](const Item& item) {
        int first = deal.first_seen(item);
        return item.split == first / SPLIT ? first % SPLIT / 16 : 0;
    };
    auto end_of = [&](const Item& item) {
        return item.split == item.position / SPLIT ? item.position % SPLIT / 16 + 1 : STEPS;
    };

    Item ahead = deal.first_item(warp), asking;
    bool here = deal.has(ahead);
    int row, row_ahead = here ? row_of_lane(ahead) : 0, made = 0, asked = 0, ask_to = 0;
    if (lane < STAGES) make_barrier(full + lane * 8, 1);
    if (threadIdx.x < WARPS) make_barrier(its_turn + threadIdx.x * 8, 1);
    if (threadIdx.x < LISTED) list[threadIdx.x] = 0;
    barriers_made();

    auto begin = [&]() {
        asking = ahead, row = row_ahead, asked = begin_of(asking), ask_to = end_of(asking);
    };
    auto look_ahead = [&]() {
        ahead.split += WARPS;
        deal.settle(ahead, lane);
        row_ahead = row_of_lane(ahead);
        items[warp][++made % ITEMS] = ahead;
    };
    auto put = [&](int slot) {
        int its_row = __shfl_sync(EVERY_LANE, row, asked % STEPS);
        ask_tiles((u32)__cvta_generic_to_shared(ring) + slot * STAGE, full + slot * 8, keys,
                  value_tiles, its_row, lane);
        asked++;
    };
    auto ask = [&](int slot) {
        deal.publish(lane);
        if (asked == ask_to) {
            if (ahead.unit >= units) return;
            begin();
            look_ahead();
        }
        put(slot);
    };

    int filled = 0;
    if (here) {
        begin();
        items[warp][0] = ahead;
#ifdef EARLY
        int new_key = asking.position / 16 - asking.split * STEPS;  // the step that has it
#pragma unroll 1
        for (; filled < STAGES && asked < min(ask_to, new_key); filled++) put(filled);
#endif
    }
    wait_for_previous();
    let_next_begin();
    if (warp == 0) deal.draw(lane), deal.publish(lane);
    if (here) {
        look_ahead();
    } else {
        deal.settle(ahead, lane), row_ahead = row_of_lane(ahead);
        items[warp][0] = ahead;
    }
#pragma unroll 1
    for (; filled < STAGES; filled++) ask(filled);

    Queries split;
    Sight sight;
    int slot = 0, parity = 0, unit_before = -1;
#pragma unroll 1
    for (int turn = 0; items[warp][turn % ITEMS].unit < units; turn++) {
        Item item = items[warp][turn % ITEMS];
        int head = item.unit % kv_heads, first = deal.first_seen(item), end = end_of(item);
        long long token = __ldg(first_token + item.unit / kv_heads);
        long long first_head = (token * kv_heads + head) * group;
        if (item.unit != unit_before)
            split_query(split, 0, q + (first_head + min(g, group - 1)) * DIM, scale, c);
        unit_before = item.unit;
        for (int j = 0; j < 2; j++) sight.first[0][j] = first, sight.last[0][j] = item.position;
        Gathered sum;
        clear(sum);
#pragma unroll 1
        for (int step = begin_of(item); step < end; step++) {
            uint4 k[2][K_CHUNKS], v[4][V_CHUNKS];
            u32 weights[TILES][PARTS_OF][2];
            wait(full + slot * 8, parity);
            take_keys(k, ring + slot * STAGE, g, c);
            weigh_keys(weights, sum, split, k, sight, item.split * SPLIT + step * 16, soft_cap, g);
            take_tiles(v, ring + slot * STAGE + HALF_STAGE,
                       item.position + 1 - item.split * SPLIT - step * 16, g, c);
            gather_values(sum, weights, v);
            loads_have_come();
            __syncwarp();
            ask(slot);
            slot = slot + 1 == STAGES ? 0 : slot + 1, parity ^= slot == 0;
        }
        add_totals(sum);
        deal.publish(lane);  // others may wait for it, and this warp for them
        if (warp || turn) wait(its_turn + warp * 8, (turn - (warp == 0)) & 1);
        bool is_first = item.split == first / SPLIT, is_last = item.split == item.position / SPLIT;
        float4 so_far;
        if (is_first) {
            int one = head * group + min(2 * c, group - 1);
            int other = head * group + min(2 * c + 1, group - 1);
            so_far.x = with_sink(NEVER, sinks, one), so_far.z = with_sink(NEVER, sinks, other);
            so_far.y = sink_weight(so_far.x, sinks, one);
            so_far.w = sink_weight(so_far.z, sinks, other);
        } else {
            so_far = running.tops_and_totals[lane];
        }
        so_far = add_split(running, sum, so_far, is_first, is_last, lane);
        __syncwarp();
        if (lane == 0) arrive(its_turn + (warp + 1) % WARPS * 8);
        if (!is_last) continue;
#pragma unroll
        for (int t = 0; t < DIM_TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum.value[0][t][i] /= i & 1 ? so_far.w : so_far.y;
#pragma unroll
        for (int j = 0; j < 2; j++)
            if (2 * c + j < group)
#ifdef OUT
                put_rounded(out, sum, j, g, (head * group + 2 * c + j) * DIM, token, padded);
#else
                put_part(out + (first_head + 2 * c + j) * DIM, sum, j, g);
#endif
    }
}
