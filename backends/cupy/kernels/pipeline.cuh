// Hopper's copy engine and the barriers that count what it has brought (PTX ISA 9.0,
// sections 9.7.9.25 and 9.7.13.15): some warps ask for a stage of shared memory, others work on
// those that have come. `full` of a stage is passed when its bytes are there, `empty` when all who
// read it are done.  The lanes of a warp ask one after the other: where a stage is ten copies and
// done with in a thousand cycles, one warp cannot ask fast enough.

__device__ __forceinline__ void make_barrier(u32 barrier, int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

__device__ __forceinline__ void fence_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;");
}

__device__ __forceinline__ void barriers_made() {
    fence_barriers();
    __syncthreads();
}

__device__ __forceinline__ void arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Before an arrival that lets the copy engine write over what this thread has read: the engine is
// no part of the order of loads and arrivals, and a load that waits behind other warps' stores may
// come last of all.
__device__ __forceinline__ void loads_have_come() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void expect(u32 barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes));
}

__device__ __forceinline__ void wait(u32 barrier, int parity) {
    asm volatile(
        "{ .reg .pred come;\n"
        "again: mbarrier.try_wait.parity.shared.b64 come, [%0], %1;\n"
        "@!come bra again; }" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

__device__ __forceinline__ void copy(u32 to, const void* from, int bytes, u32 barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(to),
        "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
}
