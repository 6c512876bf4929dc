// One piece of a blur on the CPU: what blur.cpp hands to the copy of blur_simd.cpp that fits the processor.
#pragma once

#include "blur.hpp"
#include "simd.hpp"

namespace zoo {

// Rows and columns are padded to whole vectors of the widest instruction set, so that every output is computed by the same instructions
// whatever block it falls into: the bits do not depend on the partition.
constexpr std::int64_t blur_padding = 64;

constexpr std::int64_t blur_together = 4;  // rows of the output that are summed at a time: each row of the ring is then read once for all

struct BlurBlock {
    std::int64_t frame;
    std::int64_t row_begin, row_end;
    std::int64_t column_begin, column_end;
    bool stream;    // see streaming.hpp
    void* scratch;  // blur_block_bytes()
};

static inline std::int64_t blur_padded(std::int64_t width) { return (width + blur_padding - 1) / blur_padding * blur_padding; }

// Rows of the ring lie a little more than their width apart: at a multiple of 4 KiB they would all want the same few lines of the L1 cache.
static inline std::int64_t blur_stride(std::int64_t width) { return blur_padded(width) + blur_padding; }

// Items of a line with its border, which begins anywhere in the first blur_padding items and is read one vector further on both sides.
static inline std::int64_t blur_line(std::int64_t width, std::int64_t max_radius) {
    return blur_padded(width) + 2 * blur_padded(max_radius) + 2 * blur_padding;
}

// Pointers to the rows of a ring: in order, and by slot for sums and weights.
static inline std::int64_t blur_pointer_bytes(std::int64_t rows) { return blur_padded(3 * rows * static_cast<std::int64_t>(sizeof(void*))); }

// Bytes for a block of that width: a ring of blurred rows and their pointers, a line with its border, results; all twice with weights.
static inline std::int64_t blur_block_bytes(std::int64_t width, std::int64_t max_radius, bool weights, std::int64_t item_bytes) {
    const std::int64_t rows = 2 * max_radius + blur_together;
    const std::int64_t padded = blur_padded(width);
    const std::int64_t items = rows * blur_stride(width) + blur_together * padded + blur_line(width, max_radius);
    return ((weights ? 2 : 1) * items + (weights ? padded : 0) + blur_padded(rows)) * item_bytes + blur_pointer_bytes(rows);
}

ZOO_DECLARE_ISAS(void blur_block(const BlurArguments& arguments, const BlurBlock& block) noexcept)

}  // namespace zoo
