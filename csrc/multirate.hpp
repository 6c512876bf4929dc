// The two ends of a blur at several rates: frames to a coarse grid, and from there to the pixels. Plain pointers; nothing is checked here:
// zoo/ops/blur_multirate.py does that, and allocates every buffer.
//
// Along each axis one coarse pixel stands for `step` pixels. With taps h of 5 * step numbers, symmetric:
//   coarse[j] = sum over k of h[k] * pixels[(j - margin - 2) * step + k]          (decimate)
//   pixels[i] = step * sum over j of h[i - (j - margin - 2) * step] * coarse[j]   (interpolate)
#pragma once

#include "blur.hpp"

namespace zoo {

// Both agree with zoo/ops/blur_multirate.py.
constexpr std::int64_t multirate_reach = 5;  // coarse pixels that a pixel is made of, along an axis
constexpr std::int64_t multirate_most_step = 8;

struct MultirateAxis {
    const void* taps;  // multirate_reach * step of the compute type, in host memory
    std::int64_t step;  // 1 to multirate_most_step
    std::int64_t margin;  // coarse pixels before the one at the first pixel; at least 2
    std::int64_t coarse;  // all coarse pixels; those up to 2 after the one at the last pixel are needed
};

struct MultirateArguments {
    const void* image;  // decimate: frames x height x width
    void* coarse;       // frames x down.coarse x across.coarse of the compute type: double for float64 frames, float for others
    void* out;          // interpolate: frames x height x width
    std::int64_t frames, height, width;  // all > 0
    Dtype dtype;
    Border border;
    double cval;
    MultirateAxis down, across;
};

// Bytes of scratch, aligned to 64, that either function needs with so many threads.
std::int64_t multirate_scratch_bytes(const MultirateArguments& arguments, int threads) noexcept;

// The same bits for any number of threads. Allocate nothing.
void multirate_decimate(const MultirateArguments& arguments, void* scratch, int threads) noexcept;
void multirate_interpolate(const MultirateArguments& arguments, void* scratch, int threads) noexcept;

}  // namespace zoo
