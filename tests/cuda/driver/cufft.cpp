// cuFFT: batches of transforms of one dimension in the advanced layout, in f32 outside and f64 inside.
#include "driver.h"
#include <complex>
#include <map>
#include <mutex>

namespace {
// Of cufftResult and cufftType.
enum { INVALID_PLAN = 1, INVALID_TYPE = 3, INVALID_VALUES = 4 };
enum { R2C = 0x2a, C2R = 0x2c, C2C = 0x29 };

using Complex = std::complex<double>;
using Narrow = std::complex<float>;

// Where element i of transform b lies: b * distance + i * stride.
struct Layout {
    long long stride, distance;
};
struct Plan {
    int length, type, batch;
    Layout in, out;
    void *stream = nullptr;
};
std::mutex &mutex = *new std::mutex;
std::map<int, Plan> &plans = *new std::map<int, Plan>;

Complex root(long long k, long long n, int sign) { return std::polar(1.0, sign * 2 * M_PI * (double)(k % n) / (double)n); }

// Cooley and Tukey's: parts of every r-th number, r the smallest factor, are transformed and put together. sign -1 is forward.
std::vector<Complex> transform(const std::vector<Complex> &in, int sign) {
    size_t n = in.size(), r = 2;
    while (r < n && n % r) r++;
    if (n == 1) return in;
    std::vector<std::vector<Complex>> parts(r);
    for (size_t p = 0; p < r; p++) {
        std::vector<Complex> part(n / r);
        for (size_t i = 0; i < part.size(); i++) part[i] = in[i * r + p];
        parts[p] = transform(part, sign);
    }
    std::vector<Complex> roots(n), out(n);
    for (size_t k = 0; k < n; k++) roots[k] = root(k, n, sign);
    for (size_t k = 0; k < n; k++)
        for (size_t p = 0; p < r; p++) out[k] += parts[p][k % (n / r)] * roots[p * k % n];
    return out;
}

void run(const Plan &plan, const void *in, void *out, int sign) {
    for (int b = 0; b < plan.batch; b++) {
        auto from = [&](long long i) { return b * plan.in.distance + i * plan.in.stride; };
        auto to = [&](long long i) { return b * plan.out.distance + i * plan.out.stride; };
        std::vector<Complex> values(plan.length);
        int half = plan.length / 2 + 1;
        for (int i = 0; i < (plan.type == C2R ? half : plan.length); i++)
            values[i] = plan.type == R2C ? Complex(((const float *)in)[from(i)]) : Complex(((const Narrow *)in)[from(i)]);
        if (plan.type == C2R) {
            // The imaginary parts of the first and the middle number do not count.
            values[0] = values[0].real();
            if (plan.length % 2 == 0) values[half - 1] = values[half - 1].real();
            for (int i = half; i < plan.length; i++) values[i] = std::conj(values[plan.length - i]);
        }
        auto done = transform(values, sign);
        for (int i = 0; i < (plan.type == R2C ? half : plan.length); i++) {
            if (plan.type == C2R) {
                ((float *)out)[to(i)] = done[i].real();
            } else {
                ((Narrow *)out)[to(i)] = Narrow(done[i]);
            }
        }
    }
}

int execute(int handle, int type, const void *in, void *out, int sign) {
    std::unique_lock lock(mutex);
    auto at = plans.find(handle);
    if (at == plans.end()) return INVALID_PLAN;
    if (at->second.type != type) return INVALID_TYPE;
    emulated::Work work = [=, plan = at->second] { run(plan, in, out, sign); };
    return emulated_enqueue(at->second.stream, type == R2C ? "fft r2c" : type == C2R ? "fft c2r" : "fft c2c", &work), 0;
}
} // namespace

API int cufftGetVersion(int *version) { return *version = 12000, 0; }
API int cufftPlanMany(int *handle, int rank, int *lengths, int *in_embedded, int in_stride, int in_distance, int *out_embedded, int out_stride,
                      int out_distance, int type, int batch) {
    bool known = type == R2C || type == C2R || type == C2C;
    // Without `embedded` the strides do not count, which nothing here asks for.
    if (rank != 1 || !in_embedded || !out_embedded || lengths[0] < 1 || batch < 1 || !known) {
        fprintf(stderr, "emulated cuFFT: a plan of rank %d, type %#x, batch %d is not emulated\n", rank, type, batch);
        return INVALID_VALUES;
    }
    std::lock_guard lock(mutex);
    static int made = 0;
    *handle = ++made;
    plans[made] = {lengths[0], type, batch, {in_stride, in_distance}, {out_stride, out_distance}};
    return 0;
}
API int cufftSetStream(int handle, void *stream) {
    std::lock_guard lock(mutex);
    auto at = plans.find(handle);
    return at == plans.end() ? INVALID_PLAN : (at->second.stream = stream, 0);
}
API int cufftDestroy(int handle) {
    std::lock_guard lock(mutex);
    return plans.erase(handle) ? 0 : INVALID_PLAN;
}
API int cufftExecR2C(int handle, float *in, void *out) { return execute(handle, R2C, in, out, -1); }
API int cufftExecC2R(int handle, void *in, float *out) { return execute(handle, C2R, in, out, 1); }
API int cufftExecC2C(int handle, void *in, void *out, int direction) { return execute(handle, C2C, in, out, direction); }
