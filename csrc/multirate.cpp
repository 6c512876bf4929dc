#include "multirate.hpp"

#include <algorithm>

#include "multirate_block.hpp"
#include "parallel.hpp"

namespace zoo {
namespace {

constexpr std::int64_t rows_together = 32;  // coarse rows of one task; each task makes multirate_reach - 1 lines that its neighbour makes too

}  // namespace

std::int64_t multirate_scratch_bytes(const MultirateArguments& arguments, int threads) noexcept {
    return usable_threads(threads) * multirate_bytes(arguments);
}

void multirate_decimate(const MultirateArguments& arguments, void* scratch, int threads) noexcept {
    const std::int64_t tasks = (arguments.down.coarse + multirate_group - 1) / multirate_group;
    parallel_for(usable_threads(threads), arguments.frames * tasks, [&](std::int64_t task, int thread) {
        const std::int64_t begin = task % tasks * multirate_group, end = std::min(begin + multirate_group, arguments.down.coarse);
        ZOO_DISPATCH(decimate_rows, arguments, task / tasks, begin, end, static_cast<char*>(scratch) + thread * multirate_bytes(arguments));
    });
}

void multirate_interpolate(const MultirateArguments& arguments, void* scratch, int threads) noexcept {
    const std::int64_t rows = (arguments.height + arguments.down.step - 1) / arguments.down.step;
    const std::int64_t tasks = (rows + rows_together - 1) / rows_together;
    const std::int64_t out_bytes = arguments.dtype == Dtype::float32 ? 4 : arguments.dtype == Dtype::float64 ? 8 : 2;
    const bool stream = arguments.frames * arguments.height * arguments.width * out_bytes >= kStreamFrom;
    parallel_for(usable_threads(threads), arguments.frames * tasks, [&](std::int64_t task, int thread) {
        const std::int64_t begin = task % tasks * rows_together, end = std::min(begin + rows_together, rows);
        ZOO_DISPATCH(interpolate_rows, arguments, task / tasks, begin, end, stream,
                     static_cast<char*>(scratch) + thread * multirate_bytes(arguments));
    });
}

}  // namespace zoo
