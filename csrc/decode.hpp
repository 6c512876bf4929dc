// Frames -> linear pixels.
#pragma once

#include "frames.hpp"

namespace zoo {

// n <= kUnit values -> out, rounded to nearest; float64 to the 16-bit types by way of float32, as torch does. stream: see streaming.hpp.
ZOO_DECLARE_ISAS(void store_span(const double* values, std::int64_t n, Dtype dtype, bool stream, void* out) noexcept)

// n 16-bit integers, all of them valid -> float32: what read_span and store_span give.
ZOO_DECLARE_ISAS(void decode_shorts_span(int kind, const unsigned char* data, std::int64_t n, const Calibration& calibration, bool stream,
                                         void* out) noexcept)

// out: contiguous (count, out_height, out_width) of dtype; must not overlap the frames.
void decode_cpu(const Frames& frames, Dtype dtype, void* out, int threads) noexcept;

// The same on the stream of the current device; returns at once, with a cudaError_t. Frames and out are device memory, regions host memory,
// kMaxCudaRegions of them at most.
int decode_cuda(const Frames& frames, Dtype dtype, void* out, void* stream) noexcept;

}  // namespace zoo
