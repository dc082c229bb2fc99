// NVRTC: compiles a program for this processor with the host's C++ compiler (CXX, else c++), after a few words are put as blocks.h has
// them. Its "PTX" names the library that comes out, which cuModuleLoadData opens. Libraries are kept beside this one by their source's hash.
#include "driver.h"
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <unistd.h>

namespace {
// Of nvrtcResult.
enum { OUT_OF_MEMORY_ERROR = 1, INVALID_INPUT = 3, INVALID_OPTION = 5, COMPILATION = 6 };

struct Program {
    std::string source, ptx, log;
};

std::filesystem::path folder() {
    Dl_info info;
    dladdr((void *)folder, &info);
    return std::filesystem::canonical(info.dli_fname).parent_path();
}
std::string whole(const std::filesystem::path &path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

// The source for this processor, and the names of its kernels.
std::string translate(const std::string &source, std::vector<std::string> &kernels) {
    // Shared memory of the launch's size.
    static const std::regex &sized =
        *new std::regex(R"(extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w ]+?)\s+(\w+)\s*\[\s*\])");
    static const std::regex &kernel =
        *new std::regex(R"re(extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\()re");
    std::string text = "#include \"blocks.h\"\n#line 1 \"kernels.cu\"\n" + std::regex_replace(source, sized, "$1 *$2 = ($1 *)shared_memory");
    for (std::sregex_iterator at(source.begin(), source.end(), kernel), end; at != end; ++at) {
        kernels.push_back((*at)[1]);
        text += "\nextern \"C\" __attribute__((visibility(\"default\"))) void bind_" + kernels.back() +
                "(const emulated::Launch *launch, void **arguments, emulated::Work *work) { *work = emulated::bind(" + kernels.back() +
                ", *launch, arguments); }\n";
    }
    return text;
}

// Options that a compiler for a processor knows too, each in quotes.
int translate_options(int count, const char *const *options, std::string &out, std::string &target, std::string &log) {
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        static const std::regex &architecture = *new std::regex("(?:--gpu-architecture|-arch)=(?:compute|sm)_(\\d+)[a-f]?");
        std::smatch match;
        if (std::regex_match(option, match, architecture)) {
            target = match[1];
        } else if (option.starts_with("-D") || option.starts_with("-U") || option.starts_with("-I")) {
            if (option.find('\'') != std::string::npos) return INVALID_OPTION;
            out += " '" + option + "'";
        } else if (!option.starts_with("--use_fast_math") && !option.starts_with("-std=") && !option.starts_with("--std=") &&
                   !option.starts_with("--fmad")) {
            log = "option " + option + " is not emulated (tests/cuda/driver/nvrtc.cpp)";
            return INVALID_OPTION;
        }
    }
    return 0;
}
} // namespace

API int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
API int nvrtcCreateProgram(void **program, const char *source, const char *, int headers, const char *const *, const char *const *) {
    return headers ? INVALID_INPUT : (*program = new Program{.source = source}, 0);
}
API int nvrtcDestroyProgram(void **program) { return delete (Program *)*program, *program = nullptr, 0; }
API int nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    auto *program = (Program *)handle;
    // What NVRTC of CUDA 13 compiles for when it is told nothing.
    std::string flags, target = "75";
    if (int error = translate_options(count, options, flags, target, program->log)) return error;
    std::vector<std::string> kernels;
    auto text = translate(program->source, kernels);
    auto here = folder();
    auto hash = std::hash<std::string>()(text + flags + whole(here / "blocks.h"));
    char name[32];
    snprintf(name, sizeof name, "kernels-%016zx", (size_t)hash);
    auto library = here / (std::string(name) + ".so");
    if (!std::filesystem::exists(library)) {
        // Under a name of this process's, then at once under the other: programs run side by side.
        auto mine = here / (std::string(name) + "-" + std::to_string(getpid()));
        auto source = mine.string() + ".cpp", made = mine.string() + ".so", log = mine.string() + ".log";
        std::ofstream(source) << text;
        const char *compiler = getenv("CXX");
        std::string command = std::string(compiler && *compiler ? compiler : "c++") +
                              " -std=c++20 -O2 -march=native -fPIC -shared -fvisibility=hidden -w" + flags + " -I '" + here.string() +
                              "' -o '" + made + "' '" + source + "' > '" + log + "' 2>&1";
        bool good = system(command.c_str()) == 0;
        program->log = whole(log);
        for (auto &file : {source, log}) std::filesystem::remove(file);
        if (!good) return COMPILATION;
        std::filesystem::rename(made, library);
    }
    program->ptx = "// emulated by " + library.string() + "\n.version 9.0\n.target sm_" + target + "\n";
    for (auto &kernel : kernels) program->ptx += ".visible .entry " + kernel + "()\n";
    return 0;
}
API int nvrtcGetPTXSize(void *program, size_t *bytes) { return *bytes = ((Program *)program)->ptx.size() + 1, 0; }
API int nvrtcGetPTX(void *program, char *out) { return strcpy(out, ((Program *)program)->ptx.c_str()), 0; }
API int nvrtcGetProgramLogSize(void *program, size_t *bytes) { return *bytes = ((Program *)program)->log.size() + 1, 0; }
API int nvrtcGetProgramLog(void *program, char *out) { return strcpy(out, ((Program *)program)->log.c_str()), 0; }
API const char *nvrtcGetErrorString(int error) {
    return error == 0              ? "NVRTC_SUCCESS"
           : error == COMPILATION  ? "NVRTC_ERROR_COMPILATION"
           : error == INVALID_OPTION ? "NVRTC_ERROR_INVALID_OPTION"
                                   : "NVRTC_ERROR_INVALID_INPUT";
}
