#include "normalize.hpp"

#include "codes.hpp"

namespace zoo {
namespace {

// By table, where that is quicker and memory allows. Returns whether it was done.
bool normalize_codes(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype,
                     std::int64_t item, bool stream, void* out, int threads) noexcept {
    const auto tables = tables_for(frames, item);
    if (!tables) return false;
    for (std::int64_t frame = 0; frame < frames.count; ++frame) {
        const double* mine = limits + 2 * frame;
        if (frame == 0 || memcmp(mine, mine - 2, 2 * sizeof(double)) != 0) {
            NormalizeParameters p = parameters;
            set_limits(mine[0], mine[1], &p);
            fill_tables(frames, threads, item, tables.get(), [&](const double* values, std::int64_t n, void* items) {
                ZOO_DISPATCH(normalize_span, values, n, stretch, p, dtype, false, items);
            });
        }
        look_up_frame(frames, frame, threads, item, tables.get(), stream, out);
    }
    return true;
}

}  // namespace

void normalize_cpu(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   int threads) noexcept {
    const std::int64_t item = dtype == Dtype::float32 ? 4 : 2;
    const bool stream = frames.pixels() * item >= kStreamFrom;
    if (normalize_codes(frames, limits, stretch, parameters, dtype, item, stream, out, threads)) return;
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int) {
        const Unit unit = unit_at(frames, index);
        NormalizeParameters p = parameters;
        set_limits(limits[2 * unit.frame], limits[2 * unit.frame + 1], &p);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        unsigned char* to = static_cast<unsigned char*>(out) + place * item;
        for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
            if (is_plain_float(frames, region) && p.prescale == 1.0) {
                ZOO_DISPATCH(normalize_floats_span, frames.kind, data, n, stretch, p, dtype, stream, to + offset * item);
                return;
            }
            double values[kUnit];
            ZOO_DISPATCH(read_span, frames.kind, data, n, calibration_of(frames, region), values);
            ZOO_DISPATCH(normalize_span, values, n, stretch, p, dtype, stream, to + offset * item);
        });
    });
}

}  // namespace zoo
