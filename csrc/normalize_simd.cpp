#include "normalize.hpp"

#include "streaming.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

// Places between the limits -> results.
template <int S, bool BOUNDED>
void finish(float* places, std::int64_t n, const NormalizeParameters& parameters, Dtype dtype, bool stream, void* out) {
    const NormalizeParameters p = parameters;
    for (std::int64_t i = 0; i < n; ++i) places[i] = stretch_place<S, BOUNDED>(places[i], p);
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
