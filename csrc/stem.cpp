#include "stem.hpp"

#include <algorithm>

#include "parallel.hpp"
#include "stem_tile.hpp"

namespace zoo {
namespace {

// Sides of a tile: rows of the map fill L1 with everything else that is at work, and what neighbours compute twice stays below 7 %.
constexpr std::int64_t map_columns = 132, tile_map_rows = 132;
constexpr std::int64_t patch_rows = 64;  // rows of the image in one part of the sums of patches

std::int64_t windows_in(const StemAxis& axis, std::int64_t map) {
    const std::int64_t count = map < axis.pool ? 1 : (map - axis.pool) / axis.pool_stride + 1;
    return std::min(count, axis.pooled);
}

std::int64_t parts(std::int64_t size, std::int64_t part) { return (size + part - 1) / part; }

// The tiles of all frames: `rows` x `columns` windows, `down` x `across` of them in a frame.
struct Tiling {
    std::int64_t rows, columns, down, across;

    explicit Tiling(const StemArguments& a)
        : rows(windows_in(a.vertical, tile_map_rows)),
          columns(windows_in(a.horizontal, map_columns)),
          down(parts(a.vertical.pooled, rows)),
          across(parts(a.horizontal.pooled, columns)) {}

    StemTile tile(const StemArguments& a, std::int64_t frame, std::int64_t row, std::int64_t column) const {
        return {frame, row * rows, std::min((row + 1) * rows, a.vertical.pooled), column * columns,
                std::min((column + 1) * columns, a.horizontal.pooled)};
    }

