// One lane of a stage of eight points, frame upon frame, with pauses; then passed by.
#include "Vradix2.h"
#include "bench.h"

typedef std::pair<int64_t, int64_t> Number;

int main() {
    begin();
    Vradix2 m;
    const int delay = 4, frame = 16, frames = 50;
    m.en = m.first = m.bypass = 0;
    reset(m);
    std::vector<Number> in, expected;
    for (int i = 0; i < frame * frames; i++) in.push_back({random_signed(26), random_signed(26)});
    for (int block = 0; block < frame * frames; block += 2 * delay) {
        std::vector<Number> differences;
        for (int n = 0; n < delay; n++) {
            const Number a = in[block + n], b = in[block + n + delay];
            const int64_t re = round_shift(a.first - b.first, 1), im = round_shift(a.second - b.second, 1);
            const int64_t c = lround(65536 * cos(M_PI * n / delay)), s = lround(-65536 * sin(M_PI * n / delay));
            expected.push_back({round_shift(a.first + b.first, 1), round_shift(a.second + b.second, 1)});
            differences.push_back({round_shift(re * c - im * s, 16), round_shift(re * s + im * c, 16)});
        }
        expected.insert(expected.end(), differences.begin(), differences.end());
    }
    size_t next = 0, firsts = 0;
    bool running = false;
    for (int i = 0; next < expected.size() && i < 4 * frame * frames;) {
        m.en = random_below(4) != 0;
        const Number x = in[i % in.size()];
        m.first = i < frame * frames && i % frame == 0;
        set_bits(m.x, 0, 27, x.first), set_bits(m.x, 27, 27, x.second);
        m.clk = 0, m.eval();
        if (m.en && m.first_out) {
            check(next % frame == 0, "a frame begins with point %zu", next);
            firsts++, running = true;
        }
        if (m.en && running) {
            const Number y = {signed_bits(m.y, 0, 27), signed_bits(m.y, 27, 27)};
            check(y == expected[next], "point %zu: %ld %ld, not %ld %ld", next, y.first, y.second, expected[next].first,
                  expected[next].second);
            next++;
        }
        i += m.en;
        m.clk = 1, m.eval();
    }
    check(next == expected.size() && firsts == frames, "%zu points in %zu frames", next, firsts);
    m.bypass = m.en = 1;
    for (int i = 0; i < 10; i++) {
        set_bits(m.x, 0, 27, 100 + i), set_bits(m.x, 27, 27, 200 + i);
        m.first = i % 3 == 0;
        rise(m);
        check(bits(m.y, 0, 27) == 100u + i && bits(m.y, 27, 27) == 200u + i && m.first_out == (i % 3 == 0), "bypass %d", i);
    }
    return end("radix2");
}
