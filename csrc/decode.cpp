#include "decode.hpp"

#include <memory>
#include <new>

#include "codes.hpp"

namespace zoo {
namespace {

// By table, where that is quicker and memory allows. Returns whether it was done.
bool decode_codes(const Frames& frames, Dtype dtype, std::int64_t item, bool stream, void* out, int threads) noexcept {
    if (!suits_tables(frames)) return false;
    const std::unique_ptr<unsigned char[]> tables(new (std::nothrow) unsigned char[static_cast<std::size_t>(frames.region_count * kCodes * item)]);
    if (!tables) return false;
    fill_tables(frames, threads, item, tables.get(), [&](const double* values, std::int64_t n, void* items) {
        ZOO_DISPATCH(store_span, values, n, dtype, false, items);
    });
    for (std::int64_t frame = 0; frame < frames.count; ++frame) look_up_frame(frames, frame, threads, item, tables.get(), stream, out);
    return true;
}

}  // namespace

void decode_cpu(const Frames& frames, Dtype dtype, void* out, int threads) noexcept {
    const std::int64_t item = dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2;
    const bool stream = frames.pixels() * item >= kStreamFrom;
    if (decode_codes(frames, dtype, item, stream, out, threads)) return;
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int) {
        double values[kUnit];
        const Unit unit = unit_at(frames, index);
        read_unit(frames, unit, values);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        ZOO_DISPATCH(store_span, values, unit.n, dtype, stream, static_cast<unsigned char*>(out) + place * item);
    });
}

}  // namespace zoo
