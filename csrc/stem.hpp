// The stem of a network for images of one channel: convolution, bias, ReLU and max-pool fused, so that the convolution's map is never in
// memory; the gradient of its weight and bias; and the moments of image patches, from which BatchNorm's statistics follow.
//
// Functions check nothing. Preconditions: float32, bfloat16 or float16 throughout; pixels of a row are neighbours; every pooling window
// holds at least one value of the map; kernels have at most stem_longest_kernel pixels along an axis. Results of the forward pass are
// (frames, rows, columns, channels), contiguous, and do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "scalar_types.hpp"

namespace zoo {

constexpr std::int64_t stem_channel_block = 32;  // weight and bias are padded with zeros to a multiple of this many channels

constexpr std::int64_t stem_longest_kernel = 64;

// Sizes along one axis: of the image, the convolution, the pool, and what is left behind each.
struct StemAxis {
    std::int64_t size, kernel, stride, padding, pool, pool_stride, pool_padding, map, pooled;
};

struct StemArguments {
    const void* image;
    std::int64_t frames, frame_stride, row_stride;  // strides in pixels
    Dtype dtype;
    StemAxis vertical, horizontal;
    std::int64_t channels;
};

struct StemForward {
    const float* weight;  // (kernel rows * kernel columns, padded channels)
    const float* bias;    // (padded channels)
    void* out;
    void* places;  // row * pool columns + column of the maximum in its window, or all ones where ReLU is at rest; may be null
    Dtype out_dtype;
    int place_bytes;  // 1 or 2
};

struct StemBackward {
    const void* grad;  // layout of the result of the forward pass
    const void* places;
    Dtype grad_dtype;
    int place_bytes;
    double* weight;  // (channels, kernel rows, kernel columns)
    double* bias;    // (channels)
};

std::int64_t stem_forward_scratch_bytes(const StemArguments& arguments, int threads) noexcept;
void stem_forward_cpu(const StemArguments& arguments, const StemForward& forward, void* scratch, int threads) noexcept;

std::int64_t stem_backward_scratch_bytes(const StemArguments& arguments, int threads) noexcept;
void stem_backward_cpu(const StemArguments& arguments, const StemBackward& backward, void* scratch, int threads) noexcept;

// Sums over all positions of the convolution of the patch of pixels under the kernel, minus pivot, and of its outer product with itself:
// (taps) and (taps, taps). Padding counts as pixels of value 0.
std::int64_t stem_patches_scratch_bytes(const StemArguments& arguments, int threads) noexcept;
void stem_patches_cpu(const StemArguments& arguments, double pivot, double* sums, double* products, void* scratch, int threads) noexcept;

}  // namespace zoo
