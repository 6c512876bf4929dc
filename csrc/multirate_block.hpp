// Pieces of multirate.hpp on the CPU: what multirate.cpp hands to the copy of multirate_simd.cpp that fits the processor.
#pragma once

#include "multirate.hpp"
#include "simd.hpp"

namespace zoo {

constexpr std::int64_t multirate_group = 4;  // coarse rows that are summed together: a pixel is then loaded for all of them at once

constexpr std::int64_t multirate_padded(std::int64_t items) { return (items + 63) / 64 * 64 + 64; }

// Items of the longest line: all pixels that the coarse ones are made of, or that those in the frame belong to.
constexpr std::int64_t multirate_line(const MultirateArguments& arguments) {
    return multirate_padded((arguments.across.coarse + multirate_reach + 64) * arguments.across.step);
}

// Bytes for one thread: a group of lines, a line cut into its phases, and a constant row.
constexpr std::int64_t multirate_bytes(const MultirateArguments& arguments) {
    const std::int64_t item = arguments.dtype == Dtype::float64 ? 8 : 4;
    const std::int64_t lines = multirate_reach > multirate_group ? multirate_reach : multirate_group;
    return ((lines + 2) * multirate_line(arguments) + multirate_padded(arguments.width)) * item;
}

// Coarse rows [begin, end) of a frame, or the rows of pixels that belong to them.
ZOO_DECLARE_ISAS(void decimate_rows(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end,
                                    void* scratch) noexcept)
ZOO_DECLARE_ISAS(void interpolate_rows(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end,
                                       bool stream, void* scratch) noexcept)

}  // namespace zoo
