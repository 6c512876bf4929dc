#include "blur.hpp"

#include <algorithm>

#include "blur_block.hpp"
#include "parallel.hpp"

namespace zoo {
namespace {

constexpr std::int64_t ring_bytes_wanted = 640 * 1024;  // the ring of rows should stay in L2
constexpr std::int64_t widest = 4096, narrowest = 128;  // columns of a block; narrower ones read too much border per pixel

struct Partition {
    std::int64_t columns, rows;  // of a block
    std::int64_t across, down;   // blocks in a frame
};

std::int64_t item_bytes(const BlurArguments& arguments) { return arguments.dtype == Dtype::float64 ? 8 : 4; }

bool has_weights(const BlurArguments& arguments) { return arguments.nan_treatment == NanTreatment::interpolate; }

Partition partition(const BlurArguments& arguments, int threads) {
    Partition parts{};
    const std::int64_t column_bytes = (2 * arguments.max_radius + blur_together) * item_bytes(arguments);
    parts.columns = widest;
    while (parts.columns > narrowest && parts.columns * column_bytes > ring_bytes_wanted) parts.columns /= 2;
    parts.columns = std::min(parts.columns, arguments.width);
    parts.across = (arguments.width + parts.columns - 1) / parts.columns;

    // Blocks share nothing, so each blurs the rows above and below itself again: cut the height only as far as the threads need it.
    const std::int64_t whole = arguments.frames * parts.across;
    const std::int64_t wanted = whole >= 4 * threads ? 1 : (4 * threads + whole - 1) / whole;
    const std::int64_t least_rows = std::max<std::int64_t>(32, 8 * arguments.max_radius);
    parts.down = threads == 1 ? 1 : std::clamp<std::int64_t>(arguments.height / least_rows, 1, wanted);
    // whole groups of rows, so that a row has the same place in its group, and the same order of additions, in every partition
    parts.rows = ((arguments.height + parts.down - 1) / parts.down + blur_together - 1) / blur_together * blur_together;
    return parts;
}

std::int64_t block_bytes(const BlurArguments& arguments, const Partition& parts) {
    return blur_block_bytes(parts.columns, arguments.max_radius, has_weights(arguments), item_bytes(arguments));
}

}  // namespace

std::int64_t blur_cpu_scratch_bytes(const BlurArguments& arguments, int threads) noexcept {
    threads = usable_threads(threads);
    return threads * block_bytes(arguments, partition(arguments, threads));
}

void blur_cpu(const BlurArguments& arguments, void* scratch, int threads) noexcept {
    threads = usable_threads(threads);
    const Partition parts = partition(arguments, threads);
    const std::int64_t bytes = block_bytes(arguments, parts);
    const std::int64_t per_frame = parts.across * parts.down;
    const std::int64_t out_bytes = arguments.dtype == Dtype::float32 ? 4 : arguments.dtype == Dtype::float64 ? 8 : 2;
    const bool stream = arguments.frames * arguments.height * arguments.width * out_bytes >= kStreamFrom;
    parallel_for(threads, arguments.frames * per_frame, [&](std::int64_t task, int thread) {
        const std::int64_t row = task % per_frame / parts.across * parts.rows;
        const std::int64_t column = task % parts.across * parts.columns;
        BlurBlock block{};
        block.frame = task / per_frame;
        block.row_begin = std::min(row, arguments.height);  // rounding up the rows of a block may leave none for the last
        block.row_end = std::min(row + parts.rows, arguments.height);
        block.column_begin = column;
        block.column_end = std::min(column + parts.columns, arguments.width);
        block.stream = stream;
        block.scratch = static_cast<char*>(scratch) + thread * bytes;
        ZOO_DISPATCH(blur_block, arguments, block);
    });
}

}  // namespace zoo
