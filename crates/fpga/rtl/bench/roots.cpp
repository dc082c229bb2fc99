// The roots of all periods against double precision.
#include "Vroots.h"
#include "bench.h"

int main() {
    begin();
    Vroots m;
    m.start = 0;
    reset(m);
    for (int tokens = 1; tokens <= 512; tokens++) {
        m.tokens = tokens, m.step = uint32_t(((uint64_t(1) << 32) + tokens / 2) / tokens);
        m.start = 1;
        rise(m);
        m.start = 0;
        int count = 0;
        for (int cycles = 0; m.busy && cycles < 1000; cycles++) {
            if (m.valid) {
                const double angle = 2 * M_PI * count / tokens;
                const int64_t c = sign_extend(m.root >> 18, 18), s = sign_extend(m.root, 18);
                check(m.index == count, "index %d, not %d", m.index, count);
                check(fabs(c - 65536 * cos(angle)) < 0.7 && fabs(s - 65536 * sin(angle)) < 0.7, "%d of %d: %ld %ld", count,
                      tokens, c, s);
                // Half a turn must be exact: odd parts stand there that count for nothing.
                check(2 * count != tokens || (c == -65536 && s == 0), "half of %d: %ld %ld", tokens, c, s);
                count++;
            }
            rise(m);
        }
        check(count == tokens, "%d roots of %d", count, tokens);
    }
    return end("roots");
}
