// A warp's ring in shared memory for one token's products: TILES tiles of a row to a stage.  A stage
// is copied 16 bytes a lane without passing through registers (cp.async; PTX ISA 9.0, section
// 9.7.9.25).  A warp that loads into registers has six counters to wait with, however many loads are
// on their way: the compiler gave one counter to three buffers, and each wait was for the latest.
// Here it is for the oldest stage, and STAGES - 1 others stay on their way.
//
// Always whole stages: tiles beyond the end of a strand are copied, and not used.
//
// A block takes every gridDim.x-th row tile.  A warp takes a strand of each of them, or of every
// second one where SIDES is 2, and asks for weights without a pause, row tile after row tile.  What
// strands come to is added up AT_ONCE row tiles after another, by a thread a row.
//
// The rings are so large that a multiprocessor has room for one block, and for small ones of other
// kernels: a block of the next launch comes where one has just ended, and fills its rings while it
// waits for the others.  So memory is busy while one token's result becomes the next one's input.

#ifndef SIDES
#define SIDES 1  // row tiles on which a block works side by side, eight warps on each
#endif
#define THREADS (SIDES * STRANDS * WARP)
#define AT_ONCE 16

#define SUPER_GROUP (FORMAT == PARTS_MIN ? TILES * SUPERS : SUPERS)  // bytes, of a stage's tiles
#define SUPER_ROOM (FORMAT == PARTS_MIN ? SUPER_GROUP : 2 * SUPERS)
#define STAGE (TILES * (LOW_TILE + HIGH_TILE + SCALE_TILE) + SUPER_ROOM)

// Where this lane copies from: 16 of each 512 bytes, of the planes from a tile on.
__device__ __forceinline__ Planes sources_of(const Planes& w, long long tile, int lane) {
    long long super = FORMAT == PARTS_MIN ? tile : tile / 8;
    return {w.low + tile * LOW_TILE + lane * 16, w.high + tile * HIGH_TILE + lane * 16,
            w.scales + tile * SCALE_TILE + lane * 16, w.supers + super * SUPERS + lane * 16};
}

__device__ __forceinline__ void copy_16(u32 to, const u8* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}

template <int BYTES>
__device__ __forceinline__ void copy_plane(u32 to, const u8* from, int lane) {
#pragma unroll
    for (int i = 0; i < BYTES; i += WARP * 16)
        if (i + WARP * 16 <= BYTES || lane * 16 < BYTES - i) copy_16(to + i, from + i);
}

// TILES tiles into a stage; then `from` are the next.  Tiles share supers by eight (tile.cuh), and
// these may be parts of two such groups: `super_bytes` says so.
__device__ __forceinline__ void fetch_stage(u8* stage, Planes& from, int super_bytes, int lane) {
    u32 to = (u32)__cvta_generic_to_shared(stage) + lane * 16;
    copy_plane<TILES * LOW_TILE>(to, from.low, lane);
    copy_plane<TILES * HIGH_TILE>(to + TILES * LOW_TILE, from.high, lane);
    copy_plane<TILES * SCALE_TILE>(to + TILES * (LOW_TILE + HIGH_TILE), from.scales, lane);
    to += TILES * (LOW_TILE + HIGH_TILE + SCALE_TILE);
#if FORMAT == PARTS_MIN
    copy_plane<SUPER_GROUP>(to, from.supers, lane);
#elif SUPERS
    if (lane * 16 < super_bytes) copy_16(to, from.supers);
#endif
    from.low += TILES * LOW_TILE, from.high += TILES * HIGH_TILE;
    from.scales += TILES * SCALE_TILE, from.supers += SUPER_GROUP;
}

// A warp's ring, and where in the matrix its next stage comes from.
struct RowRing {
    u8* stages;
    Planes w, from;
    int first, last, blocks, row_tiles, ahead, ahead_at, slot;
};

__device__ __forceinline__ int my_strand() { return threadIdx.x / WARP % STRANDS; }

__device__ __forceinline__ int my_side() { return threadIdx.x / WARP / STRANDS; }

