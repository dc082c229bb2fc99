// Weights of coefficients, and the mantissa that no encoder sends.
#include "Vcoefficients.h"
#include "bench.h"

int main() {
    begin();
    Vcoefficients m;
    for (int i = 0; i < 20000; i++) {
        m.alone = random_below(2), m.own = random_below(2);
        int64_t x[8];
        int clipped = 0;
        for (int k = 0; k < 8; k++) {
            x[k] = random_below(6) ? random_signed(16) : -32768;
            clipped += x[k] == -32768;
            set_bits(m.x, 16 * k, 16, x[k]);
        }
        m.eval();
        check(m.clipped == clipped, "%d clipped, not %d", m.clipped, clipped);
        for (int k = 0; k < 8; k++) {
            const int64_t expected = std::max<int64_t>(x[k], -32767) * (m.own && !m.alone && k < 2 ? 1 : 2);
            check(signed_bits(m.y, 17 * k, 17) == expected, "%ld, not %ld", signed_bits(m.y, 17 * k, 17), expected);
        }
    }
    return end("coefficients");
}
