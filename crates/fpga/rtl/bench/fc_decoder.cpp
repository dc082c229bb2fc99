// The whole decoder, with eight lanes, against sums in double precision, with stalls at all ports.
#include "Vfc_decoder.h"
#include "jobs_bench.h"

int main() {
    begin();
    std::vector<Job> jobs = shapes();
    for (Job &job : jobs) {
        const int tokens = job.tokens, hidden = job.hidden(), columns = 4 * job.tiles();
        std::vector<std::complex<double>> rows(tokens * columns);
        for (const auto &[u, tile] : job.beats()) {
            Beat beat = {{}, int(random_below(9)) - 4};
            // Columns 0 and D / 2 are their own mirrors: they count once where the mirror row is in the block too, or is the
            // same. All others stand for their mirrors as well, and so do these where the mirror row is not there.
            const int pair = std::min(u, (tokens - u) % tokens);
            const bool alone = pair > 0 && 2 * pair != tokens && tokens - pair >= job.ks;
            for (int k = 0; k < 4; k++) {
                const int v = 4 * tile + k;
                int64_t *m = beat.mantissas + 2 * k;
                // Nothing is sent for columns beyond the middle.
                for (int part = 0; part < 2; part++) {
                    m[part] = 2 * v > hidden ? 0 : int64_t(random_below(65535)) - 32767;
                    if (random_below(500) == 0 && 2 * v <= hidden) m[part] = -32768, job.clipped++;
                }
                const double weight = alone || (v != 0 && 2 * v != hidden) ? 2 : 1;
                const std::complex<double> c(std::max<int64_t>(m[0], -32767), std::max<int64_t>(m[1], -32767));
                for (int s = 0; s < tokens; s++)
                    rows[s * columns + v] += ldexp(weight, beat.exponent) * c * std::polar(1.0, 2 * M_PI * (u * s % tokens) / tokens);
            }
            job.in.push_back(beat);
        }
        std::vector<std::complex<double>> root;
        for (int d = 0; d < hidden; d++) root.push_back(std::polar(1.0, 2 * M_PI * d / hidden));
        for (int s = 0; s < tokens; s++)
            for (int d = 0; d < hidden; d++) {
                std::complex<double> sum = 0;
                for (int v = 0; v < columns; v++) sum += rows[s * columns + v] * root[v * d % hidden];
                job.expected.push_back(sum.real() / tokens / hidden);
            }
    }
    run<Vfc_decoder>(jobs, 10, 75);
    return end("fc_decoder");
}
