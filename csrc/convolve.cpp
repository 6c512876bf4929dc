#include "convolve.hpp"

#include <algorithm>

#include "convolve_block.hpp"
#include "parallel.hpp"

namespace zoo {
namespace {

constexpr std::int64_t ring_bytes_wanted = 512 * 1024;  // the ring of lines should stay in L2
constexpr std::int64_t widest = 2048, narrowest = 128;  // columns of a block; narrower ones read too much border per pixel

struct Partition {
    std::int64_t columns, rows;  // of a block
    std::int64_t across, down;   // blocks in a frame
};

std::int64_t item_bytes(const ConvolveArguments& arguments) { return arguments.dtype == Dtype::float64 ? 8 : 4; }

bool has_weights(const ConvolveArguments& arguments) { return arguments.nan_treatment == NanTreatment::interpolate; }

std::int64_t block_bytes(const ConvolveArguments& arguments, std::int64_t columns) {
    return convolve_block_bytes(columns, arguments.kernel_height, arguments.kernel_width, has_weights(arguments), item_bytes(arguments));
}

Partition partition(const ConvolveArguments& arguments, int threads) {
    Partition parts{};
    parts.columns = widest;
    while (parts.columns > narrowest && block_bytes(arguments, parts.columns) > ring_bytes_wanted) parts.columns /= 2;
    parts.columns = std::min(parts.columns, arguments.width);
    parts.across = (arguments.width + parts.columns - 1) / parts.columns;

    // Reading rows twice is cheap beside summing them: cut the height so that the threads finish together.
    const std::int64_t whole = arguments.frames * parts.across;
    const std::int64_t wanted = threads == 1 ? 1 : std::max<std::int64_t>(1, 8 * threads / whole);
    parts.down = std::clamp<std::int64_t>(arguments.height / 32, 1, wanted);
    // whole groups of rows, so that a row has the same place in its group, and the same order of additions, in every partition
    const std::int64_t rows = (arguments.height + parts.down - 1) / parts.down;
    parts.rows = (rows + convolve_together - 1) / convolve_together * convolve_together;
    parts.down = (arguments.height + parts.rows - 1) / parts.rows;
    return parts;
}

}  // namespace

std::int64_t convolve_cpu_scratch_bytes(const ConvolveArguments& arguments, int threads) noexcept {
    threads = usable_threads(threads);
    return threads * block_bytes(arguments, partition(arguments, threads).columns);
}

void convolve_cpu(const ConvolveArguments& arguments, void* scratch, int threads) noexcept {
    threads = usable_threads(threads);
    const Partition parts = partition(arguments, threads);
    const std::int64_t bytes = block_bytes(arguments, parts.columns);
    const std::int64_t per_frame = parts.across * parts.down;
    const std::int64_t out_bytes = arguments.dtype == Dtype::float32 ? 4 : arguments.dtype == Dtype::float64 ? 8 : 2;
    const bool stream = arguments.frames * arguments.height * arguments.width * out_bytes >= kStreamFrom;
    parallel_for(threads, arguments.frames * per_frame, [&](std::int64_t task, int thread) {
        ConvolveBlock block{};
        block.frame = task / per_frame;
        block.row_begin = task % per_frame / parts.across * parts.rows;
        block.row_end = std::min(block.row_begin + parts.rows, arguments.height);
        block.column_begin = task % parts.across * parts.columns;
        block.column_end = std::min(block.column_begin + parts.columns, arguments.width);
        block.stream = stream;
        block.scratch = static_cast<char*>(scratch) + thread * bytes;
        ZOO_DISPATCH(convolve_block, arguments, block);
    });
}

}  // namespace zoo
