// cuBLAS: products of column-major matrices as candle asks for them, in f32 and f64, of f32, f64 and bf16 numbers. Sums are those of this
// processor; TF32 and fast bf16 are rounded as those cores round their inputs.
#include "driver.h"
#include "numbers.h"

namespace {
// Of cublasStatus_t, cudaDataType, cublasComputeType_t.
enum { CUBLAS_INVALID_VALUE = 7, CUBLAS_NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_64F = 1, R_16BF = 14 };
enum { COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_FAST_16BF = 75, COMPUTE_FAST_TF32 = 77 };
enum Rounding { NONE, TF32, BF16 };

struct Handle {
    void *stream = nullptr;
    bool tf32 = false;
};

// How one of the three matrices lies.
struct Matrix {
    char *at;
    int type;
    bool transposed;
    long long leading, stride;
    size_t bytes() const { return type == R_64F ? 8 : type == R_32F ? 4 : 2; }
};
struct Product {
    long long m, n, k, batch;
    Matrix a, b, c;
    double alpha, beta;
    Rounding rounding;
};

double value(const Matrix &from, size_t i) {
    return from.type == R_64F ? ((double *)from.at)[i] : from.type == R_32F ? ((float *)from.at)[i] : (float)((bf16 *)from.at)[i];
}

// Rows of `lanes` numbers that the compiler keeps in registers.
template <typename T> struct Vector;
template <> struct Vector<float> { typedef float Type __attribute__((vector_size(32))); };
template <> struct Vector<double> { typedef double Type __attribute__((vector_size(32))); };

// Row after row along k, rounded as asked, rows filled with zeros to a multiple of the lanes.
template <typename T> std::vector<T> packed(const Matrix &from, size_t start, long long rows, long long k, long long width, bool k_leads,
                                            Rounding rounding) {
    std::vector<T> out(rows * width);
    for (long long row = 0; row < rows; row++)
        for (long long i = 0; i < k; i++) {
            T x = value(from, start + (k_leads ? row * from.leading + i : i * from.leading + row));
            out[row * width + i] = rounding == TF32 ? as_tf32(x) : rounding == BF16 ? (float)bf16(x) : x;
        }
    return out;
}

// 4 x 2 products of rows at once: each number that is loaded is used two or four times.
template <typename T> void multiply(const Product &p) {
    typedef typename Vector<T>::Type V;
    const long long LANES = sizeof(V) / sizeof(T), ROWS = 4, COLUMNS = 2;
    long long width = (p.k + LANES - 1) / LANES * LANES;
    for (long long nth = 0; nth < p.batch; nth++) {
        auto a = packed<T>(p.a, nth * p.a.stride, p.m, p.k, width, p.a.transposed, p.rounding);
        auto b = packed<T>(p.b, nth * p.b.stride, p.n, p.k, width, !p.b.transposed, p.rounding);
        auto tile = [&](long long row, long long column, long long rows, long long columns) {
            V sums[ROWS][COLUMNS] = {};
            const T *left[ROWS], *right[COLUMNS];
            for (int r = 0; r < ROWS; r++) left[r] = &a[std::min(row + r, p.m - 1) * width];
            for (int c = 0; c < COLUMNS; c++) right[c] = &b[std::min(column + c, p.n - 1) * width];
            for (long long i = 0; i < width; i += LANES) {
                V x[ROWS], y[COLUMNS];
                for (int r = 0; r < ROWS; r++) memcpy(&x[r], left[r] + i, sizeof(V));
                for (int c = 0; c < COLUMNS; c++) memcpy(&y[c], right[c] + i, sizeof(V));
                for (int r = 0; r < ROWS; r++)
                    for (int c = 0; c < COLUMNS; c++) sums[r][c] += x[r] * y[c];
            }
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < columns; c++) {
                    T sum = 0;
                    for (int lane = 0; lane < LANES; lane++) sum += sums[r][c][lane];
                    size_t to = nth * p.c.stride + (column + c) * p.c.leading + row + r;
                    // beta of zero: what is there, NaN as well, does not count.
                    T out = T(p.alpha) * sum + (p.beta == 0 ? 0 : T(p.beta) * T(value(p.c, to)));
                    if (p.c.type == R_16BF) {
                        ((bf16 *)p.c.at)[to] = bf16(out);
                    } else {
                        ((T *)p.c.at)[to] = out;
                    }
                }
        };
        for (long long column = 0; column < p.n; column += COLUMNS)
            for (long long row = 0; row < p.m; row += ROWS)
                tile(row, column, std::min(ROWS, p.m - row), std::min(COLUMNS, p.n - column));
    }
}

int invalid(const char *what) { return fprintf(stderr, "emulated cuBLAS: %s\n", what), CUBLAS_INVALID_VALUE; }

// Whether what the matrix names lies in one allocation.
bool fits(const Matrix &matrix, long long rows, long long columns, long long batch) {
    long long last = (batch - 1) * matrix.stride + (columns - 1) * matrix.leading + rows;
    return emulated_inside((CUdeviceptr)matrix.at, last * matrix.bytes());
}

