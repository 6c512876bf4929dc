#include "frames.cuh"
#include "normalize.hpp"

namespace zoo {
namespace {

// One frame per block row: its limits are set up once per thread.
template <int S>
__global__ void __launch_bounds__(kBlock)
normalize_kernel(const __grid_constant__ DeviceFrames frames, const double* limits, const __grid_constant__ NormalizeParameters parameters,
                 Dtype dtype, void* out, std::int64_t count, std::int64_t n) {
    NormalizeParameters p = parameters;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kBlock;
    for (std::int64_t frame = blockIdx.y; frame < count; frame += gridDim.y) {
        set_limits(limits[2 * frame], limits[2 * frame + 1], &p);
        for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x; i < n; i += step) {
            const double value = pixel_at(frames, frame * n + i);
            store(out, dtype, frame * n + i, static_cast<double>(stretch_place<S>(place_value(value, p), p)));
        }
    }
}

template <int S>
void run(const Frames& frames, const double* limits, const NormalizeParameters& parameters, Dtype dtype, void* out, cudaStream_t stream) {
    const std::int64_t n = frames.out_height * frames.out_width;
    const std::int64_t blocks = std::min<std::int64_t>((n + 4 * kBlock - 1) / (4 * kBlock), std::int64_t{1} << 20);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(std::min<std::int64_t>(frames.count, kMaxGrid)));
    launch(normalize_kernel<S>, grid, stream, device_frames(frames), limits, parameters, dtype, out, frames.count, n);
}

}  // namespace

int normalize_cuda(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   void* stream) noexcept {
    const auto s = static_cast<cudaStream_t>(stream);
    switch (stretch) {
        case kLinear: run<kLinear>(frames, limits, parameters, dtype, out, s); break;
        case kSqrt: run<kSqrt>(frames, limits, parameters, dtype, out, s); break;
        case kLog: run<kLog>(frames, limits, parameters, dtype, out, s); break;
        case kAsinh: run<kAsinh>(frames, limits, parameters, dtype, out, s); break;
        case kSinh: run<kSinh>(frames, limits, parameters, dtype, out, s); break;
        default: run<kPower>(frames, limits, parameters, dtype, out, s); break;
    }
    return static_cast<int>(cudaGetLastError());
}

}  // namespace zoo
