// Exact order statistics by histograms of keys, and the small steps between passes over the pixels: shared by CPU and CUDA.
#pragma once

#include "pixel.hpp"

namespace zoo {

// A number that orders finite doubles as their values do (-0 before +0).
ZOO_FN std::uint64_t key_of(double value) {
    const std::uint64_t bits = bit_cast<std::uint64_t>(value);
    return bits ^ (static_cast<std::uint64_t>(static_cast<std::int64_t>(bits) >> 63) | 0x8000000000000000u);
}

ZOO_FN double value_of(std::uint64_t key) { return bit_cast<double>(key >> 63 ? key & 0x7fffffffffffffffu : ~key); }

// Where a quantile lies among count > 0 ordered values: between ranks low and high, which are equal at the end.
struct Place {
    std::int64_t low, high;
    double fraction;
};

ZOO_FN Place quantile_place(std::int64_t count, double q) {
    const double place = rounded_multiply(static_cast<double>(count - 1), q);
    if (place >= static_cast<double>(count - 1)) return {count - 1, count - 1, 0.0};
    const std::int64_t low = static_cast<std::int64_t>(place);
    return {low, low + 1, rounded_add(place, -static_cast<double>(low))};
}

// numpy's interpolation, in its order of operations.
ZOO_FN double interpolate(double a, double b, double fraction) {
    const double step = rounded_add(b, -a);
    return fraction >= 0.5 ? rounded_add(b, -rounded_multiply(step, rounded_add(1.0, -fraction)))
                           : rounded_add(a, rounded_multiply(step, fraction));
}

// The median from the values of ranks (count - 1) / 2 and count / 2.
ZOO_FN double middle(double low, double high, std::int64_t count) { return count % 2 != 0 ? high : rounded_add(low, high) / 2.0; }

// Counts and sums of values - shift over the values in [low, high].
struct Moments {
    std::int64_t below;  // valid values under low
    std::int64_t count;
    double sum, squares;
};

ZOO_FN double mean_of(const Moments& m, double shift) {
    return m.count > 0 ? rounded_add(shift, m.sum / static_cast<double>(m.count)) : static_cast<double>(NAN);
}

// Population standard deviation. Exact to rounding as long as the shift is within a few deviations of the mean.
ZOO_FN double deviation_of(const Moments& m) {
    if (m.count <= 0) return static_cast<double>(NAN);
    const double n = static_cast<double>(m.count);
    const double excess = rounded_add(m.squares, -rounded_multiply(m.sum, m.sum / n)) / n;
    return excess > 0.0 ? sqrt(excess) : excess == excess ? 0.0 : static_cast<double>(NAN);
}

// Whether the shift lies so far from the mean that squares and sum cancel.
ZOO_FN bool is_far(const Moments& m) {
    return m.count > 0 && rounded_multiply(m.sum, m.sum / static_cast<double>(m.count)) > 0.9 * m.squares;
}

// The state of sigma clipping: pixels that are left lie in [low, high].
struct Clip {
    double low, high;            // of all rounds
    double last_low, last_high;  // of the last round
};

// One round about the median; NaN bounds when nothing is left.
ZOO_FN void clip_round(double median, double deviation, double sigma, Clip* clip) {
    const double reach = rounded_multiply(deviation, sigma);
    clip->last_low = rounded_add(median, -reach);
    clip->last_high = rounded_add(median, reach);
    // a NaN bound admits no pixel
    clip->low = clip->last_low > clip->low || clip->last_low != clip->last_low ? clip->last_low : clip->low;
    clip->high = clip->last_high < clip->high || clip->last_high != clip->last_high ? clip->last_high : clip->high;
}

// Columns of a row of figures. zoo/ops/statistics_reference.py holds the same order.
enum Column : int {
    kCount, kMin, kMax, kMean, kStd, kMedian, kMad, kClipCount, kClipLow, kClipHigh, kClipMean, kClipMedian, kClipStd, kZLow, kZHigh,
    kColumns
};

// Figures that can be asked for; the same numbers are in zoo/ops/statistics_reference.py.
enum Wanted : int { kBasic = 1, kWantMoments = 2, kWantMedian = 4, kWantMad = 8, kWantClip = 16, kWantZScale = 32 };

}  // namespace zoo
