// Jobs for the benches of both cores: shapes, the order of beats, and the ports with stalls.
#pragma once
#include "bench.h"

struct Beat {
    int64_t mantissas[8];
    int exponent;
};
struct Job {
    int tokens, shape, ks, kd;
    std::vector<Beat> in;
    std::vector<double> expected;  // eight a beat
    int clipped = 0;
    int hidden() const {
        static const int all[] = {192, 1536, 2048, 3072};
        return all[shape];
    }
    int tiles() const { return (std::min(kd, hidden() / 2 + 1) + 3) / 4; }
    bool sends_mirror(int u, int tile) const {
        const bool past_middle = tile < hidden() / 8 && hidden() - (4 * tile + 3) < kd;
        return u > 0 && 2 * u != tokens && (past_middle || tokens - u < ks);
    }
    // Row frequency and tile of each beat of coefficients.
    std::vector<std::pair<int, int>> beats() const {
        std::vector<std::pair<int, int>> all;
        for (int tile = 0; tile < tiles(); tile++)
            for (int u = 0; u < std::min(ks, tokens / 2 + 1); u++) {
                all.push_back({u, tile});
                if (sends_mirror(u, tile)) all.push_back({tokens - u, tile});
            }
        return all;
    }
};

// Some that follow one another at once, beyond the middle of either axis, down to one, and of both sizes of buffer.
static std::vector<Job> shapes() {
    const int all[][4] = {{1, 0, 1, 1},     {2, 0, 1, 70}, {2, 0, 2, 192}, {3, 1, 2, 40},  {5, 0, 4, 97},   {40, 0, 14, 69},
                          {41, 0, 41, 100}, {5, 0, 3, 96}, {5, 0, 3, 96},  {33, 0, 17, 9}, {100, 0, 36, 69}, {2, 2, 1, 30},
                          {1, 3, 1, 1100},  {8, 0, 6, 13}, {160, 0, 2, 98}, {17, 0, 9, 180}};
    std::vector<Job> jobs;
    for (const auto &s : all) {
        Job job;
        job.tokens = s[0], job.shape = s[1], job.ks = s[2], job.kd = s[3];
        jobs.push_back(job);
    }
    return jobs;
}

// All jobs through a core, and at some places a shape that it must drop.
template <class Core> static void run(const std::vector<Job> &jobs, int exponent_bits, double decibels) {
    Core m;
    m.cfg_valid = m.in_valid = m.out_ready = 0;
    reset(m);
    size_t configured = 0, in = 0, out = 0, fed = 0, given = 0;
    int bad = 0, refused = 0;
    bool offering = false, offering_shape = false, offering_bad = false;
    double noise = 0, signal = 0;
    for (int i = 0, still = 0; out < jobs.size() && still < 100000; i++, still++) {
        if (!offering_shape && configured < jobs.size() && random_below(4)) {
            offering_shape = true;
            offering_bad = bad <= int(configured) / 3;
        }
        m.cfg_valid = offering_shape;
        if (offering_shape) {
            const Job &job = jobs[configured];
            m.cfg_tokens = job.tokens, m.cfg_shape = job.shape, m.cfg_ks = job.ks, m.cfg_kd = job.kd;
            if (offering_bad) {
                if (bad % 3 == 0) m.cfg_ks = job.tokens + 1;
                if (bad % 3 == 1) m.cfg_tokens = 513;
                if (bad % 3 == 2) m.cfg_kd = job.hidden() + 1;
            }
        }
        offering = in < jobs.size() && (offering || random_below(4));
        m.in_valid = offering;
        if (offering) {
            const Beat &beat = jobs[in].in[fed];
            for (int k = 0; k < 8; k++) set_bits(m.in_data, 16 * k, 16, beat.mantissas[k]);
            m.in_exponent = beat.exponent & 0xff;
        }
        // Now and then the receiver is away for long.
        m.out_ready = i / 3000 % 4 == 3 ? 0 : random_below(4) != 0;
        m.clk = 0, m.eval();
        refused += m.cfg_refused;
        if (m.cfg_valid && m.cfg_ready) {
            offering_shape = false;
            if (offering_bad) bad++;
            else configured++;
            still = 0;
        }
        if (m.out_valid && m.out_ready) {
            const Job &job = jobs[out];
            for (int k = 0; k < 8; k++) {
                const double found = ldexp(signed_bits(m.out_data, 16 * k, 16), sign_extend(m.out_exponent, exponent_bits));
                const double expected = job.expected[8 * given + k];
                signal += expected * expected, noise += (found - expected) * (found - expected);
            }
            given++, still = 0;
            const bool last = 8 * given == job.expected.size();
            check(m.out_last == last, "job %zu ends with beat %zu", out, given);
            if (last) {
                check(m.out_saturations == job.clipped, "job %zu: %d clipped, not %d", out, m.out_saturations, job.clipped);
                const double ratio = 10 * log10(signal / noise);
                check(ratio >= decibels, "job %zu (S %d, D %d, K_S %d, K_D %d): %.1f dB", out, job.tokens, job.hidden(), job.ks,
                      job.kd, ratio);
                signal = noise = given = 0, out++;
            }
        }
        if (m.in_valid && m.in_ready) {
            offering = false, still = 0;
            if (++fed == jobs[in].in.size()) fed = 0, in++;
        }
        m.clk = 1, m.eval();
    }
    check(out == jobs.size(), "stuck: %zu jobs came in and %zu out of %zu", in, out, jobs.size());
    check(refused == bad && bad > 3, "%d shapes refused of %d", refused, bad);
}
