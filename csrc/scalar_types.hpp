// The floating-point types of tensors, and exact conversions for the two that C++17 lacks. Shared by CPU and CUDA.
//
// Functions here are `static`, not `inline`: files compiled for different instruction sets must each keep their own copy (simd.hpp).
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define ZOO_HOST_DEVICE __host__ __device__
#else
#define ZOO_HOST_DEVICE
#endif

namespace zoo {

// Numbers agree with zoo/ops/native.py.
enum class Dtype : int { float32 = 0, float64 = 1, bfloat16 = 2, float16 = 3 };

struct Bfloat16 {
    std::uint16_t bits;
};

struct Float16 {
    std::uint16_t bits;
};

ZOO_HOST_DEVICE static inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

ZOO_HOST_DEVICE static inline float float_from(std::uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ZOO_HOST_DEVICE static inline float widen(float value) { return value; }
ZOO_HOST_DEVICE static inline double widen(double value) { return value; }
ZOO_HOST_DEVICE static inline float widen(Bfloat16 value) { return float_from(static_cast<std::uint32_t>(value.bits) << 16); }

ZOO_HOST_DEVICE static inline float widen(Float16 value) {
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
    const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fffu) << 13;
    // 2^112 moves the exponent bias from 15 to 127 and normalises subnormals; infinity and NaN need all exponent bits set.
    const std::uint32_t finite = bits_of(float_from(magnitude) * float_from(0x77800000u));
    return float_from(sign | (magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite));
}

// narrow(value, T{}) rounds to the nearest T, ties to even; a NaN stays a NaN.
ZOO_HOST_DEVICE static inline float narrow(float value, float) { return value; }
ZOO_HOST_DEVICE static inline double narrow(double value, double) { return value; }

ZOO_HOST_DEVICE static inline Bfloat16 narrow(float value, Bfloat16) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const std::uint32_t quiet_nan = (bits >> 16) | 0x40u;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded)};
}

ZOO_HOST_DEVICE static inline Float16 narrow(float value, Float16) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // Below 2^-14 the sum with 0.5 leaves exactly the ten subnormal bits, rounded by the addition itself.
    const std::uint32_t subnormal = bits_of(float_from(magnitude) + 0.5f) - 0x3f000000u;
    const std::uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const std::uint32_t result = magnitude >= 0x47800000u ? special : magnitude < 0x38800000u ? subnormal : normal;
    return {static_cast<std::uint16_t>(sign | result)};
}

}  // namespace zoo
