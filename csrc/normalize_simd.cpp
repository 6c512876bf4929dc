#include "normalize.hpp"

#include "streaming.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own headers (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace zoo {
namespace ZOO_ISA {
namespace {

#if defined(__AVX512F__)

// sqrt(x) for normal x and a / b: an estimate of 14 bits and one step of Newton's, half the time of the instructions that round correctly and
// within 1e-7 of them.
__m512 root(__m512 x) {
    const __m512 inverse = _mm512_rsqrt14_ps(x), estimate = _mm512_mul_ps(x, inverse);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(estimate, estimate, x), _mm512_mul_ps(_mm512_set1_ps(0.5f), inverse), estimate);
}

__m512 quotient(__m512 a, __m512 b) {
    const __m512 inverse = _mm512_rcp14_ps(b), estimate = _mm512_mul_ps(a, inverse);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(b, estimate, a), inverse, estimate);
}

constexpr int kAbreast = 4;  // vectors whose steps take turns: one alone would wait for each of its own
static_assert(kUnit % (16 * kAbreast) == 0, "asinh_places works on whole groups of vectors");

// stretch_place<kAsinh, true> of kAbreast vectors, step by step as stretch.hpp has it.
void asinh_places(float* places, const NormalizeParameters& p) {
    const auto all = [](float x) { return _mm512_set1_ps(x); };
    const __m512 one = all(1.0f), factor = all(p.stretch.a), scale = all(p.stretch.scale), fill = all(p.fill);
    __m512 t[kAbreast], y[kAbreast], f[kAbreast], exponent[kAbreast], series[kAbreast];
    const auto each = [](auto step) {
        for (int j = 0; j < kAbreast; ++j) step(j);
    };
    each([&](int j) { t[j] = _mm512_loadu_ps(places + 16 * j); });
    each([&](int j) { y[j] = _mm512_mul_ps(t[j], factor); });
    each([&](int j) { f[j] = _mm512_add_ps(one, root(_mm512_fmadd_ps(y[j], y[j], one))); });
    each([&](int j) { y[j] = _mm512_fmadd_ps(y[j], quotient(y[j], f[j]), y[j]); });
    each([&](int j) {
        const __m512i bits = _mm512_castps_si512(_mm512_add_ps(one, y[j]));
        const __m512i k = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3f3504f3)), 23);
        const __m512 inverse = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(127), k), 23));
        exponent[j] = _mm512_cvtepi32_ps(k);
        f[j] = _mm512_fmadd_ps(inverse, y[j], _mm512_sub_ps(inverse, one));
    });
    each([&](int j) { series[j] = _mm512_fmadd_ps(f[j], all(-0.0763448030f), all(0.127615780f)); });
    for (const float next : {-0.131601885f, 0.142017588f, -0.166233569f, 0.200012267f, -0.250008196f, 0.333333313f}) {
        each([&](int j) { series[j] = _mm512_fmadd_ps(series[j], f[j], all(next)); });
    }
    each([&](int j) {
        const __m512 square = _mm512_mul_ps(f[j], f[j]), low = _mm512_mul_ps(exponent[j], all(1.42860677e-6f));
        const __m512 tail = _mm512_fmadd_ps(square, all(-0.5f), _mm512_fmadd_ps(_mm512_mul_ps(square, f[j]), series[j], low));
        series[j] = _mm512_fmadd_ps(exponent[j], all(0.693145752f), _mm512_add_ps(f[j], tail));
    });
    each([&](int j) {
        const __m512 stretched = _mm512_min_ps(_mm512_mul_ps(series[j], scale), one);
        const __m512 topped = _mm512_mask_mov_ps(stretched, _mm512_cmp_ps_mask(t[j], one, _CMP_GE_OQ), one);
        _mm512_storeu_ps(places + 16 * j, _mm512_mask_mov_ps(fill, _mm512_cmp_ps_mask(t[j], _mm512_setzero_ps(), _CMP_GE_OQ), topped));
    });
}

#endif

