// Linear values and limits -> stretched results: the arithmetic that CPU and CUDA share, and the CPU kernel.
#pragma once

#include "asinh_table.hpp"
#include "frames.hpp"
#include "stretch.hpp"

namespace zoo {

// Conditions are single comparisons with a bound that is NaN or infinite where it shall not act: compilers vectorise those.
struct NormalizeParameters {
    double vmin;
    double prescale, inverse;  // (value - vmin) * prescale * inverse is the place between the limits
    double low, high;          // bounds of the place: 0 and 1 to clip, infinite not to
    float top;                 // places from here on, and results above, become 1: 1 to clip, NaN not to
    float marker;              // places equal to this are saturated and become 1: infinity, or NaN for none
    float lowest;              // below this the stretch is no real number
    float fill;                // for pixels without a value
    StretchParameters stretch;
};

// Limits of one frame, in place. A span of 0 divides by 1; a subnormal one would have no reciprocal without the power of two.
ZOO_FN void set_limits(double vmin, double vmax, NormalizeParameters* p) {
    const double span = vmax - vmin == 0.0 ? 1.0 : vmax - vmin;
    p->vmin = vmin;
    p->prescale = fabs(span) < 0x1p-1000 ? 0x1p500 : 1.0;
    p->inverse = 1.0 / (span * p->prescale);
}

// Place of a linear value between the limits. value: NaN where invalid, +infinity where saturated pixels go to the top.
ZOO_FN float place_value(double value, const NormalizeParameters& p) {
    const double place = (value - p.vmin) * p.prescale * p.inverse;
    const double raised = place < p.low ? p.low : place;
    return static_cast<float>(raised > p.high ? p.high : raised);
}

// Whether places lie in [0, 1], and asinh is safe from overflow.
ZOO_FN bool is_bounded(int stretch, const NormalizeParameters& p) { return p.top == 1.0f && (stretch != kAsinh || p.stretch.a < 1e9f); }

template <int S, bool BOUNDED = false>
ZOO_FN float stretch_place(float t, const NormalizeParameters& p) {
    const float stretched = stretch<S, BOUNDED>(t, p.stretch);
    if constexpr (BOUNDED) return t >= 1.0f ? 1.0f : t >= 0.0f ? stretched > 1.0f ? 1.0f : stretched : p.fill;
    const float capped = stretched > p.top ? 1.0f : stretched;
    const float topped = t >= p.top ? 1.0f : capped;
    const float marked = t == p.marker ? 1.0f : topped;
    return t >= p.lowest ? marked : p.fill;  // NaN is below everything
}

// n <= kUnit values -> out of dtype (float32, bfloat16 or float16); table: of kAsinh; stream: see streaming.hpp.
ZOO_DECLARE_ISAS(void normalize_span(const double* values, std::int64_t n, int stretch, const NormalizeParameters& parameters,
                                     const AsinhTable& table, Dtype dtype, bool stream, void* out) noexcept)

// n <= kUnit float32 pixels as they are stored (kF32 or kBeF32), without calibration, saturation or a prescale: the same results in one go.
ZOO_DECLARE_ISAS(void normalize_floats_span(int kind, const unsigned char* data, std::int64_t n, int stretch,
                                            const NormalizeParameters& parameters, const AsinhTable& table, Dtype dtype, bool stream,
                                            void* out) noexcept)

// Places of pixels as they are stored, (stored - base) * factor + rest, in float32, within 2e-7 of themselves: in float64 they take as long
// as the stretch.
struct FloatPlaces {
    float base, factor, rest;
};

// n pixels of kI16, kBeI16, kF32 or kBeF32 by kAsinh with a usable table, where places are bounded.
ZOO_DECLARE_ISAS(void asinh_span(int kind, const unsigned char* data, std::int64_t n, const FloatPlaces& linear,
                                 const NormalizeParameters& parameters, const AsinhTable& table, Dtype dtype, bool stream,
                                 void* out) noexcept)

// limits: vmin and vmax of each frame. out: contiguous (count, out_height, out_width); must not overlap the frames.
void normalize_cpu(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   int threads) noexcept;

// The same on the stream of the current device; returns at once, with a cudaError_t. Frames, limits and out are device memory, regions host
// memory, kMaxCudaRegions of them at most.
int normalize_cuda(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   void* stream) noexcept;

}  // namespace zoo
