// For programs that run kernels by themselves: grids of small blocks, arrays on standard input and output.
#pragma once

#include "blocks.h"

static const int THREADS = 5;

// A grid of blocks with so many bytes of shared memory.
static void launch(unsigned blocks_x, unsigned blocks_y, size_t bytes, const std::function<void()> &kernel) {
    emulated::run({.grid = {blocks_x, blocks_y}, .block = {THREADS}, .shared_bytes = bytes}, kernel);
}

static int blocks(size_t threads) { return (threads + THREADS - 1) / THREADS; }

template <typename T> static std::vector<T> read(size_t count) {
    std::vector<T> out(count);
    if (fread(out.data(), sizeof(T), count, stdin) != count) exit(3);
    return out;
}

template <typename T> static void write(const std::vector<T> &values) {
    fwrite(values.data(), sizeof(T), values.size(), stdout);
}
