// Runs a core over the jobs on its standard input and writes what came out, and when, to its standard output; src/fpga/simulator.rs
// is the other end. All numbers are little endian.
//
//   in:  u32 magic, jobs, seed (0: no stalls); for each job u32 S, code of D, K_S, K_D, beats in, beats out; for each job its beats
//   out: u32 magic, jobs; for each job u64 cycles of the first and last beat in and out, u32 saturations; for each job its beats
//
// A beat is eight i16 mantissas and an i16 exponent.
#ifdef DECODER
#include "Vfc_decoder.h"
typedef Vfc_decoder Core;
static const char *const NAME = "decoder";
static const int EXPONENT_BITS = 10;
#else
#include "Vfc_encoder.h"
typedef Vfc_encoder Core;
static const char *const NAME = "encoder";
static const int EXPONENT_BITS = 8;
#endif
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// Raised with every change of what goes over the pipes or of what the cores compute.
static const int VERSION = 1;
static const uint32_t MAGIC = 0x54524346;
// A core that neither takes nor gives anything for so long is stuck: the longest transform of a column takes 3000 cycles.
static const uint64_t PATIENCE = 2000000;

struct Beat {
    int16_t mantissas[8], exponent;
};
struct Job {
    uint32_t tokens, shape, ks, kd, beats_in, beats_out;
};
struct Result {
    uint64_t first_in, last_in, first_out, last_out;
    uint32_t saturations;
};

[[noreturn]] static void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}
static void get(void *to, size_t size) {
    if (size && fread(to, size, 1, stdin) != 1) die("the request ends early");
}
static void put(const void *from, size_t size) {
    if (size && fwrite(from, size, 1, stdout) != 1) die("cannot write the answer");
}

double sc_time_stamp() { return 0; }

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("splitbench-rtl %d %s\n", VERSION, NAME);
        return 0;
    }
    FILE *table = fopen("tables/quarter.hex", "r");
    if (!table) die("tables/quarter.hex is not here: run the simulator in the folder that it was built in");
    fclose(table);

    uint32_t header[3];
    get(header, sizeof header);
    if (header[0] != MAGIC) die("the request does not begin with the magic number");
    const uint32_t count = header[1];
    uint32_t seed = header[2];
    std::vector<Job> jobs(count);
    std::vector<std::vector<Beat>> in(count), out(count);
    for (Job &job : jobs) get(&job, sizeof job);
    for (uint32_t i = 0; i < count; i++) {
        in[i].resize(jobs[i].beats_in);
        for (Beat &beat : in[i]) get(&beat, sizeof beat);
        out[i].reserve(jobs[i].beats_out);
    }

    // Registers begin with anything, so that a forgotten reset shows.
    Verilated::randReset(2);
    Verilated::randSeed(seed + 1);
    Core core;
    uint32_t random = seed * 2654435761u + 1;
    auto chance = [&]() {  // true three times in four, always where there are no stalls
        random = random * 1664525u + 1013904223u;
        return !seed || (random >> 28) >= 4;
    };
    core.clk = 0;
    core.cfg_valid = core.in_valid = core.out_ready = 0;
    for (int i = 0; i < 4; i++) {
        core.rst = 1;
        core.clk = 0, core.eval();
        core.clk = 1, core.eval();
    }
    core.rst = 0;

    std::vector<Result> results(count);
    uint32_t configured = 0, feeding = 0, giving = 0;
    size_t fed = 0;
    bool offering = false, asking = false;
    uint64_t cycle = 0, moved = 0;
    while (giving < count) {
        core.clk = 0;
        // Once offered, a beat stays until it is taken; a shape goes before its beats.
        core.cfg_valid = configured < count;
        if (core.cfg_valid) {
            const Job &job = jobs[configured];
            core.cfg_tokens = job.tokens, core.cfg_shape = job.shape, core.cfg_ks = job.ks, core.cfg_kd = job.kd;
        }
        offering = feeding < count && (offering || chance());
        core.in_valid = offering;
        if (offering) {
            const Beat &beat = in[feeding][fed];
            for (int i = 0; i < 4; i++)
                core.in_data[i] = uint16_t(beat.mantissas[2 * i]) | uint32_t(uint16_t(beat.mantissas[2 * i + 1])) << 16;
            core.in_exponent = uint8_t(beat.exponent);
        }
        asking = chance();
        core.out_ready = asking;
        core.eval();
        if (core.cfg_refused) {
            fprintf(stderr, "the %s refuses a shape: S, K_S or K_D beyond its limits\n", NAME);
            return 3;
        }
        if (core.cfg_valid && core.cfg_ready) configured++, moved = cycle;
        if (offering && core.in_ready) {
            Result &result = results[feeding];
            if (fed == 0) result.first_in = cycle;
            result.last_in = moved = cycle;
            if (++fed == in[feeding].size()) fed = 0, feeding++;
            offering = false;
        }
        if (core.out_valid && asking) {
            Result &result = results[giving];
            Beat beat;
            for (int i = 0; i < 8; i++) beat.mantissas[i] = int16_t(core.out_data[i / 2] >> 16 * (i % 2));
            beat.exponent = int16_t(uint16_t(core.out_exponent) << (16 - EXPONENT_BITS)) >> (16 - EXPONENT_BITS);
            if (out[giving].empty()) result.first_out = cycle;
            result.last_out = moved = cycle;
            result.saturations = core.out_saturations;
            out[giving].push_back(beat);
            const bool last = out[giving].size() == jobs[giving].beats_out;
            if (last != bool(core.out_last)) {
                fprintf(stderr, "the %s ends job %u with beat %zu, but %u were expected\n", NAME, giving, out[giving].size(),
                        jobs[giving].beats_out);
                return 4;
            }
            giving += last;
        }
        core.clk = 1;
        core.eval();
        if (++cycle - moved > PATIENCE) {
            fprintf(stderr, "the %s is stuck in job %u: %zu beats of %u in job %u went in, %zu of %u came out\n", NAME, giving,
                    fed, feeding < count ? jobs[feeding].beats_in : 0, feeding, out[giving].size(), jobs[giving].beats_out);
            return 5;
        }
    }
    put(header, 8);
    for (const Result &r : results) {
        put(&r.first_in, 8), put(&r.last_in, 8), put(&r.first_out, 8), put(&r.last_out, 8);
        put(&r.saturations, 4);
    }
    for (const auto &beats : out)
        for (const Beat &beat : beats) put(&beat, sizeof beat);
    if (fflush(stdout)) die("cannot write the answer");
    return 0;
}
