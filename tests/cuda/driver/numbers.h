// Numbers of 16 bits, and the type that arithmetic on a type is done in.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct bf16 {
    uint16_t bits = 0;
    bf16() = default;
    // To the nearest, of two to the even one.
    bf16(float value) {
        uint32_t all;
        memcpy(&all, &value, 4);
        bits = value != value ? 0x7fff : (all + 0x7fff + (all >> 16 & 1)) >> 16;
    }
    operator float() const {
        uint32_t all = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &all, 4);
        return value;
    }
};

template <typename T> struct WideOf { using Type = T; };
template <> struct WideOf<bf16> { using Type = float; };
template <typename T> using Wide = typename WideOf<T>::Type;

// The value as a tensor core of TF32 takes it: ten bits of mantissa.
inline float as_tf32(float value) {
    uint32_t all;
    memcpy(&all, &value, 4);
    if (value == value) all = (all + 0xfff + (all >> 13 & 1)) & ~0x1fffu;
    memcpy(&value, &all, 4);
    return value;
}
