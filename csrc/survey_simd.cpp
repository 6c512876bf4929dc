#include "survey.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own headers (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace zoo {
namespace ZOO_ISA {
namespace {

#if defined(__AVX512F__)

// Masks become numbers by _cvtmask only: GCC 12 takes a compare's mask for zero-extended even where it kept one byte of it on the stack.
template <class T>
struct Lanes;

template <>
struct Lanes<float> {
    using Vector = __m512;
    static constexpr int n = 16;
    static Vector fill(float x) { return _mm512_set1_ps(x); }
    // The lanes of mask from p, as a file has them if SWAPPED.
    template <bool SWAPPED>
    static Vector load(const void* p, unsigned mask) {
        const __m512i bits = _mm512_maskz_loadu_epi32(_cvtu32_mask16(mask), p);
        if constexpr (!SWAPPED) return _mm512_castsi512_ps(bits);
        const __m512i order = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
        return _mm512_castsi512_ps(_mm512_shuffle_epi8(bits, order));
    }
    static unsigned finite(Vector a, unsigned mask) {
        return _cvtmask16_u32(_mm512_mask_cmp_ps_mask(_cvtu32_mask16(mask), _mm512_abs_ps(a), fill(3.402823466e38f), _CMP_LE_OQ));
    }
    static unsigned from(Vector a, Vector low, unsigned mask) {
        return _cvtmask16_u32(_mm512_mask_cmp_ps_mask(_cvtu32_mask16(mask), a, low, _CMP_GE_OQ));
    }
    static unsigned upto(Vector a, Vector high, unsigned mask) {
        return _cvtmask16_u32(_mm512_mask_cmp_ps_mask(_cvtu32_mask16(mask), a, high, _CMP_LE_OQ));
    }
    static Vector min(Vector a, Vector b, unsigned mask) { return _mm512_mask_min_ps(b, _cvtu32_mask16(mask), a, b); }
    static Vector max(Vector a, Vector b, unsigned mask) { return _mm512_mask_max_ps(b, _cvtu32_mask16(mask), a, b); }
    static float least(Vector a) { return _mm512_reduce_min_ps(a); }
    static float most(Vector a) { return _mm512_reduce_max_ps(a); }
    static void keep(float* p, unsigned mask, Vector a) { _mm512_storeu_ps(p, _mm512_maskz_compress_ps(_cvtu32_mask16(mask), a)); }
};

template <>
struct Lanes<double> {
    using Vector = __m512d;
    static constexpr int n = 8;
    static Vector fill(double x) { return _mm512_set1_pd(x); }
    template <bool SWAPPED>
    static Vector load(const void* p, unsigned mask) {
        return _mm512_maskz_loadu_pd(_cvtu32_mask8(mask), p);
    }
    static unsigned finite(Vector a, unsigned mask) {
        return _cvtmask8_u32(_mm512_mask_cmp_pd_mask(_cvtu32_mask8(mask), a, a, _CMP_ORD_Q));
    }
    static unsigned from(Vector a, Vector low, unsigned mask) {
        return _cvtmask8_u32(_mm512_mask_cmp_pd_mask(_cvtu32_mask8(mask), a, low, _CMP_GE_OQ));
    }
    static unsigned upto(Vector a, Vector high, unsigned mask) {
        return _cvtmask8_u32(_mm512_mask_cmp_pd_mask(_cvtu32_mask8(mask), a, high, _CMP_LE_OQ));
    }
    static Vector min(Vector a, Vector b, unsigned mask) { return _mm512_mask_min_pd(b, _cvtu32_mask8(mask), a, b); }
    static Vector max(Vector a, Vector b, unsigned mask) { return _mm512_mask_max_pd(b, _cvtu32_mask8(mask), a, b); }
    static double least(Vector a) { return _mm512_reduce_min_pd(a); }
    static double most(Vector a) { return _mm512_reduce_max_pd(a); }
    static void keep(double* p, unsigned mask, Vector a) { _mm512_storeu_pd(p, _mm512_maskz_compress_pd(_cvtu32_mask8(mask), a)); }
};

// Without a branch. Buffers have room for a vector more than is kept.
template <class T, int BRACKETS, bool SWAPPED>
void compare(const unsigned char* data, std::int64_t n, Comparison<T>& c) {
    using L = Lanes<T>;
    typename L::Vector low[BRACKETS + 1], high[BRACKETS + 1], min = L::fill(c.min), max = L::fill(c.max);
    std::int64_t valid = 0, from[BRACKETS + 1] = {};
    T* inside[BRACKETS + 1] = {};
    for (int b = 0; b < BRACKETS; ++b) {
        low[b] = L::fill(c.low[b]);
        high[b] = L::fill(c.high[b]);
        inside[b] = c.inside[b] + c.used[b];
    }
    const auto take = [&](std::int64_t i, unsigned present) {
        const typename L::Vector value = L::template load<SWAPPED>(data + i * static_cast<std::int64_t>(sizeof(T)), present);
        const unsigned finite = L::finite(value, present);
        valid += __builtin_popcount(finite);
        min = L::min(value, min, finite);
        max = L::max(value, max, finite);
        for (int b = 0; b < BRACKETS; ++b) {
            const unsigned above = L::from(value, low[b], finite), within = L::upto(value, high[b], above);
            from[b] += __builtin_popcount(above);
            L::keep(inside[b], within, value);
            inside[b] += __builtin_popcount(within);
        }
    };
    std::int64_t i = 0;
    for (; i + L::n <= n; i += L::n) take(i, (1u << L::n) - 1);
    if (i < n) take(i, (1u << (n - i)) - 1);
    c.count += valid;
    c.min = L::least(min);
    c.max = L::most(max);
    for (int b = 0; b < BRACKETS; ++b) {
        c.below[b] += valid - from[b];
        c.used[b] = inside[b] - c.inside[b];
    }
}

#else

template <class T, int BRACKETS, bool SWAPPED>
void compare(const unsigned char* data, std::int64_t n, Comparison<T>& c) {
    for (std::int64_t i = 0; i < n; ++i) {
        T value;
        if constexpr (sizeof(T) == 4) {
            value = load<SWAPPED ? kBeF32 : kF32>(data + 4 * i);
            value = fabsf(value) <= 3.402823466e38f ? value : NAN;
        } else {
            memcpy(&value, data + 8 * i, 8);
        }
        c.count += value == value ? 1 : 0;
        c.min = value < c.min ? value : c.min;
        c.max = value > c.max ? value : c.max;
        for (int b = 0; b < BRACKETS; ++b) {
            c.below[b] += value < c.low[b] ? 1 : 0;
            if (value >= c.low[b] && value <= c.high[b]) c.inside[b][c.used[b]++] = value;
        }
    }
}

#endif

template <class T, bool SWAPPED>
void compare_brackets(const void* values, std::int64_t n, Comparison<T>* comparison) {
    Comparison<T>& c = *comparison;
    std::int64_t before[kMostBrackets];
    for (int b = 0; b < c.brackets; ++b) {
        c.lost[b] = c.lost[b] || c.used[b] + n + kUnit > c.room;
        if (c.lost[b]) c.used[b] = 0;  // from here on only count
        before[b] = c.used[b];
    }
    const unsigned char* data = static_cast<const unsigned char*>(values);
    switch (c.brackets) {
        case 0: compare<T, 0, SWAPPED>(data, n, c); break;
        case 1: compare<T, 1, SWAPPED>(data, n, c); break;
        case 2: compare<T, 2, SWAPPED>(data, n, c); break;
        case 3: compare<T, 3, SWAPPED>(data, n, c); break;
        case 4: compare<T, 4, SWAPPED>(data, n, c); break;
        case 5: compare<T, 5, SWAPPED>(data, n, c); break;
        case 6: compare<T, 6, SWAPPED>(data, n, c); break;
        case 7: compare<T, 7, SWAPPED>(data, n, c); break;
        default: compare<T, 8, SWAPPED>(data, n, c); break;
    }
    for (int b = 0; b < c.brackets; ++b) c.within[b] += c.used[b] - before[b];
}

}  // namespace

void compare_span(const double* values, std::int64_t n, Comparison<double>* comparison) noexcept {
    compare_brackets<double, false>(values, n, comparison);
}

void compare_floats_span(int kind, const unsigned char* data, std::int64_t n, Comparison<float>* comparison) noexcept {
    if (kind == kBeF32) return compare_brackets<float, true>(data, n, comparison);
    compare_brackets<float, false>(data, n, comparison);
}

void widen_span(const float* values, std::int64_t n, double* out) noexcept {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(values[i]);
}

void distances_span(double* values, std::int64_t n, double center) noexcept {
    for (std::int64_t i = 0; i < n; ++i) values[i] = fabs(values[i] - center);
}

}  // namespace ZOO_ISA
}  // namespace zoo
