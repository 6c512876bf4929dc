#include "windowed.hpp"

#include <algorithm>
#include <cmath>

#include "parallel.hpp"
#include "scratch.hpp"
#include "survey.hpp"

namespace zoo {
namespace {

constexpr std::int64_t kFewest = std::int64_t{1} << 20;  // pixels; a whole histogram of fewer costs less than the sample
constexpr std::int64_t kMost = std::int64_t{1} << 31;    // pixels that a 32-bit counter can hold
constexpr std::int64_t kGroups = 2048, kTogether = 16;   // of the sample; neighbours are alike, but come in one cache line
constexpr double kShare = 0.125;                         // of the sample in windows: more, and a histogram is quicker
constexpr std::int64_t kLowest = -32768, kHighest = 32767;

double value_of_code(const Frames& frames, std::int64_t region, std::int64_t code) {
    double value;
    ZOO_DISPATCH(code_values_span, frames.kind, code, 1, calibration_of(frames, region), &value);
    return value;
}

// The first code whose value is not below a bound, or kHighest + 1. Values rise with codes.
std::int64_t first_code(const Frames& frames, std::int64_t region, double bound) {
    std::int64_t low = kLowest, high = kHighest + 1;
    while (low < high) {
        const std::int64_t code = low + (high - low) / 2;
        if (value_of_code(frames, region, code) < bound) {
            low = code + 1;
        } else {
            high = code;
        }
    }
    return low;
}

// Native bits of a code of a window.
std::uint16_t code_bits(const CodeWindows& windows, int window, std::int64_t code) {
    return static_cast<std::uint16_t>(windows.low[window] + code);
}

}  // namespace

bool Windowed::suits(const Frames& frames, const StatisticsRequest& request) {
    const bool rising = frames.calibration.bscale > 0.0 && std::all_of(frames.regions, frames.regions + frames.region_count,
                                                                       [](const Region& region) { return region.gain > 0.0; });
    return (frames.kind == kI16 || frames.kind == kBeI16) && rising && all_valid(frames) && !frames.calibration.mark_saturated &&
           frames.region_count <= kMostTabled && frames.pixels() >= kFewest && frames.pixels() < kMost &&
           (request.wanted & ~(kWantMedian | kWantZScale)) == 0;
}

Lattice& Windowed::whole() {
    if (!whole_) whole_.emplace(frames_, threads_);
    return *whole_;
}

// Codes of the sample, by region.
void Windowed::count_sample(std::uint32_t* counts) const {
    const std::int64_t step = frames_.pixels() / kGroups;
    for (std::int64_t group = 0; group < kGroups; ++group) {
        const std::int64_t line = group * step / frames_.out_width, x = group * step % frames_.out_width;
        const Unit unit{line / frames_.out_height, line % frames_.out_height, x, std::min(kTogether, frames_.out_width - x)};
        for_each_piece(frames_, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t) {
            std::uint32_t* mine = counts + region * kCodes;
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int16_t code = frames_.kind == kBeI16 ? load<kBeI16>(data + 2 * i) : load<kI16>(data + 2 * i);
                ++mine[static_cast<std::uint16_t>(code)];
            }
        });
    }
}

void Windowed::prepare(const StatisticsRequest& request) {
    std::vector<double> fractions(request.quantiles, request.quantiles + request.quantile_count);
    if (request.wanted & kWantMedian) fractions.push_back(0.5);
    std::sort(fractions.begin(), fractions.end());
    const std::size_t room = static_cast<std::size_t>(frames_.region_count * kCodes);
    Scratch scratch(static_cast<std::size_t>(threads_) * room * sizeof(std::uint32_t));
    std::uint32_t* counts = static_cast<std::uint32_t*>(scratch.data());
    std::fill_n(counts, room, 0u);
    count_sample(counts);
    Lattice sample(frames_, counts);
    const std::int64_t n = sample.count();
    const double last = static_cast<double>(n - 1);
    double share = 0.0;
    for (const double fraction : fractions) {
        const Ranks near = ranks_about(fraction, fraction, last);
        const std::int64_t ranks[2] = {static_cast<std::int64_t>(std::max(near.low, 0.0)),
                                       static_cast<std::int64_t>(std::min(near.high, last))};
        double bounds[2];
        sample.select(ranks, 2, bounds);
        const double low = near.low < 0.0 ? -HUGE_VAL : bounds[0], high = near.high > last ? HUGE_VAL : bounds[1];
        share += static_cast<double>(sample.moments(low, high, 0.0).count) / static_cast<double>(n);
        if (!windows_.empty() && low <= windows_.back().high) {
            windows_.back().high = std::max(high, windows_.back().high);
        } else {
            windows_.push_back({low, high, 0, {}});
        }
    }
    if (share > kShare || windows_.size() > kMostWindows) windows_.clear();
    if (!windows_.empty()) count_windows(counts);
}

