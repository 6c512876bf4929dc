// The gradient of the stem's weight and bias: only the maximum of each window passes a gradient on, so one patch of the image is added for
// each pooled value, where the convolution of the whole map would take as many for each of its pixels.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "stem_tile.hpp"

namespace zoo::ZOO_ISA {
namespace {

typedef float Vector __attribute__((vector_size(32)));
constexpr std::int64_t lanes = 8;

Vector load(const float* source) {
    Vector value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

// Gradients of one pooled row and where in the tile their patches begin, one channel after the other: (channels, count).
template <class T, class P>
void gather_row(const T* grad, const P* places, P dead, const StemArguments& a, std::int64_t count, std::int64_t row_pixels,
                std::int64_t first_pixel, float* values, std::int32_t* pixels) {
    const StemAxis &v = a.vertical, &h = a.horizontal;
    for (std::int64_t x = 0; x < count; ++x, first_pixel += h.pool_stride * h.stride) {
        for (std::int64_t c = 0; c < a.channels; ++c) {
            const P place = places[x * a.channels + c];
            const std::int64_t dy = place / static_cast<P>(h.pool), dx = place % static_cast<P>(h.pool);
            const bool alive = place != dead;
            values[c * count + x] = alive ? widen(grad[x * a.channels + c]) : 0.0f;
            pixels[c * count + x] = static_cast<std::int32_t>(first_pixel + (alive ? dy * v.stride * row_pixels + dx * h.stride : 0));
        }
    }
}

template <class T>
void gather_any_row(const StemArguments& a, const StemBackward& b, std::int64_t offset, std::int64_t count, std::int64_t row_pixels,
                    std::int64_t first_pixel, float* values, std::int32_t* pixels) {
    const T* grad = static_cast<const T*>(b.grad) + offset;
    if (b.place_bytes == 1) {
        const auto* places = static_cast<const std::uint8_t*>(b.places) + offset;
        gather_row<T, std::uint8_t>(grad, places, 255, a, count, row_pixels, first_pixel, values, pixels);
    } else {
        const auto* places = static_cast<const std::int16_t*>(b.places) + offset;
        gather_row<T, std::int16_t>(grad, places, 32767, a, count, row_pixels, first_pixel, values, pixels);
    }
}

// Adds ROWS rows of `lanes` pixels of every patch times its gradient.
template <int ROWS>
void add_patches(const float* image, std::int64_t row_pixels, const float* values, const std::int32_t* pixels, std::int64_t count,
                 std::int64_t columns, std::int64_t line, double* weight) {
    Vector sums[ROWS] = {};
    for (std::int64_t x = 0; x < count; ++x) {
        const float* patch = image + pixels[x];
#pragma GCC unroll 8
        for (int y = 0; y < ROWS; ++y) sums[y] += values[x] * load(patch + y * row_pixels);
    }
    for (int y = 0; y < ROWS; ++y) {
        for (std::int64_t x = 0; x < columns; ++x) weight[y * line + x] += static_cast<double>(sums[y][x]);
    }
}

void add_any_patches(const float* image, std::int64_t row_pixels, const float* values, const std::int32_t* pixels, std::int64_t count,
                     const StemArguments& a, double* weight) {
    const std::int64_t rows = a.vertical.kernel, line = a.horizontal.kernel;
    for (std::int64_t y = 0; y < rows; y += 8) {
        for (std::int64_t x = 0; x < line; x += lanes) {
            const float* part = image + y * row_pixels + x;
            const std::int64_t columns = line - x < lanes ? line - x : lanes;
            double* target = weight + y * line + x;
            switch (rows - y) {
                case 1: add_patches<1>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 2: add_patches<2>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 3: add_patches<3>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 4: add_patches<4>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 5: add_patches<5>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 6: add_patches<6>(part, row_pixels, values, pixels, count, columns, line, target); break;
                case 7: add_patches<7>(part, row_pixels, values, pixels, count, columns, line, target); break;
                default: add_patches<8>(part, row_pixels, values, pixels, count, columns, line, target);
            }
        }
    }
}

}  // namespace

void stem_backward_tile(const StemArguments& a, const StemBackward& b, const StemTile& tile, double* weight, double* bias,
                        float* scratch) {
    const StemAxis &v = a.vertical, &h = a.horizontal;
    const std::int64_t count = tile.last_column - tile.first_column, row_pixels = stem_row_pixels(h, count);
    const std::int64_t taps = v.kernel * h.kernel;
    static_cast<void>(copy_any_tile(a, tile, 0.0f, scratch));
    float* values = scratch + stem_image_size(v, tile.last_row - tile.first_row) * row_pixels;
    auto* pixels = reinterpret_cast<std::int32_t*>(values + a.channels * count);
    for (std::int64_t row = tile.first_row; row < tile.last_row; ++row) {
        const std::int64_t first_pixel = (row - tile.first_row) * v.pool_stride * v.stride * row_pixels;
        const std::int64_t offset = ((tile.frame * v.pooled + row) * h.pooled + tile.first_column) * a.channels;
        switch (b.grad_dtype) {
            case Dtype::bfloat16: gather_any_row<Bfloat16>(a, b, offset, count, row_pixels, first_pixel, values, pixels); break;
            case Dtype::float16: gather_any_row<Float16>(a, b, offset, count, row_pixels, first_pixel, values, pixels); break;
            default: gather_any_row<float>(a, b, offset, count, row_pixels, first_pixel, values, pixels);
        }
        for (std::int64_t c = 0; c < a.channels; ++c) {
            double sum = 0.0;
            for (std::int64_t x = 0; x < count; ++x) sum += static_cast<double>(values[c * count + x]);
            bias[c] += sum;
            add_any_patches(scratch, row_pixels, values + c * count, pixels + c * count, count, a, weight + c * taps);
        }
    }
}

}  // namespace zoo::ZOO_ISA
