// The whole encoder, with eight lanes, against sums in double precision, with stalls at all ports.
#include "Vfc_encoder.h"
#include "jobs_bench.h"

int main() {
    begin();
    std::vector<Job> jobs = shapes();
    for (Job &job : jobs) {
        const int tokens = job.tokens, hidden = job.hidden(), columns = 4 * job.tiles();
        std::vector<std::complex<double>> rows;  // S x columns
        for (int s = 0; s < tokens; s++) {
            const int exponent = int(random_below(9)) - 4;
            std::vector<double> row;
            for (int d = 0; d < hidden; d += 8) {
                Beat beat = {{}, exponent};
                for (int64_t &m : beat.mantissas) {
                    m = int64_t(random_below(65536)) - 32768;
                    // The rails are rare.
                    if (random_below(500) == 0) m = random_below(2) ? 32767 : random_below(2) ? -32768 : -32767;
                    job.clipped += m >= 32767 || m <= -32767;
                    row.push_back(ldexp(m, exponent));
                }
                job.in.push_back(beat);
            }
            std::vector<std::complex<double>> root;
            for (int d = 0; d < hidden; d++) root.push_back(std::polar(1.0, -2 * M_PI * d / hidden));
            for (int v = 0; v < columns; v++) {
                std::complex<double> sum = 0;
                for (int d = 0; d < hidden; d++) sum += row[d] * root[v * d % hidden];
                rows.push_back(sum);
            }
        }
        for (const auto &[u, tile] : job.beats())
            for (int k = 0; k < 4; k++) {
                std::complex<double> sum = 0;
                for (int s = 0; s < tokens; s++)
                    sum += rows[s * columns + 4 * tile + k] * std::polar(1.0, -2 * M_PI * (u * s % tokens) / tokens);
                job.expected.push_back(sum.real()), job.expected.push_back(sum.imag());
            }
    }
    run<Vfc_encoder>(jobs, 8, 75);
    return end("fc_encoder");
}
