// What the kernels of the stem share: the part of the work that one thread takes at a time, and its part of the image.
//
// For files compiled per instruction set (simd.hpp).
#pragma once

#include <cstddef>

#include "simd.hpp"
#include "stem.hpp"

namespace zoo {

constexpr std::int64_t stem_slack = 12;  // values of the map computed at once; a row of it is rounded up to a multiple

// Pooled rows and columns [first, last) of one frame.
struct StemTile {
    std::int64_t frame, first_row, last_row, first_column, last_column;
};

// Rows and columns of the map under `count` windows, those in padding included, and of the image under them.
constexpr std::int64_t stem_map_size(const StemAxis& axis, std::int64_t count) { return (count - 1) * axis.pool_stride + axis.pool; }
constexpr std::int64_t stem_image_size(const StemAxis& axis, std::int64_t count) {
    return (stem_map_size(axis, count) - 1) * axis.stride + axis.kernel;
}

// Pixels from one row to the next in a tile of that many windows; kernels read beyond its last column.
constexpr std::int64_t stem_row_pixels(const StemAxis& axis, std::int64_t count) {
    return (stem_image_size(axis, count) + stem_slack * axis.stride + 31) / 16 * 16;
}

// Columns of one remainder modulo the stride that patches of pixels reach.
constexpr std::int64_t stem_phase(const StemAxis& axis) { return axis.map + axis.kernel / axis.stride + 1; }

constexpr std::int64_t stem_padded_channels(const StemArguments& arguments) {
    return (arguments.channels + stem_channel_block - 1) / stem_channel_block * stem_channel_block;
}

ZOO_DECLARE_ISAS(void stem_forward_tile(const StemArguments& arguments, const StemForward& forward, const StemTile& tile, float* scratch))
ZOO_DECLARE_ISAS(void stem_backward_tile(const StemArguments& arguments, const StemBackward& backward, const StemTile& tile,
                                         double* weight, double* bias, float* scratch))
ZOO_DECLARE_ISAS(void stem_patch_rows(const StemArguments& arguments, std::int64_t frame, std::int64_t first, std::int64_t last,
                                      double pivot, double* sums, double* products, double* scratch))

#ifdef ZOO_ISA
namespace ZOO_ISA {
namespace {

// Copies the image under the windows of a tile, with zeros outside it; returns whether all pixels are finite and at most `limit`.
template <class T>
bool copy_tile(const StemArguments& a, const StemTile& tile, float limit, float* target) {
    const StemAxis &v = a.vertical, &h = a.horizontal;
    const std::int64_t rows = stem_image_size(v, tile.last_row - tile.first_row);
    const std::int64_t stride = stem_row_pixels(h, tile.last_column - tile.first_column);
    const std::int64_t top = (tile.first_row * v.pool_stride - v.pool_padding) * v.stride - v.padding;
    const std::int64_t left = (tile.first_column * h.pool_stride - h.pool_padding) * h.stride - h.padding;
    const std::int64_t begin = left < 0 ? -left : 0;
    const std::int64_t end = left + stride > h.size ? h.size - left : stride;
    const T* frame = static_cast<const T*>(a.image) + tile.frame * a.frame_stride;
    std::int32_t tame = 1;
    for (std::int64_t y = 0; y < rows; ++y, target += stride) {
        const std::int64_t row = top + y;
        if (row < 0 || row >= v.size || end <= begin) {
            for (std::int64_t x = 0; x < stride; ++x) target[x] = 0.0f;
            continue;
        }
        for (std::int64_t x = 0; x < begin; ++x) target[x] = 0.0f;
        const T* source = frame + row * a.row_stride + left;
        for (std::int64_t x = begin; x < end; ++x) {
            const float value = widen(source[x]);
            tame &= static_cast<std::int32_t>(value <= limit) & static_cast<std::int32_t>(value >= -limit);
            target[x] = value;
        }
        for (std::int64_t x = end; x < stride; ++x) target[x] = 0.0f;
    }
    return tame != 0;
}

inline bool copy_any_tile(const StemArguments& a, const StemTile& tile, float limit, float* target) {
    switch (a.dtype) {
        case Dtype::bfloat16: return copy_tile<Bfloat16>(a, tile, limit, target);
        case Dtype::float16: return copy_tile<Float16>(a, tile, limit, target);
        default: return copy_tile<float>(a, tile, limit, target);
    }
}

}  // namespace
}  // namespace ZOO_ISA
#endif

}  // namespace zoo
