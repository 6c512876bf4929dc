// Frames in memory as CPU kernels walk them: in units of neighbouring pixels of one row of the result, in row order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pixel.hpp"
#include "simd.hpp"

namespace zoo {

struct Region {
    std::int64_t y, x, height, width, to_y, to_x;
    double bias, gain;
};

// Contiguous frames of one shape. The regions cover the result without overlap; there is at least one.
struct Frames {
    const unsigned char* data;
    int kind;
    std::int64_t count;
    std::int64_t height, width;          // of the source, in pixels
    std::int64_t out_height, out_width;  // of the result
    Calibration calibration;             // bias and gain come from the regions
    const Region* regions;
    std::int64_t region_count;

    std::int64_t pixels() const { return count * out_height * out_width; }
};

constexpr std::int64_t kUnit = 1024;   // pixels whose float64 values fit into a buffer in the L1 cache
constexpr std::int64_t kSpan = 8192;   // at a time for kernels that need none: calls then cost little, and float32 stays in the L1 cache

// n pixels at data -> linear values.
ZOO_DECLARE_ISAS(void read_span(int kind, const unsigned char* data, std::int64_t n, const Calibration& calibration, double* out) noexcept)

struct Unit {
    std::int64_t frame, y, x, n;
};

inline std::int64_t units_per_row(const Frames& frames, std::int64_t most) { return (frames.out_width + most - 1) / most; }

// Units of at most `most` pixels.
inline std::int64_t unit_count(const Frames& frames, std::int64_t most = kUnit) {
    return frames.count * frames.out_height * units_per_row(frames, most);
}

inline Unit unit_at(const Frames& frames, std::int64_t index, std::int64_t most = kUnit) {
    const std::int64_t per_row = units_per_row(frames, most);
    const std::int64_t row = index / per_row, x = index % per_row * most;
    return {row / frames.out_height, row % frames.out_height, x, std::min(most, frames.out_width - x)};
}

// Calls body(region, first pixel in memory, pixels, offset in the unit) for each region that a unit crosses.
template <class Body>
void for_each_piece(const Frames& frames, const Unit& unit, Body&& body) {
    const std::int64_t size = item_size(frames.kind);
    const unsigned char* frame = frames.data + unit.frame * frames.height * frames.width * size;
    for (std::int64_t i = 0; i < frames.region_count; ++i) {
        const Region& r = frames.regions[i];
        if (unit.y < r.to_y || unit.y >= r.to_y + r.height) continue;
        const std::int64_t begin = std::max(unit.x, r.to_x), end = std::min(unit.x + unit.n, r.to_x + r.width);
        if (begin >= end) continue;
        const std::int64_t source = (unit.y - r.to_y + r.y) * frames.width + begin - r.to_x + r.x;
        body(i, frame + source * size, end - begin, begin - unit.x);
    }
}

inline Calibration calibration_of(const Frames& frames, std::int64_t region) {
    Calibration c = frames.calibration;
    c.bias = frames.regions[region].bias;
    c.gain = frames.regions[region].gain;
    return c;
}

// Whether a region's linear values are its stored float32 numbers, save that those that are not finite are invalid.
inline bool is_plain_float(const Frames& frames, std::int64_t region) {
    const Calibration& c = frames.calibration;
    const Region& r = frames.regions[region];
    return (frames.kind == kF32 || frames.kind == kBeF32) && c.bscale == 1.0 && c.bzero == 0.0 && c.saturation != c.saturation &&
           r.bias == 0.0 && r.gain == 1.0;
}

// Whether every pixel is known to be valid: integers whose extremes stay finite.
inline bool all_valid(const Frames& frames) {
    const Calibration& c = frames.calibration;
    const bool integer = frames.kind <= kI64 || (frames.kind >= kBeI16 && frames.kind <= kBeI64);
    if (!integer || c.has_blank || c.drop_saturated) return false;
    const double largest = fabs(c.bscale) * 0x1p64 + fabs(c.bzero);
    return std::all_of(frames.regions, frames.regions + frames.region_count,
                       [&](const Region& region) { return (largest + fabs(region.bias)) * region.gain < 1e300; });
}

// Linear values of one unit, NaN where invalid.
inline void read_unit(const Frames& frames, const Unit& unit, double* out) {
    for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
        const Calibration c = calibration_of(frames, region);
        ZOO_DISPATCH(read_span, frames.kind, data, n, c, out + offset);
    });
}

}  // namespace zoo
