// What goes in comes out in order, with stalls on both sides, full and empty.
#include "Vfifo.h"
#include "bench.h"

int main() {
    begin();
    Vfifo m;
    m.in_valid = m.out_ready = 0;
    reset(m);
    std::deque<int> queue;
    bool offering = false;
    int most = 0, moved = 0;
    for (int i = 0; i < 60000; i++) {
        const int pressure = i / 5000 % 3;  // fills, drains, both
        offering = offering || random_below(4) >= (pressure == 1 ? 3u : 1u);
        m.in_valid = offering;
        m.out_ready = random_below(4) >= (pressure == 0 ? 3u : 1u);
        m.in_data = i & 0xff;
        m.clk = 0, m.eval();
        const bool in = m.in_valid && m.in_ready, out = m.out_valid && m.out_ready;
        if (out) {
            check(!queue.empty() && m.out_data == queue.front(), "out comes %d", m.out_data);
            if (!queue.empty()) queue.pop_front();
            moved++;
        }
        if (in) queue.push_back(i & 0xff), offering = false;
        most = std::max(most, int(queue.size()));
        check(m.fill <= 512, "fill %d", m.fill);
        m.clk = 1, m.eval();
    }
    check(most >= 512 && moved > 20000, "at most %d, %d moved", most, moved);
    return end("fifo");
}
