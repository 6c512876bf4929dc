// Convolution of frames with a small image, term by term, with optional normalised convolution over NaN. Plain pointers; nothing is
// checked here: zoo/ops/convolve.py does that, and allocates every buffer.
#pragma once

#include "blur.hpp"

namespace zoo {

// "Compute type" is double for float64 frames and float for all others.
struct ConvolveArguments {
    const void* image;   // frames x height x width, contiguous
    void* out;           // the same; must not overlap the image
    const void* kernel;  // kernel_height x kernel_width of the compute type, in host memory; out[y][x] sums kernel[i][j] * image[y+i-..][x+j-..]
    std::int64_t kernel_height, kernel_width;  // odd
    std::int64_t frames, height, width;        // all > 0
    Dtype dtype;
    Border border;
    NanTreatment nan_treatment;
    bool preserve_nan;
    double cval;        // value outside the frame where the border is constant
    double fill_value;  // what NaN counts as where they are filled
    double scale;       // of the result
};

// Bytes of scratch, aligned to 64, that convolve_cpu needs with so many threads.
std::int64_t convolve_cpu_scratch_bytes(const ConvolveArguments& arguments, int threads) noexcept;

// The same bits for any number of threads. Allocates nothing.
void convolve_cpu(const ConvolveArguments& arguments, void* scratch, int threads) noexcept;

}  // namespace zoo
