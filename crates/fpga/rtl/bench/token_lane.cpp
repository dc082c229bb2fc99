// Sums of one frequency over any period, exact, with pauses between pairs.
#include "Vtoken_lane.h"
#include "bench.h"

int main() {
    begin();
    Vtoken_lane m;
    m.write = m.step = m.add = m.load = m.shift = 0;
    for (int round = 0; round < 60; round++) {
        const int tokens = 1 + random_below(512), p = random_below(tokens / 2 + 1), count = 1 + random_below(tokens / 2 + 1);
        std::vector<int64_t> cosine, sine;
        for (int k = 0; k < tokens; k++) {
            cosine.push_back(lround(65536 * cos(2 * M_PI * k / tokens)));
            sine.push_back(lround(65536 * sin(2 * M_PI * k / tokens)));
            m.write = 1, m.to = k;
            m.root_in = uint64_t(cosine[k] & 0x3ffff) << 18 | (sine[k] & 0x3ffff);
            rise(m);
        }
        m.write = 0;
        int64_t sums[16];
        for (int64_t &sum : sums) sum = 32768;
        m.p = p;
        // Numbers follow a step by two cycles, and are added after four.
        std::deque<int> steps(4, -1);
        for (int q = 0, added = 0; added < count;) {
            const bool step = q < count && random_below(4);
            m.step = step, m.step_first = q == 0;
            m.tokens = q == 0 ? 0 : tokens;  // which it must not look at yet
            const int numbers = steps[1], add = steps[3];
            for (int k = 0; k < 8; k++) {
                const int64_t even = random_signed(24), odd = random_signed(24);
                set_bits(m.even, 24 * k, 24, even), set_bits(m.odd, 24 * k, 24, odd);
                if (numbers >= 0) {
                    sums[k] += even * cosine[p * numbers % tokens];
                    sums[8 + k] += odd * sine[p * numbers % tokens];
                }
            }
            m.add = add >= 0, m.add_first = add == 0;
            added += add >= 0;
            steps.push_front(step ? q : -1);
            steps.pop_back();
            q += step;
            rise(m);
        }
        m.add = m.step = 0, m.load = 1;
        rise(m);
        m.load = 0;
        for (int k = 0; k < 16; k++)
            check(uint32_t(bits(m.chain, 32 * k, 32)) == uint32_t(sums[k] >> 16), "S %d, p %d, %d: %lx, not %x", tokens, p, k,
                  bits(m.chain, 32 * k, 32), uint32_t(sums[k] >> 16));
    }
    return end("token_lane");
}
