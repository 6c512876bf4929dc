// The stretches in float32, without calls and without branches, so that CPU loops vectorise and CUDA gets the same arithmetic.
//
// For t in [0, 1] the result is within 2.5e-7 of float64's, where the slope of the stretch does not multiply the rounding of t to float32 by
// more than 4: sinh with a = 0.02 is within 2e-6 (tests/ops/test_normalize.py holds both).
#pragma once

#include "pixel.hpp"

namespace zoo {

// zoo/ops/normalize.py holds the same numbers.
enum Stretch : int { kLinear, kSqrt, kLog, kAsinh, kSinh, kPower };

struct StretchParameters {
    float a;      // log: a; asinh and sinh: 1 / a; power: a
    float scale;  // log: 1 / log(1 + a); asinh: 1 / asinh(1 / a); sinh: 1 / expm1(-2 / a)
    float sign;   // power: -1 for an odd a, which keeps the sign of t, else 1
};

// a * b + c, fused where the processor can.
ZOO_FN float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
    return __fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

// log(1 + f) + exponent * log(2) for 1 + f in [sqrt(1/2), sqrt(2)), without a division: f - f^2/2 + f^3 p(f), p fitted for the least relative
// error, which is 8e-8 where exponent = 0.
ZOO_FN float log_series(float f, float exponent) {
    float p = multiply_add(f, -0.0763448030f, 0.127615780f);
    p = multiply_add(p, f, -0.131601885f);
    p = multiply_add(p, f, 0.142017588f);
    p = multiply_add(p, f, -0.166233569f);
    p = multiply_add(p, f, 0.200012267f);
    p = multiply_add(p, f, -0.250008196f);
    p = multiply_add(p, f, 0.333333313f);
    const float square = f * f;
    float tail = multiply_add(square * f, p, exponent * 1.42860677e-6f);
    tail = multiply_add(square, -0.5f, tail);
    return multiply_add(exponent, 0.693145752f, f + tail);  // log(2) in two parts; the product with this one is exact
}

// The k for which x / 2^k lies in [sqrt(1/2), sqrt(2)); x normal and > 0.
ZOO_FN std::int32_t exponent_of(float x) { return static_cast<std::int32_t>(bit_cast<std::uint32_t>(x) - 0x3f3504f3u) >> 23; }

// log(x) for a normal x > 0.
ZOO_FN float log_normal(float x) {
    const std::int32_t k = exponent_of(x);
    const float mantissa = bit_cast<float>(bit_cast<std::uint32_t>(x) - (static_cast<std::uint32_t>(k) << 23));
    return log_series(mantissa - 1.0f, static_cast<float>(k));
}

// log(1 + y) for y >= -1, and 0 <= y < 2^100 if BOUNDED; relative accuracy holds for small y.
template <bool BOUNDED>
ZOO_FN float log_one_plus(float y) {
    const bool vast = !BOUNDED && y > 0x1p100f;  // 2^-k below would be no normal number
    const float v = vast ? y * 0x1p-64f : y;
    const std::int32_t k = exponent_of(1.0f + v);
    const float inverse = bit_cast<float>(static_cast<std::uint32_t>(127 - k) << 23);
    const float f = multiply_add(inverse, v, inverse - 1.0f);  // (1 + y) / 2^k - 1, rounded once: 1 + y is not
    const float result = log_series(f, static_cast<float>(k + (vast ? 64 : 0)));
    if constexpr (BOUNDED) return result;
    const float bounded = y <= 3.402823466e38f ? result : y;
    return y > -1.0f ? bounded : -HUGE_VALF;
}

// exp(r) - 1 for the r in x = k log(2) + r with |r| <= log(2) / 2; |x| < 100.
ZOO_FN float reduced_exponential(float x, std::int32_t* k) {
    const float rounded = multiply_add(x, 1.44269504f, 12582912.0f) - 12582912.0f;  // 1.5 * 2^23 leaves no fraction bits
    *k = static_cast<std::int32_t>(rounded);
    float r = multiply_add(rounded, -0.693145752f, x);
    r = multiply_add(rounded, -1.42860677e-6f, r);
    float p = multiply_add(r, 1.0f / 5040.0f, 1.0f / 720.0f);
    p = multiply_add(p, r, 1.0f / 120.0f);
    p = multiply_add(p, r, 1.0f / 24.0f);
    p = multiply_add(p, r, 1.0f / 6.0f);
    p = multiply_add(p, r, 0.5f);
    return multiply_add(r * r, p, r);
}

ZOO_FN float power_of_two(std::int32_t k) { return bit_cast<float>(static_cast<std::uint32_t>(k + 127) << 23); }

// exp(x); 0 below exp(-86), infinity where float ends. NaN, which no integer stands for, gives any number, here and below: pixels without a
// value get theirs in stretch_place.
ZOO_FN float exponential(float x) {
    std::int32_t k;
    const float p = reduced_exponential(x >= -86.0f ? x > 88.72f ? 88.72f : x : -86.0f, &k);
    const float half = power_of_two(k - 1);  // 2^128 is no float
    const float result = multiply_add(half, p, half) * 2.0f;
    return x < -86.0f ? 0.0f : x > 88.72f ? HUGE_VALF : result;
}

// exp(x) - 1 for x <= 0; relative accuracy holds for small x.
ZOO_FN float exponential_minus_one(float x) {
    std::int32_t k;
    const float p = reduced_exponential(x >= -80.0f ? x : -80.0f, &k);
    const float power = power_of_two(k);
    return multiply_add(power, p, power - 1.0f);
}

// BOUNDED: t is in [0, 1] or NaN. The bits are the same with and without, the work is less with.
template <int S, bool BOUNDED = false>
ZOO_FN float stretch(float t, const StretchParameters& p) {
    if constexpr (S == kSqrt) {
        return sqrtf(t);
    } else if constexpr (S == kLog) {
        return log_one_plus<BOUNDED>(p.a * t) * p.scale;
    } else if constexpr (S == kAsinh && BOUNDED) {
        const float x = t * p.a;
        return log_one_plus<true>(x + x * (x / (1.0f + sqrtf(multiply_add(x, x, 1.0f))))) * p.scale;
    } else if constexpr (S == kAsinh) {
        const float x = fabsf(t) * p.a;
        const bool huge = x > 1e9f;  // 1 + x^2 would overflow
        const float y = x + x * (x / (1.0f + sqrtf(multiply_add(x, x, 1.0f))));
        const float result = log_one_plus<false>(huge ? x : y) + (huge ? 0.693147181f : 0.0f);
        return copysignf(result * p.scale, t);
    } else if constexpr (S == kSinh) {
        // exp((m - 1) / a) * expm1(-2 m / a) / expm1(-2 / a): nothing overflows for t <= 1
        const float m = fabsf(t);
        return copysignf(exponential((m - 1.0f) * p.a) * (exponential_minus_one(-2.0f * (m * p.a)) * p.scale), t);
    } else if constexpr (S == kPower) {
        const float m = fabsf(t);
        const bool tiny = m < 1.17549435e-38f;  // not normal
        const float logarithm = log_normal(tiny ? m * 0x1p24f : m) - (tiny ? 16.6355323f : 0.0f);  // 24 log(2)
        const float regular = exponential(p.a * logarithm);
        const float bounded = m <= 3.402823466e38f ? regular : m;
        const float result = m > 0.0f ? bounded : 0.0f;
        return t < 0.0f ? result * p.sign : result;
    } else {
        return t;
    }
}

}  // namespace zoo
