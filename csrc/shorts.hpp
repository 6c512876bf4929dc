// Vectors of 16-bit integers as they are stored. Only for *_simd.cpp (simd.hpp).
#pragma once

#include "pixel.hpp"

#ifdef ZOO_X86
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own headers (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace zoo::ZOO_ISA {
namespace {

#if defined(__AVX512F__)

// Masks become numbers by _cvtmask only: see survey_simd.cpp.
struct Shorts {
    using Vector = __m512i;
    static constexpr int n = 32, bits = 1;  // integers of a vector, and bits of a mask for each
    static Vector fill(std::int16_t x) { return _mm512_set1_epi16(x); }
    template <int K>
    static Vector load(const unsigned char* p) {
        const Vector stored = _mm512_loadu_si512(p);
        if constexpr (K == kI16) return stored;
        return _mm512_shuffle_epi8(stored, _mm512_broadcast_i32x4(_mm_set_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1)));
    }
    static std::uint32_t less(Vector a, Vector b) { return _cvtmask32_u32(_mm512_cmplt_epi16_mask(a, b)); }
    // Whether a - low, as an unsigned number, is at most reach.
    static std::uint32_t within(Vector a, Vector low, Vector reach) {
        return _cvtmask32_u32(_mm512_cmple_epu16_mask(_mm512_sub_epi16(a, low), reach));
    }
    // The integers of a mask, one after the other; returns how many. There must be room for n.
    static int keep(std::uint16_t* p, std::uint32_t mask, Vector a) {
        const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(a)), high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(a, 1));
        const int first = __builtin_popcount(mask & 0xffffu);
        store_half(p, _mm512_maskz_compress_epi32(_cvtu32_mask16(mask & 0xffffu), low));
        store_half(p + first, _mm512_maskz_compress_epi32(_cvtu32_mask16(mask >> 16), high));
        return first + __builtin_popcount(mask >> 16);
    }
    // Their sums with an offset, which float32 holds, around the caches to n floats, the first of which is aligned to a vector.
    static void place(Vector a, std::int32_t offset, float* out) {
        const __m512i added = _mm512_set1_epi32(offset);
        const auto floats = [&](__m256i half) { return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_cvtepi16_epi32(half), added)); };
        _mm512_stream_ps(out, floats(_mm512_castsi512_si256(a)));
        _mm512_stream_ps(out + n / 2, floats(_mm512_extracti64x4_epi64(a, 1)));
    }

private:
    static void store_half(std::uint16_t* p, __m512i a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a)); }
};

#elif defined(__AVX2__)

struct Shorts {
    using Vector = __m256i;
    static constexpr int n = 16, bits = 2;
    static Vector fill(std::int16_t x) { return _mm256_set1_epi16(x); }
    template <int K>
    static Vector load(const unsigned char* p) {
        const Vector stored = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        if constexpr (K == kI16) return stored;
        const __m128i order = _mm_set_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1);
        return _mm256_shuffle_epi8(stored, _mm256_broadcastsi128_si256(order));
    }
    static std::uint32_t less(Vector a, Vector b) { return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi16(b, a))); }
    static std::uint32_t within(Vector a, Vector low, Vector reach) {
        const Vector over = _mm256_subs_epu16(_mm256_sub_epi16(a, low), reach);
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi16(over, _mm256_setzero_si256())));
    }
    static int keep(std::uint16_t* p, std::uint32_t mask, Vector a) {
        if (mask == 0) return 0;
        std::uint16_t all[n];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(all), a);
        int used = 0;
        for (; mask != 0; mask &= mask - 1, mask &= mask - 1) p[used++] = all[__builtin_ctz(mask) / bits];
        return used;
    }
    static void place(Vector a, std::int32_t offset, float* out) {
        const __m256i added = _mm256_set1_epi32(offset);
        const auto floats = [&](__m128i half) { return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_cvtepi16_epi32(half), added)); };
        _mm256_stream_ps(out, floats(_mm256_castsi256_si128(a)));
        _mm256_stream_ps(out + n / 2, floats(_mm256_extracti128_si256(a, 1)));
    }
};

#endif

}  // namespace
}  // namespace zoo::ZOO_ISA
