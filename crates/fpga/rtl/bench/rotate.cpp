// Products with roots of unity, exact, with pauses.
#include "Vrotate.h"
#include "bench.h"

int main() {
    begin();
    Vrotate m;
    std::deque<std::pair<int64_t, int64_t>> expected;
    for (int i = 0; i < 20000; i++) {
        const double angle = random32() * 1e-6;
        // Complex numbers of up to half the range's magnitude, as the transforms have.
        const int64_t re = random_signed(26), im = random_signed(26);
        const int64_t c = lround(65536 * cos(angle)), s = lround(65536 * sin(angle));
        m.en = random_below(4) != 0;
        m.re = re & 0x7ffffff, m.im = im & 0x7ffffff;
        m.root = uint64_t(c & 0x3ffff) << 18 | (s & 0x3ffff);
        rise(m);
        if (!m.en) continue;
        expected.push_back({round_shift(re * c - im * s, 16), round_shift(re * s + im * c, 16)});
        if (expected.size() < 3) continue;
        const auto [x, y] = expected.front();
        expected.pop_front();
        check(sign_extend(m.re_out, 27) == x && sign_extend(m.im_out, 27) == y, "%ld %ld, not %ld %ld",
              sign_extend(m.re_out, 27), sign_extend(m.im_out, 27), x, y);
    }
    return end("rotate");
}