int start(Handle *handle, const Product &p, int compute) {
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) return invalid("a side is below zero");
    if (p.m == 0 || p.n == 0 || p.batch == 0) return 0;
    long long a_rows = p.a.transposed ? p.k : p.m, b_rows = p.b.transposed ? p.n : p.k;
    if (p.a.leading < std::max(1ll, a_rows)) return invalid("lda is less than the rows of A");
    if (p.b.leading < std::max(1ll, b_rows)) return invalid("ldb is less than the rows of B");
    if (p.c.leading < p.m) return invalid("ldc is less than the rows of C");
    if (p.batch > 1 && p.c.stride < p.c.leading * (p.n - 1) + p.m) return invalid("products of a batch overlap");
    if (p.k > 0 && !fits(p.a, a_rows, p.a.transposed ? p.m : p.k, p.batch)) return invalid("A reaches out of its allocation");
    if (p.k > 0 && !fits(p.b, b_rows, p.b.transposed ? p.k : p.n, p.batch)) return invalid("B reaches out of its allocation");
    if (!fits(p.c, p.m, p.n, p.batch)) return invalid("C reaches out of its allocation");
    bool single = compute == COMPUTE_32F || compute == COMPUTE_FAST_16BF || compute == COMPUTE_FAST_TF32;
    auto narrow = [](const Matrix &x) { return x.type == R_32F || x.type == R_16BF; };
    bool wide = compute == COMPUTE_64F && p.a.type == R_64F && p.b.type == R_64F && p.c.type == R_64F;
    // Both inputs are of one type, the result of theirs or f32.
    bool known = single && p.a.type == p.b.type && narrow(p.a) && (p.c.type == p.a.type || p.c.type == R_32F);
    if (!wide && !known) {
        fprintf(stderr, "emulated cuBLAS: types %d, %d, %d computed in %d are not emulated\n", p.a.type, p.b.type, p.c.type, compute);
        return CUBLAS_NOT_SUPPORTED;
    }
    emulated::Work work = wide ? emulated::Work([=] { multiply<double>(p); }) : [=] { multiply<float>(p); };
    const char *name = wide ? "gemm f64" : p.a.type == R_16BF ? "gemm bf16" : p.rounding == TF32 ? "gemm tf32" : "gemm f32";
    return emulated_enqueue(handle->stream, name, &work), 0;
}
} // namespace

API int cublasCreate_v2(void **handle) { return *handle = new Handle, 0; }
API int cublasDestroy_v2(void *handle) { return delete (Handle *)handle, 0; }
API int cublasGetVersion_v2(void *, int *version) { return *version = 130100, 0; }
API int cublasSetStream_v2(void *handle, void *stream) { return ((Handle *)handle)->stream = stream, 0; }
API int cublasGetStream_v2(void *handle, void **stream) { return *stream = ((Handle *)handle)->stream, 0; }
API int cublasSetWorkspace_v2(void *, void *, size_t) { return 0; }
API int cublasSetPointerMode_v2(void *, int mode) { return mode == 0 ? 0 : CUBLAS_NOT_SUPPORTED; }
API int cublasSetMathMode(void *handle, int mode) { return ((Handle *)handle)->tf32 = mode == 3, 0; }
API int cublasGetMathMode(void *handle, int *mode) { return *mode = ((Handle *)handle)->tf32 ? 3 : 0, 0; }

API int cublasGemmStridedBatchedEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                                   int a_type, int lda, long long a_stride, const void *b, int b_type, int ldb, long long b_stride,
                                   const void *beta, void *c, int c_type, int ldc, long long c_stride, int batch, int compute, int) {
    auto *h = (Handle *)handle;
    auto scale = [=](const void *from) { return compute == COMPUTE_64F ? *(double *)from : *(float *)from; };
    bool tf32 = compute == COMPUTE_FAST_TF32 || (compute == COMPUTE_32F && h->tf32 && a_type == R_32F);
    Product product{m,
                    n,
                    k,
                    batch,
                    {(char *)a, a_type, transpose_a != 0, lda, a_stride},
                    {(char *)b, b_type, transpose_b != 0, ldb, b_stride},
                    {(char *)c, c_type, false, ldc, c_stride},
                    scale(alpha),
                    scale(beta),
                    tf32 ? TF32 : compute == COMPUTE_FAST_16BF ? BF16 : NONE};
    return start(h, product, compute);
}
API int cublasGemmEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a, int a_type,
                     int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type,
                                      ldc, 0, 1, compute, algorithm);
}
#define TYPED(NAME, T, TYPE, COMPUTE)                                                                                                      \
    API int cublas##NAME##gemmStridedBatched(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const T *alpha,          \
                                             const T *a, int lda, long long a_stride, const T *b, int ldb, long long b_stride,              \
                                             const T *beta, T *c, int ldc, long long c_stride, int batch) {                                \
        return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, TYPE, lda, a_stride, b, TYPE, ldb,           \
                                          b_stride, beta, c, TYPE, ldc, c_stride, batch, COMPUTE, 0);                                       \
    }                                                                                                                                      \
    API int cublas##NAME##gemm_v2(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const T *alpha, const T *a, int lda, \
                                  const T *b, int ldb, const T *beta, T *c, int ldc) {                                                     \
        return cublas##NAME##gemmStridedBatched(handle, transpose_a, transpose_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1); \
    }
TYPED(S, float, R_32F, COMPUTE_32F)
TYPED(D, double, R_64F, COMPUTE_64F)

API const char *cublasGetStatusName(int) { return "CUBLAS_STATUS"; }
API const char *cublasGetStatusString(int) { return "a status of the emulated cuBLAS"; }
