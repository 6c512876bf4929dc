#include "normalize.hpp"

#include "parallel.hpp"

namespace zoo {

void normalize_cpu(const Frames& frames, const double* limits, int stretch, const NormalizeParameters& parameters, Dtype dtype, void* out,
                   int threads) noexcept {
    const std::int64_t size = dtype == Dtype::float32 ? 4 : 2;
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int) {
        double values[kUnit];
        const Unit unit = unit_at(frames, index);
        read_unit(frames, unit, values);
        NormalizeParameters p = parameters;
        set_limits(limits[2 * unit.frame], limits[2 * unit.frame + 1], &p);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        ZOO_DISPATCH(normalize_span, values, unit.n, stretch, p, dtype, static_cast<unsigned char*>(out) + place * size);
    });
}

}  // namespace zoo
