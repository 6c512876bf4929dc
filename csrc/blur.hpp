// Separable Gaussian blur of frames, with optional normalised convolution over NaN. Plain pointers; nothing is checked here:
// zoo/ops/blur.py does that, and allocates every buffer.
#pragma once

#include <cstdint>

#include "scalar_types.hpp"

namespace zoo {

// Numbers agree with zoo/ops/blur.py.
enum class Border : int { reflect = 0, mirror = 1, nearest = 2, constant = 3, wrap = 4 };
enum class NanTreatment : int { propagate = 0, interpolate = 1, fill = 2 };

// "Compute type" is double for float64 frames and float for all others.
struct BlurArguments {
    const void* image;  // frames x height x width, contiguous
    void* out;          // the same; must not overlap the image
    // sets x 2 (vertical, horizontal) x (max_radius + 1) of the compute type, in host memory; entry 0 is the centre. Entries beyond the
    // radius are not read.
    const void* taps;
    const std::int64_t* radii;  // sets x 2, in host memory
    std::int64_t sets;          // 1: all frames alike; else one per frame
    std::int64_t max_radius;
    std::int64_t frames, height, width;  // all > 0
    Dtype dtype;
    Border border;
    NanTreatment nan_treatment;
    bool preserve_nan;
    double cval;        // value outside the frame where the border is constant
    double fill_value;  // what NaN counts as where they are filled
};

// Bytes of scratch, aligned to 64, that blur_cpu needs with so many threads.
std::int64_t blur_cpu_scratch_bytes(const BlurArguments& arguments, int threads) noexcept;

// The same bits for any number of threads. Allocates nothing.
void blur_cpu(const BlurArguments& arguments, void* scratch, int threads) noexcept;

// Bytes of device scratch, aligned to 256, that blur_cuda needs.
std::int64_t blur_cuda_scratch_bytes(const BlurArguments& arguments) noexcept;

// Launches on the stream of the device and returns at once; image, out and scratch are device memory. Returns a cudaError_t.
int blur_cuda(const BlurArguments& arguments, void* scratch, int device, void* stream) noexcept;

// The pixel that stands at position i of an axis of n > 0 pixels, or -1 for the constant. Any distance outside is right.
ZOO_HOST_DEVICE static inline std::int64_t border_index(std::int64_t i, std::int64_t n, Border border) {
    if (i >= 0 && i < n) return i;
    switch (border) {
        case Border::nearest: return i < 0 ? 0 : n - 1;
        case Border::wrap: {
            const std::int64_t rest = i % n;
            return rest < 0 ? rest + n : rest;
        }
        case Border::reflect: {
            std::int64_t rest = i % (2 * n);
            if (rest < 0) rest += 2 * n;
            return rest < n ? rest : 2 * n - 1 - rest;
        }
        case Border::mirror: {
            if (n == 1) return 0;
            std::int64_t rest = i % (2 * n - 2);
            if (rest < 0) rest += 2 * n - 2;
            return rest < n ? rest : 2 * n - 2 - rest;
        }
        case Border::constant: break;
    }
    return -1;
}

template <class T>
ZOO_HOST_DEVICE static inline bool is_nan(T value) {
    return value != value;
}

// Quotient of normalised convolution: NaN where no valid pixel lies under the kernel.
template <class T>
ZOO_HOST_DEVICE static inline T normalised(T sum, T weight) {
    return weight > T(0) ? sum / weight : static_cast<T>(float_from(0x7fc00000u));
}

// The same for kernels that may be negative in places.
template <class T>
ZOO_HOST_DEVICE static inline T weighted_mean(T sum, T weight) {
    return weight != T(0) ? sum / weight : static_cast<T>(float_from(0x7fc00000u));
}

}  // namespace zoo
