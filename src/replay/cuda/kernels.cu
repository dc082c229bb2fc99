// The FC transform on a GPU. A kept block has ks x kd complex coefficients, row-major, in the order of a packet; row i of it has
// the row frequency frequency[i]. Tables of roots hold exp(-2 pi i k / n) for k in 0..n.
//
// tests/cuda/emulate.cpp compiles this file for a processor, a thread for each of a block's: SHARED is the one word that
// differs there.

#ifndef SHARED
#define SHARED(name) extern __shared__ float2 name[]
#endif

__device__ inline float2 times(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// Transforms n numbers in shared memory, from one buffer to the other and back, by factors of n, first to last; returns
// the buffer that holds the result. Stockham's order: after a factor r, spans of `span` numbers are transforms of span * r.
// The roots' conjugates make it the inverse.
__device__ inline float2 *transform(float2 *from, float2 *to, int n, const int *factors, int count, const float2 *roots,
                                    bool inverse) {
    int span = 1;
    for (int nth = 0; nth < count; nth++) {
        int r = factors[nth];
        int wide = span * r;
        for (int o = threadIdx.x; o < n; o += blockDim.x) {
            int t = o % wide;
            int first = o / wide * span + t % span;
            // Input q of the output has the root q * step; n divides span * r times the rest, so nothing is rounded.
            int step = t * (n / wide);
            float2 sum = make_float2(0.0f, 0.0f);
            int at = 0;
            for (int q = 0; q < r; q++) {
                float2 root = roots[at];
                if (inverse) {
                    root.y = -root.y;
                }
                float2 term = times(from[first + q * (n / r)], root);
                sum.x += term.x;
                sum.y += term.y;
                at += step;
                if (at >= n) {
                    at -= n;
                }
            }
            to[o] = sum;
        }
        __syncthreads();
        float2 *other = from;
        from = to;
        to = other;
        span = wide;
    }
    return from;
}

// A (tokens x hidden) to the block, all in one: a group of threads for each kept row sums over the tokens, transforms the row
// in shared memory (2 * hidden numbers) and writes its first kd coefficients.
extern "C" __global__ void fused_forward(const float *a, float2 *kept, int tokens, int hidden, int kd,
                                         const int *frequency, const float2 *token_roots, const float2 *hidden_roots,
                                         const int *factors, int count) {
    SHARED(row);
    int u = frequency[blockIdx.x];
    for (int d = threadIdx.x; d < hidden; d += blockDim.x) {
        float re = 0.0f, im = 0.0f;
        int at = 0;
        for (int s = 0; s < tokens; s++) {
            float value = a[(long long)s * hidden + d];
            float2 root = token_roots[at];
            re += value * root.x;
            im += value * root.y;
            at += u;
            if (at >= tokens) {
                at -= tokens;
            }
        }
        row[d] = make_float2(re, im);
    }
    __syncthreads();
    float2 *done = transform(row, row + hidden, hidden, factors, count, hidden_roots, false);
    for (int v = threadIdx.x; v < kd; v += blockDim.x) {
        kept[(long long)blockIdx.x * kd + v] = done[v];
    }
}

// Each kept row back along the hidden axis, to rows (ks x hidden). A coefficient whose mirror (S - u, D - v) is not kept
// counts `alone` times, as real parts are all that is wanted; mirror[i] says whether row i's mirror is kept.
extern "C" __global__ void fused_rows(const float2 *kept, float2 *rows, int hidden, int kd, const int *mirror, float alone,
                                      const float2 *hidden_roots, const int *factors, int count) {
    SHARED(row);
    for (int v = threadIdx.x; v < hidden; v += blockDim.x) {
        float2 value = make_float2(0.0f, 0.0f);
        if (v < kd) {
            int other = v == 0 ? 0 : hidden - v;
            float weight = mirror[blockIdx.x] && other < kd ? 1.0f : alone;
            value = kept[(long long)blockIdx.x * kd + v];
            value.x *= weight;
            value.y *= weight;
        }
        row[v] = value;
    }
    __syncthreads();
    float2 *done = transform(row, row + hidden, hidden, factors, count, hidden_roots, true);
    for (int d = threadIdx.x; d < hidden; d += blockDim.x) {
        rows[(long long)blockIdx.x * hidden + d] = done[d];
    }
}

// Rows (ks x hidden) to A' (tokens x hidden): the real part of the inverse sum over row frequencies, times norm. Block s of
// the grid's y axis is a token.
extern "C" __global__ void fused_tokens(const float2 *rows, float *a, int tokens, int hidden, int ks, const int *frequency,
                                        const float2 *token_roots, float norm) {
    int d = blockIdx.x * blockDim.x + threadIdx.x;
    int s = blockIdx.y;
    if (d >= hidden) {
        return;
    }
    float sum = 0.0f;
    for (int i = 0; i < ks; i++) {
        float2 value = rows[(long long)i * hidden + d];
        // The conjugate root.
        float2 root = token_roots[(int)((long long)frequency[i] * s % tokens)];
        sum += value.x * root.x + value.y * root.y;
    }
    a[(long long)s * hidden + d] = sum * norm;
}

// The block out of half-spectra (tokens x half, half = hidden / 2 + 1): columns beyond the middle are conjugates.
extern "C" __global__ void pack(const float2 *spectrum, float2 *kept, int tokens, int hidden, int kd, const int *frequency) {
    int v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= kd) {
        return;
    }
    int half = hidden / 2 + 1;
    int u = frequency[blockIdx.y];
    float2 value;
    if (v < half) {
        value = spectrum[(long long)u * half + v];
    } else {
        value = spectrum[(long long)(u == 0 ? 0 : tokens - u) * half + hidden - v];
        value.y = -value.y;
    }
    kept[(long long)blockIdx.y * kd + v] = value;
}

// Half-spectra (tokens x half) whose inverse is A': zero but for the block and its mirror positions, times norm. place[u] is
// the block's row of row frequency u, or -1. Where a position and its mirror are both kept their conjugate mean stands; where
// one is, `single` times it.
extern "C" __global__ void unpack(const float2 *kept, float2 *spectrum, int tokens, int hidden, int kd, const int *place,
                                  float single, float norm) {
    int half = hidden / 2 + 1;
    int v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= half) {
        return;
    }
    int u = blockIdx.y;
    int other_u = u == 0 ? 0 : tokens - u;
    int other_v = v == 0 ? 0 : hidden - v;
    float2 sum = make_float2(0.0f, 0.0f);
    int found = 0;
    if (place[u] >= 0 && v < kd) {
        float2 value = kept[(long long)place[u] * kd + v];
        sum.x += value.x;
        sum.y += value.y;
        found++;
    }
    if (place[other_u] >= 0 && other_v < kd) {
        float2 value = kept[(long long)place[other_u] * kd + other_v];
        sum.x += value.x;
        sum.y -= value.y;
        found++;
    }
    float weight = norm * (found == 2 ? 0.5f : single);
    spectrum[(long long)u * half + v] = make_float2(sum.x * weight, sum.y * weight);
}
