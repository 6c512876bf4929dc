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

// stretch_place<kAsinh, true> from a table, and its registers.
class AsinhVectors {
public:
    AsinhVectors(const NormalizeParameters& p, const AsinhTable& table)
        : factor_(_mm512_set1_ps(p.stretch.a)), fill_(_mm512_set1_ps(p.fill)), shift_(_mm_cvtsi32_si128(table.shift)) {
        for (int half = 0; half < 2; ++half) {
            centers_[half] = _mm512_loadu_ps(table.centers + 16 * half);
            for (int k = 0; k < AsinhTable::kTerms; ++k) terms_[k][half] = _mm512_loadu_ps(table.terms[k] + 16 * half);
        }
    }

    // t: in [0, 1] or NaN.
    __m512 stretched(__m512 t) const {
        const __m512 one = _mm512_set1_ps(1.0f);
        const __m512i above = _mm512_sub_epi32(_mm512_castps_si512(_mm512_fmadd_ps(t, factor_, one)), _mm512_castps_si512(one));
        const __m512i piece = _mm512_srl_epi32(above, shift_);
        const auto of_piece = [&](const __m512(&halves)[2]) { return _mm512_permutex2var_ps(halves[0], piece, halves[1]); };
        const __m512 distance = _mm512_sub_ps(t, of_piece(centers_));
        __m512 sum = of_piece(terms_[AsinhTable::kTerms - 1]);
#pragma GCC unroll 4
        for (int k = AsinhTable::kTerms - 2; k >= 0; --k) sum = _mm512_fmadd_ps(sum, distance, of_piece(terms_[k]));
        const __m512 topped = _mm512_mask_mov_ps(_mm512_min_ps(sum, one), _mm512_cmp_ps_mask(t, one, _CMP_GE_OQ), one);
        return _mm512_mask_mov_ps(fill_, _mm512_cmp_ps_mask(t, _mm512_setzero_ps(), _CMP_GE_OQ), topped);
    }

private:
    __m512 factor_, fill_;
    __m128i shift_;
    __m512 centers_[2], terms_[AsinhTable::kTerms][2];
};

// 16 pixels as they are stored; NaN where they are not finite.
template <int K>
__m512 sixteen(const unsigned char* data) {
    if constexpr (item_size(K) == 2) {
        const __m256i order = _mm256_broadcastsi128_si256(_mm_set_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1));
        const __m256i stored = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
        return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(K == kBeI16 ? _mm256_shuffle_epi8(stored, order) : stored));
    } else {
        const __m512i order = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
        const __m512i stored = _mm512_loadu_si512(data);
        const __m512 value = _mm512_castsi512_ps(K == kBeF32 ? _mm512_shuffle_epi8(stored, order) : stored);
        const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(value), _mm512_set1_ps(3.402823466e38f), _CMP_LE_OQ);
        return _mm512_mask_mov_ps(_mm512_set1_ps(NAN), finite, value);
    }
}

// What whole vectors there are, straight into a result of float32 that is aligned to them. Returns how many pixels were done.
template <int K>
std::int64_t asinh_straight(const unsigned char* data, std::int64_t n, const FloatPlaces& linear, const NormalizeParameters& p,
                            const AsinhTable& table, bool stream, float* out) {
    const AsinhVectors vectors(p, table);
    const __m512 base = _mm512_set1_ps(linear.base), factor = _mm512_set1_ps(linear.factor), rest = _mm512_set1_ps(linear.rest);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 place = _mm512_fmadd_ps(_mm512_sub_ps(sixteen<K>(data + item_size(K) * i), base), factor, rest);
        // the second operand is what a comparison with NaN gives
        const __m512 bounded = _mm512_min_ps(_mm512_set1_ps(1.0f), _mm512_max_ps(_mm512_setzero_ps(), place));
        if (stream) {
            _mm512_stream_ps(out + i, vectors.stretched(bounded));
        } else {
            _mm512_store_ps(out + i, vectors.stretched(bounded));
        }
    }
    return i;
}

#endif

template <int S, bool BOUNDED>
void stretch_places(float* places, std::int64_t n, const NormalizeParameters& p, const AsinhTable& table) {
#if defined(__AVX512F__)
    if (S == kAsinh && BOUNDED && table.usable) {
        const AsinhVectors vectors(p, table);
        // what lies between n and the end of the buffer is worked out for nothing
        for (std::int64_t i = 0; i < n; i += 16) _mm512_store_ps(places + i, vectors.stretched(_mm512_load_ps(places + i)));
        return;
    }
#endif
    static_cast<void>(table);
    for (std::int64_t i = 0; i < n; ++i) places[i] = stretch_place<S, BOUNDED>(places[i], p);
}

