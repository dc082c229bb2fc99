// Rows of mixed lengths, with stalls on both sides and pauses in which what is under way has to come out by itself.
#include "Vhidden_axis.h"
#include "bench.h"

static const int LENGTH[] = {192, 1536, 2048, 3072}, SCALE[] = {8, 11, 11, 12};

int main() {
    begin();
    Vhidden_axis m;
    m.in_valid = m.out_ready = m.in_more = 0;
    reset(m);
    struct Row {
        int shape, beats;
        std::vector<std::complex<double>> x;
    };
    std::vector<Row> rows;
    for (int i = 0; i < 30; i++) {
        const int shape = i && random_below(2) ? rows.back().shape : int(random_below(4));
        Row row = {shape, int(1 + random_below(LENGTH[shape] / 8)), {}};
        for (int d = 0; d < LENGTH[shape]; d++) row.x.push_back({double(random_signed(26)), double(random_signed(26))});
        rows.push_back(row);
    }
    size_t in = 0, out = 0;
    int beat_in = 0, beat_out = 0, pause = 0;
    bool offering = false;
    for (int i = 0; out < rows.size() && i < 200000; i++) {
        // Now and then all that went in comes out before there is more.
        if (beat_in == 0 && !offering && pause == 0 && random_below(50) == 0) pause = 2000;
        pause -= pause > 0;
        offering = in < rows.size() && (offering || (!pause && random_below(8)));
        m.in_valid = offering;
        m.in_more = beat_in != 0;
        if (offering) {
            const Row &row = rows[in];
            m.in_shape = row.shape, m.in_beats = row.beats, m.in_tag = in & 1;
            for (int k = 0; k < 8; k++) {
                set_bits(m.in_data, 54 * k, 27, int64_t(row.x[8 * beat_in + k].real()));
                set_bits(m.in_data, 54 * k + 27, 27, int64_t(row.x[8 * beat_in + k].imag()));
            }
        }
        m.out_ready = random_below(8) != 0;
        m.clk = 0, m.eval();
        if (m.out_valid && m.out_ready) {
            const Row &row = rows[out];
            const int hidden = LENGTH[row.shape];
            check(m.out_tag == (out & 1), "row %zu has the wrong tag", out);
            for (int k = 0; k < 8; k += 3) {
                const int v = 8 * beat_out + k;
                std::complex<double> sum = 0;
                for (int d = 0; d < hidden; d++) sum += row.x[d] * std::polar(1.0, -2 * M_PI * (v * d % hidden) / hidden);
                sum /= 1 << SCALE[row.shape];
                const std::complex<double> found(signed_bits(m.out_data, 54 * k, 27), signed_bits(m.out_data, 54 * k + 27, 27));
                check(std::abs(found - sum) < 12 + 3e-5 * std::abs(sum), "row %zu, D %d, %d: %g %g, not %g %g", out, hidden, v,
                      found.real(), found.imag(), sum.real(), sum.imag());
            }
            beat_out++;
            check(m.out_last == (beat_out == row.beats), "row %zu ends with beat %d", out, beat_out);
            if (m.out_last) beat_out = 0, out++;
        }
        if (m.in_valid && m.in_ready) {
            offering = false;
            if (++beat_in == LENGTH[rows[in].shape] / 8) beat_in = 0, in++;
        }
        m.clk = 1, m.eval();
    }
    check(out == rows.size(), "%zu rows of %zu", out, rows.size());
    return end("hidden_axis");
}