__device__ __forceinline__ RowRing make_row_ring(u8* rings, const Planes& w, int row_tiles,
                                                 int blocks) {
    int lane = threadIdx.x % WARP, run = run_length(blocks);
    int first = min(my_strand() * run, blocks), last = min(first + run, blocks);
    int tile = blockIdx.x + my_side() * gridDim.x;
    if (first == last) tile = row_tiles;  // an empty strand asks for nothing
    return {rings + threadIdx.x / WARP * STAGES * STAGE,
            w,
            sources_of(w, (long long)tile * blocks + first, lane),
            first,
            last,
            blocks,
            row_tiles,
            tile,
            first,
            0};
}

__device__ __forceinline__ void ask_ahead(RowRing& ring, int slot) {
    int lane = threadIdx.x % WARP;
    if (ring.ahead < ring.row_tiles) {
        int super_bytes = ring.first & 7 ? 2 * SUPERS : SUPERS;  // whole groups in a row
        fetch_stage(ring.stages + slot * STAGE, ring.from, super_bytes, lane);
        ring.ahead_at += TILES;
        if (ring.ahead_at >= ring.last) {
            ring.ahead += SIDES * gridDim.x, ring.ahead_at = ring.first;
            ring.from = sources_of(ring.w, (long long)ring.ahead * ring.blocks + ring.first, lane);
        }
    }
    asm volatile("cp.async.commit_group;");
}

// Stages from .. to - 1 of STAGES for the first time.  Not unrolled: code that runs once comes from
// memory, too, behind the weights that are on their way.
__device__ __forceinline__ void fill(RowRing& ring, int from, int to) {
#pragma unroll 1
    for (int i = from; i < to; i++) ask_ahead(ring, i);
}

// The oldest stage, when it has come.
__device__ __forceinline__ u8* wait_for_stage(RowRing& ring) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1) : "memory");
    __syncwarp();
    return ring.stages + ring.slot * STAGE;
}

// All lanes have read it.
__device__ __forceinline__ void ask_again(RowRing& ring) {
    __syncwarp();
    ask_ahead(ring, ring.slot);
    ring.slot = ring.slot + 1 == STAGES ? 0 : ring.slot + 1;
}

// Where the sums of strands go, and what is added to them.
struct Results {
    float* y;
    const float *bias, *residual;
    int rows;
};

__device__ __forceinline__ int row_tile(int number) { return blockIdx.x + number * gridDim.x; }

// Of this block's row tiles number start .. start + AT_ONCE - 1; later threads have none.
__device__ __forceinline__ int row_of_thread(const Results& to, int start) {
    int row = row_tile(start + threadIdx.x / 16) * 16 + threadIdx.x % 16;
    return threadIdx.x < AT_ONCE * 16 ? row : to.rows;
}

// `before`: the residual's number, asked for long ago.
__device__ __forceinline__ void add_up(const Results& to, const float (*strand_sums)[STRANDS][16],
                                       int start, float before) {
    int row = row_of_thread(to, start);
    if (row >= to.rows) return;
    const float* of = strand_sums[threadIdx.x / 16][0] + threadIdx.x % 16;
    float sum = of[0];
    for (int s = 1; s < STRANDS; s++) sum += of[s * 16];
    if (to.bias) sum += to.bias[row];
    if (to.residual) sum = before + sum;
    to.y[row] = sum;
}

// All rows of this block.  `add_strand` adds up the next strand of this warp's ring, and puts the
// sums of its 16 rows where it is told.
template <class AddStrand>
__device__ __forceinline__ void multiply_rows(const Results& to, int row_tiles,
                                              AddStrand add_strand) {
    __shared__ float strand_sums[AT_ONCE][STRANDS][16];
#pragma unroll 1
    for (int start = 0; row_tile(start) < row_tiles; start += AT_ONCE) {
        int row = row_of_thread(to, start);
        float before = to.residual && row < to.rows ? to.residual[row] : 0.0f;
#pragma unroll 1
        for (int i = my_side(); i < AT_ONCE && row_tile(start + i) < row_tiles; i += SIDES)
            add_strand(strand_sums[i][my_strand()]);
        __syncthreads();
        add_up(to, strand_sums, start, before);
        __syncthreads();
    }
}
