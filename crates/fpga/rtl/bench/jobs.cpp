// Shapes good and bad, and three stages that let go of them in any rhythm.
#include "Vjobs.h"
#include "bench.h"

int main() {
    begin();
    Vjobs m;
    m.cfg_valid = m.a_pop = m.b_pop = m.c_pop = 0;
    reset(m);
    const int hidden[] = {192, 1536, 2048, 3072};
    struct Job {
        int tokens, shape, ks, kd;
    };
    std::vector<Job> taken;
    size_t a = 0, b = 0, c = 0;
    int refused = 0, bad = 0, deep = 0;
    bool offering = false;
    Job job = {};
    auto look = [&](const auto &fields, size_t at) {
        const Job &j = taken[at];
        const int columns = std::min(j.kd, hidden[j.shape] / 2 + 1), tiles = (columns + 3) / 4, middle = j.tokens / 2;
        const uint64_t expected[] = {uint64_t(j.tokens), uint64_t(j.shape), uint64_t(j.ks), uint64_t(j.kd),
                                     uint64_t(hidden[j.shape]), uint64_t(tiles), uint64_t(std::min(j.ks, middle + 1)),
                                     uint64_t((middle + 1) * tiles)};
        const int width[] = {10, 2, 10, 12, 12, 9, 10, 18};
        int place = 83;
        for (int i = 0; i < 8; i++) {
            place -= width[i];
            check(bits(fields, place, width[i]) == expected[i], "S %d K_S %d D %d K_D %d: field %d is %lu, not %lu", j.tokens,
                  j.ks, hidden[j.shape], j.kd, i, bits(fields, place, width[i]), expected[i]);
        }
    };
    for (int i = 0; i < 40000; i++) {
        if (!offering && random_below(3)) {
            offering = true;
            job.tokens = random_below(20) ? 1 + random_below(512) : 513 * random_below(2);
            job.shape = random_below(4);
            job.ks = random_below(10) ? 1 + random_below(std::max(job.tokens, 1)) : random_below(600);
            job.kd = random_below(10) ? 1 + random_below(hidden[job.shape]) : random_below(4096);
        }
        m.cfg_valid = offering;
        m.cfg_tokens = job.tokens, m.cfg_shape = job.shape, m.cfg_ks = job.ks, m.cfg_kd = job.kd;
        m.clk = 0, m.eval();
        refused += m.refused;
        // A stage lets go only after the one before.
        m.a_pop = m.a_valid && random_below(4) == 0;
        m.b_pop = m.b_valid && b < a && random_below(4) == 0;
        m.c_pop = m.c_valid && c < b && random_below(4) == 0;
        m.eval();
        if (m.a_valid) look(m.a, a);
        if (m.b_valid) look(m.b, b);
        if (m.c_valid) look(m.c, c);
        a += m.a_pop, b += m.b_pop, c += m.c_pop;
        if (m.cfg_valid && m.cfg_ready) {
            const int words = (job.tokens / 2 + 1) * ((std::min(job.kd, hidden[job.shape] / 2 + 1) + 3) / 4);
            const bool good = job.tokens >= 1 && job.tokens <= 512 && job.ks >= 1 && job.ks <= job.tokens && job.kd >= 1 &&
                              job.kd <= hidden[job.shape];
            // The Makefile has a buffer of so many words built.
            if (good && words <= 20000) taken.push_back(job);
            else bad++, deep += good;
            offering = false;
        }
        m.clk = 1, m.eval();
    }
    check(abs(refused - bad) <= 1 && bad > 100 && deep > 100 && c > 1000, "%d refused of %d (%d too deep), %zu done", refused, bad,
          deep, c);
    return end("jobs");
}
