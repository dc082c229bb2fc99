// Modules and launches. Text of the emulated NVRTC names a library of kernels for this processor; other PTX is candle's, whose kernels are
// found by their names (candle.cpp), as a stub of nvcc leaves nothing else of them.
#include "driver.h"
#include <cstdarg>
#include <dlfcn.h>
#include <set>

namespace {
struct Module {
    std::set<std::string> entries;
    void *library = nullptr;
};
struct Function {
    std::string name;
    void (*bind)(const emulated::Launch *, void **, emulated::Work *) = nullptr;
    // What a launch may ask for without saying so before.
    unsigned shared_bytes = 48 << 10;
};

// The number behind a word of PTX, as `.target sm_90a`.
long number_after(const std::string &text, const std::string &word, long otherwise) {
    auto at = text.find(word);
    return at == std::string::npos ? otherwise : strtol(text.c_str() + at + word.size(), nullptr, 10);
}
} // namespace

API CUresult cuModuleLoadData(void **out, const void *image) {
    std::string text((const char *)image);
    // PTX ISA 9 came with CUDA 13.
    long isa = number_after(text, "\n.version ", 8), driver = setting("DRIVER", 13000);
    if (isa > driver / 1000 - 4) return UNSUPPORTED_PTX_VERSION;
    if (number_after(text, "\n.target sm_", 0) > setting("CAPABILITY", 90)) return NO_BINARY_FOR_GPU;
    auto *module = new Module;
    for (size_t at = 0; (at = text.find(".entry ", at)) != std::string::npos;) {
        at += strlen(".entry ");
        module->entries.insert(text.substr(at, text.find_first_of("( \n", at) - at));
    }
    const std::string word = "// emulated by ";
    if (auto at = text.find(word); at != std::string::npos) {
        at += word.size();
        auto path = text.substr(at, text.find('\n', at) - at);
        module->library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!module->library) return fail(INVALID_PTX, "%s", dlerror());
    }
    return *out = module, SUCCESS;
}
API CUresult cuModuleLoad(void **, const char *path) { return fail(NOT_SUPPORTED, "a module out of a file, %s", path); }
API CUresult cuModuleUnload(void *) { return SUCCESS; }
API CUresult cuModuleGetFunction(void **out, void *handle, const char *name) {
    auto *module = (Module *)handle;
    if (!module->entries.empty() && !module->entries.contains(name)) return fail(NOT_FOUND, "no kernel %s in a module", name);
    auto *function = new Function{.name = name};
    if (module->library) {
        auto *bind = dlsym(module->library, ("bind_" + function->name).c_str());
        if (!bind) return fail(NOT_FOUND, "%s", dlerror());
        function->bind = (decltype(function->bind))bind;
    }
    return *out = function, SUCCESS;
}
API CUresult cuFuncSetAttribute(void *handle, int attribute, int value) {
    const int MOST_SHARED = 8;
    if (attribute == MOST_SHARED) {
        if (value > 232448) return INVALID_VALUE;
        ((Function *)handle)->shared_bytes = std::max(48 << 10, value);
    }
    return SUCCESS;
}
API CUresult cuFuncGetAttribute(int *value, int, void *) { return *value = 0, SUCCESS; }

API CUresult cuLaunchKernel(void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                            unsigned block_z, unsigned shared_bytes, void *stream, void **arguments, void **) {
    auto *function = (Function *)handle;
    const char *name = function->name.c_str();
    emulated::Launch launch{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, name};
    bool empty = !grid_x || !grid_y || !grid_z || !block_x || !block_y || !block_z;
    bool wide = grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535 || (size_t)block_x * block_y * block_z > 1024 || block_z > 64;
    if (empty || wide || shared_bytes > function->shared_bytes)
        return fail(INVALID_VALUE, "%s launched with grid %u %u %u, block %u %u %u, %u bytes of shared memory", name, grid_x, grid_y, grid_z,
                    block_x, block_y, block_z, shared_bytes);
    emulated::Work work;
    if (function->bind) {
        function->bind(&launch, arguments, &work);
    } else {
        work = candle_kernel(name, launch, arguments);
    }
    if (!work) return fail(NOT_SUPPORTED, "kernel %s is not emulated (tests/cuda/driver/candle.cpp)", name);
    return emulated_enqueue(stream, name, &work), SUCCESS;
}
