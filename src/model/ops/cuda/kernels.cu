// The decoder's operations that candle has not as one kernel. DIM, the channels of a head, is defined by who compiles.
//
// `spans` has four numbers a row: its position in its sequence, the first row and the number of rows that its sequence shares,
// and the first row of the sequence's own.
//
// tests/cuda/decoder.cpp compiles this file for a processor, a thread for each of a block's: SHARED is the one word that differs
// there.

#ifndef SHARED
#define SHARED(name) extern __shared__ double name[]
#endif

#define INFINITE (1.0f / 0.0f)
#define LARGEST 1.7976931348623157e308

struct Span {
    unsigned position, shared, shared_rows, own;
};

#if DIM % 4 == 0
struct __align__(16) Part {
    float at[4];
};
#else
struct Part {
    float at[1];
};
#endif
#define PART ((int)(sizeof(Part) / sizeof(float)))

// Turns each head of x by its row's position: channel i goes with channel i + DIM / 2. A thread a pair.
extern "C" __global__ void rotate(const float *x, float *out, const Span *spans, const float *cosines, const float *sines,
                                  float sign, int rows, int heads) {
    long long nth = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    int pair = nth % (DIM / 2);
    long long head = nth / (DIM / 2);
    if (head >= (long long)rows * heads) {
        return;
    }
    long long at = (long long)spans[head / heads].position * (DIM / 2) + pair;
    float a = x[head * DIM + pair], b = x[head * DIM + pair + DIM / 2], c = cosines[at], s = sign * sines[at];
    out[head * DIM + pair] = a * c - b * s;
    out[head * DIM + pair + DIM / 2] = b * c + a * s;
}

// Softmax(q k^T / sqrt(DIM)) v over the rows that a row sees. A thread a row and head: it goes over keys and values once and
// keeps the largest score so far. Threads side by side are rows of one sequence, which read the same keys.
extern "C" __global__ void attend(const float *q, const float *k, const float *v, float *out, const Span *spans, float scale,
                                  int rows, int heads, int group) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    int head = blockIdx.y, of = head / group, width = heads / group * DIM;
    const float *mine = q + ((long long)row * heads + head) * DIM;
    float query[DIM], sum[DIM];
#pragma unroll
    for (int i = 0; i < DIM; i++) {
        query[i] = mine[i] * scale;
        sum[i] = 0.0f;
    }
    float most = -INFINITE, total = 0.0f;
    Span span = spans[row];
    int seen = span.shared_rows + row - span.own + 1;
    for (int nth = 0; nth < seen; nth++) {
        int key = nth < (int)span.shared_rows ? span.shared + nth : span.own + nth - span.shared_rows;
        long long at = (long long)key * width + of * DIM;
        const Part *keys = (const Part *)(k + at), *values = (const Part *)(v + at);
        float parts[PART];
        for (int j = 0; j < PART; j++) {
            parts[j] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < DIM / PART; i++) {
            Part part = keys[i];
            for (int j = 0; j < PART; j++) {
                parts[j] += query[i * PART + j] * part.at[j];
            }
        }
        float score = 0.0f;
        for (int j = 0; j < PART; j++) {
            score += parts[j];
        }
        // A NaN is kept: it is not above anything, and the weight it gives is NaN.
        if (score > most) {
            float shrink = expf(most - score);
            total *= shrink;
#pragma unroll
            for (int i = 0; i < DIM; i++) {
                sum[i] *= shrink;
            }
            most = score;
        }
        float weight = expf(score - most);
        total += weight;
#pragma unroll
        for (int i = 0; i < DIM / PART; i++) {
            Part part = values[i];
            for (int j = 0; j < PART; j++) {
                sum[i * PART + j] += weight * part.at[j];
            }
        }
    }
    float *to = out + ((long long)row * heads + head) * DIM;
#pragma unroll
    for (int i = 0; i < DIM; i++) {
        to[i] = sum[i] / total;
    }
}

