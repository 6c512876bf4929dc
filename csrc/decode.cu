#include "decode.hpp"
#include "frames.cuh"

namespace zoo {
namespace {

__global__ void __launch_bounds__(kBlock)
decode_kernel(const __grid_constant__ DeviceFrames frames, Dtype dtype, void* out, std::int64_t n) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kBlock;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x; i < n; i += step) {
        store(out, dtype, i, pixel_at(frames, i));
    }
}

}  // namespace

int decode_cuda(const Frames& frames, Dtype dtype, void* out, void* stream) noexcept {
    const std::int64_t n = frames.pixels();
    const std::int64_t blocks = std::min<std::int64_t>((n + 4 * kBlock - 1) / (4 * kBlock), std::int64_t{1} << 20);
    launch(decode_kernel, dim3(static_cast<unsigned>(blocks)), static_cast<cudaStream_t>(stream), device_frames(frames), dtype, out, n);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace zoo