template <int S, bool BOUNDED>
void stretch_places(float* places, std::int64_t n, const NormalizeParameters& p) {
#if defined(__AVX512F__)
    if constexpr (S == kAsinh && BOUNDED) {
        // what lies between n and the end of the buffer is worked out for nothing
        for (std::int64_t i = 0; i < n; i += 16 * kAbreast) asinh_places(places + i, p);
        return;
    }
#endif
    for (std::int64_t i = 0; i < n; ++i) places[i] = stretch_place<S, BOUNDED>(places[i], p);
}

// Places between the limits -> results.
template <int S, bool BOUNDED>
void finish(float* places, std::int64_t n, const NormalizeParameters& parameters, Dtype dtype, bool stream, void* out) {
    const NormalizeParameters p = parameters;
    stretch_places<S, BOUNDED>(places, n, p);
    if (dtype == Dtype::float32) return place_bytes(places, 4 * n, stream, out);
    alignas(64) std::uint16_t narrowed[kUnit];
    if (dtype == Dtype::bfloat16) {
        for (std::int64_t i = 0; i < n; ++i) narrowed[i] = narrow(places[i], Bfloat16{}).bits;
    } else {
        for (std::int64_t i = 0; i < n; ++i) narrowed[i] = narrow(places[i], Float16{}).bits;
    }
    place_bytes(narrowed, 2 * n, stream, out);
}

template <bool BOUNDED>
void finish_stretch(int stretch, float* places, std::int64_t n, const NormalizeParameters& p, Dtype dtype, bool stream, void* out) {
    switch (stretch) {
        case kLinear: return finish<kLinear, BOUNDED>(places, n, p, dtype, stream, out);
        case kSqrt: return finish<kSqrt, BOUNDED>(places, n, p, dtype, stream, out);
        case kLog: return finish<kLog, BOUNDED>(places, n, p, dtype, stream, out);
        case kAsinh: return finish<kAsinh, BOUNDED>(places, n, p, dtype, stream, out);
        case kSinh: return finish<kSinh, BOUNDED>(places, n, p, dtype, stream, out);
        case kPower: return finish<kPower, BOUNDED>(places, n, p, dtype, stream, out);
        default: return;
    }
}

void finish_any(int stretch, float* places, std::int64_t n, const NormalizeParameters& p, Dtype dtype, bool stream, void* out) {
    if (is_bounded(stretch, p)) return finish_stretch<true>(stretch, places, n, p, dtype, stream, out);
    finish_stretch<false>(stretch, places, n, p, dtype, stream, out);
}

template <int K>
void place_floats(const unsigned char* data, std::int64_t n, const NormalizeParameters& p, float* places) {
    const double vmin = p.vmin, inverse = p.inverse;
    const float low = static_cast<float>(p.low), high = static_cast<float>(p.high);
    for (std::int64_t i = 0; i < n; ++i) {
        const float value = load<K>(data + 4 * i);
        const float place = static_cast<float>((static_cast<double>(value) - vmin) * inverse);
        const float raised = place < low ? low : place;
        const float bounded = raised > high ? high : raised;
        places[i] = fabsf(value) <= 3.402823466e38f ? bounded : NAN;
    }
}

}  // namespace

void normalize_span(const double* values, std::int64_t n, int stretch, const NormalizeParameters& parameters, Dtype dtype, bool stream,
                    void* out) noexcept {
    const NormalizeParameters p = parameters;
    alignas(64) float places[kUnit];
    for (std::int64_t i = 0; i < n; ++i) places[i] = place_value(values[i], p);
    finish_any(stretch, places, n, p, dtype, stream, out);
}

void normalize_floats_span(int kind, const unsigned char* data, std::int64_t n, int stretch, const NormalizeParameters& p, Dtype dtype,
                           bool stream, void* out) noexcept {
    alignas(64) float places[kUnit];
    if (kind == kBeF32) {
        place_floats<kBeF32>(data, n, p, places);
    } else {
        place_floats<kF32>(data, n, p, places);
    }
    finish_any(stretch, places, n, p, dtype, stream, out);
}

}  // namespace ZOO_ISA
}  // namespace zoo