// Adds (or takes the larger of) what the threads of a block have; every thread gets the result.
template <typename Join> __device__ inline double join(double mine, double *shared, Join with) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    for (int n = blockDim.x; n > 1;) {
        int half = (n + 1) / 2;
        if ((int)threadIdx.x < n - half) {
            shared[threadIdx.x] = with(shared[threadIdx.x], shared[threadIdx.x + half]);
        }
        __syncthreads();
        n = half;
    }
    double all = shared[0];
    __syncthreads();
    return all;
}

struct Plus {
    __device__ double operator()(double a, double b) const { return a + b; }
};
struct Larger {
    __device__ double operator()(double a, double b) const { return b > a ? b : a; }
};
struct Smaller {
    __device__ double operator()(double a, double b) const { return b < a ? b : a; }
};

// What makes logits log-probabilities: the largest, and ln of the sum of e^logit.
__device__ inline void normalise(const float *logits, int vocabulary, double *shared, double *most, double *ln_sum) {
    double mine = -INFINITE, sum = 0.0;
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        mine = logits[i] > mine ? (double)logits[i] : mine;
    }
    *most = join(mine, shared, Larger());
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        sum += exp((double)logits[i] - *most);
    }
    // No number where all are -inf: the difference above is none.
    *ln_sum = *most + log(join(sum, shared, Plus()));
}

// The first id with the largest logit.
__device__ inline double first_top(const float *logits, int vocabulary, double *shared, double most) {
    double mine = vocabulary;
    for (int i = threadIdx.x; i < vocabulary && mine == vocabulary; i += blockDim.x) {
        if ((double)logits[i] == most) {
            mine = i;
        }
    }
    return join(mine, shared, Smaller());
}

// Four numbers a row of logits: ln of the sum of e^logit; and from the row of the unsplit model that `belongs` names, KL(p || q),
// sum min(p, q) and whether both have the same first id on top. A block a row. The terms are those of score/fidelity.rs.
extern "C" __global__ void score_rows(const float *q_all, const float *p_all, const unsigned *belongs, double *out,
                                      int vocabulary, int compare) {
    SHARED(shared);
    const float *q = q_all + (long long)blockIdx.x * vocabulary;
    double q_most, q_ln, p_most, p_ln;
    normalise(q, vocabulary, shared, &q_most, &q_ln);
    double *to = out + (long long)blockIdx.x * 4;
    if (!compare) {
        if (threadIdx.x == 0) {
            to[0] = q_ln;
        }
        return;
    }
    const float *p = p_all + (long long)belongs[blockIdx.x] * vocabulary;
    normalise(p, vocabulary, shared, &p_most, &p_ln);
    double kl = 0.0, acceptance = 0.0;
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        double p_log = (double)p[i] - p_ln, q_log = (double)q[i] - q_ln;
        double p_share = exp(p_log), q_share = exp(q_log), d = p_log - q_log;
        // A logit of -inf has no share, whatever the difference is.
        d = d > LARGEST ? LARGEST : d < -LARGEST ? -LARGEST : d;
        double series = 1.0 / 720.0 - d / 5040.0;
        series = 1.0 / 120.0 - d * series;
        series = 1.0 / 24.0 - d * series;
        series = 1.0 / 6.0 - d * series;
        series = p_share * d * d * (0.5 - d * series);
        kl += fabs(d) < 0.25 ? series : q_share - p_share + p_share * d;
        acceptance += p_share < q_share ? p_share : q_share;
    }
    kl = join(kl, shared, Plus());
    acceptance = join(acceptance, shared, Plus());
    double p_top = first_top(p, vocabulary, shared, p_most), q_top = first_top(q, vocabulary, shared, q_most);
    if (threadIdx.x == 0) {
        to[0] = q_ln;
        to[1] = kl;
        to[2] = acceptance;
        to[3] = p_top == q_top ? 1.0 : 0.0;
    }
}
