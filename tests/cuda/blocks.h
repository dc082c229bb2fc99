// A GPU's blocks on a processor: CUDA's words, and a grid whose blocks come one after another.
//
// The threads of a block are fibers of one thread here. Each runs until it ends or comes to a barrier, then the next runs, so 1,024
// threads that meet a hundred times cost little. Every other round goes backwards: what a kernel reads without a barrier from a thread
// before or behind it is wrong in one of the two. Shared memory holds NaN when a block begins, and what is written behind its end ends
// the program.
#pragma once

// A fiber's jump to another stack is what the check would refuse.
#undef _FORTIFY_SOURCE
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <vector>

struct Index {
    unsigned x = 1, y = 1, z = 1;
};
inline thread_local Index threadIdx, blockIdx, blockDim, gridDim;
inline thread_local char *shared_memory;

namespace emulated {

using Work = std::function<void()>;

// What cuLaunchKernel is told beside the arguments.
struct Launch {
    Index grid, block;
    size_t shared_bytes = 0;
    const char *name = "a kernel";
};

enum State { READY, AT_WARP, AT_BLOCK, DONE };
const unsigned WARP = 32;

// A stack that runs one thread of a block after another.
struct Fiber {
    // Room for local arrays of any head dimension; pages are taken when they are touched.
    static const size_t STACK = 256 << 10;
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t begin;
    jmp_buf at;
    bool begun = false;
};

// The threads of the block that runs now.
struct Block {
    jmp_buf scheduler;
    const Work *kernel;
    const char *name = "";
    unsigned count = 0, current = 0;
    std::vector<State> states;
    std::vector<Fiber *> fibers;
    std::vector<std::unique_ptr<Fiber>> all;
    // Fibers whose thread has ended: a kernel without barriers needs one.
    std::vector<Fiber *> idle;
    // What lanes of a warp hand each other.
    std::vector<double> exchange;

    static Block &here() {
        static thread_local Block block;
        return block;
    }

    [[noreturn]] void die(const char *what) {
        fprintf(stderr, "emulated GPU: %s, block %u %u %u: %s\n", name, blockIdx.x, blockIdx.y, blockIdx.z, what);
        abort();
    }

    static void main() {
        for (;;) {
            Block &block = here();
            (*block.kernel)();
            block.pause(DONE);
        }
    }

    // From a thread of the block to the scheduler, until that comes back.
    __attribute__((noinline)) void pause(State state) {
        states[current] = state;
        if (!_setjmp(fibers[current]->at)) _longjmp(scheduler, 1);
    }

    __attribute__((noinline)) void resume(Fiber *fiber) {
        if (_setjmp(scheduler)) return;
        if (fiber->begun) _longjmp(fiber->at, 1);
        fiber->begun = true;
        getcontext(&fiber->begin);
        fiber->begin.uc_stack = {.ss_sp = fiber->stack.get(), .ss_flags = 0, .ss_size = Fiber::STACK};
        fiber->begin.uc_link = nullptr;
        makecontext(&fiber->begin, main, 0);
        setcontext(&fiber->begin);
    }

    void step(unsigned thread) {
        current = thread;
        threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
        if (!fibers[thread]) {
            if (idle.empty()) {
                all.push_back(std::make_unique<Fiber>());
                idle.push_back(all.back().get());
            }
            fibers[thread] = idle.back();
            idle.pop_back();
        }
        resume(fibers[thread]);
        if (states[thread] == DONE) {
            idle.push_back(fibers[thread]);
            fibers[thread] = nullptr;
        }
    }

    // Whether all of these threads that have not ended wait so; then they go on.
    bool release(unsigned from, unsigned to, State waiting) {
        bool any = false;
        for (unsigned t = from; t < to; t++) {
            if (states[t] != waiting && states[t] != DONE) return false;
            any |= states[t] == waiting;
        }
        for (unsigned t = from; t < to; t++) {
            if (states[t] == waiting) states[t] = READY;
        }
        return any;
    }

