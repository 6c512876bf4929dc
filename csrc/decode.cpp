#include "decode.hpp"

#include "parallel.hpp"

namespace zoo {

void decode_cpu(const Frames& frames, Dtype dtype, void* out, int threads) noexcept {
    const std::int64_t size = dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2;
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int) {
        double values[kUnit];
        const Unit unit = unit_at(frames, index);
        read_unit(frames, unit, values);
        const std::int64_t place = (unit.frame * frames.out_height + unit.y) * frames.out_width + unit.x;
        ZOO_DISPATCH(store_span, values, unit.n, dtype, static_cast<unsigned char*>(out) + place * size);
    });
}

}  // namespace zoo