CodeWindows Windowed::code_windows(std::int64_t region) const {
    CodeWindows result{};
    result.n = static_cast<int>(windows_.size());
    for (std::size_t i = 0; i < windows_.size(); ++i) {
        // where no code falls into the window it gets one of its neighbours, which take_window leaves out
        const std::int64_t low = std::min(first_code(frames_, region, windows_[i].low), kHighest);
        const std::int64_t high = std::max(first_code(frames_, region, std::nextafter(windows_[i].high, HUGE_VAL)) - 1, low);
        result.low[i] = static_cast<std::int16_t>(low);
        result.reach[i] = static_cast<std::uint16_t>(std::min(high, kHighest) - low);
    }
    return result;
}

// counts: room for all codes of each region, for each thread.
void Windowed::count_windows(std::uint32_t* counts) {
    const std::int64_t regions = frames_.region_count;
    std::vector<CodeWindows> parts;  // of each thread, by region
    for (std::int64_t i = 0; i < threads_ * regions; ++i) {
        parts.push_back(i < regions ? code_windows(i) : parts[static_cast<std::size_t>(i - regions)]);
        CodeWindows& part = parts.back();
        part.counts = counts + i * kCodes;
        for (int window = 0; window < part.n; ++window) {
            for (std::int64_t code = 0; code <= part.reach[window]; ++code) part.counts[code_bits(part, window, code)] = 0;
        }
    }
    parallel_for(threads_, unit_count(frames_, kSpan), [&](std::int64_t index, int thread) {
        for_each_piece(frames_, unit_at(frames_, index, kSpan),
                       [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t) {
                           CodeWindows& mine = parts[static_cast<std::size_t>(thread * regions + region)];
                           ZOO_DISPATCH(count_windows_span, frames_.kind, data, n, &mine);
                       });
    });
    for (std::size_t i = 0; i < windows_.size(); ++i) take_window(i, parts);
}

// Brings together what all threads counted for all regions.
void Windowed::take_window(std::size_t index, const std::vector<CodeWindows>& parts) {
    Window& window = windows_[index];
    const std::size_t regions = static_cast<std::size_t>(frames_.region_count);
    for (std::size_t i = 0; i < parts.size(); ++i) window.below += parts[i].below[index];
    for (std::size_t region = 0; region < regions; ++region) {
        const CodeWindows& first = parts[region];
        const int place = static_cast<int>(index);
        for (std::int64_t code = 0; code <= first.reach[index]; code += kUnit) {
            const std::int64_t n = std::min(kUnit, first.reach[index] + 1 - code);
            std::uint32_t counts[kUnit] = {};
            for (std::size_t part = region; part < parts.size(); part += regions) {
                for (std::int64_t i = 0; i < n; ++i) counts[i] += parts[part].counts[code_bits(first, place, code + i)];
            }
            append_codes(frames_, static_cast<std::int64_t>(region), first.low[index] + code, n, counts, window.upto);
        }
    }
    std::sort(window.upto.begin(), window.upto.end());
    const auto outside = [&](const Entry& entry) {
        if (entry.first < window.low) window.below += entry.second;
        return entry.first < window.low || entry.first > window.high;
    };
    window.upto.erase(std::remove_if(window.upto.begin(), window.upto.end(), outside), window.upto.end());
    std::int64_t total = 0;
    for (Entry& entry : window.upto) entry.second = total += entry.second;
}

bool Windowed::find(std::int64_t rank, double* value) const {
    for (const Window& window : windows_) {
        if (window.upto.empty() || rank < window.below || rank >= window.below + window.upto.back().second) continue;
        *value = std::upper_bound(window.upto.begin(), window.upto.end(), rank - window.below,
                                  [](std::int64_t wanted, const Entry& entry) { return wanted < entry.second; })
                     ->first;
        return true;
    }
    return false;
}

void Windowed::select(const std::int64_t* ranks, std::int64_t n, double* values) {
    for (std::int64_t i = 0; i < n; ++i) {
        if (!find(ranks[i], values + i)) whole().select(ranks + i, 1, values + i);
    }
}

}  // namespace zoo
