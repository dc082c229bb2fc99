// Shifts by any difference of exponents, exact, with pauses.
#include "Valign.h"
#include "bench.h"

int main() {
    begin();
    Valign m;
    std::deque<std::vector<int64_t>> expected;
    for (int round = 0; round < 20000; round++) {
        const int exponent = int(random_below(256)) - 128;
        const int top = exponent + int(random_below(random_below(2) ? 128 - exponent : std::min(12, 128 - exponent)));
        std::vector<int64_t> y;
        for (int k = 0; k < 8; k++) {
            const int64_t x = random_signed(17);
            set_bits(m.x, 17 * k, 17, x);
            y.push_back(round_shift(x << 6, std::min(31, top - exponent)));
        }
        m.exponent = exponent & 0xff, m.top = top & 0xff;
        m.en = random_below(4) != 0;
        rise(m);
        if (!m.en) continue;
        expected.push_back(y);
        if (expected.size() < 3) continue;
        for (int k = 0; k < 8; k++)
            check(signed_bits(m.y, 23 * k, 23) == expected.front()[k], "%ld, not %ld", signed_bits(m.y, 23 * k, 23),
                  expected.front()[k]);
        expected.pop_front();
    }
    return end("align");
}
