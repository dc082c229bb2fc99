// Kernels of candle by their names and arguments (candle-kernels 0.11: unary.cu, binary.cu, cast.cu, affine.cu, reduce.cu, indexing.cu,
// ternary.cu, fill.cu), the whole grid at once. f32, f64, bf16, u8, u32 and i64; no f16, no fp8.
#include "driver.h"
#include "numbers.h"
#include <array>
#include <limits>
#include <unordered_map>

namespace {
using emulated::Launch;
using emulated::Work;
// A kernel and the bytes of its arguments. One function for each keeps the hundreds of them quick to compile.
struct Kernel {
    void (*call)(void **);
    std::vector<size_t> sizes;
};
typedef std::unordered_map<std::string, Kernel> Table;

template <auto kernel> void call(void **from) { std::apply(kernel, emulated::arguments(kernel, from)); }
template <typename... A> std::vector<size_t> sizes(void (*)(A...)) { return {sizeof(A)...}; }
template <auto kernel> Kernel whole() { return {call<kernel>, sizes(kernel)}; }

// Where element i of a tensor with these sides and strides lies; without them, one after another.
size_t place(size_t i, size_t dimensions, const size_t *sides, const size_t *strides) {
    if (!sides) return i;
    size_t at = 0;
    for (size_t d = dimensions; d-- > 0; i /= sides[d]) at += i % sides[d] * strides[d];
    return at;
}

// What an index must be below; candle asserts the same, which stops a GPU.
template <typename I> size_t checked(I index, size_t end) {
    if ((size_t)index < end) return index;
    fprintf(stderr, "emulated GPU: index %lld of %zu\n", (long long)index, end);
    abort();
}
// An index that stands for zero, or for nothing.
template <typename I> bool is_none(I index) { return index == std::numeric_limits<I>::max(); }

template <typename S, typename T, auto f>
void unary(size_t n, size_t dimensions, const size_t *info, const S *in, T *out) {
    for (size_t i = 0; i < n; i++) out[i] = T(f(Wide<S>(in[place(i, dimensions, info, info + dimensions)])));
}
template <typename T> void copy(size_t n, size_t dimensions, const size_t *info, const T *in, T *out) {
    for (size_t i = 0; i < n; i++) out[i] = in[place(i, dimensions, info, info + dimensions)];
}
template <typename T, auto f>
void unary_by(size_t n, size_t dimensions, const size_t *info, T by, const T *in, T *out) {
    for (size_t i = 0; i < n; i++) out[i] = T(f(Wide<T>(in[place(i, dimensions, info, info + dimensions)]), Wide<T>(by)));
}
template <typename T> void affine(size_t n, size_t dimensions, const size_t *info, const T *in, T *out, T by, T plus) {
    for (size_t i = 0; i < n; i++)
        out[i] = T(Wide<T>(in[place(i, dimensions, info, info + dimensions)]) * Wide<T>(by) + Wide<T>(plus));
}
template <typename T, typename R, auto f>
void binary(size_t n, size_t dimensions, const size_t *info, const T *left, const T *right, R *out) {
    for (size_t i = 0; i < n; i++) {
        size_t a = place(i, dimensions, info, info + dimensions), b = place(i, dimensions, info, info + 2 * dimensions);
        out[i] = R(f(Wide<T>(left[a]), Wide<T>(right[b])));
    }
}
template <typename T, typename I>
void where(size_t n, size_t dimensions, const size_t *info, const I *condition, const T *yes, const T *no, T *out) {
    for (size_t i = 0; i < n; i++) {
        size_t c = place(i, dimensions, info, info + dimensions), y = place(i, dimensions, info, info + 2 * dimensions);
        out[i] = condition[c] ? yes[y] : no[place(i, dimensions, info, info + 3 * dimensions)];
    }
}

// A block an output. NaN counts where there is nothing else, as with fmaxf.
template <typename T, bool largest, bool index, typename R>
void extreme(size_t, size_t each, size_t dimensions, const size_t *info, const T *in, R *out) {
    for (size_t o = 0; o < gridDim.x; o++) {
        size_t best = 0;
        T value{};
        for (size_t i = 0; i < each; i++) {
            T next = in[place(o * each + i, dimensions, info, info + dimensions)];
            if (i == 0 || value != value || (largest ? next > value : next < value)) best = i, value = next;
        }
        if constexpr (index) {
            out[o] = best;
        } else {
            out[o] = value;
        }
    }
}
template <typename T> void sums(size_t outputs, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    for (size_t o = 0; o < outputs; o++) {
        Wide<T> sum = 0;
        for (size_t i = 0; i < each; i++) sum += in[place(o * each + i, dimensions, info, info + dimensions)];
        out[o] = T(sum);
    }
}
template <typename T> void sum_blocks(size_t, size_t each, size_t dimensions, const size_t *info, const T *in, T *out) {
    sums<T>(gridDim.x, each, dimensions, info, in, out);
}

template <typename T, typename I>
void select(size_t n, size_t dimensions, const size_t *info, const I *ids, const T *in, T *out, size_t, size_t from, size_t count,
            size_t right) {
    for (size_t i = 0; i < n; i++) {
        I id = ids[place(i / right % count, dimensions, info, info + dimensions)];
        out[i] = is_none(id) ? T(0) : in[(i / (count * right) * from + checked(id, from)) * right + i % right];
    }
}
template <typename T, typename I>
void gather(size_t n, const I *ids, const T *in, T *out, size_t, size_t from, size_t count, size_t right) {
    for (size_t i = 0; i < n; i++)
        out[i] = is_none(ids[i]) ? T(0) : in[(i / (right * count) * from + checked(ids[i], from)) * right + i % right];
}
template <typename T, typename I>
void index_add(const I *ids, size_t count, const T *in, T *out, size_t left, size_t, size_t to, size_t right) {
    for (size_t l = 0; l < left; l++)
        for (size_t j = 0; j < count; j++)
            for (size_t r = 0; r < right && !is_none(ids[j]); r++) {
                T &sum = out[(l * to + checked(ids[j], to)) * right + r];
                sum = T(Wide<T>(sum) + Wide<T>(in[(l * count + j) * right + r]));
            }
}
template <typename T, typename I, bool add>
void scatter(const I *ids, const T *in, T *out, size_t left, size_t from, size_t to, size_t right) {
    for (size_t l = 0; l < left; l++)
        for (size_t j = 0; j < from; j++)
            for (size_t r = 0; r < right; r++) {
                size_t i = (l * from + j) * right + r;
                if (is_none(ids[i])) continue;
                T &at = out[(l * to + checked(ids[i], to)) * right + r];
                at = add ? T(Wide<T>(at) + Wide<T>(in[i])) : in[i];
            }
}

template <typename T> void copy2d(const T *in, T *out, uint32_t rows, uint32_t columns, uint32_t from, uint32_t to) {
    for (size_t row = 0; row < rows; row++) memcpy(out + row * to, in + row * from, columns * sizeof(T));
}
template <typename T> void fill(T *out, T value, size_t n) { std::fill(out, out + n, value); }
template <typename T> void set(size_t n, size_t dimensions, const size_t *info, T value, T *out) {
    for (size_t i = 0; i < n; i++) out[place(i, dimensions, info, info + dimensions)] = value;
}

template <typename T> void of_any_type(Table &table, const std::string &type) {
    table["ucopy_" + type] = whole<copy<T>>();
    table["copy2d_" + type] = whole<copy2d<T>>();
    table["fill_" + type] = whole<fill<T>>();
    table["const_set_" + type] = whole<set<T>>();
    table["affine_" + type] = whole<affine<T>>();
    table["fast_sum_" + type] = whole<sum_blocks<T>>();
    table["fast_sum_small_" + type] = whole<sums<T>>();
    table["fast_min_" + type] = whole<extreme<T, false, false, T>>();
    table["fast_max_" + type] = whole<extreme<T, true, false, T>>();
    table["fast_argmin_" + type] = whole<extreme<T, false, true, uint32_t>>();
    table["fast_argmax_" + type] = whole<extreme<T, true, true, uint32_t>>();
#define BINARY(name, R, expression) table[name + type] = whole<binary<T, R, [](auto x, auto y) { return (expression); }>>();
    BINARY("badd_", T, x + y)
    BINARY("bsub_", T, x - y)
    BINARY("bmul_", T, x * y)
    BINARY("bdiv_", T, x / y)
    // Of a NaN and a number the number, as fmaxf and fminf of a GPU have it.
    BINARY("bmaximum_", T, x > y || y != y ? x : y)
    BINARY("bminimum_", T, x < y || y != y ? x : y)
    BINARY("eq_", uint8_t, x == y)
    BINARY("ne_", uint8_t, x != y)
    BINARY("lt_", uint8_t, x < y)
    BINARY("le_", uint8_t, x <= y)
    BINARY("gt_", uint8_t, x > y)
    BINARY("ge_", uint8_t, x >= y)
    auto by_ids = [&]<typename I>(I, const std::string &ids) {
        table["is_" + ids + "_" + type] = whole<select<T, I>>();
        table["gather_" + ids + "_" + type] = whole<gather<T, I>>();
        table["ia_" + ids + "_" + type] = whole<index_add<T, I>>();
        table["s_" + ids + "_" + type] = whole<scatter<T, I, false>>();
        table["sa_" + ids + "_" + type] = whole<scatter<T, I, true>>();
        table["where_" + ids + "_" + type] = whole<where<T, I>>();
    };
    by_ids(uint8_t(), "u8");
    by_ids(uint32_t(), "u32");
    by_ids(int64_t(), "i64");
    auto cast = [&]<typename R>(R, const std::string &to) {
        table["cast_" + type + "_" + to] = whole<unary<T, R, [](auto x) { return x; }>>();
    };
    cast(float(), "f32");
    cast(double(), "f64");
    cast(bf16(), "bf16");
    cast(uint8_t(), "u8");
    cast(uint32_t(), "u32");
    cast(int64_t(), "i64");
}

template <typename T> void of_real_type(Table &table, const std::string &type) {
#define UNARY(name, expression) table[name + type] = whole<unary<T, T, [](auto x) { return (expression); }>>();
    UNARY("uneg_", -x)
    UNARY("urecip_", 1 / x)
    UNARY("uexp_", std::exp(x))
    UNARY("ulog_", std::log(x))
    UNARY("usin_", std::sin(x))
    UNARY("ucos_", std::cos(x))
    UNARY("utanh_", std::tanh(x))
    UNARY("uerf_", std::erf(x))
    UNARY("uceil_", std::ceil(x))
    UNARY("ufloor_", std::floor(x))
    UNARY("uround_", std::round(x))
    UNARY("uabs_", std::abs(x))
    UNARY("usqr_", x * x)
    UNARY("usqrt_", std::sqrt(x))
    UNARY("usign_", (x > 0) - (x < 0))
    UNARY("urelu_", std::fmax(x, 0))
    UNARY("usilu_", x / (1 + std::exp(-x)))
    UNARY("usigmoid_", 1 / (1 + std::exp(-x)))
    UNARY("ugelu_", x / 2 * (1 + std::tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x))))
    UNARY("ugelu_erf_", x / 2 * (1 + std::erf(x * M_SQRT1_2)))
    table["upowf_" + type] = whole<unary_by<T, [](auto x, auto by) { return std::pow(x, by); }>>();
    table["uelu_" + type] = whole<unary_by<T, [](auto x, auto by) { return (x > 0 ? x : by * (std::exp(x) - 1)); }>>();
}

Table make() {
    Table table;
    of_any_type<float>(table, "f32");
    of_any_type<double>(table, "f64");
    of_any_type<bf16>(table, "bf16");
    of_any_type<uint8_t>(table, "u8");
    of_any_type<uint32_t>(table, "u32");
    of_any_type<int64_t>(table, "i64");
    of_real_type<float>(table, "f32");
    of_real_type<double>(table, "f64");
    of_real_type<bf16>(table, "bf16");
    return table;
}
} // namespace

Work candle_kernel(const std::string &name, const Launch &launch, void **arguments) {
    static const Table &table = *new Table(make());
    auto at = table.find(name);
    if (at == table.end()) return Work();
    const Kernel &kernel = at->second;
    // Values as they are now.
    std::vector<std::array<char, 8>> values(kernel.sizes.size());
    for (size_t i = 0; i < values.size(); i++) memcpy(&values[i], arguments[i], kernel.sizes[i]);
    return [=, &kernel]() mutable {
        std::vector<void *> from;
        for (auto &value : values) from.push_back(&value);
        gridDim = launch.grid;
        kernel.call(from.data());
    };
}
