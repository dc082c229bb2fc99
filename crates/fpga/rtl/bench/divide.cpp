// All divisors.
#include "Vdivide.h"
#include "bench.h"

int main() {
    begin();
    Vdivide m;
    m.start = 0;
    reset(m);
    for (int divisor = 1; divisor <= 1536; divisor++)
        for (int exponent : {32, 16 + (31 - __builtin_clz(divisor))}) {
            m.start = 1, m.exponent = exponent, m.divisor = divisor;
            rise(m);
            m.start = 0;
            int cycles = 0;
            for (; m.busy && cycles < 100; cycles++) rise(m);
            const uint64_t expected = ((uint64_t(1) << exponent) + divisor / 2) / divisor;
            check(m.quotient == expected && cycles == 34, "2^%d / %d: %lx, not %lx", exponent, divisor, uint64_t(m.quotient),
                  expected);
        }
    return end("divide");
}
