// Memory of the GPU: as much as is set, NaN when it is taken and when it is given back, so that what is read too early or too late shows.
// What is written behind an allocation ends the program when that is freed.
#include "driver.h"
#include <atomic>
#include <map>
#include <mutex>

namespace {
// The driver's grain.
const size_t GRAIN = 512;
const unsigned char NO_NUMBER = 0xff, BEHIND = 0x5a;

struct Allocation {
    size_t bytes;
    bool freed = false;
};
std::mutex &mutex = *new std::mutex;
std::map<CUdeviceptr, Allocation> &allocations = *new std::map<CUdeviceptr, Allocation>;
size_t used = 0, most = 0, taken = 0;
std::atomic<long> copies_up{0}, copies_down{0};

size_t total() {
    static const size_t bytes = setting("MEMORY", 8ll << 30);
    return bytes;
}
size_t rounded(size_t bytes) { return (bytes + GRAIN - 1) / GRAIN * GRAIN; }

CUresult take(CUdeviceptr *out, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    {
        std::lock_guard lock(mutex);
        // An ordinary error, which a program may do something about: nothing is printed.
        size_t others = taken < 200 ? 0 : setting("OTHERS", 0);
        if (used + rounded(bytes) + others > total()) return OUT_OF_MEMORY;
        used += rounded(bytes);
        most = std::max(most, used);
        taken++;
    }
    auto *memory = (unsigned char *)aligned_alloc(GRAIN, rounded(bytes) + GRAIN);
    memset(memory, NO_NUMBER, bytes);
    memset(memory + bytes, BEHIND, rounded(bytes) + GRAIN - bytes);
    std::lock_guard lock(mutex);
    allocations[(CUdeviceptr)memory] = {bytes};
    return *out = (CUdeviceptr)memory, SUCCESS;
}

// Says that it will be freed; only then is it.
CUresult mark_freed(CUdeviceptr from) {
    std::lock_guard lock(mutex);
    auto at = allocations.find(from);
    if (at == allocations.end() || at->second.freed)
        return fail(INVALID_VALUE, "freed twice, or never allocated: %#zx", (size_t)from);
    at->second.freed = true;
    // A stream has yet to free it, and what is allocated later on that stream may lie there, as in a pool of the driver's.
    used -= rounded(at->second.bytes);
    return SUCCESS;
}

void give_back(CUdeviceptr from) {
    std::unique_lock lock(mutex);
    size_t bytes = allocations.at(from).bytes;
    allocations.erase(from);
    lock.unlock();
    auto *memory = (unsigned char *)from;
    for (size_t i = bytes; i < rounded(bytes) + GRAIN; i++)
        if (memory[i] != BEHIND) {
            fprintf(stderr, "emulated GPU: byte %zu of an allocation of %zu bytes was written\n", i, bytes);
            abort();
        }
    memset(memory, NO_NUMBER, bytes);
    free(memory);
}

CUresult check(CUdeviceptr from, size_t bytes, const char *what) {
    return emulated_inside(from, bytes) ? SUCCESS : fail(INVALID_VALUE, "%s of %zu bytes outside of any allocation", what, bytes);
}
} // namespace

API bool emulated_inside(CUdeviceptr from, size_t bytes) {
    std::lock_guard lock(mutex);
    auto next = allocations.upper_bound(from);
    if (next == allocations.begin()) return false;
    auto &[start, allocation] = *std::prev(next);
    return from - start + bytes <= allocation.bytes;
}
void log_memory() {
    fprintf(stderr, "emulated GPU: %zu allocations, %.1f MB at most, %ld copies up, %ld down\n", taken, most / 1e6, (long)copies_up,
            (long)copies_down);
}

API CUresult cuMemGetInfo_v2(size_t *free, size_t *all) {
    std::lock_guard lock(mutex);
    return *free = total() - used, *all = total(), SUCCESS;
}
API CUresult cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = total(), SUCCESS; }
API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) { return take(out, bytes); }
API CUresult cuMemAllocAsync(CUdeviceptr *out, size_t bytes, void *) { return take(out, bytes); }
// Waits for all that is queued, as the driver's does.
API CUresult cuMemFree_v2(CUdeviceptr from) {
    if (auto error = mark_freed(from)) return error;
    synchronize_all();
    return give_back(from), SUCCESS;
}
API CUresult cuMemFreeAsync(CUdeviceptr from, void *stream) {
    if (auto error = mark_freed(from)) return error;
    return enqueue(stream, [=] { give_back(from); }), SUCCESS;
}
API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned) {
    return *out = malloc(bytes), *out ? SUCCESS : OUT_OF_MEMORY;
}
API CUresult cuMemFreeHost(void *memory) { return free(memory), SUCCESS; }

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, void *stream) {
    if (auto error = check(to, bytes, "a memset")) return error;
    return enqueue(stream, [=] { memset((void *)to, value, bytes); }), SUCCESS;
}
// Out of pageable memory, which the driver copies before it returns.
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream) {
    if (auto error = check(to, bytes, "a copy to the GPU")) return error;
    copies_up++;
    auto staged = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
    return enqueue(stream, [=] { memcpy((void *)to, staged->data(), bytes); }), SUCCESS;
}
// Into pageable memory, which the driver waits for.
API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream) {
    if (auto error = check(from, bytes, "a copy from the GPU")) return error;
    copies_down++;
    enqueue(stream, [=] { memcpy(to, (void *)from, bytes); });
    return synchronize(stream), SUCCESS;
}
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *stream) {
    if (auto error = check(from, bytes, "a copy on the GPU")) return error;
    if (auto error = check(to, bytes, "a copy on the GPU")) return error;
    return enqueue(stream, [=] { memmove((void *)to, (void *)from, bytes); }), SUCCESS;
}
// There is one GPU.
API CUresult cuMemcpyPeerAsync(CUdeviceptr to, void *, CUdeviceptr from, void *, size_t bytes, void *stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
// The calls without a stream are those of the default stream, and return when it is done.
API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    return cuMemsetD8Async(to, value, bytes, nullptr) ?: (synchronize(nullptr), SUCCESS);
}
API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr) ?: (synchronize(nullptr), SUCCESS);
}
API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
}
API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr) ?: (synchronize(nullptr), SUCCESS);
}
