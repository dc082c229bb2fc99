// A CUDA driver that is no GPU: what the files of this folder share. Each file is one part of libcuda.so.1 or another library.
//
// What a program of `--features cuda-model` or `cuda-kernel` calls is done by threads of this processor, in the order that CUDA
// documents and no other. Settings are environment variables:
//
//   EMULATED_GPU_DEVICES=0          no GPU is found (1)
//   EMULATED_GPU_MEMORY=BYTES       memory of the GPU (8 GiB); allocations beyond it fail
//   EMULATED_GPU_OTHERS=BYTES       taken by other programs after the first 200 allocations (0)
//   EMULATED_GPU_DRIVER=12080       version that the driver gives (13000); it refuses PTX of a newer nvcc or NVRTC
//   EMULATED_GPU_CAPABILITY=80      compute capability (90); PTX for newer ones is refused
//   EMULATED_GPU_SLOW_US=N          every kernel takes N microseconds more, which shows who does not wait
//   EMULATED_GPU_LOG=1              at the end: launches by kernel, streams, copies, the most memory in use
#pragma once

#include "blocks.h"
#include <cstdint>
#include <string>

#define API extern "C" __attribute__((visibility("default")))

typedef int CUresult;
typedef uint64_t CUdeviceptr;

// Of CUresult, those that are given here.
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    STUB_LIBRARY = 34,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    UNSUPPORTED_PTX_VERSION = 222,
    NOT_FOUND = 500,
    NOT_READY = 600,
    NOT_SUPPORTED = 801,
};

// An environment variable EMULATED_GPU_<name> as a number.
inline long long setting(const char *name, long long otherwise) {
    const char *text = getenv((std::string("EMULATED_GPU_") + name).c_str());
    return text && *text ? strtoll(text, nullptr, 10) : otherwise;
}

// The error, with what is wrong on standard error and in cuGetErrorString.
CUresult fail(CUresult error, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Puts work into a stream. The other libraries call it by its C name.
API void emulated_enqueue(void *stream, const char *name, emulated::Work *work);
void enqueue(void *stream, emulated::Work work);
void synchronize(void *stream);
void synchronize_all();

// Whether so many bytes from here lie in one allocation.
API bool emulated_inside(CUdeviceptr from, size_t bytes);

// A kernel of candle's with these arguments; nothing where it is not known.
emulated::Work candle_kernel(const std::string &name, const emulated::Launch &launch, void **arguments);

// What EMULATED_GPU_LOG prints.
void count_launch(const std::string &name);
void log_memory();
void log_streams();