    std::int64_t image_pixels(const StemArguments& a) const {
        return stem_image_size(a.vertical, rows) * stem_row_pixels(a.horizontal, columns);
    }
};

std::int64_t rounded(std::int64_t bytes) { return parts(bytes, 64) * 64; }

std::int64_t forward_bytes(const StemArguments& a) {
    const Tiling tiling(a);
    const std::int64_t open = parts(a.vertical.pool, a.vertical.pool_stride);
    const std::int64_t row = stem_map_size(a.horizontal, tiling.columns) + stem_slack;
    return rounded(4 * (tiling.image_pixels(a) + (row + 2 * (1 + open) * tiling.columns) * stem_channel_block));
}

std::int64_t backward_bytes(const StemArguments& a) {
    const Tiling tiling(a);
    return rounded(4 * (tiling.image_pixels(a) + 2 * a.channels * tiling.columns));
}

// Sums of one part of the work; they are added up in the order of the parts.
std::int64_t gradient_numbers(const StemArguments& a) { return a.channels * (a.vertical.kernel * a.horizontal.kernel + 1); }

std::int64_t patch_numbers(const StemArguments& a) {
    const std::int64_t taps = a.vertical.kernel * a.horizontal.kernel;
    return taps * (taps + 1);
}

std::int64_t image_rows(const StemArguments& a) { return (a.vertical.map - 1) * a.vertical.stride + a.vertical.kernel; }

std::int64_t patch_bytes(const StemArguments& a) {
    const StemAxis& h = a.horizontal;
    return rounded(8 * (a.vertical.kernel * h.stride * stem_phase(h) + h.kernel * (h.kernel + 1)));
}

template <class Body>
void add_parts(std::int64_t count, std::int64_t numbers, const double* sums, Body&& add) {
    for (std::int64_t part = 0; part < count; ++part) {
        for (std::int64_t i = 0; i < numbers; ++i) add(i, sums[part * numbers + i]);
    }
}

}  // namespace

std::int64_t stem_forward_scratch_bytes(const StemArguments& a, int threads) noexcept { return usable_threads(threads) * forward_bytes(a); }

void stem_forward_cpu(const StemArguments& a, const StemForward& forward, void* scratch, int threads) noexcept {
    const Tiling tiling(a);
    const std::int64_t bytes = forward_bytes(a), per_frame = tiling.down * tiling.across;
    parallel_for(threads, a.frames * per_frame, [&](std::int64_t task, int thread) {
        const StemTile tile = tiling.tile(a, task / per_frame, task % per_frame / tiling.across, task % tiling.across);
        ZOO_DISPATCH(stem_forward_tile, a, forward, tile, reinterpret_cast<float*>(static_cast<char*>(scratch) + thread * bytes));
    });
}

std::int64_t stem_backward_scratch_bytes(const StemArguments& a, int threads) noexcept {
    return usable_threads(threads) * backward_bytes(a) + a.frames * Tiling(a).down * gradient_numbers(a) * 8;
}

void stem_backward_cpu(const StemArguments& a, const StemBackward& backward, void* scratch, int threads) noexcept {
    const Tiling tiling(a);
    const std::int64_t bytes = backward_bytes(a), numbers = gradient_numbers(a), count = a.frames * tiling.down;
    const std::int64_t taps = a.vertical.kernel * a.horizontal.kernel;
    auto* sums = reinterpret_cast<double*>(static_cast<char*>(scratch) + usable_threads(threads) * bytes);
    std::fill(sums, sums + count * numbers, 0.0);
    parallel_for(threads, count, [&](std::int64_t task, int thread) {
        auto* own = reinterpret_cast<float*>(static_cast<char*>(scratch) + thread * bytes);
        double* weight = sums + task * numbers;
        for (std::int64_t column = 0; column < tiling.across; ++column) {
            const StemTile tile = tiling.tile(a, task / tiling.down, task % tiling.down, column);
            ZOO_DISPATCH(stem_backward_tile, a, backward, tile, weight, weight + a.channels * taps, own);
        }
    });
    std::fill(backward.weight, backward.weight + a.channels * taps, 0.0);
    std::fill(backward.bias, backward.bias + a.channels, 0.0);
    add_parts(count, numbers, sums, [&](std::int64_t i, double value) {
        (i < a.channels * taps ? backward.weight[i] : backward.bias[i - a.channels * taps]) += value;
    });
}

std::int64_t stem_patches_scratch_bytes(const StemArguments& a, int threads) noexcept {
    return usable_threads(threads) * patch_bytes(a) + a.frames * parts(image_rows(a), patch_rows) * patch_numbers(a) * 8;
}

void stem_patches_cpu(const StemArguments& a, double pivot, double* sums, double* products, void* scratch, int threads) noexcept {
    const std::int64_t taps = a.vertical.kernel * a.horizontal.kernel, numbers = patch_numbers(a), bytes = patch_bytes(a);
    const std::int64_t rows = image_rows(a), down = parts(rows, patch_rows), count = a.frames * down;
    auto* partial = reinterpret_cast<double*>(static_cast<char*>(scratch) + usable_threads(threads) * bytes);
    std::fill(partial, partial + count * numbers, 0.0);
    parallel_for(threads, count, [&](std::int64_t task, int thread) {
        auto* own = reinterpret_cast<double*>(static_cast<char*>(scratch) + thread * bytes);
        const std::int64_t first = task % down * patch_rows, last = std::min(first + patch_rows, rows);
        double* target = partial + task * numbers;
        ZOO_DISPATCH(stem_patch_rows, a, task / down, first, last, pivot, target, target + taps, own);
    });
    std::fill(sums, sums + taps, 0.0);
    std::fill(products, products + taps * taps, 0.0);
    add_parts(count, numbers, partial, [&](std::int64_t i, double value) { (i < taps ? sums[i] : products[i - taps]) += value; });
    // Pairs of rows were counted once, from the upper to the lower one.
    const std::int64_t line = a.horizontal.kernel;
    for (std::int64_t p = 0; p < taps; ++p) {
        for (std::int64_t q = 0; q < taps; ++q) {
            if (p / line > q / line) products[p * taps + q] = products[q * taps + p];
        }
    }
}

}  // namespace zoo
