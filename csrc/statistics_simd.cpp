#include "statistics.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own headers (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace zoo {
namespace ZOO_ISA {
namespace {

constexpr int kLanes = 8;

// Eight lanes, each of which adds every eighth value: the sums do not depend on the instruction set.
#if defined(__AVX512F__)

class Sums {
public:
    Sums(double low, double high, double shift) : low_(_mm512_set1_pd(low)), high_(_mm512_set1_pd(high)), shift_(_mm512_set1_pd(shift)) {}

    void add(__m512d values) {
        const __mmask8 within = _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(values, low_, _CMP_GE_OQ), values, high_, _CMP_LE_OQ);
        const __m512d distances = _mm512_sub_pd(values, shift_);
        sum_ = _mm512_mask_add_pd(sum_, within, sum_, distances);
        squares_ = _mm512_mask_add_pd(squares_, within, squares_, _mm512_mul_pd(distances, distances));
        // _cvtmask: see survey_simd.cpp
        below_ += __builtin_popcount(_cvtmask8_u32(_mm512_cmp_pd_mask(values, low_, _CMP_LT_OQ)));
        count_ += __builtin_popcount(_cvtmask8_u32(within));
    }

    template <class ValueAt>
    void add_some(ValueAt value_at, std::int64_t first, std::int64_t n) {
        double values[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) values[lane] = lane < n ? value_at(first + lane) : static_cast<double>(NAN);
        add(_mm512_loadu_pd(values));
    }

    void add_to(Moments* moments) const {
        double sum[kLanes], squares[kLanes];
        _mm512_storeu_pd(sum, sum_);
        _mm512_storeu_pd(squares, squares_);
        for (int lane = 0; lane < kLanes; ++lane) {
            moments->sum += sum[lane];
            moments->squares += squares[lane];
        }
        moments->below += below_;
        moments->count += count_;
    }

private:
    __m512d low_, high_, shift_, sum_ = _mm512_setzero_pd(), squares_ = _mm512_setzero_pd();
    std::int64_t below_ = 0, count_ = 0;
};

inline std::int64_t add_whole(Sums& sums, const double* values, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sums.add(_mm512_loadu_pd(values + i));
    return i;
}

template <int K>
inline std::int64_t add_whole_floats(Sums& sums, const unsigned char* data, std::int64_t n) {
    const __m256i order = _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + 4 * i));
        sums.add(_mm512_cvtps_pd(_mm256_castsi256_ps(K == kBeF32 ? _mm256_shuffle_epi8(bits, order) : bits)));
    }
    return i;
}

#else

class Sums {
public:
    Sums(double low, double high, double shift) : low_(low), high_(high), shift_(shift) {}

    void add(const double* values) {
        for (int i = 0; i < kLanes; ++i) {
            const double value = values[i];
            const double from = value >= low_ ? 1.0 : 0.0, to = value <= high_ ? from : 0.0;
            const double distance = to > 0.0 ? value - shift_ : 0.0;
            sum_[i] += distance;
            squares_[i] += distance * distance;
            below_[i] += value < low_ ? 1 : 0;
            count_[i] += to > 0.0 ? 1 : 0;
        }
    }

    template <class ValueAt>
    void add_some(ValueAt value_at, std::int64_t first, std::int64_t n) {
        double values[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) values[lane] = lane < n ? value_at(first + lane) : static_cast<double>(NAN);
        add(values);
    }

    void add_to(Moments* moments) const {
        for (int lane = 0; lane < kLanes; ++lane) {
            moments->sum += sum_[lane];
            moments->squares += squares_[lane];
            moments->below += below_[lane];
            moments->count += count_[lane];
        }
    }

private:
    double low_, high_, shift_, sum_[kLanes] = {}, squares_[kLanes] = {};
    std::int64_t below_[kLanes] = {}, count_[kLanes] = {};
};

inline std::int64_t add_whole(Sums& sums, const double* values, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sums.add(values + i);
    return i;
}

template <int K>
inline std::int64_t add_whole_floats(Sums& sums, const unsigned char* data, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        double values[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) values[lane] = static_cast<double>(load<K>(data + 4 * (i + lane)));
        sums.add(values);
    }
    return i;
}

#endif

template <int K>
inline void add_floats(const unsigned char* data, std::int64_t n, Sums sums, Moments* moments) {
    const std::int64_t i = add_whole_floats<K>(sums, data, n);
    if (i < n) sums.add_some([=](std::int64_t j) { return static_cast<double>(load<K>(data + 4 * j)); }, i, n - i);
    sums.add_to(moments);
}

}  // namespace

void moments_span(const double* values, std::int64_t n, double low, double high, double shift, Moments* moments) noexcept {
    Sums sums(low, high, shift);
    const std::int64_t i = add_whole(sums, values, n);
    if (i < n) sums.add_some([=](std::int64_t j) { return values[j]; }, i, n - i);
    sums.add_to(moments);
}

void moments_floats_span(int kind, const unsigned char* data, std::int64_t n, double low, double high, double shift,
                         Moments* moments) noexcept {
    if (kind == kBeF32) return add_floats<kBeF32>(data, n, Sums(low, high, shift), moments);
    add_floats<kF32>(data, n, Sums(low, high, shift), moments);
}

void keys_span(const double* values, std::int64_t n, bool narrow, bool distances, double center, std::uint64_t* keys) noexcept {
    if (narrow) {
        for (std::int64_t i = 0; i < n; ++i) {
            const std::uint32_t bits = bit_cast<std::uint32_t>(static_cast<float>(values[i]));
            const std::uint32_t flip = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u;
            const std::uint64_t key = static_cast<std::uint64_t>(bits ^ flip) << 32;
            keys[i] = values[i] == values[i] ? key : ~std::uint64_t{0};
        }
        return;
    }
    for (std::int64_t i = 0; i < n; ++i) {
        const double distance = fabs(values[i] - center);
        const std::uint64_t key = key_of(distances ? distance : values[i]);
        keys[i] = values[i] == values[i] ? key : ~std::uint64_t{0};
    }
}

}  // namespace ZOO_ISA
}  // namespace zoo