// Places between the limits -> results.
template <int S, bool BOUNDED>
void finish(float* places, std::int64_t n, const NormalizeParameters& parameters, const AsinhTable& table, Dtype dtype, bool stream,
            void* out) {
    const NormalizeParameters p = parameters;
    stretch_places<S, BOUNDED>(places, n, p, table);
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
void finish_stretch(int stretch, float* places, std::int64_t n, const NormalizeParameters& p, const AsinhTable& table, Dtype dtype,
                    bool stream, void* out) {
    switch (stretch) {
        case kLinear: return finish<kLinear, BOUNDED>(places, n, p, table, dtype, stream, out);
        case kSqrt: return finish<kSqrt, BOUNDED>(places, n, p, table, dtype, stream, out);
        case kLog: return finish<kLog, BOUNDED>(places, n, p, table, dtype, stream, out);
        case kAsinh: return finish<kAsinh, BOUNDED>(places, n, p, table, dtype, stream, out);
        case kSinh: return finish<kSinh, BOUNDED>(places, n, p, table, dtype, stream, out);
        case kPower: return finish<kPower, BOUNDED>(places, n, p, table, dtype, stream, out);
        default: return;
    }
}

void finish_any(int stretch, float* places, std::int64_t n, const NormalizeParameters& p, const AsinhTable& table, Dtype dtype, bool stream,
                void* out) {
    if (is_bounded(stretch, p)) return finish_stretch<true>(stretch, places, n, p, table, dtype, stream, out);
    finish_stretch<false>(stretch, places, n, p, table, dtype, stream, out);
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

// The places of pixels that FloatPlaces tells of.
template <int K>
void place_linear(const unsigned char* data, std::int64_t n, const FloatPlaces& linear, float* places) {
    const FloatPlaces l = linear;
    for (std::int64_t i = 0; i < n; ++i) {
        const float value = static_cast<float>(load<K>(data + item_size(K) * i));
        const float place = multiply_add(value - l.base, l.factor, l.rest);
        const float raised = place < 0.0f ? 0.0f : place;
        const float bounded = raised > 1.0f ? 1.0f : raised;
        places[i] = fabsf(value) <= 3.402823466e38f ? bounded : NAN;
    }
}

template <int K>
void asinh_any(const unsigned char* data, std::int64_t n, const FloatPlaces& linear, const NormalizeParameters& p, const AsinhTable& table,
               Dtype dtype, bool stream, unsigned char* out) {
    std::int64_t done = 0;
#if defined(__AVX512F__)
    if (dtype == Dtype::float32 && reinterpret_cast<std::uintptr_t>(out) % 64 == 0) {
        done = asinh_straight<K>(data, n, linear, p, table, stream, reinterpret_cast<float*>(out));
    }
#endif
    for (; done < n; done += kUnit) {
        const std::int64_t m = n - done < kUnit ? n - done : kUnit;
        alignas(64) float places[kUnit];
        place_linear<K>(data + item_size(K) * done, m, linear, places);
        finish_any(kAsinh, places, m, p, table, dtype, stream, out + done * (dtype == Dtype::float32 ? 4 : 2));
    }
}

}  // namespace

void normalize_span(const double* values, std::int64_t n, int stretch, const NormalizeParameters& parameters, const AsinhTable& table,
                    Dtype dtype, bool stream, void* out) noexcept {
    const NormalizeParameters p = parameters;
    alignas(64) float places[kUnit];
    for (std::int64_t i = 0; i < n; ++i) places[i] = place_value(values[i], p);
    finish_any(stretch, places, n, p, table, dtype, stream, out);
}

void normalize_floats_span(int kind, const unsigned char* data, std::int64_t n, int stretch, const NormalizeParameters& p,
                           const AsinhTable& table, Dtype dtype, bool stream, void* out) noexcept {
    alignas(64) float places[kUnit];
    if (kind == kBeF32) {
        place_floats<kBeF32>(data, n, p, places);
    } else {
        place_floats<kF32>(data, n, p, places);
    }
    finish_any(stretch, places, n, p, table, dtype, stream, out);
}

void asinh_span(int kind, const unsigned char* data, std::int64_t n, const FloatPlaces& linear, const NormalizeParameters& p,
                const AsinhTable& table, Dtype dtype, bool stream, void* out) noexcept {
    unsigned char* to = static_cast<unsigned char*>(out);
    switch (kind) {
        case kI16: return asinh_any<kI16>(data, n, linear, p, table, dtype, stream, to);
        case kBeI16: return asinh_any<kBeI16>(data, n, linear, p, table, dtype, stream, to);
        case kF32: return asinh_any<kF32>(data, n, linear, p, table, dtype, stream, to);
        default: return asinh_any<kBeF32>(data, n, linear, p, table, dtype, stream, to);
    }
}

}  // namespace ZOO_ISA
}  // namespace zoo
