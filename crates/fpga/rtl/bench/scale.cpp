// Factors of some numbers, and no second division for the same.
#include "Vscale.h"
#include "bench.h"

int main() {
    begin();
    Vscale m;
    m.wanted = 0;
    reset(m);
    for (int i = 0; i < 300; i++) {
        const int n = 1 + random_below(1536), log = 31 - __builtin_clz(n);
        for (int again = 0; again < 2; again++) {
            m.wanted = 0;
            for (int pause = random_below(3); pause > 0; pause--) rise(m);
            m.wanted = 1, m.n = n;
            int cycles = 0;
            for (m.eval(); !m.ready && cycles < 100; cycles++) rise(m);
            check(again ? cycles == 0 : cycles < 50, "%d took %d cycles", n, cycles);
            check(m.log == log && int(m.factor) == ((1 << (16 + log)) + n / 2) / n, "1 / %d: %d / 2^%d", n, int(m.factor),
                  16 + m.log);
        }
    }
    return end("scale");
}
