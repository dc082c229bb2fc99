// Columns along periods of all kinds, in passes of eight frequencies, exact, with pauses between pairs.
#include "Vtoken_axis.h"
#include "bench.h"

struct Sum {
    int p;
    bool mirror, last;
    int tag;
    int64_t y[8];
};

int main() {
    begin();
    Vtoken_axis m;
    m.valid = m.first = m.last = m.root_valid = 0;
    reset(m);
    std::deque<Sum> expected;
    int found = 0;
    auto cycle = [&]() {
        m.clk = 0, m.eval();
        if (m.out_valid) {
            check(!expected.empty(), "too many sums");
            if (!expected.empty()) {
                const Sum s = expected.front();
                expected.pop_front();
                check(m.out_p == s.p && m.out_mirror == s.mirror && m.out_last == s.last && m.out_tag == s.tag,
                      "p %d mirror %d last %d, not %d %d %d", m.out_p, m.out_mirror, m.out_last, s.p, s.mirror, s.last);
                for (int k = 0; k < 8; k++)
                    check(signed_bits(m.out_data, 33 * k, 33) == s.y[k], "p %d mirror %d, %d: %ld, not %ld", s.p, s.mirror, k,
                          signed_bits(m.out_data, 33 * k, 33), s.y[k]);
            }
            found++;
        }
        m.clk = 1, m.eval();
    };
    for (int job = 0; job < 60; job++) {
        const int tokens = 1 + random_below(job % 3 ? 40 : 512);
        std::vector<int64_t> cosine, sine;
        for (int pause = 0; pause < 40; pause++) cycle();
        for (int k = 0; k < tokens; k++) {
            cosine.push_back(lround(65536 * cos(2 * M_PI * k / tokens)));
            sine.push_back(lround(65536 * sin(2 * M_PI * k / tokens)));
            m.root_valid = 1, m.root_index = k;
            m.root = uint64_t(cosine[k] & 0x3ffff) << 18 | (sine[k] & 0x3ffff);
            cycle();
        }
        m.root_valid = 0;
        for (int pause = 0; pause < 5; pause++) cycle();
        const int middle = tokens / 2, pairs = 1 + random_below(middle + 1), lanes = 1 + random_below(middle + 1);
        const int mirrors = random_below(2) ? 0 : random_below(middle + 2);
        int cooldown = 0;
        for (int p0 = 0; p0 < lanes; p0 += 8) {
            const int count = std::min(8, lanes - p0), tag = random_below(2), top = int(random_below(200)) - 100;
            std::vector<std::vector<int64_t>> cosines(count, std::vector<int64_t>(8, 32768)), sines = cosines;
            for (int q = 0; q < pairs;) {
                // The last waits until the sums before are out.
                m.valid = random_below(4) != 0 && (q != pairs - 1 || cooldown == 0);
                m.first = q == 0, m.last = q == pairs - 1;
                const int ea = top - int(random_below(9)), eb = top - int(random_below(9));
                m.a_exponent = ea & 0xff, m.b_exponent = eb & 0xff, m.top = top & 0xff;
                m.tokens = tokens, m.p0 = p0, m.count = count, m.mirrors = mirrors, m.tag = tag;
                for (int k = 0; k < 8; k++) {
                    const int64_t a = random_signed(17), b = random_signed(17);
                    set_bits(m.a, 17 * k, 17, a), set_bits(m.b, 17 * k, 17, b);
                    const int64_t x = round_shift(a << 6, top - ea), y = round_shift(b << 6, top - eb);
                    if (m.valid)
                        for (int i = 0; i < count; i++) {
                            cosines[i][k] += (x + y) * cosine[(p0 + i) * q % tokens];
                            sines[i][k] += (x - y) * sine[(p0 + i) * q % tokens];
                        }
                }
                const bool done = m.valid && m.last;
                q += m.valid;
                cooldown -= cooldown > 0;
                if (done) {
                    int sums = 0;
                    for (int i = 0; i < count; i++) {
                        const int p = p0 + i;
                        const bool both = p && 2 * p != tokens && p >= mirrors;
                        for (int mirror = 0; mirror <= both; mirror++, sums++) {
                            Sum s = {p, bool(mirror), i == count - 1 && mirror == both, tag, {}};
                            for (int k = 0; k < 8; k++) {
                                const int64_t c = cosines[i][k] >> 16, t = sines[i][k ^ 1] >> 16;
                                // e^(-i phi) for the frequency, e^(i phi) for its mirror.
                                s.y[k] = (k & 1) != mirror ? c - t : c + t;
                            }
                            expected.push_back(s);
                        }
                    }
                    cooldown = sums - 1;
                }
                cycle();
            }
            m.valid = 0;
        }
    }
    for (int i = 0; i < 100; i++) cycle();
    check(expected.empty() && found > 300, "%zu of %d sums are missing", expected.size(), found);
    return end("token_axis");
}
