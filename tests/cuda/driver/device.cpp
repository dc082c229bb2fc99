// The one device, its context, and the words of errors.
#include "driver.h"
#include <cstdarg>
#include <map>
#include <mutex>

namespace {
bool initialised = false;
thread_local void *current = nullptr;
char primary;

std::mutex &mutex = *new std::mutex;
std::string &explanation = *new std::string;
std::map<std::string, long> &launches = *new std::map<std::string, long>;

// At the end of the program, or when the library is closed.
__attribute__((destructor)) void log_all() {
    if (!setting("LOG", 0)) return;
    log_memory();
    log_streams();
    std::lock_guard lock(mutex);
    for (auto &[name, count] : launches) fprintf(stderr, "emulated GPU: %8ld %s\n", count, name.c_str());
}

struct ErrorText {
    const char *name, *text;
};
const std::map<CUresult, ErrorText> &errors() {
    static const auto &texts = *new std::map<CUresult, ErrorText>{
        {SUCCESS, {"CUDA_SUCCESS", "no error"}},
        {INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
        {OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
        {NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
        {STUB_LIBRARY, {"CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"}},
        {NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
        {INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
        {INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
        {NO_BINARY_FOR_GPU, {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
        {INVALID_PTX, {"CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"}},
        {UNSUPPORTED_PTX_VERSION,
         {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
        {NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
        {NOT_READY, {"CUDA_ERROR_NOT_READY", "device not ready"}},
        {NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    };
    return texts;
}
} // namespace

CUresult fail(CUresult error, const char *format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fprintf(stderr, "emulated GPU: %s\n", text);
    std::lock_guard lock(mutex);
    explanation = text;
    return error;
}
void count_launch(const std::string &name) {
    std::lock_guard lock(mutex);
    launches[name]++;
}

API CUresult cuGetErrorName(CUresult error, const char **name) {
    auto at = errors().find(error);
    if (at == errors().end()) return *name = nullptr, INVALID_VALUE;
    return *name = at->second.name, SUCCESS;
}
// Names what is not emulated too, for the program's own message.
API CUresult cuGetErrorString(CUresult error, const char **text) {
    static thread_local std::string told;
    auto at = errors().find(error);
    if (at == errors().end()) return *text = nullptr, INVALID_VALUE;
    told = at->second.text;
    std::lock_guard lock(mutex);
    if (error == NOT_SUPPORTED && !explanation.empty()) told += ": " + explanation;
    return *text = told.c_str(), SUCCESS;
}

API CUresult cuInit(unsigned) {
    if (setting("DEVICES", 1) < 1) return NO_DEVICE;
    return initialised = true, SUCCESS;
}
API CUresult cuDriverGetVersion(int *version) { return *version = setting("DRIVER", 13000), SUCCESS; }
API CUresult cuDeviceGetCount(int *count) { return *count = 1, initialised ? SUCCESS : NOT_INITIALIZED; }
API CUresult cuDeviceGet(int *device, int ordinal) {
    if (!initialised) return NOT_INITIALIZED;
    return ordinal == 0 ? (*device = 0, SUCCESS) : INVALID_DEVICE;
}
API CUresult cuDeviceGetName(char *name, int room, int) { return snprintf(name, room, "Emulated GPU"), SUCCESS; }
API CUresult cuDeviceGetUuid_v2(char *uuid, int) { return memcpy(uuid, "emulated GPU 001", 16), SUCCESS; }
API CUresult cuDeviceGetAttribute(int *value, int attribute, int) {
    int capability = setting("CAPABILITY", 90);
    // By cuda.h's numbers; the rates are those of no GPU.
    static const std::map<int, int> &values = *new std::map<int, int>{
        {1, 1024},     // threads of a block
        {8, 49152},    // shared memory of a block
        {10, 32},      // threads of a warp
        {12, 65536},   // registers of a block
        {13, 1000000}, // kHz of the processors
        {16, 8},       // multiprocessors
        {36, 1000000}, // kHz of the memory
        {37, 1024},    // bits of the memory's bus
        {39, 2048},    // threads of a multiprocessor
        {75, capability / 10},
        {76, capability % 10},
        {81, 233472}, // shared memory of a multiprocessor
        {97, 232448}, // of a block that asks for more
        {115, 1},     // cuMemAllocAsync is there
    };
    auto at = values.find(attribute);
    if (at == values.end()) return fail(INVALID_VALUE, "attribute %d of the device is not emulated", attribute);
    return *value = at->second, SUCCESS;
}
API CUresult cuDevicePrimaryCtxRetain(void **context, int) { return *context = &primary, SUCCESS; }
API CUresult cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API CUresult cuCtxDestroy_v2(void *) { return SUCCESS; }
API CUresult cuCtxSetCurrent(void *context) { return current = context, SUCCESS; }
API CUresult cuCtxGetCurrent(void **context) { return *context = current, SUCCESS; }
API CUresult cuCtxSetFlags(unsigned) { return SUCCESS; }
