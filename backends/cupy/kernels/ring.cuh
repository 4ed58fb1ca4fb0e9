// A warp's ring of weights in shared memory: GROUP blocks of 32 columns to a stage, copied without
// passing through registers (cp.async), so that STAGES - 1 of them can be on their way at once.
// What hides memory's latency is how many bytes are asked for, and registers are too few to ask
// with.
//
// Everything of a group lies in one stretch of each plane, so a stage is a few straight copies.

#ifndef GROUP
#define GROUP 4
#endif

#define WEIGHT_STAGE \
    (GROUP * (LOW_TILE + HIGH_TILE + SCALE_TILE) + (FORMAT == PARTS_MIN ? GROUP : 1) * SUPERS)

// What a stage is made of: stretch `lane` of it is this lane's to fetch.
struct Stretch {
    const u8* from;  // of the first block
    int to;  // in the stage
    int bytes;  // a block's, or a whole stage's where `shared`
    bool shared;  // by the 8 blocks around (scales of K formats)
};

// The stretches of a tile's planes are number 0 to 3; `tile` is its first block.
__device__ __forceinline__ Stretch weight_stretch(const Planes& w, int plane, long long tile) {
    if (plane == 0) return {w.low + tile * LOW_TILE, 0, LOW_TILE, false};
    if (plane == 1) return {w.high + tile * HIGH_TILE, GROUP * LOW_TILE, HIGH_TILE, false};
    int scales = GROUP * (LOW_TILE + HIGH_TILE);
    if (plane == 2) return {w.scales + tile * SCALE_TILE, scales, SCALE_TILE, false};
    scales += GROUP * SCALE_TILE;
    if (FORMAT == PARTS_MIN) return {w.supers + tile * SUPERS, scales, SUPERS, false};
    return {w.supers + tile / 8 * SUPERS, scales, SUPERS, true};
}

// A stage as planes: its tiles are number 0, 1, ...
__device__ __forceinline__ Planes planes_of(const u8* stage) {
    const u8* scales = stage + GROUP * (LOW_TILE + HIGH_TILE);
    return {stage, stage + GROUP * LOW_TILE, scales, scales + GROUP * SCALE_TILE};
}

#if __CUDA_ARCH__ >= 900
// Hopper has an engine for it: a lane asks for its whole stretch with one instruction (pipeline.cuh)
// and a barrier in shared memory counts the bytes that have come.

struct Ring {
    u32 barriers, stages;  // addresses in shared memory
    int stage_bytes, arrived;
};

__device__ __forceinline__ Ring make_ring(u8* stages, int stage_bytes, u64* barriers,
                                          int stretches) {
    Ring ring = {(u32)__cvta_generic_to_shared(barriers), (u32)__cvta_generic_to_shared(stages),
                 stage_bytes, 0};
    if (threadIdx.x % WARP == 0) {
        for (int i = 0; i < STAGES; i++) make_barrier(ring.barriers + 8 * i, stretches);
        fence_barriers();
    }
    __syncwarp();
    return ring;
}

// Blocks at .. at + n - 1 of this lane's stretch, into a slot.
__device__ __forceinline__ void fetch(Ring& ring, int slot, const Stretch& mine, bool has, int at,
                                      int n) {
    if (!has) return;
    int bytes = mine.shared ? mine.bytes : n * mine.bytes;
    bytes = (bytes + 15) / 16 * 16;
    const u8* from = mine.from + (long long)(mine.shared ? at >> 3 : at) * mine.bytes;
    u32 barrier = ring.barriers + 8 * slot, to = ring.stages + slot * ring.stage_bytes + mine.to;
    expect(barrier, bytes);
    copy(to, from, bytes, barrier);
}

__device__ __forceinline__ void end_of_stage() {}

__device__ __forceinline__ void wait_for(Ring& ring, int slot) {
    wait(ring.barriers + 8 * slot, ring.arrived >> slot & 1);
    ring.arrived ^= 1 << slot;
    __syncwarp();
}
#else
struct Ring {
    u8* stages;
    int stage_bytes;
};

__device__ __forceinline__ Ring make_ring(u8* stages, int stage_bytes, u64* barriers,
                                          int stretches) {
    return {stages, stage_bytes};
}

// Stretch after stretch, 16 bytes a lane at a time.
__device__ __forceinline__ void fetch(Ring& ring, int slot, const Stretch& mine, bool has, int at,
                                      int n) {
    for (u32 left = __ballot_sync(EVERY_LANE, has); left; left &= left - 1) {
        int owner = __ffs(left) - 1;
        bool shared = __shfl_sync(EVERY_LANE, (int)mine.shared, owner);
        int one = __shfl_sync(EVERY_LANE, mine.bytes, owner), bytes = shared ? one : n * one;
        const u8* from = (const u8*)__shfl_sync(EVERY_LANE, (u64)mine.from, owner);
        from += (long long)(shared ? at >> 3 : at) * one;
        u8* stage = ring.stages + slot * ring.stage_bytes + __shfl_sync(EVERY_LANE, mine.to, owner);
        u32 to = (u32)__cvta_generic_to_shared(stage);
        for (int i = threadIdx.x % WARP * 16; i < bytes; i += WARP * 16)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + i), "l"(from + i));
    }
}

__device__ __forceinline__ void end_of_stage() { asm volatile("cp.async.commit_group;"); }

__device__ __forceinline__ void wait_for(Ring& ring, int slot) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
    __syncwarp();
}
#endif
