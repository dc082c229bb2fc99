// Mantissas and exponents of numbers of all magnitudes, exact, with pauses.
#include "Vnormalise.h"
#include "bench.h"

struct Out {
    std::vector<int64_t> y;
    int exponent, tag;
};

int main() {
    begin();
    Vnormalise m;
    m.en = m.valid = 0;
    reset(m);
    std::deque<Out> expected;
    const int W = 27, BITS = 17;
    for (int round = 0; round < 40000; round++) {
        const int kind = random_below(8), exponent = int(random_below(400)) - 200;
        std::vector<int64_t> x;
        int64_t all = 0;
        bool any = false;
        for (int k = 0; k < 8; k++) {
            // Zeros, minus ones, and numbers about to round beyond the largest mantissa, too.
            int64_t v = kind == 0 ? 0 : kind == 1 ? -int64_t(random_below(2)) : random_signed(W);
            if (kind == 2) v = ((int64_t(1) << (W - 1 - round % 10)) - 1 - random_below(3)) * (random_below(2) ? 1 : -1);
            x.push_back(v);
            all |= v ^ v >> 63;
            any |= v != 0;
            set_bits(m.x, W * k, W, v);
        }
        int significant = 0;
        while (all >> significant) significant++;
        const int shift = std::max(0, significant - (BITS - 1));
        Out out = {{}, any ? exponent + shift : -128, round & 1};
        for (int64_t v : x) out.y.push_back(std::min<int64_t>(65535, std::max<int64_t>(-65535, round_shift(v, shift))));
        m.exponent = exponent & 0x3ff, m.tag = round & 1;
        m.valid = random_below(3) != 0, m.en = random_below(4) != 0;
        m.clk = 0, m.eval();
        if (m.en && m.valid_out) {
            check(!expected.empty(), "too many");
            if (expected.empty()) break;
            const Out &e = expected.front();
            check(sign_extend(m.exponent_out, 10) == e.exponent && m.tag_out == e.tag, "exponent %ld, not %d",
                  sign_extend(m.exponent_out, 10), e.exponent);
            for (int k = 0; k < 8; k++)
                check(signed_bits(m.y, BITS * k, BITS) == e.y[k], "%ld, not %ld", signed_bits(m.y, BITS * k, BITS), e.y[k]);
            expected.pop_front();
        }
        if (m.en && m.valid) expected.push_back(out);
        m.clk = 1, m.eval();
    }
    check(expected.size() <= 4, "%zu are missing", expected.size());
    return end("normalise");
}
