#include "normalize.hpp"

#include <optional>

#include "codes.hpp"

namespace zoo {
namespace {

// By table, where that is quicker and memory allows. Returns whether it was done.
bool normalize_codes(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters,
                     const AsinhTable& table, Dtype dtype, std::int64_t item, bool stream, void* out, int threads) noexcept {
    const auto tables = tables_for(frames, item);
    if (!tables) return false;
    for (std::int64_t frame = 0; frame < frames.count; ++frame) {
        const double* mine = limits + 2 * frame;
        if (frame == 0 || memcmp(mine, mine - 2, 2 * sizeof(double)) != 0) {
            NormalizeParameters p = parameters;
            set_limits(mine[0], mine[1], &p);
            fill_tables(frames, threads, item, tables.get(), [&](const double* values, std::int64_t n, void* items) {
                ZOO_DISPATCH(normalize_span, values, n, stretch, p, table, dtype, false, items);
            });
        }
        look_up_frame(frames, frame, threads, item, tables.get(), stream, out);
    }
    return true;
}

// How the pixels of a region become places in float32, where they can. Limits of NaN give places of NaN.
std::optional<FloatPlaces> float_places(const Frames& frames, std::int64_t region, const NormalizeParameters& p) {
    const Calibration c = calibration_of(frames, region);
    const bool shorts = (frames.kind == kI16 || frames.kind == kBeI16) && all_valid(frames) && !c.mark_saturated;
    if (!shorts && !is_plain_float(frames, region)) return std::nullopt;
    const double factor = c.bscale * c.gain * p.inverse, base = (p.vmin / c.gain + c.bias - c.bzero) / c.bscale;
    const bool overflows = fabs(base) > 1e30 || fabs(factor) > 1e30 || fabs(factor) < 1e-30 || p.prescale != 1.0;
    if (overflows) return std::nullopt;
    const float rounded = static_cast<float>(base);
    return FloatPlaces{rounded, static_cast<float>(factor), static_cast<float>((static_cast<double>(rounded) - base) * factor)};
}

NormalizeParameters parameters_of(const double* limits, std::int64_t frame, const NormalizeParameters& parameters) {
    NormalizeParameters p = parameters;
    set_limits(limits[2 * frame], limits[2 * frame + 1], &p);
    return p;
}

// How many of the frames asinh_span can do. Tables of codes are quicker than that without AVX-512.
std::int64_t count_straight(const Frames& frames, const double* limits, const NormalizeParameters& parameters, const AsinhTable& table) {
    if (!table.usable || !is_bounded(kAsinh, parameters) || (item_size(frames.kind) == 2 && isa() != Isa::avx512)) return 0;
    std::int64_t result = 0;
    for (std::int64_t frame = 0; frame < frames.count; ++frame) {
        const NormalizeParameters p = parameters_of(limits, frame, parameters);
        bool straight = true;
        for (std::int64_t region = 0; region < frames.region_count; ++region) straight = straight && float_places(frames, region, p);
        result += straight ? 1 : 0;
    }
    return result;
}

void normalize_asinh(const Frames& frames, const double* limits, const NormalizeParameters& parameters, const AsinhTable& table,
                     Dtype dtype, bool stream, void* out, int threads) noexcept {
    const std::int64_t item = dtype == Dtype::float32 ? 4 : 2;
    parallel_for(threads, unit_count(frames, kSpan), [&](std::int64_t index, int) {
        const Unit unit = unit_at(frames, index, kSpan);
        const NormalizeParameters p = parameters_of(limits, unit.frame, parameters);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
            ZOO_DISPATCH(asinh_span, frames.kind, data, n, *float_places(frames, region, p), p, table, dtype, stream,
                         static_cast<unsigned char*>(out) + (place + offset) * item);
        });
    });
}

}  // namespace

void normalize_cpu(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   int threads) noexcept {
    const std::int64_t item = dtype == Dtype::float32 ? 4 : 2;
    const bool stream = frames.pixels() * item >= kStreamFrom;
    const AsinhTable table = stretch == kAsinh ? asinh_table(parameters.stretch) : AsinhTable{};
    const std::int64_t straight = count_straight(frames, limits, parameters, table);
    if (straight == frames.count) return normalize_asinh(frames, limits, parameters, table, dtype, stream, out, threads);
    if (straight > 0) {  // the bits of a frame must not depend on the others
        Frames one = frames;
        one.count = 1;
        for (std::int64_t frame = 0; frame < frames.count; ++frame) {
            one.data = frames.data + frame * frames.height * frames.width * item_size(frames.kind);
            unsigned char* to = static_cast<unsigned char*>(out) + frame * one.pixels() * item;
            normalize_cpu(one, limits + 2 * frame, stretch, parameters, dtype, to, threads);
        }
        return;
    }
    if (normalize_codes(frames, limits, stretch, parameters, table, dtype, item, stream, out, threads)) return;
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int) {
        const Unit unit = unit_at(frames, index);
        const NormalizeParameters p = parameters_of(limits, unit.frame, parameters);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        unsigned char* to = static_cast<unsigned char*>(out) + place * item;
        for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t offset) {
            if (is_plain_float(frames, region) && p.prescale == 1.0) {
                ZOO_DISPATCH(normalize_floats_span, frames.kind, data, n, stretch, p, table, dtype, stream, to + offset * item);
                return;
            }
            double values[kUnit];
            ZOO_DISPATCH(read_span, frames.kind, data, n, calibration_of(frames, region), values);
            ZOO_DISPATCH(normalize_span, values, n, stretch, p, table, dtype, stream, to + offset * item);
        });
    });
}

}  // namespace zoo
