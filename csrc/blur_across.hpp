// Sums along a line with a symmetric kernel: the horizontal pass of the blur. Only for *_simd.cpp (simd.hpp).
#pragma once

#include "vector.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace zoo::ZOO_ISA {
namespace {

// Terms are summed in parts of this many: rounding errors grow with the longest chain of additions. Measured at sigma 16 against float64:
// 3.4e-7 of the peak in one chain, 2e-7 in parts.
constexpr std::int64_t part_terms = 16;

#if defined(__AVX512F__)

#define ZOO_INLINE __attribute__((always_inline)) inline  // arrays of vectors stay in registers only where nothing is called

// A load that is not aligned touches two cache lines, and 15 of 16 are not: such loads, not sums, would set the pace. So vectors are loaded
// where they are aligned and shifted in registers, twice as fast for all radii from 2 to 16.
template <int SHIFT>
ZOO_INLINE Vector<float> shifted(Vector<float> low, Vector<float> high) {
    if constexpr (SHIFT == 0) return low;
    return reinterpret_cast<Vector<float>>(_mm512_maskz_alignr_epi32(0xffff, reinterpret_cast<__m512i>(high), reinterpret_cast<__m512i>(low), SHIFT));
}

template <int SHIFT>
ZOO_INLINE Vector<double> shifted(Vector<double> low, Vector<double> high) {
    if constexpr (SHIFT == 0) return low;
    return reinterpret_cast<Vector<double>>(_mm512_maskz_alignr_epi64(0xff, reinterpret_cast<__m512i>(high), reinterpret_cast<__m512i>(low), SHIFT));
}

// Adds the terms of distance first + TERM, ..., first + 1 to COUNT neighbouring sums; `first` is a multiple of the lanes, and left and right
// hold the vectors from centre - first - lanes and from centre + first on.
template <int TERM, int COUNT, class T>
ZOO_INLINE void add_terms(const Vector<T> (&left)[COUNT + 1], const Vector<T> (&right)[COUNT + 1], const T* taps, Vector<T> (&sums)[COUNT]) {
    constexpr int n = static_cast<int>(lanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
        const Vector<T> before = shifted<n - TERM>(left[i], left[i + 1]);
        const Vector<T> after = shifted<TERM % n>(right[TERM == n ? i + 1 : i], right[i + 1]);
        sums[i] += taps[TERM] * (before + after);
    }
    if constexpr (TERM > 1) add_terms<TERM - 1, COUNT>(left, right, taps, sums);
}

template <int TERMS, int COUNT, class T>
ZOO_INLINE void add_block(const T* centre, const T* taps, std::int64_t first, Vector<T> (&sums)[COUNT]) {
    Vector<T> left[COUNT + 1], right[COUNT + 1], part[COUNT] = {};
    for (int i = 0; i <= COUNT; ++i) {
        left[i] = load(centre - first + (i - 1) * lanes<T>);
        right[i] = load(centre + first + i * lanes<T>);
    }
    add_terms<TERMS, COUNT>(left, right, taps + first, part);
    for (int i = 0; i < COUNT; ++i) sums[i] += part[i];
}

// COUNT neighbouring vectors of sum over k of taps[|k|] * centre[k + x], the far, small terms first. TERMS are left over when the radius
// is cut into whole vectors.
template <int TERMS, int COUNT, class T>
ZOO_INLINE void sum_vectors(const T* line, const T* taps, std::int64_t radius, T* out, std::int64_t x) {
    const T* centre = line + x;
    Vector<T> sums[COUNT] = {};
    std::int64_t first = radius - TERMS;
    if constexpr (TERMS > 0) add_block<TERMS, COUNT>(centre, taps, first, sums);
    while (first > 0) {
        first -= lanes<T>;
        add_block<static_cast<int>(lanes<T>), COUNT>(centre, taps, first, sums);
    }
    for (int i = 0; i < COUNT; ++i) store(out + x + i * lanes<T>, sums[i] + taps[0] * load(centre + i * lanes<T>));
}

template <int TERMS, class T>
void sum_vectors(const T* line, const T* taps, std::int64_t radius, T* out, std::int64_t width) {
    std::int64_t x = 0;
    for (; x + 4 * lanes<T> <= width; x += 4 * lanes<T>) sum_vectors<TERMS, 4>(line, taps, radius, out, x);
    for (; x < width; x += lanes<T>) sum_vectors<TERMS, 1>(line, taps, radius, out, x);
}

// `line` points at the pixel under the centre of the first output; it and out hold whole vectors beyond width, the line also one before
// the border.
template <class T>
void sum_line(const T* line, const T* taps, std::int64_t radius, T* out, std::int64_t width) {
    switch (radius % lanes<T>) {
        case 0: return sum_vectors<0>(line, taps, radius, out, width);
        case 1: return sum_vectors<1>(line, taps, radius, out, width);
        case 2: return sum_vectors<2>(line, taps, radius, out, width);
        case 3: return sum_vectors<3>(line, taps, radius, out, width);
        case 4: return sum_vectors<4>(line, taps, radius, out, width);
        case 5: return sum_vectors<5>(line, taps, radius, out, width);
        case 6: return sum_vectors<6>(line, taps, radius, out, width);
        case 7: return sum_vectors<7>(line, taps, radius, out, width);
        default: break;
    }
    if constexpr (lanes<T> > 8) {
        switch (radius % lanes<T>) {
            case 8: return sum_vectors<8>(line, taps, radius, out, width);
            case 9: return sum_vectors<9>(line, taps, radius, out, width);
            case 10: return sum_vectors<10>(line, taps, radius, out, width);
            case 11: return sum_vectors<11>(line, taps, radius, out, width);
            case 12: return sum_vectors<12>(line, taps, radius, out, width);
            case 13: return sum_vectors<13>(line, taps, radius, out, width);
            case 14: return sum_vectors<14>(line, taps, radius, out, width);
            default: return sum_vectors<15>(line, taps, radius, out, width);
        }
    }
}

#undef ZOO_INLINE

#else

// COUNT neighbouring vectors of sum over k of taps[|k|] * line[k + x]; the far, small terms first, symmetric taps folded.
template <int RADIUS, int COUNT, class T>
void sum_vectors(const T* line, const T* taps, std::int64_t any_radius, T* out, std::int64_t x) {
    const std::int64_t radius = RADIUS > 0 ? RADIUS : any_radius;
    const T* centre = line + x;
    Vector<T> sums[COUNT] = {};
    const auto add = [&](std::int64_t k, Vector<T>(&part)[COUNT]) {
        for (int i = 0; i < COUNT; ++i) part[i] += taps[k] * (load(centre - k + i * lanes<T>) + load(centre + k + i * lanes<T>));
    };
    if constexpr (RADIUS > 0) {
        static_assert(RADIUS <= part_terms, "a short kernel is one part");
#pragma GCC unroll 16
        for (std::int64_t k = RADIUS; k > 0; --k) add(k, sums);
    } else {
        for (std::int64_t k = radius; k > 0;) {
            Vector<T> part[COUNT] = {};
#pragma GCC unroll 4
            for (const std::int64_t stop = k > part_terms ? k - part_terms : 0; k > stop; --k) add(k, part);
            for (int i = 0; i < COUNT; ++i) sums[i] += part[i];
        }
    }
    for (int i = 0; i < COUNT; ++i) store(out + x + i * lanes<T>, sums[i] + taps[0] * load(centre + i * lanes<T>));
}

template <int RADIUS, class T>
void sum_line(const T* line, const T* taps, std::int64_t radius, T* out, std::int64_t width) {
    std::int64_t x = 0;
    for (; x + 4 * lanes<T> <= width; x += 4 * lanes<T>) sum_vectors<RADIUS, 4>(line, taps, radius, out, x);
    for (; x < width; x += lanes<T>) sum_vectors<RADIUS, 1>(line, taps, radius, out, x);
}

// `line` points at the pixel under the centre of the first output; it and out hold whole vectors beyond width.
template <class T>
void sum_line(const T* line, const T* taps, std::int64_t radius, T* out, std::int64_t width) {
    switch (radius) {
        case 2: return sum_line<2>(line, taps, radius, out, width);
        case 3: return sum_line<3>(line, taps, radius, out, width);
        case 4: return sum_line<4>(line, taps, radius, out, width);
        case 6: return sum_line<6>(line, taps, radius, out, width);
        case 8: return sum_line<8>(line, taps, radius, out, width);
        case 16: return sum_line<16>(line, taps, radius, out, width);
        default: return sum_line<0>(line, taps, radius, out, width);
    }
}

#endif

}  // namespace
}  // namespace zoo::ZOO_ISA
