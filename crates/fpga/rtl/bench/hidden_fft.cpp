// Rows of all lengths against a transform in double precision, with pauses.
#include "Vhidden_fft.h"
#include "bench.h"

static const int LENGTH[] = {192, 1536, 2048, 3072}, SCALE[] = {8, 11, 11, 12};

int main() {
    begin();
    Vhidden_fft m;
    m.en = m.first = 0;
    reset(m);
    for (int shape = 0; shape < 4; shape++) {
        const int hidden = LENGTH[shape], length = hidden / 8, rows = 4;
        std::vector<std::vector<std::complex<double>>> row(rows);
        for (auto &r : row)
            for (int d = 0; d < hidden; d++) r.push_back({double(random_signed(26)), double(random_signed(26))});
        m.shape = shape;
        std::vector<std::vector<std::complex<double>>> found(rows, std::vector<std::complex<double>>(hidden, NAN));
        int out = 0;
        for (int in = 0; out < rows * length && in < (rows + 3) * length;) {
            m.en = random_below(4) != 0;
            m.first = in % length == 0 && in < rows * length;
            for (int k = 0; k < 8; k++) {
                const auto x = in < rows * length ? row[in / length][in % length * 8 + k] : 0.0;
                set_bits(m.x, 54 * k, 27, int64_t(x.real()));
                set_bits(m.x, 54 * k + 27, 27, int64_t(x.imag()));
            }
            m.clk = 0, m.eval();
            if (m.en && m.valid) {
                for (int r = 0; r < 8; r++)
                    found[out / length][m.frequency + length * r] = {double(signed_bits(m.y, 54 * r, 27)),
                                                                     double(signed_bits(m.y, 54 * r + 27, 27))};
                out++;
            }
            in += m.en;
            m.clk = 1, m.eval();
        }
        check(out == rows * length, "D %d: %d beats came, not %d", hidden, out, rows * length);
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < hidden; v += 5) {
                std::complex<double> sum = 0;
                for (int d = 0; d < hidden; d++) sum += row[i][d] * std::polar(1.0, -2 * M_PI * (v * d % hidden) / hidden);
                sum /= 1 << SCALE[shape];
                // The rounding of eleven stages, and of the roots.
                check(std::abs(found[i][v] - sum) < 12 + 3e-5 * std::abs(sum), "D %d, row %d, %d: %g %g, not %g %g", hidden, i,
                      v, found[i][v].real(), found[i][v].imag(), sum.real(), sum.imag());
            }
    }
    return end("hidden_fft");
}
