// Tables are filled when S changes, only then, and are whole before a job may go on.
#include "Vperiod.h"
#include "bench.h"

int main() {
    begin();
    Vperiod m;
    m.wanted = 0, m.tokens = 5;
    reset(m);
    int before = 0;
    for (int i = 0; i < 200; i++) {
        const int tokens = random_below(3) && before ? before : 1 + random_below(512);
        m.wanted = 0;
        for (int pause = random_below(4); pause > 0; pause--) rise(m);
        m.wanted = 1, m.tokens = tokens;
        int written = 0, cycles = 0;
        for (m.eval(); !m.ready && cycles < 2000; cycles++) {
            if (m.root_valid) {
                const double angle = 2 * M_PI * written / tokens;
                check(m.root_index == written && fabs(sign_extend(m.root >> 18, 18) - 65536 * cos(angle)) < 0.7,
                      "S %d, root %d", tokens, written);
                written++;
            }
            rise(m);
        }
        check(cycles < 2000 && written == (tokens == before ? 0 : tokens), "S %d: %d roots", tokens, written);
        before = tokens;
    }
    return end("period");
}
