// src/model/ops/cuda/kernels.cu on a processor (program.h). Compiled with -DDIM=, the channels of a head.
//
// Standard input: six int32 (rows, heads, group, vocabulary, rows of logits, rows of the unsplit model), then spans[4 * rows] and
// belongs[rows of logits] as uint32, cosines and sines [rows * DIM / 2], q, k, v, logits, the unsplit model's logits, all float32.
// Standard output: q rotated, then back, attention of q, k, v, all float32; four float64 a row of logits.

#include <tuple>

#include "program.h"

#define SHARED(name) double *name = (double *)shared_memory

#include "../../src/model/ops/cuda/kernels.cu"

int main() {
    auto head = read<int>(6);
    size_t rows = head[0], heads = head[1], group = head[2], vocabulary = head[3], scored = head[4], unsplit = head[5];
    size_t wide = rows * heads * DIM, narrow = wide / group;
    auto spans = read<Span>(rows);
    auto belongs = read<unsigned>(scored);
    auto cosines = read<float>(rows * DIM / 2), sines = read<float>(rows * DIM / 2);
    auto q = read<float>(wide), k = read<float>(narrow), v = read<float>(narrow);
    auto logits = read<float>(scored * vocabulary), reference = read<float>(unsplit * vocabulary);

    std::vector<float> turned(wide, NAN), back(wide, NAN), out(wide, NAN);
    for (auto [from, to, sign] : {std::tuple{&q, &turned, 1.0f}, {&turned, &back, -1.0f}}) {
        launch(blocks(wide / 2), 1, 0, [&, from, to, sign] {
            rotate(from->data(), to->data(), spans.data(), cosines.data(), sines.data(), sign, rows, heads);
        });
        write(*to);
    }
    launch(blocks(rows), heads, 0, [&] {
        attend(q.data(), k.data(), v.data(), out.data(), spans.data(), 1.0f / std::sqrt((float)DIM), rows, heads, group);
    });
    write(out);
    std::vector<double> scores(4 * scored, NAN);
    launch(scored, 1, THREADS * sizeof(double), [&] {
        score_rows(logits.data(), reference.data(), belongs.data(), scores.data(), vocabulary, 1);
    });
    write(scores);
}
