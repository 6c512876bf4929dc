// n <= kUnit everywhere.
#include "normalize.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

template <int S>
void apply(const double* values, std::int64_t n, const NormalizeParameters& parameters, Dtype dtype, void* out) {
    const NormalizeParameters p = parameters;
    float places[kUnit];
    float* to = dtype == Dtype::float32 ? static_cast<float*>(out) : places;
    std::uint16_t* to16 = static_cast<std::uint16_t*>(out);
    for (std::int64_t i = 0; i < n; ++i) places[i] = place_value(values[i], p);
    for (std::int64_t i = 0; i < n; ++i) to[i] = stretch_place<S>(places[i], p);
    if (dtype == Dtype::bfloat16) {
        for (std::int64_t i = 0; i < n; ++i) to16[i] = narrow(places[i], Bfloat16{}).bits;
    } else if (dtype == Dtype::float16) {
        for (std::int64_t i = 0; i < n; ++i) to16[i] = narrow(places[i], Float16{}).bits;
    }
}

}  // namespace

void normalize_span(const double* values, std::int64_t n, int stretch, const NormalizeParameters& p, Dtype dtype, void* out) noexcept {
    switch (stretch) {
        case kLinear: return apply<kLinear>(values, n, p, dtype, out);
        case kSqrt: return apply<kSqrt>(values, n, p, dtype, out);
        case kLog: return apply<kLog>(values, n, p, dtype, out);
        case kAsinh: return apply<kAsinh>(values, n, p, dtype, out);
        case kSinh: return apply<kSinh>(values, n, p, dtype, out);
        case kPower: return apply<kPower>(values, n, p, dtype, out);
        default: return;
    }
}

}  // namespace ZOO_ISA
}  // namespace zoo
