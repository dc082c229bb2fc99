// The largest exponent of each group.
#include "Vmax_table.h"
#include "bench.h"

int main() {
    begin();
    Vmax_table m;
    std::vector<int> top(1024, 1000);
    for (int i = 0; i < 100000; i++) {
        m.write = random_below(4) != 0, m.to = random_below(1024), m.first = random_below(5) == 0 || top[m.to] == 1000;
        m.x = random32() & 0xff, m.from = random_below(1024);
        m.clk = 0, m.eval();
        check(top[m.from] == 1000 || sign_extend(m.y, 8) == top[m.from], "%ld, not %d", sign_extend(m.y, 8), top[m.from]);
        const int x = sign_extend(m.x, 8);
        if (m.write) top[m.to] = m.first ? x : std::max(top[m.to], x);
        m.clk = 1, m.eval();
    }
    return end("max_table");
}
