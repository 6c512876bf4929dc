// The z-scale limits on the device: every stride-th valid pixel in row order, sorted, and the fit that the CPU does too.
#include "statistics.cuh"

namespace zoo {
namespace {

constexpr int kEach = static_cast<int>(kChunk / kBlock);  // neighbouring pixels of one thread

// Valid pixels of each chunk.
__global__ void __launch_bounds__(kBlock) valid_kernel(const __grid_constant__ DeviceFrames frames, const Slab slab) {
    __shared__ int counts[kBlock];
    for (std::int64_t chunk = blockIdx.x; chunk < slab.chunks; chunk += gridDim.x) {
        int count = 0;
        for (int j = 0; j < kEach; ++j) {
            const std::int64_t i = chunk * kChunk + j * kBlock + threadIdx.x;
            if (i >= slab.pixels) break;
            const double value = pixel_at(frames, (slab.first + blockIdx.y) * slab.pixels + i);
            count += value == value;
        }
        counts[threadIdx.x] = count;
        for (unsigned half = kBlock / 2; half > 0; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) counts[threadIdx.x] += counts[threadIdx.x + half];
        }
        if (threadIdx.x == 0) slab.valid(blockIdx.y)[chunk] = counts[0];
        __syncthreads();
    }
}

// Counts become the number of valid pixels before each chunk, and at the end of all.
__global__ void __launch_bounds__(kBlock) offsets_kernel(const Slab slab) {
    __shared__ std::int64_t sums[kBlock];
    std::int64_t* valid = slab.valid(blockIdx.x);
    const std::int64_t each = (slab.chunks + kBlock - 1) / kBlock;
    const std::int64_t begin = min(static_cast<long long>(threadIdx.x * each), static_cast<long long>(slab.chunks));
    const std::int64_t end = min(static_cast<long long>(begin + each), static_cast<long long>(slab.chunks));
    std::int64_t sum = 0;
    for (std::int64_t i = begin; i < end; ++i) sum += valid[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    std::int64_t before = 0;
    for (unsigned i = 0; i < threadIdx.x; ++i) before += sums[i];
    for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t count = valid[i];
        valid[i] = before;
        before += count;
    }
    if (threadIdx.x == kBlock - 1) valid[slab.chunks] = before;
}

__global__ void __launch_bounds__(kBlock)
gather_kernel(const __grid_constant__ DeviceFrames frames, const Slab slab, std::int64_t wanted) {
    __shared__ int counts[kBlock];
    const std::int64_t* valid = slab.valid(blockIdx.y);
    const std::int64_t total = valid[slab.chunks];
    if (total == 0) return;
    const std::int64_t stride = zscale_stride(total, wanted), n = zscale_sample_size(total, wanted);
    double* samples = slab.sample(blockIdx.y);
    for (std::int64_t chunk = blockIdx.x; chunk < slab.chunks; chunk += gridDim.x) {
        double values[kEach];
        int count = 0;
        for (int j = 0; j < kEach; ++j) {
            const std::int64_t i = chunk * kChunk + static_cast<std::int64_t>(threadIdx.x) * kEach + j;
            values[j] = i < slab.pixels ? pixel_at(frames, (slab.first + blockIdx.y) * slab.pixels + i) : static_cast<double>(NAN);
            count += values[j] == values[j];
        }
        counts[threadIdx.x] = count;
        __syncthreads();
        std::int64_t place = valid[chunk];
        for (unsigned i = 0; i < threadIdx.x; ++i) place += counts[i];
        for (int j = 0; j < kEach; ++j) {
            if (values[j] != values[j]) continue;
            if (place % stride == 0 && place / stride < n) samples[place / stride] = values[j];
            ++place;
        }
        __syncthreads();
    }
}

// Sorts the sample, filled up with infinities to a power of two, by a bitonic network; then one thread fits the line.
__global__ void __launch_bounds__(kBlock) fit_kernel(const Slab slab, const ZScaleParameters parameters) {
    const std::int64_t total = slab.valid(blockIdx.x)[slab.chunks];
    if (total == 0) return;
    const std::int64_t n = zscale_sample_size(total, parameters.samples);
    double* samples = slab.sample(blockIdx.x);
    for (std::int64_t i = n + threadIdx.x; i < slab.padded; i += kBlock) samples[i] = HUGE_VAL;
    for (std::int64_t run = 2; run <= slab.padded; run *= 2) {
        for (std::int64_t gap = run / 2; gap > 0; gap /= 2) {
            __syncthreads();
            for (std::int64_t i = threadIdx.x; i < slab.padded; i += kBlock) {
                const std::int64_t other = i ^ gap;
                if (other < i) continue;
                const double a = samples[i], b = samples[other];
                const bool ascending = (i & run) == 0;
                if ((a > b) == ascending && a != b) {
                    samples[i] = b;
                    samples[other] = a;
                }
            }
        }
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    unsigned char* flags = slab.flags(blockIdx.x);
    zscale_limits(samples, n, parameters, flags, flags + slab.padded, slab.row(blockIdx.x) + kZLow);
}

}  // namespace

void zscale_cuda(const DeviceFrames& frames, const Slab& slab, const ZScaleParameters& parameters, cudaStream_t stream) {
    const dim3 grid(static_cast<unsigned>(std::min<std::int64_t>(slab.chunks, 8192)), slab.groups);
    launch(valid_kernel, grid, stream, frames, slab);
    launch(offsets_kernel, dim3(slab.groups), stream, slab);
    launch(gather_kernel, grid, stream, frames, slab, parameters.samples);
    launch(fit_kernel, dim3(slab.groups), stream, slab, parameters);
}

}  // namespace zoo
