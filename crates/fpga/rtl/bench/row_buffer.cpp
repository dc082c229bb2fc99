// Rows of all lengths in a scrambled order of frequencies, with stalls on both sides.
#include "Vrow_buffer.h"
#include "bench.h"

int main() {
    begin();
    Vrow_buffer m;
    m.write = m.en = 0, m.beats = 1, m.shape = m.in_shape = 0;
    reset(m);
    const int hidden[] = {192, 1536, 2048, 3072};
    struct Row {
        int shape, beats;
    };
    std::vector<Row> rows;
    for (int i = 0; i < 60; i++) {
        const int shape = random_below(4);
        rows.push_back({shape, int(1 + random_below(hidden[shape] / 8))});
    }
    auto value = [](int row, int i) { return uint64_t(row) * 4096 + i; };
    size_t in = 0, reading = 0, out = 0;
    int written = 0, beat = 0;
    for (int i = 0; out < rows.size() && i < 200000; i++) {
        m.en = random_below(8) != 0;
        if (in < rows.size()) {
            const int length = hidden[rows[in].shape] / 8;
            // An odd factor of each length's power of two, and not of 3: any order will do.
            m.frequency = written * 5 % length;
            m.in_shape = rows[in].shape;
            for (int r = 0; r < 8; r++) set_bits(m.x, 54 * r, 54, value(in, m.frequency + r * length));
        }
        m.write = 0;
        const Row &row = rows[std::min(reading, rows.size() - 1)];
        m.shape = row.shape, m.beats = row.beats;
        m.clk = 0, m.eval();
        m.write = in < rows.size() && m.ready && random_below(8);
        m.eval();
        if (m.valid && m.en) {
            for (int k = 0; k < 8; k++)
                check(bits(m.y, 54 * k, 54) == value(out, 8 * beat + k), "row %zu, %d: %lx", out, 8 * beat + k,
                      bits(m.y, 54 * k, 54));
            beat++;
            check(m.last == (beat == rows[out].beats), "row %zu ends with beat %d", out, beat);
            if (beat == rows[out].beats) beat = 0, out++;
        }
        reading += m.taken;
        if (m.write && ++written == hidden[rows[in].shape] / 8) written = 0, in++;
        m.clk = 1, m.eval();
    }
    check(out == rows.size(), "%zu rows of %zu", out, rows.size());
    return end("row_buffer");
}
