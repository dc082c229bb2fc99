// Writes and reads at random, with pauses of the reading side.
#include "Vbank.h"
#include "bench.h"

int main() {
    begin();
    Vbank m;
    std::vector<int64_t> words(1024, -1);
    std::deque<int64_t> expected;
    for (int i = 0; i < 50000; i++) {
        m.write = random_below(2), m.to = random_below(1024), m.from = random_below(1024), m.en = random_below(4) != 0;
        const uint32_t value = random32();
        set_bits(m.x, 0, 32, value), set_bits(m.x, 112, 32, ~value);
        if (m.en) expected.push_back(words[m.from]);
        rise(m);
        if (m.write) words[m.to] = value;
        if (!m.en || expected.size() < 2) continue;
        if (expected.front() >= 0)
            check(bits(m.y, 0, 32) == uint64_t(expected.front()) && uint32_t(bits(m.y, 112, 32)) == uint32_t(~expected.front()),
                  "%lx, not %lx", bits(m.y, 0, 32), expected.front());
        expected.pop_front();
    }
    return end("bank");
}
