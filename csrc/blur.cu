// Two kernels, one per axis, each over tiles in shared memory; the frame between them lies in scratch, in the compute type. Taps travel as
// kernel arguments: nothing waits for the host, and a captured graph can be replayed.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "blur.hpp"

namespace zoo {
namespace {

constexpr int threads_x = 32, threads_y = 8;
constexpr int outputs = 4;     // of a thread, along the blurred axis
constexpr int tap_chunk = 32;  // taps whose inputs are in shared memory at a time, so that any radius works
constexpr int part_terms = 8;  // summed apart: rounding errors grow with the longest chain of additions
constexpr int row_tile = threads_x * outputs;
constexpr int column_tile = threads_y * outputs;

constexpr int parcel_bytes = 3840;  // kernel arguments may have 4 KiB
struct Parcel {
    unsigned char bytes[parcel_bytes];
};

__global__ void unpack(const Parcel parcel, unsigned char* target, int bytes) {
    for (int i = static_cast<int>(threadIdx.x); i < bytes; i += static_cast<int>(blockDim.x)) target[i] = parcel.bytes[i];
}

// Copies host memory to the device by value.
void send(const void* source, void* target, std::int64_t bytes, cudaStream_t stream) {
    for (std::int64_t sent = 0; sent < bytes; sent += parcel_bytes) {
        Parcel parcel;
        const std::int64_t part = std::min<std::int64_t>(parcel_bytes, bytes - sent);
        std::memcpy(parcel.bytes, static_cast<const char*>(source) + sent, static_cast<std::size_t>(part));
        unpack<<<1, 128, 0, stream>>>(parcel, static_cast<unsigned char*>(target) + sent, static_cast<int>(part));
    }
}

template <class Compute>
struct Device {  // pointers into device scratch
    const std::int64_t* radii;
    const Compute* taps;
    Compute* sums;     // the frames after the horizontal pass
    Compute* weights;  // their weights, where NaN are interpolated
};

struct Scratch {  // offsets in bytes
    std::int64_t taps, sums, weights, end;
};

std::int64_t align(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

Scratch layout(const BlurArguments& arguments) {
    const std::int64_t item = arguments.dtype == Dtype::float64 ? 8 : 4;
    const std::int64_t plane = align(arguments.frames * arguments.height * arguments.width * item);
    Scratch scratch{};
    scratch.taps = align(arguments.sets * 2 * static_cast<std::int64_t>(sizeof(std::int64_t)));
    scratch.sums = scratch.taps + align(arguments.sets * 2 * (arguments.max_radius + 1) * item);
    scratch.weights = scratch.sums + plane;
    scratch.end = scratch.weights + (arguments.nan_treatment == NanTreatment::interpolate ? plane : 0);
    return scratch;
}

// What a pixel adds to the sum and, where NaN are interpolated, to the weight.
template <bool WEIGHTS, class Compute>
__device__ void treat_nan(const BlurArguments& arguments, Compute& value, Compute& weight) {
    if (!is_nan(value)) return;
    if (WEIGHTS) {
        value = Compute(0);
        weight = Compute(0);
    } else if (arguments.nan_treatment == NanTreatment::fill) {
        value = static_cast<Compute>(arguments.fill_value);
    }
}

template <bool WEIGHTS, class Storage, class Compute>
__global__ void blur_rows(const BlurArguments arguments, const Device<Compute> device) {
    constexpr int tile_width = row_tile + tap_chunk - 1;
    __shared__ Compute tile[threads_y][tile_width];
    __shared__ Compute tile_weight[WEIGHTS ? threads_y : 1][WEIGHTS ? tile_width : 1];
    const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
    const std::int64_t across = (arguments.width + row_tile - 1) / row_tile;
    const std::int64_t x0 = blockIdx.x % across * row_tile;
    const std::int64_t rows = arguments.frames * arguments.height;
    const std::int64_t row = blockIdx.x / across * threads_y + ty;
    // Rows of one block may belong to two frames with different radii, but all threads must meet at the barriers.
    const bool inside = row < rows;
    const std::int64_t first_frame = blockIdx.x / across * threads_y / arguments.height;
    const std::int64_t last_row = blockIdx.x / across * threads_y + threads_y - 1;
    const std::int64_t last_frame = (last_row < rows ? last_row : rows - 1) / arguments.height;
    const std::int64_t frame = inside ? row / arguments.height : last_frame;
    std::int64_t loops = 0;
    for (std::int64_t f = first_frame; f <= last_frame; ++f) {
        const std::int64_t other = device.radii[2 * (arguments.sets == 1 ? 0 : f) + 1];
        loops = other > loops ? other : loops;
    }
    const std::int64_t set = arguments.sets == 1 ? 0 : frame;
    const std::int64_t radius = device.radii[2 * set + 1];
    const Compute* taps = device.taps + (2 * set + 1) * (arguments.max_radius + 1);
    const Storage* source = static_cast<const Storage*>(arguments.image) + (inside ? row : 0) * arguments.width;

    Compute sums[outputs] = {}, weights[outputs] = {};
    for (std::int64_t start = -loops; start <= loops; start += tap_chunk) {
        const int count = static_cast<int>(loops - start + 1 < tap_chunk ? loops - start + 1 : tap_chunk);
        for (int i = tx; inside && i < row_tile + count - 1; i += threads_x) {
            const std::int64_t x = border_index(x0 + start + i, arguments.width, arguments.border);
            Compute value = x < 0 ? static_cast<Compute>(arguments.cval) : static_cast<Compute>(widen(source[x]));
            Compute weight = Compute(1);
            treat_nan<WEIGHTS>(arguments, value, weight);
            tile[ty][i] = value;
            if (WEIGHTS) tile_weight[ty][i] = weight;
        }
        __syncthreads();
        Compute chunk[outputs] = {}, chunk_weight[outputs] = {};
        for (int k = 0; inside && k < count;) {
            Compute part[outputs] = {}, part_weight[outputs] = {};
            for (const int stop = k + part_terms < count ? k + part_terms : count; k < stop; ++k) {
                const std::int64_t distance = start + k < 0 ? -(start + k) : start + k;
                if (distance > radius) continue;
                const Compute tap = taps[distance];
                for (int j = 0; j < outputs; ++j) {
                    part[j] += tap * tile[ty][tx + j * threads_x + k];
                    if (WEIGHTS) part_weight[j] += tap * tile_weight[ty][tx + j * threads_x + k];
                }
            }
            for (int j = 0; j < outputs; ++j) {
                chunk[j] += part[j];
                if (WEIGHTS) chunk_weight[j] += part_weight[j];
            }
        }
        for (int j = 0; j < outputs; ++j) {
            sums[j] += chunk[j];
            if (WEIGHTS) weights[j] += chunk_weight[j];
        }
        __syncthreads();
    }
    for (int j = 0; inside && j < outputs; ++j) {
        const std::int64_t x = x0 + tx + j * threads_x;
        if (x >= arguments.width) break;
        device.sums[row * arguments.width + x] = sums[j];
        if (WEIGHTS) device.weights[row * arguments.width + x] = weights[j];
    }
}

template <bool WEIGHTS, class Storage, class Compute>
__global__ void blur_columns(const BlurArguments arguments, const Device<Compute> device) {
    constexpr int tile_height = column_tile + tap_chunk - 1;
    __shared__ Compute tile[tile_height][threads_x];
    __shared__ Compute tile_weight[WEIGHTS ? tile_height : 1][WEIGHTS ? threads_x : 1];
    const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
    const std::int64_t across = (arguments.width + threads_x - 1) / threads_x;
    const std::int64_t down = (arguments.height + column_tile - 1) / column_tile;
    const std::int64_t x = blockIdx.x % across * threads_x + tx;
    const std::int64_t y0 = blockIdx.x / across % down * column_tile;
    const std::int64_t frame = blockIdx.x / across / down;
    const std::int64_t set = arguments.sets == 1 ? 0 : frame;
    const std::int64_t radius = device.radii[2 * set];
    const Compute* taps = device.taps + 2 * set * (arguments.max_radius + 1);
    const std::int64_t base = frame * arguments.height * arguments.width + x;
    const bool inside = x < arguments.width;

    Compute sums[outputs] = {}, weights[outputs] = {};
    for (std::int64_t start = -radius; start <= radius; start += tap_chunk) {
        const int count = static_cast<int>(radius - start + 1 < tap_chunk ? radius - start + 1 : tap_chunk);
        for (int i = ty; inside && i < column_tile + count - 1; i += threads_y) {
            const std::int64_t y = border_index(y0 + start + i, arguments.height, arguments.border);
            Compute value = static_cast<Compute>(arguments.cval), weight = Compute(1);
            if (y < 0) {
                treat_nan<WEIGHTS>(arguments, value, weight);
            } else {
                value = device.sums[base + y * arguments.width];
                if (WEIGHTS) weight = device.weights[base + y * arguments.width];
            }
            tile[i][tx] = value;
            if (WEIGHTS) tile_weight[i][tx] = weight;
        }
        __syncthreads();
        Compute chunk[outputs] = {}, chunk_weight[outputs] = {};
        for (int k = 0; inside && k < count;) {
            Compute part[outputs] = {}, part_weight[outputs] = {};
            for (const int stop = k + part_terms < count ? k + part_terms : count; k < stop; ++k) {
                const std::int64_t distance = start + k < 0 ? -(start + k) : start + k;
                const Compute tap = taps[distance];
                for (int j = 0; j < outputs; ++j) {
                    part[j] += tap * tile[ty + j * threads_y + k][tx];
                    if (WEIGHTS) part_weight[j] += tap * tile_weight[ty + j * threads_y + k][tx];
                }
            }
            for (int j = 0; j < outputs; ++j) {
                chunk[j] += part[j];
                if (WEIGHTS) chunk_weight[j] += part_weight[j];
            }
        }
        for (int j = 0; j < outputs; ++j) {
            sums[j] += chunk[j];
            if (WEIGHTS) weights[j] += chunk_weight[j];
        }
        __syncthreads();
    }
    for (int j = 0; inside && j < outputs; ++j) {
        const std::int64_t y = y0 + ty + j * threads_y;
        if (y >= arguments.height) break;
        const std::int64_t index = base + y * arguments.width;
        Compute result = WEIGHTS ? normalised(sums[j], weights[j]) : sums[j];
        if (arguments.preserve_nan) {
            const Compute original = static_cast<Compute>(widen(static_cast<const Storage*>(arguments.image)[index]));
            if (is_nan(original)) result = original;
        }
        static_cast<Storage*>(arguments.out)[index] = narrow(result, Storage{});
    }
}

template <bool WEIGHTS, class Storage, class Compute>
void launch(const BlurArguments& arguments, const Device<Compute>& device, cudaStream_t stream) {
    const dim3 threads(threads_x, threads_y);
    const std::int64_t rows = arguments.frames * arguments.height;
    const std::int64_t row_blocks = (arguments.width + row_tile - 1) / row_tile * ((rows + threads_y - 1) / threads_y);
    const std::int64_t column_blocks = (arguments.width + threads_x - 1) / threads_x *
                                       ((arguments.height + column_tile - 1) / column_tile) * arguments.frames;
    blur_rows<WEIGHTS, Storage, Compute><<<static_cast<unsigned>(row_blocks), threads, 0, stream>>>(arguments, device);
    blur_columns<WEIGHTS, Storage, Compute><<<static_cast<unsigned>(column_blocks), threads, 0, stream>>>(arguments, device);
}

template <class Storage, class Compute>
void blur(const BlurArguments& arguments, void* scratch, cudaStream_t stream) {
    const Scratch offsets = layout(arguments);
    char* base = static_cast<char*>(scratch);
    send(arguments.radii, base, arguments.sets * 2 * static_cast<std::int64_t>(sizeof(std::int64_t)), stream);
    send(arguments.taps, base + offsets.taps, arguments.sets * 2 * (arguments.max_radius + 1) * static_cast<std::int64_t>(sizeof(Compute)),
         stream);
    Device<Compute> device{};
    device.radii = reinterpret_cast<const std::int64_t*>(base);
    device.taps = reinterpret_cast<const Compute*>(base + offsets.taps);
    device.sums = reinterpret_cast<Compute*>(base + offsets.sums);
    device.weights = reinterpret_cast<Compute*>(base + offsets.weights);
    if (arguments.nan_treatment == NanTreatment::interpolate) {
        launch<true, Storage, Compute>(arguments, device, stream);
    } else {
        launch<false, Storage, Compute>(arguments, device, stream);
    }
}

}  // namespace

std::int64_t blur_cuda_scratch_bytes(const BlurArguments& arguments) noexcept { return layout(arguments).end; }

int blur_cuda(const BlurArguments& arguments, void* scratch, int device, void* stream_handle) noexcept {
    const cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    const cudaStream_t stream = static_cast<cudaStream_t>(stream_handle);
    switch (arguments.dtype) {
        case Dtype::float32: blur<float, float>(arguments, scratch, stream); break;
        case Dtype::float64: blur<double, double>(arguments, scratch, stream); break;
        case Dtype::bfloat16: blur<Bfloat16, float>(arguments, scratch, stream); break;
        case Dtype::float16: blur<Float16, float>(arguments, scratch, stream); break;
    }
    return cudaGetLastError();
}

}  // namespace zoo
