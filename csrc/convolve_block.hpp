// One piece of a convolution on the CPU: what convolve.cpp hands to the copy of convolve_simd.cpp that fits the processor.
#pragma once

#include "convolve.hpp"
#include "simd.hpp"

namespace zoo {

constexpr std::int64_t convolve_together = 4;  // rows of the output that are summed at a time: a pixel is then loaded once for all

struct ConvolveBlock {
    std::int64_t frame;
    std::int64_t row_begin, row_end;
    std::int64_t column_begin, column_end;
    bool stream;    // see streaming.hpp
    void* scratch;  // convolve_block_bytes()
};

constexpr std::int64_t convolve_padded(std::int64_t items) { return (items + 63) / 64 * 64; }

// A line holds a row of a block, its border, and what the last vectors read beyond both.
constexpr std::int64_t convolve_line(std::int64_t width, std::int64_t kernel_width) { return convolve_padded(width) + convolve_padded(kernel_width) + 64; }

// Bytes for a block of that width: a ring of lines and their pointers, and results; with weights twice.
constexpr std::int64_t convolve_block_bytes(std::int64_t width, std::int64_t kernel_height, std::int64_t kernel_width, bool weights,
                                            std::int64_t item_bytes) {
    const std::int64_t rows = kernel_height - 1 + convolve_together;
    const std::int64_t items = rows * convolve_line(width, kernel_width) + convolve_together * convolve_padded(width);
    return (weights ? 2 : 1) * items * item_bytes + convolve_padded(rows * 8);
}

ZOO_DECLARE_ISAS(void convolve_block(const ConvolveArguments& arguments, const ConvolveBlock& block) noexcept)

}  // namespace zoo
