// Frames as CUDA kernels read them: by the number of a pixel in row order over all frames.
#pragma once

#include <cuda_runtime.h>

#include "frames.hpp"

namespace zoo {

constexpr int kBlock = 256;            // threads of every block
constexpr int kMaxCudaRegions = 32;    // regions travel as a kernel argument, which may have 4 KiB
constexpr unsigned kMaxGrid = 32768;   // blocks along y

struct DeviceFrames {
    const unsigned char* data;
    int kind;
    int region_count;
    bool whole;  // the one region is the whole frame
    std::int64_t height, width, out_height, out_width;
    Calibration calibration;
    Region regions[kMaxCudaRegions];
};

// frames.region_count must not exceed kMaxCudaRegions.
inline DeviceFrames device_frames(const Frames& frames) {
    DeviceFrames result{};
    result.data = frames.data;
    result.kind = frames.kind;
    result.region_count = static_cast<int>(frames.region_count);
    result.height = frames.height;
    result.width = frames.width;
    result.out_height = frames.out_height;
    result.out_width = frames.out_width;
    result.calibration = frames.calibration;
    for (int i = 0; i < result.region_count; ++i) result.regions[i] = frames.regions[i];
    const Region& r = frames.regions[0];
    result.whole = frames.region_count == 1 && r.height == frames.height && r.width == frames.width;
    return result;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, cudaStream_t stream, const Arguments&... arguments) {
    kernel<<<grid, kBlock, 0, stream>>>(arguments...);
}

// The stored pixel number `place`, counted over the source frames, as a linear value.
__device__ inline double stored_pixel(const DeviceFrames& f, std::int64_t place, const Calibration& c) {
    const unsigned char* p = f.data + place * item_size(f.kind);
    switch (f.kind) {
        case kU8: return linear_value(load<kU8>(p), c);
        case kI8: return linear_value(load<kI8>(p), c);
        case kI16: return linear_value(load<kI16>(p), c);
        case kI32: return linear_value(load<kI32>(p), c);
        case kI64: return linear_value(load<kI64>(p), c);
        case kF16: return linear_value(load<kF16>(p), c);
        case kBF16: return linear_value(load<kBF16>(p), c);
        case kF32: return linear_value(load<kF32>(p), c);
        case kF64: return linear_value(load<kF64>(p), c);
        case kBeI16: return linear_value(load<kBeI16>(p), c);
        case kBeI32: return linear_value(load<kBeI32>(p), c);
        case kBeI64: return linear_value(load<kBeI64>(p), c);
        case kBeF32: return linear_value(load<kBeF32>(p), c);
        default: return linear_value(load<kBeF64>(p), c);
    }
}

// Linear value of the pixel number `index`, counted in row order over the results of all frames.
__device__ inline double pixel_at(const DeviceFrames& f, std::int64_t index) {
    Calibration c = f.calibration;
    if (f.whole) {
        c.bias = f.regions[0].bias;
        c.gain = f.regions[0].gain;
        return stored_pixel(f, index, c);
    }
    const std::int64_t row = index / f.out_width, x = index - row * f.out_width;
    const std::int64_t frame = row / f.out_height, y = row - frame * f.out_height;
    for (int i = 0; i < f.region_count; ++i) {
        const Region& r = f.regions[i];
        if (y < r.to_y || y >= r.to_y + r.height || x < r.to_x || x >= r.to_x + r.width) continue;
        c.bias = r.bias;
        c.gain = r.gain;
        return stored_pixel(f, (frame * f.height + y - r.to_y + r.y) * f.width + x - r.to_x + r.x, c);
    }
    return static_cast<double>(NAN);
}

// Writes a result; float64 values go to the 16-bit types by way of float32, as on the CPU.
__device__ inline void store(void* out, Dtype dtype, std::int64_t index, double value) {
    const float narrowed = static_cast<float>(value);
    if (dtype == Dtype::float32) {
        static_cast<float*>(out)[index] = narrowed;
    } else if (dtype == Dtype::float64) {
        static_cast<double*>(out)[index] = value;
    } else if (dtype == Dtype::bfloat16) {
        static_cast<std::uint16_t*>(out)[index] = narrow(narrowed, Bfloat16{}).bits;
    } else {
        static_cast<std::uint16_t*>(out)[index] = narrow(narrowed, Float16{}).bits;
    }
}

// Blocks along x for n pixels: enough to fill any device, few enough that their partial results are cheap to add.
inline unsigned blocks_for(std::int64_t n) { return static_cast<unsigned>(std::min<std::int64_t>((n + 16 * kBlock - 1) / (16 * kBlock), 512)); }

}  // namespace zoo
