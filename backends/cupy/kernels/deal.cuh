// Dealing units (a sequence and a kv head) to blocks, and their splits to a block's warps.
//
// A block's first unit is its own number; each further one is drawn from a counter when the one
// before it is begun: long contexts do not hold up short ones behind them.  Warps go through one list
// in shared memory, and whoever takes a unit's first split draws the next unit.  Sequences without a
// context have no splits, and are passed over.
//
// Every unit, and so every block's last draw, which finds none, is followed by one draw: `units`
// draws in all, after which atomicInc has wrapped the counter to 0 for the next launch.
//
// An entry is overwritten when somebody begins the LISTED-th unit after it.  Whoever has not read it
// has not added up what comes before that unit; and since splits are added in order, and a warp is
// at most (STAGES + 1) * WARPS splits ahead of what it has added, nobody is that far.

#define LISTED 32
#define SPLIT_SHIFT 8
static_assert(SPLIT == 1 << SPLIT_SHIFT, "a split's keys");
static_assert((STAGES + 2) * WARPS <= LISTED, "entries that somebody may still read");

struct Item {  // a split to attend to: a unit's whose token is at `position`
    int unit, split, position;
};

struct Deal {
    volatile u64* list;  // each unit dealt: its number's low byte, 24 bits of unit, its position
    u32* dealt;
    const int* context_lens;
    int units, kv_heads, window;
    int number = 0, drawn = -1;  // of the unit that this warp has come to; what lane 0 has drawn

    __device__ __forceinline__ int position_of(int unit) const {
        return unit < units ? __ldg(context_lens + unit / kv_heads) - 1 : 0;
    }

    __device__ __forceinline__ int first_seen(const Item& item) const {
        return window > 0 ? max(0, item.position - window + 1) : 0;
    }

    __device__ __forceinline__ bool has(const Item& item) const {  // -1 >> 8 is -1: then none
        return item.split <= item.position >> SPLIT_SHIFT;
    }

    __device__ __forceinline__ Item first_item(int warp) const {
        Item item = {(int)blockIdx.x, 0, position_of(blockIdx.x)};
        item.split = first_seen(item) / SPLIT + warp;
        return item;
    }

    __device__ __forceinline__ void draw(int lane) {
        drawn = gridDim.x + (lane == 0 ? atomicInc(dealt, units - 1) : 0);
    }

    // Lists what was drawn, a step later, when it has come.
    __device__ __forceinline__ void publish(int lane) {
        if (drawn < 0) return;
        int unit, position;
        while (unit = __shfl_sync(EVERY_LANE, drawn, 0), (position = position_of(unit)) < 0)
            draw(lane);
        u64 entry = (u64)(u8)(number + 1) << 56 | (u64)(u32)unit << 32 | (u32)position;
        if (lane == 0) list[(number + 1) % LISTED] = entry;
        drawn = -1;
    }

    // Moves an item that lies beyond its unit into the one that has it; none is at `units` or after.
    __device__ __forceinline__ void settle(Item& item, int lane) {
        while (item.unit < units && !has(item)) {
            int beyond = item.split - (item.position >> SPLIT_SHIFT) - 1;
            u64 entry;
            number++;
            do entry = list[number % LISTED];
            while ((u8)(entry >> 56) != (u8)number);
            item.unit = (int)(entry >> 32) & 0xffffff, item.position = (int)entry;
            item.split = first_seen(item) / SPLIT + beyond;
            if (beyond == 0 && item.unit < units) draw(lane);
        }
    }
};
