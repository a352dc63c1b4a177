// CUDA C for a C++ compiler: enough of it that the kernels of tinyalbert/fast/gpu.cu run on a CPU.
//
// One block runs after the other, and of a block one warp after the other, each up to its next
// barrier. The threads of a warp are fibers that run one at a time, each up to its next shuffle or
// barrier. So a missing barrier does not go unnoticed: the caller asks for several orders of warps
// and threads, and a result that depends on the order is a race. A thread that ends or waits
// elsewhere while others wait for it is an error, where a GPU would hang. Left out: what our kernels
// do not use, and speed.

#include <cmath>
#include <csetjmp>
#include <cstring>
#include <functional>
#include <ucontext.h>

#define __global__
#define __device__ inline
#define __shared__ static           // one block at a time: what is static is its threads' alone

struct Place { unsigned x, y; };
static Place threadIdx, blockIdx, blockDim, gridDim;

enum Wait { BARRIER, SHUFFLE, END };
struct Fiber { jmp_buf place; ucontext_t start; char stack[1 << 14]; Wait waits; int shuffles; };
static Fiber fibers[1024];
static unsigned made;               // so many of them exist, and wait for a block to work on
static jmp_buf scheduler;
static ucontext_t first_scheduler;
static std::function<void()> body;
static float offered[2][1024];      // by the parity of the shuffle: the last one's may be unread

static void wait_for(Wait what) {
    Fiber &me = fibers[threadIdx.x];
    me.waits = what;
    if (!_setjmp(me.place)) _longjmp(scheduler, 1);
}

static void __syncthreads() { wait_for(BARRIER); }

static float __shfl_xor_sync(unsigned, float x, int distance) {
    unsigned me = threadIdx.x;
    int round = fibers[me].shuffles++ % 2;
    offered[round][me] = x;
    wait_for(SHUFFLE);
    return offered[round][me ^ distance];
}

static unsigned __float_as_uint(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }

// A fiber stops at once, and then is a thread of one block after another. To begin a fiber takes
// ucontext.h; to switch between those that have begun, setjmp is quicker.
static void run_thread() {
    Fiber &me = fibers[made];
    if (!_setjmp(me.place)) swapcontext(&me.start, &first_scheduler);
    for (;;) { body(); wait_for(END); }
}

static unsigned nth(unsigned n, unsigned of, int order) {      // 0 forwards, 1 backwards, 2 odd first
    return order == 0 ? n : order == 1 ? of - 1 - n : n < of / 2 ? 2 * n + 1 : 2 * (n - of / 2);
}

// All threads of a warp to the next barrier or the end: the same one, and after the same shuffles
static bool run_warp(unsigned warp, int order) {
    Fiber *lanes = fibers + 32 * warp;
    do {
        for (volatile unsigned n = 0; n < 32; n = n + 1) {              // outlives the jumps
            threadIdx.x = 32 * warp + nth(n, 32, order);
            if (!_setjmp(scheduler)) _longjmp(fibers[threadIdx.x].place, 1);
        }
        for (unsigned n = 1; n < 32; n++)
            if (lanes[n].waits != lanes[0].waits) return false;
    } while (lanes[0].waits == SHUFFLE);
    return true;
}

// Whether all warps of the block met at the same barriers and came to the end
static bool run_block(int order) {
    unsigned warps = blockDim.x / 32;
    for (;;) {
        for (unsigned n = 0; n < warps; n++)
            if (!run_warp(nth(n, warps, order), order)) return false;
        for (unsigned n = 1; n < warps; n++)
            if (fibers[32 * n].waits != fibers[0].waits) return false;
        if (fibers[0].waits == END) return true;
    }
}

static bool launch(const unsigned *grid, unsigned threads, int order, std::function<void()> kernel) {
    body = kernel;
    gridDim = {grid[0], grid[1]}, blockDim = {threads, 1};
    for (; made < threads; made++) {
        ucontext_t &start = fibers[made].start;
        getcontext(&start);
        start.uc_stack.ss_sp = fibers[made].stack;
        start.uc_stack.ss_size = sizeof fibers[made].stack;
        makecontext(&start, run_thread, 0);
        swapcontext(&first_scheduler, &start);
    }
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
            if (!run_block(order)) {
                made = 0;           // they stand where they should not
                return false;
            }
    return true;
}
