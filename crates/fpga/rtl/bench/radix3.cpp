// One lane of the stage, frames of 24, 192 and 384 points, with pauses; then passed by.
#include "Vradix3.h"
#include "bench.h"

struct Number {
    int64_t re, im;
    bool operator==(const Number &o) const { return re == o.re && im == o.im; }
};
static const int64_t SINE = 113512;

int main() {
    begin();
    Vradix3 m;
    m.en = m.first = m.bypass = 0;
    m.third = 8, m.stride = 4;
    reset(m);
    const int thirds[] = {8, 64, 128}, strides[] = {4, 1, 0};
    for (int shape = 0; shape < 3; shape++) {
        const int third = thirds[shape], frame = 3 * third, frames = 12;
        std::vector<Number> in, expected(frame * frames);
        for (int i = 0; i < frame * frames; i++) in.push_back({random_signed(26), random_signed(26)});
        for (int f = 0; f < frames; f++)
            for (int n = 0; n < third; n++) {
                const Number a = in[f * frame + n], b = in[f * frame + third + n], c = in[f * frame + 2 * third + n];
                const Number h = {round_shift(b.re - c.re, 1), round_shift(b.im - c.im, 1)};
                const Number middle = {2 * a.re - b.re - c.re, 2 * a.im - b.im - c.im};
                const Number sums[] = {
                    {round_shift(a.re + b.re + c.re, 2), round_shift(a.im + b.im + c.im, 2)},
                    {round_shift((middle.re << 15) + SINE * h.im, 18), round_shift((middle.im << 15) - SINE * h.re, 18)},
                    {round_shift((middle.re << 15) - SINE * h.im, 18), round_shift((middle.im << 15) + SINE * h.re, 18)}};
                for (int k = 0; k < 3; k++) {
                    const double angle = -2 * M_PI * k * n / frame;
                    const int64_t c = lround(65536 * cos(angle)), s = lround(65536 * sin(angle));
                    expected[f * frame + k * third + n] = {round_shift(sums[k].re * c - sums[k].im * s, 16),
                                                           round_shift(sums[k].re * s + sums[k].im * c, 16)};
                }
            }
        m.third = third, m.stride = strides[shape];
        size_t next = 0;
        bool running = false;
        for (int i = 0; next < expected.size() && i < 4 * frame * frames;) {
            m.en = random_below(4) != 0;
            m.first = i < frame * frames && i % frame == 0;
            set_bits(m.x, 0, 27, in[i % in.size()].re), set_bits(m.x, 27, 27, in[i % in.size()].im);
            m.clk = 0, m.eval();
            if (m.en && m.first_out) {
                check(next % frame == 0, "a frame begins with point %zu", next);
                running = true;
            }
            if (m.en && running) {
                const Number y = {signed_bits(m.y, 0, 27), signed_bits(m.y, 27, 27)};
                check(y == expected[next], "third %d, point %zu: %ld %ld, not %ld %ld", third, next, y.re, y.im,
                      expected[next].re, expected[next].im);
                next++;
            }
            i += m.en;
            m.clk = 1, m.eval();
        }
        check(next == expected.size(), "third %d: %zu points", third, next);
    }
    m.bypass = m.en = 1;
    for (int i = 0; i < 10; i++) {
        set_bits(m.x, 0, 27, 100 + i);
        m.first = i % 3 == 0;
        rise(m);
        check(bits(m.y, 0, 27) == 100u + i && m.first_out == (i % 3 == 0), "bypass %d", i);
    }
    return end("radix3");
}
