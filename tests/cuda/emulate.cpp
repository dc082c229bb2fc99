// src/replay/cuda/kernels.cu on a processor (program.h). What cuFFT does between the kernels is done by plain sums.
//
// Standard input: six int32 (tokens, hidden, ks, kd, corner, number of factors), then frequency[ks], place[tokens],
// mirror[ks], factors, A. Standard output: the block by fused_forward, A' from it by the fused kernels, the block by pack,
// A' from it by unpack; all float32.

#include <complex>

#include "program.h"

#define SHARED(name) float2 *name = (float2 *)shared_memory

#include "../../src/replay/cuda/kernels.cu"

static std::vector<float2> roots(int n) {
    std::vector<float2> out(n);
    for (int k = 0; k < n; k++) {
        double angle = -2 * M_PI * k / n;
        out[k] = {(float)std::cos(angle), (float)std::sin(angle)};
    }
    return out;
}

typedef std::complex<double> C;
static C root(long long k, int n) { return std::polar(1.0, -2 * M_PI * (double)(k % n) / n); }

int main() {
    auto head = read<int>(6);
    int tokens = head[0], hidden = head[1], ks = head[2], kd = head[3], corner = head[4], count = head[5];
    auto frequency = read<int>(ks), place = read<int>(tokens), mirror = read<int>(ks), factors = read<int>(count);
    auto a = read<float>((size_t)tokens * hidden);
    auto by_token = roots(tokens), by_hidden = roots(hidden);
    int half = hidden / 2 + 1, groups = blocks(hidden);
    float norm = 1.0 / ((double)tokens * hidden);

    std::vector<float2> kept(ks * kd), rows(ks * hidden), packed(ks * kd), spectrum(tokens * half);
    std::vector<float> back(a.size()), back2(a.size());
    launch(ks, 1, 2 * hidden * sizeof(float2), [&] {
        fused_forward(a.data(), kept.data(), tokens, hidden, kd, frequency.data(), by_token.data(), by_hidden.data(),
                      factors.data(), count);
    });
    launch(ks, 1, 2 * hidden * sizeof(float2), [&] {
        fused_rows(kept.data(), rows.data(), hidden, kd, mirror.data(), corner ? 1.0f : 2.0f, by_hidden.data(),
                   factors.data(), count);
    });
    launch(groups, tokens, 0, [&] {
        fused_tokens(rows.data(), back.data(), tokens, hidden, ks, frequency.data(), by_token.data(), norm);
    });

    // cuFFT's part: half-spectra of rows, then columns.
    for (int u = 0; u < tokens; u++) {
        for (int v = 0; v < half; v++) {
            C sum = 0;
            for (int s = 0; s < tokens; s++)
                for (int d = 0; d < hidden; d++)
                    sum += (double)a[s * hidden + d] * root((long long)u * s, tokens) * root((long long)v * d, hidden);
            spectrum[u * half + v] = {(float)sum.real(), (float)sum.imag()};
        }
    }
    launch(blocks(kd), ks, 0,
           [&] { pack(spectrum.data(), packed.data(), tokens, hidden, kd, frequency.data()); });
    launch(blocks(half), tokens, 0, [&] {
        unpack(packed.data(), spectrum.data(), tokens, hidden, kd, place.data(), corner ? 0.5f : 1.0f, norm);
    });
    // Columns, then rows: what C2R makes of a half-spectrum.
    for (int s = 0; s < tokens; s++) {
        for (int d = 0; d < hidden; d++) {
            double sum = 0;
            for (int v = 0; v < half; v++) {
                C column = 0;
                for (int u = 0; u < tokens; u++) {
                    float2 z = spectrum[u * half + v];
                    column += C(z.x, z.y) * std::conj(root((long long)u * s, tokens));
                }
                bool twice = v > 0 && 2 * v != hidden;
                sum += (twice ? 2.0 : 1.0) * (column * std::conj(root((long long)v * d, hidden))).real();
            }
            back2[s * hidden + d] = sum;
        }
    }
    write(kept);
    write(back);
    write(packed);
    write(back2);
}
