#include "survey.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own headers (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace zoo {
namespace ZOO_ISA {
namespace {

// Values that are not finite are NaN here.
template <class T, int BRACKETS>
void compare(const T* values, std::int64_t n, Comparison<T>& c) {
    for (std::int64_t i = 0; i < n; ++i) {
        const T value = values[i];
        c.count += value == value ? 1 : 0;
        c.min = value < c.min ? value : c.min;
        c.max = value > c.max ? value : c.max;
        for (int b = 0; b < BRACKETS; ++b) {
            c.below[b] += value < c.low[b] ? 1 : 0;
            if (value >= c.low[b] && value <= c.high[b]) c.inside[b][c.used[b]++] = value;
        }
    }
}

#if defined(__AVX512F__)

template <class T>
struct Lanes;

template <>
struct Lanes<float> {
    using Vector = __m512;
    static constexpr int n = 16;
    static Vector fill(float x) { return _mm512_set1_ps(x); }
    static Vector load(const float* p) { return _mm512_loadu_ps(p); }
    static unsigned valid(Vector a) { return _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q); }
    static unsigned less(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    static unsigned greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }  // b where a is NaN
    static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
    static float least(Vector a) { return _mm512_reduce_min_ps(a); }
    static float most(Vector a) { return _mm512_reduce_max_ps(a); }
    static void keep(float* p, unsigned mask, Vector a) { _mm512_storeu_ps(p, _mm512_maskz_compress_ps(static_cast<__mmask16>(mask), a)); }
};

template <>
struct Lanes<double> {
    using Vector = __m512d;
    static constexpr int n = 8;
    static Vector fill(double x) { return _mm512_set1_pd(x); }
    static Vector load(const double* p) { return _mm512_loadu_pd(p); }
    static unsigned valid(Vector a) { return _mm512_cmp_pd_mask(a, a, _CMP_ORD_Q); }
    static unsigned less(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
    static unsigned greater(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
    static Vector min(Vector a, Vector b) { return _mm512_min_pd(a, b); }
    static Vector max(Vector a, Vector b) { return _mm512_max_pd(a, b); }
    static double least(Vector a) { return _mm512_reduce_min_pd(a); }
    static double most(Vector a) { return _mm512_reduce_max_pd(a); }
    static void keep(double* p, unsigned mask, Vector a) { _mm512_storeu_pd(p, _mm512_maskz_compress_pd(static_cast<__mmask8>(mask), a)); }
};

// The same for whole vectors, without a branch. Buffers have room for a vector more than is kept.
template <class T, int BRACKETS>
void compare_vectors(const T* values, std::int64_t n, Comparison<T>& c) {
    using L = Lanes<T>;
    typename L::Vector low[BRACKETS + 1], high[BRACKETS + 1], min = L::fill(c.min), max = L::fill(c.max);
    std::int64_t valid = 0, below[BRACKETS + 1] = {}, used[BRACKETS + 1] = {};
    T* inside[BRACKETS + 1] = {};
    for (int b = 0; b < BRACKETS; ++b) {
        low[b] = L::fill(c.low[b]);
        high[b] = L::fill(c.high[b]);
        inside[b] = c.inside[b] + c.used[b];
    }
    std::int64_t i = 0;
    for (; i + L::n <= n; i += L::n) {
        const typename L::Vector value = L::load(values + i);
        const unsigned ordered = L::valid(value);
        valid += __builtin_popcount(ordered);
        min = L::min(value, min);
        max = L::max(value, max);
        for (int b = 0; b < BRACKETS; ++b) {
            const unsigned under = L::less(value, low[b]), within = ordered & ~(under | L::greater(value, high[b]));
            below[b] += __builtin_popcount(under);
            L::keep(inside[b] + used[b], within, value);
            used[b] += __builtin_popcount(within);
        }
    }
    c.count += valid;
    c.min = L::least(min);
    c.max = L::most(max);
    for (int b = 0; b < BRACKETS; ++b) {
        c.below[b] += below[b];
        c.used[b] += used[b];
    }
    compare<T, BRACKETS>(values + i, n - i, c);
}

#else

template <class T, int BRACKETS>
void compare_vectors(const T* values, std::int64_t n, Comparison<T>& c) {
    compare<T, BRACKETS>(values, n, c);
}

#endif

template <class T>
void compare_brackets(const T* values, std::int64_t n, Comparison<T>* comparison) {
    Comparison<T>& c = *comparison;
    for (int b = 0; b < c.brackets; ++b) {
        if (c.used[b] + n > c.room) {  // from here on only count
            c.complete = false;
            c.used[b] = 0;
        }
    }
    switch (c.brackets) {
        case 0: return compare_vectors<T, 0>(values, n, c);
        case 1: return compare_vectors<T, 1>(values, n, c);
        case 2: return compare_vectors<T, 2>(values, n, c);
        case 3: return compare_vectors<T, 3>(values, n, c);
        default: return compare_vectors<T, 4>(values, n, c);
    }
}

template <int K>
void load_floats(const unsigned char* data, std::int64_t n, float* values) {
    for (std::int64_t i = 0; i < n; ++i) {
        const float value = load<K>(data + 4 * i);
        values[i] = fabsf(value) <= 3.402823466e38f ? value : NAN;
    }
}

}  // namespace

void compare_span(const double* values, std::int64_t n, Comparison<double>* comparison) noexcept { compare_brackets(values, n, comparison); }

void compare_floats_span(int kind, const unsigned char* data, std::int64_t n, Comparison<float>* comparison) noexcept {
    alignas(64) float values[kUnit];
    if (kind == kBeF32) {
        load_floats<kBeF32>(data, n, values);
    } else {
        load_floats<kF32>(data, n, values);
    }
    compare_brackets(values, n, comparison);
}

void distances_span(double* values, std::int64_t n, double center) noexcept {
    for (std::int64_t i = 0; i < n; ++i) values[i] = fabs(values[i] - center);
}

}  // namespace ZOO_ISA
}  // namespace zoo
