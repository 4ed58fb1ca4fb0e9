// A block of a kernel on one thread of a CPU, for kernels of plain CUDA C++ (no inline assembly).
//
// Every thread of the block is a coroutine.  It runs until it meets a barrier, and waits there until
// all others have come: those of its warp, or of the block.  A shuffle is two barriers of a warp
// with a blackboard between them.  Blocks run one after the other.

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define WARP 32
#define EVERY_LANE 0xffffffffu
#define NEVER (-INFINITY)
using std::max;
using std::min;

struct Three {
    int x, y, z;
};
static Three threadIdx, blockIdx, gridDim, blockDim;

const size_t STACK = 1 << 16;

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    int id = 0;
    bool done = false;
};

struct Barrier {
    int members = 0, came = 0, generation = 0;
};

static std::vector<Thread> threads;
static std::vector<Barrier> warps;
static Barrier block;
static Thread* running;
static ucontext_t scheduler;
static std::function<void()> kernel;

static void pass(Barrier& b) {
    int mine = b.generation;
    if (++b.came < b.members)
        while (b.generation == mine) {
            Thread* self = running;
            swapcontext(&self->context, &scheduler);
        }
    else
        b.came = 0, b.generation++;
}

// Who has returned is not waited for any more.
static void leave(Barrier& b) {
    if (--b.members && b.came == b.members) b.came = 0, b.generation++;
}

static void whole_thread() {
    kernel();
    running->done = true;
    leave(block);
    leave(warps[running->id / WARP]);
}

static void run_block(int n) {
    threads.resize(n), warps.assign(n / WARP, {WARP, 0, 0}), block = {n, 0, 0};
    for (int i = 0; i < n; i++) {
        Thread& t = threads[i];
        t.id = i, t.done = false;
        getcontext(&t.context);
        t.context.uc_stack = {t.stack.get(), 0, STACK};
        t.context.uc_link = &scheduler;
        makecontext(&t.context, whole_thread, 0);
    }
    while (block.members)
        for (Thread& t : threads) {
            if (t.done) continue;
            running = &t, threadIdx = {t.id, 0, 0};
            swapcontext(&scheduler, &t.context);
        }
}

template <class Kernel>
void launch(int x, int y, int n, Kernel body) {
    kernel = body, gridDim = {x, y, 1}, blockDim = {n, 1, 1};
    for (int j = 0; j < y; j++)
        for (int i = 0; i < x; i++) {
            blockIdx = {i, j, 0};
            run_block(n);
        }
}

static void __syncthreads() { pass(block); }
static void __syncwarp() { pass(warps[running->id / WARP]); }

static int __syncthreads_or(int mine) {
    static int any;
    any |= mine;
    pass(block);
    int result = any;
    pass(block);
    any = 0;
    pass(block);
    return result;
}

// Every lane's value, on the blackboard.
template <class T>
std::array<T, WARP> of_warp(T mine) {
    static u64 board[32][WARP];
    int warp = running->id / WARP, lane = running->id % WARP;
    std::array<T, WARP> all;
    memcpy(&board[warp][lane], &mine, sizeof(T));
    pass(warps[warp]);
    for (int i = 0; i < WARP; i++) memcpy(&all[i], &board[warp][i], sizeof(T));
    pass(warps[warp]);
    return all;
}

static int lane() { return running->id % WARP; }

template <class T>
T __shfl_xor_sync(u32, T x, int step) {
    return of_warp(x)[lane() ^ step];
}

template <class T>
T __shfl_up_sync(u32, T x, int step) {
    return of_warp(x)[lane() < step ? lane() : lane() - step];
}

template <class T>
T __shfl_sync(u32, T x, int from) {
    return of_warp(x)[from];
}

static u32 __ballot_sync(u32, bool mine) {
    u32 bits = 0;
    std::array<int, WARP> all = of_warp((int)mine);
    for (int i = 0; i < WARP; i++) bits |= (u32)all[i] << i;
    return bits;
}

template <class T>
T atomicAdd(T* at, T x) {
    T old = *at;
    *at = old + x;
    return old;
}

template <class T>
T atomicMax(T* at, T x) {
    T old = *at;
    *at = max(old, x);
    return old;
}

template <class T>
T atomicExch(T* at, T x) {
    return std::exchange(*at, x);
}

static void __threadfence() {}
static int __ffs(u32 x) { return __builtin_ffs(x); }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static u64 __double2ull_rn(double x) { return (u64)nearbyint(x); }

static u32 __float_as_uint(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
