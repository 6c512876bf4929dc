// Frames of 8- and 16-bit pixels by table: there are fewer codes than pixels, so each code is worked out once.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "frames.hpp"
#include "parallel.hpp"

namespace zoo {

constexpr std::int64_t kCodes = 65536;           // of a region's table; 8-bit pixels use the first 256
constexpr std::int64_t kMostTabled = 16;         // regions, each with a table of its own
constexpr std::int64_t kPixelsPerCode = 4;       // fewer, and the table would cost more than it saves

// Whether tables pay for frames of this kind and size.
inline bool suits_tables(const Frames& frames) {
    const std::int64_t codes = item_size(frames.kind) == 1 ? 256 : kCodes;
    return item_size(frames.kind) <= 2 && frames.region_count <= kMostTabled &&
           frames.out_height * frames.out_width >= kPixelsPerCode * codes * frames.region_count;
}

// Room for the tables of frames that they suit, one per region; nothing otherwise, or where there is no memory.
inline std::unique_ptr<unsigned char[]> tables_for(const Frames& frames, std::int64_t item) noexcept {
    if (!suits_tables(frames)) return nullptr;
    const std::size_t bytes = static_cast<std::size_t>(frames.region_count * kCodes * item);
    return std::unique_ptr<unsigned char[]>(new (std::nothrow) unsigned char[bytes]);
}

// n pixels -> the items (of 2, 4 or 8 bytes) that the table holds for them.
ZOO_DECLARE_ISAS(void look_up_span(int kind, const unsigned char* data, std::int64_t n, const void* table, std::int64_t item, bool stream,
                                   void* out) noexcept)

// Linear values of n codes from `first`, in the order of their bits: what read_unit gives for pixels that hold them.
ZOO_DECLARE_ISAS(void code_values_span(int kind, std::int64_t first, std::int64_t n, const Calibration& calibration, double* out) noexcept)

// Calls make(values, n, items) to turn linear values of all codes into items, one table per region.
template <class Make>
void fill_tables(const Frames& frames, int threads, std::int64_t item, unsigned char* tables, Make&& make) noexcept {
    const std::int64_t codes = item_size(frames.kind) == 1 ? 256 : kCodes, chunk = std::min(codes, kUnit), chunks = codes / chunk;
    parallel_for(threads, frames.region_count * chunks, [&](std::int64_t task, int) {
        double values[kUnit];
        const std::int64_t region = task / chunks, first = task % chunks * chunk;
        ZOO_DISPATCH(code_values_span, frames.kind, first, chunk, calibration_of(frames, region), values);
        make(values, chunk, tables + (region * kCodes + first) * item);
    });
}

// Looks up every pixel of one frame; out: the whole result.
inline void look_up_frame(const Frames& frames, std::int64_t frame, int threads, std::int64_t item, const unsigned char* tables,
                          bool stream, void* out) noexcept {
    const std::int64_t units = unit_count(frames, kSpan) / frames.count;
    parallel_for(threads, units, [&](std::int64_t index, int) {
        const Unit unit = unit_at(frames, frame * units + index, kSpan);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        unsigned char* to = static_cast<unsigned char*>(out) + place * item;
        for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
            ZOO_DISPATCH(look_up_span, frames.kind, data, n, tables + region * kCodes * item, item, stream, to + offset * item);
        });
    });
}

}  // namespace zoo
