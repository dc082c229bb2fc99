// Sums of products, rounded, with pauses; and the chain.
#include "Vmultiply_add.h"
#include "bench.h"

int main() {
    begin();
    Vmultiply_add m;
    m.shift = m.load = m.add = 0;
    for (int round = 0; round < 500; round++) {
        const int count = 1 + random_below(257);
        int64_t sum = 32768;
        // What is added was put in two cycles before.
        std::deque<bool> adds = {false, false};
        for (int i = 0, added = 0; added < count; i++) {
            const bool there = i < count * 4 && random_below(4) && added + adds[0] + adds[1] < count;
            const int64_t x = random_signed(24), root = sign_extend(random32(), 17);
            m.x = x & 0xffffff, m.root = root & 0x3ffff;
            if (there) sum += x * root;
            m.add = adds.front(), m.first = added == 0;
            added += adds.front();
            adds.pop_front();
            adds.push_back(there);
            rise(m);
        }
        m.add = 0, m.load = 1;
        rise(m);
        m.load = 0;
        check(m.chain == uint32_t(sum >> 16), "sum %d: %x, not %x", round, m.chain, uint32_t(sum >> 16));
        rise(m);
        check(m.chain == uint32_t(sum >> 16), "sum %d is not held", round);
        m.shift = 1, m.chain_in = round;
        rise(m);
        m.shift = 0;
        check(m.chain == uint32_t(round), "the chain does not move");
    }
    return end("multiply_add");
}
