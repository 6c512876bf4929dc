// One stored pixel -> one linear float64 value: the arithmetic that CPU and CUDA kernels share.
//
// Every function has internal linkage, because the same header is compiled for several instruction sets (see simd.hpp). Each arithmetic
// step rounds once, so files that include this must be compiled without contraction of a * b + c: order statistics then equal numpy's.
#pragma once

#include <math.h>
#include <string.h>

#include <cstdint>

#include "scalar_types.hpp"

#ifdef __CUDACC__
#define ZOO_FN __host__ __device__ __forceinline__ static
#else
#define ZOO_FN static inline
#endif

namespace zoo {

// How pixels are stored; the big-endian ones are those of a FITS file. zoo/ops/raw.py holds the same numbers.
enum Kind : int { kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64, kBeI16, kBeI32, kBeI64, kBeF32, kBeF64 };

struct Calibration {
    double bscale, bzero, bias, gain;
    double saturation;  // in decoded units, before bias; NaN: none
    std::int64_t blank;
    bool has_blank;
    bool drop_saturated;  // saturated pixels are invalid
    bool mark_saturated;  // saturated pixels become +infinity, which no valid pixel is
};

template <class To, class From>
ZOO_FN To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

ZOO_FN constexpr int item_size(int kind) {
    return kind == kU8 || kind == kI8 ? 1
           : kind == kI16 || kind == kF16 || kind == kBF16 || kind == kBeI16 ? 2
           : kind == kI64 || kind == kF64 || kind == kBeI64 || kind == kBeF64 ? 8
                                                                               : 4;
}

ZOO_FN std::uint16_t swap_bytes(std::uint16_t x) { return static_cast<std::uint16_t>(x << 8 | x >> 8); }

ZOO_FN std::uint32_t swap_bytes(std::uint32_t x) {
#ifdef __CUDA_ARCH__
    return __byte_perm(x, 0, 0x0123);
#else
    return __builtin_bswap32(x);
#endif
}

ZOO_FN std::uint64_t swap_bytes(std::uint64_t x) {
#ifdef __CUDA_ARCH__
    return static_cast<std::uint64_t>(swap_bytes(static_cast<std::uint32_t>(x))) << 32 | swap_bytes(static_cast<std::uint32_t>(x >> 32));
#else
    return __builtin_bswap64(x);
#endif
}

// The stored number at byte address p: an integer, a float, or a double.
template <int K>
ZOO_FN auto load(const unsigned char* p) {
    if constexpr (K == kU8) {
        return *p;
    } else if constexpr (K == kI8) {
        return static_cast<std::int8_t>(*p);
    } else if constexpr (item_size(K) == 2) {
        std::uint16_t bits;
        memcpy(&bits, p, 2);
        if constexpr (K == kF16) return widen(Float16{bits});
        if constexpr (K == kBF16) return widen(Bfloat16{bits});
        if constexpr (K == kBeI16) return static_cast<std::int16_t>(swap_bytes(bits));
        if constexpr (K == kI16) return static_cast<std::int16_t>(bits);
    } else if constexpr (item_size(K) == 4) {
        std::uint32_t bits;
        memcpy(&bits, p, 4);
        if constexpr (K == kBeI32 || K == kBeF32) bits = swap_bytes(bits);
        if constexpr (K == kF32 || K == kBeF32) return bit_cast<float>(bits);
        if constexpr (K == kI32 || K == kBeI32) return static_cast<std::int32_t>(bits);
    } else {
        std::uint64_t bits;
        memcpy(&bits, p, 8);
        if constexpr (K == kBeI64 || K == kBeF64) bits = swap_bytes(bits);
        if constexpr (K == kF64 || K == kBeF64) return bit_cast<double>(bits);
        if constexpr (K == kI64 || K == kBeI64) return static_cast<std::int64_t>(bits);
    }
}

// Each step rounded by itself, also where the device compiler would fuse them.
ZOO_FN double rounded_multiply(double a, double b) {
#ifdef __CUDA_ARCH__
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

ZOO_FN double rounded_add(double a, double b) {
#ifdef __CUDA_ARCH__
    return __dadd_rn(a, b);
#else
    return a + b;
#endif
}

ZOO_FN bool is_finite(double x) { return fabs(x) <= 1.7976931348623157e308; }

// Linear value of a stored pixel; NaN where it is invalid.
template <class Stored>
ZOO_FN double linear_value(Stored stored, const Calibration& c) {
    const double decoded = rounded_add(rounded_multiply(static_cast<double>(stored), c.bscale), c.bzero);
    constexpr bool integer = static_cast<Stored>(0.5) == Stored{0};
    bool blank = false;
    if constexpr (integer) blank = c.has_blank & (static_cast<std::int64_t>(stored) == c.blank);
    const bool saturated = decoded >= c.saturation;
    const double value = rounded_multiply(rounded_add(decoded, -c.bias), c.gain);
    const bool valid = is_finite(decoded) & is_finite(value) & !blank & !(c.drop_saturated & saturated);
    const double marked = c.mark_saturated & saturated ? HUGE_VAL : value;
    return valid ? marked : static_cast<double>(NAN);
}

}  // namespace zoo