    void run(const Work &work) {
        kernel = &work;
        count = blockDim.x * blockDim.y * blockDim.z;
        states.assign(count, READY);
        fibers.assign(count, nullptr);
        exchange.resize(count);
        for (bool backwards = false;; backwards = !backwards) {
            for (unsigned n = 0; n < count; n++) {
                unsigned t = backwards ? count - 1 - n : n;
                if (states[t] == READY) step(t);
            }
            bool released = false;
            for (unsigned t = 0; t < count; t += WARP) released |= release(t, std::min(t + WARP, count), AT_WARP);
            if (released || release(0, count, AT_BLOCK)) continue;
            if (std::any_of(states.begin(), states.end(), [](State s) { return s != DONE; }))
                die("some threads wait at a barrier or shuffle that others have not come to");
            return;
        }
    }
};

// Runs a kernel, given as what one thread does.
inline void run(const Launch &launch, const Work &thread) {
    const size_t GUARD = 1024;
    const char MARK = 0x5a;
    std::vector<double> memory((launch.shared_bytes + GUARD) / sizeof(double) + 1);
    shared_memory = (char *)memory.data();
    memset(shared_memory + launch.shared_bytes, MARK, GUARD);
    gridDim = launch.grid;
    blockDim = launch.block;
    Block &block = Block::here();
    block.name = launch.name;
    for (unsigned z = 0; z < gridDim.z; z++)
        for (unsigned y = 0; y < gridDim.y; y++)
            for (unsigned x = 0; x < gridDim.x; x++) {
                blockIdx = {x, y, z};
                memset(shared_memory, 0xff, launch.shared_bytes);
                block.run(thread);
                for (size_t i = 0; i < GUARD; i++)
                    if (shared_memory[launch.shared_bytes + i] != MARK) block.die("wrote behind its shared memory");
            }
}

template <typename T> T argument(void *from) {
    T value;
    memcpy(&value, from, sizeof(T));
    return value;
}

// The values of a kernel's arguments, copied now: a launch returns before the kernel runs.
template <typename... A> auto arguments(void (*)(A...), void **from) {
    return [&]<size_t... I>(std::index_sequence<I...>) {
        return std::tuple<std::remove_const_t<A>...>{argument<std::remove_const_t<A>>(from[I])...};
    }(std::index_sequence_for<A...>());
}

// The kernel with these arguments, to be run later.
template <typename... A> Work bind(void (*kernel)(A...), const Launch &launch, void **from) {
    auto values = arguments(kernel, from);
    return [=] { run(launch, [&] { std::apply(kernel, values); }); };
}

// What lane `from` of the caller's warp gives, of all lanes that take part.
template <typename T> T shuffle(T value, unsigned from) {
    static_assert(sizeof(T) <= sizeof(double));
    Block &block = Block::here();
    unsigned mine = block.current, other = mine / WARP * WARP + from % WARP;
    memcpy(&block.exchange[mine], &value, sizeof(T));
    block.pause(AT_WARP);
    if (from < WARP && other < block.count) memcpy(&value, &block.exchange[other], sizeof(T));
    block.pause(AT_WARP);
    return value;
}

inline unsigned lane() { return Block::here().current % WARP; }

} // namespace emulated

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// Of fixed size, one for all threads of a block. That of the launch's size is `shared_memory`.
#define __shared__ static thread_local

static inline void __syncthreads() { emulated::Block::here().pause(emulated::AT_BLOCK); }
static inline void __syncwarp(unsigned = ~0u) { emulated::Block::here().pause(emulated::AT_WARP); }
template <typename T> T __shfl_sync(unsigned, T value, int from) { return emulated::shuffle(value, from); }
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulated::shuffle(value, emulated::lane() ^ mask);
}
template <typename T> T __shfl_down_sync(unsigned, T value, unsigned by) {
    return emulated::shuffle(value, emulated::lane() + by);
}
template <typename T> T __shfl_up_sync(unsigned, T value, unsigned by) {
    return emulated::shuffle(value, emulated::lane() - by);
}

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
#define __expf expf
static inline float __fdividef(float x, float y) { return x / y; }
template <typename T> T __ldg(const T *from) { return *from; }
template <typename To, typename From> static To emulated_bits(From from) {
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}
static inline float __uint_as_float(unsigned bits) { return emulated_bits<float>(bits); }
static inline unsigned __float_as_uint(float value) { return emulated_bits<unsigned>(value); }
