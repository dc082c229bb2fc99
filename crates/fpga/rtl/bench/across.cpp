// Transforms of eight points in double precision, with pauses.
#include "Vacross.h"
#include "bench.h"

int main() {
    begin();
    Vacross m;
    std::deque<std::vector<std::complex<double>>> expected;
    for (int round = 0; round < 3000; round++) {
        std::vector<std::complex<double>> x(8), y(8);
        for (int k = 0; k < 8; k++) {
            x[k] = {double(random_signed(26)), double(random_signed(26))};
            set_bits(m.x, 54 * k, 27, int64_t(x[k].real()));
            set_bits(m.x, 54 * k + 27, 27, int64_t(x[k].imag()));
        }
        for (int r = 0; r < 8; r++)
            for (int k = 0; k < 8; k++) y[r] += x[k] * std::polar(0.125, -M_PI / 4 * r * k);
        m.en = random_below(4) != 0;
        rise(m);
        if (!m.en) continue;
        expected.push_back(y);
        if (expected.size() < 6) continue;
        for (int r = 0; r < 8; r++) {
            const std::complex<double> found(signed_bits(m.y, 54 * r, 27), signed_bits(m.y, 54 * r + 27, 27));
            check(std::abs(found - expected.front()[r]) < 3 + 2e-5 * std::abs(found), "%d: %g %g, not %g %g", r, found.real(),
                  found.imag(), expected.front()[r].real(), expected.front()[r].imag());
        }
        expected.pop_front();
    }
    return end("across");
}
