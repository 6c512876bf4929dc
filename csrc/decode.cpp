#include "decode.hpp"

#include "codes.hpp"

namespace zoo {
namespace {

// By table, where that is quicker and memory allows. Returns whether it was done.
bool decode_codes(const Frames& frames, Dtype dtype, std::int64_t item, bool stream, void* out, int threads) noexcept {
    const auto tables = tables_for(frames, item);
    if (!tables) return false;
    fill_tables(frames, threads, item, tables.get(), [&](const double* values, std::int64_t n, void* items) {
        ZOO_DISPATCH(store_span, values, n, dtype, false, items);
    });
    for (std::int64_t frame = 0; frame < frames.count; ++frame) look_up_frame(frames, frame, threads, item, tables.get(), stream, out);
    return true;
}

// Arithmetic is quicker than a table where no pixel needs a second look.
bool decode_shorts(const Frames& frames, Dtype dtype, bool stream, void* out, int threads) noexcept {
    if ((frames.kind != kI16 && frames.kind != kBeI16) || dtype != Dtype::float32 || !all_valid(frames)) return false;
    parallel_for(threads, unit_count(frames, kSpan), [&](std::int64_t index, int) {
        const Unit unit = unit_at(frames, index, kSpan);
        float* to = static_cast<float*>(out) + (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
            ZOO_DISPATCH(decode_shorts_span, frames.kind, data, n, calibration_of(frames, region), stream, to + offset);
        });
    });
    return true;
}

}  // namespace

void decode_cpu(const Frames& frames, Dtype dtype, void* out, int threads) noexcept {
    const std::int64_t item = dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2;
    const bool stream = frames.pixels() * item >= kStreamFrom;
    if (decode_shorts(frames, dtype, stream, out, threads)) return;
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
