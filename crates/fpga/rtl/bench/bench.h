// What the benches share: a clock, random numbers, signed parts of wide words, and a count of failures.
#pragma once
#include "verilated.h"
#include <cmath>
#include <complex>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

double sc_time_stamp() { return 0; }

static uint32_t random_state = 1;
static uint32_t random32() {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state ^ random_state >> 15;
}
// Below `most`.
static uint32_t random_below(uint32_t most) { return uint64_t(random32()) * most >> 32; }
// Of `bits` bits with the sign, of all magnitudes.
static int64_t random_signed(int bits) {
    const int64_t all = int64_t(uint64_t(random32()) << 32 | random32());
    return all >> (64 - bits) >> random_below(bits);
}

static int64_t sign_extend(uint64_t x, int bits) { return int64_t(x << (64 - bits)) >> (64 - bits); }

// Bits [place, place + width) of a word of 32-bit parts.
template <class Word> static uint64_t bits(const Word &word, int place, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value |= uint64_t(word[(place + i) / 32] >> (place + i) % 32 & 1) << i;
    return value;
}
template <class Word> static int64_t signed_bits(const Word &word, int place, int width) {
    return sign_extend(bits(word, place, width), width);
}
template <class Word> static void set_bits(Word &word, int place, int width, uint64_t value) {
    for (int i = 0; i < width; i++) {
        const uint32_t one = 1u << (place + i) % 32;
        word[(place + i) / 32] = value >> i & 1 ? word[(place + i) / 32] | one : word[(place + i) / 32] & ~one;
    }
}

// x / 2^by, halves upwards.
static int64_t round_shift(int64_t x, int by) { return by ? (x + (int64_t(1) << (by - 1))) >> by : x; }

static int failures = 0;
static void check(bool good, const char *text, ...) {
    if (good || ++failures > 10) return;
    va_list arguments;
    va_start(arguments, text);
    vfprintf(stderr, text, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

template <class Module> static void rise(Module &module) {
    module.clk = 0, module.eval();
    module.clk = 1, module.eval();
}
// Signals set beforehand are seen by the next edge.
template <class Module> static void reset(Module &module) {
    module.rst = 1;
    for (int i = 0; i < 8; i++) rise(module);
    module.rst = 0;
}
static void begin() {
    Verilated::randReset(2);
    Verilated::randSeed(7);
}
static int end(const char *name) {
    if (failures) fprintf(stderr, "%s: %d checks failed\n", name, failures);
    else printf("%s: good\n", name);
    return failures != 0;
}
