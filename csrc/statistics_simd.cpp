#include "statistics.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

constexpr int kLanes = 8;

// Each lane adds every eighth value, so that the sums do not depend on the instruction set.
struct Lanes {
    double sum[kLanes], squares[kLanes], min[kLanes], max[kLanes];
    std::int64_t below[kLanes], count[kLanes];
};

inline void add(const double* values, double low, double high, double shift, Lanes& lanes) {
    for (int i = 0; i < kLanes; ++i) {
        const double value = values[i];
        const double from = value >= low ? 1.0 : 0.0, to = value <= high ? from : 0.0;
        const double distance = to > 0.0 ? value - shift : 0.0;
        lanes.sum[i] += distance;
        lanes.squares[i] += distance * distance;
        lanes.min[i] = value < lanes.min[i] ? value : lanes.min[i];
        lanes.max[i] = value > lanes.max[i] ? value : lanes.max[i];
        lanes.below[i] += value < low ? 1 : 0;
        lanes.count[i] += to > 0.0 ? 1 : 0;
    }
}

}  // namespace

void moments_span(const double* values, std::int64_t n, double low, double high, double shift, Moments* moments,
                  Extremes* extremes) noexcept {
    Lanes lanes{};
    for (int i = 0; i < kLanes; ++i) {
        lanes.min[i] = extremes->min;
        lanes.max[i] = extremes->max;
    }
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) add(values + i, low, high, shift, lanes);
    double rest[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) rest[lane] = i + lane < n ? values[i + lane] : static_cast<double>(NAN);
    add(rest, low, high, shift, lanes);
    for (int lane = 0; lane < kLanes; ++lane) {
        moments->sum += lanes.sum[lane];
        moments->squares += lanes.squares[lane];
        moments->below += lanes.below[lane];
        moments->count += lanes.count[lane];
        extremes->min = lanes.min[lane] < extremes->min ? lanes.min[lane] : extremes->min;
        extremes->max = lanes.max[lane] > extremes->max ? lanes.max[lane] : extremes->max;
    }
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
