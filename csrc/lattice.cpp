#include "lattice.hpp"

#include <algorithm>
#include <type_traits>

#include "parallel.hpp"
#include "scratch.hpp"

namespace zoo {
namespace {

constexpr std::int64_t kFew = 16384;          // sorting so few is quicker than clearing histograms
constexpr std::int64_t kMaxRegions = 16;      // beyond, histograms take more memory than they are worth
constexpr std::int64_t kSlab = std::int64_t{1} << 31;  // pixels that a 32-bit counter can hold

std::int64_t codes_of(int kind) { return item_size(kind) == 1 ? 256 : kCodes; }

bool has_few_codes(int kind) { return item_size(kind) == 1 || kind == kI16 || kind == kBeI16; }

// Counts n stored pixels by their bits as a native number: neighbouring codes then share cache lines, which the codes of a big-endian file
// would not. Four pixels a load; two tables, because a run of equal pixels would wait for its own last count.
template <int K>
void count_codes(const unsigned char* data, std::int64_t n, std::uint32_t* even, std::uint32_t* odd) {
    constexpr std::int64_t size = item_size(K);
    using Code = std::conditional_t<size == 1, std::uint8_t, std::uint16_t>;
    std::int64_t i = 0;
    if constexpr (size == 2) {
        for (; i + 3 < n; i += 4) {
            std::uint64_t four;
            memcpy(&four, data + 2 * i, 8);
            if constexpr (K == kBeI16) four = swap_bytes(four);
            ++even[four & 0xffffu];
            ++odd[four >> 16 & 0xffffu];
            ++even[four >> 32 & 0xffffu];
            ++odd[four >> 48];
        }
    }
    for (; i < n; ++i) ++(i % 2 == 0 ? even : odd)[static_cast<Code>(load<K>(data + i * size))];
}

// Counts by region and code.
std::vector<std::int64_t> count_by_region(const Frames& frames, int threads) {
    const int size = item_size(frames.kind);
    const std::size_t codes = static_cast<std::size_t>(codes_of(frames.kind)), tables = static_cast<std::size_t>(frames.region_count) * 2;
    const std::size_t all = static_cast<std::size_t>(threads) * tables * codes;
    std::vector<std::int64_t> totals(tables / 2 * codes);
    Scratch scratch(all * sizeof(std::uint32_t));
    std::uint32_t* counts = static_cast<std::uint32_t*>(scratch.data());
    const std::int64_t units = unit_count(frames, kSpan), step = kSlab / kSpan;
    for (std::int64_t begin = 0; begin < units; begin += step) {
        std::fill_n(counts, all, 0u);
        parallel_for(threads, std::min(step, units - begin), [&](std::int64_t index, int thread) {
            std::uint32_t* mine = counts + static_cast<std::size_t>(thread) * tables * codes;
            for_each_piece(frames, unit_at(frames, begin + index, kSpan),
                           [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t) {
                               std::uint32_t* table = mine + static_cast<std::size_t>(region) * 2 * codes;
                               if (size == 1) return count_codes<kU8>(data, n, table, table + codes);
                               if (frames.kind == kBeI16) return count_codes<kBeI16>(data, n, table, table + codes);
                               count_codes<kI16>(data, n, table, table + codes);
                           });
        });
        for (std::size_t table = 0; table < all / codes; ++table) {
            const std::uint32_t* from = counts + table * codes;
            std::int64_t* to = totals.data() + table % tables / 2 * codes;
            for (std::size_t code = 0; code < codes; ++code) to[code] += from[code];
        }
    }
    return totals;
}

// Entries of one region, ascending in value.
template <class Count>
void append_region(const Frames& frames, std::int64_t region, const Count* counts, std::vector<Entry>& entries) {
    const std::int64_t codes = codes_of(frames.kind), chunk = std::min(codes / 2, kUnit);
    const std::int64_t lowest = frames.kind == kU8 ? 0 : codes / 2;  // bits of the smallest number
    const std::size_t before = entries.size();
    for (std::int64_t i = 0; i < codes; i += chunk) {
        const std::int64_t first = (lowest + i) % codes;
        if (std::all_of(counts + first, counts + first + chunk, [](Count count) { return count == 0; })) continue;
        append_codes(frames, region, first, chunk, counts + first, entries);
    }
    if (frames.calibration.bscale < 0.0) std::reverse(entries.begin() + static_cast<std::int64_t>(before), entries.end());
}

}  // namespace

bool Lattice::suits(const Frames& frames) {
    return frames.pixels() <= kFew || (has_few_codes(frames.kind) && frames.region_count <= kMaxRegions);
}

Lattice::Lattice(const Frames& frames, int threads) {
    if (frames.pixels() <= kFew) {
        values_.resize(static_cast<std::size_t>(frames.pixels()));
        std::int64_t place = 0;
        for (std::int64_t i = 0; i < unit_count(frames); ++i) {
            const Unit unit = unit_at(frames, i);
            read_unit(frames, unit, values_.data() + place);
            place += unit.n;
        }
        values_.erase(std::remove_if(values_.begin(), values_.end(), [](double value) { return value != value; }), values_.end());
        std::sort(values_.begin(), values_.end());
        upto_.resize(values_.size());
        for (std::size_t i = 0; i < upto_.size(); ++i) upto_[i] = static_cast<std::int64_t>(i) + 1;
        return;
    }
    take_counts(frames, count_by_region(frames, threads).data());
}

template <class Count>
void Lattice::take_counts(const Frames& frames, const Count* counts) {
    std::vector<Entry> entries;
    for (std::int64_t region = 0; region < frames.region_count; ++region) {
        const std::int64_t before = static_cast<std::int64_t>(entries.size());
        append_region(frames, region, counts + region * codes_of(frames.kind), entries);
        std::inplace_merge(entries.begin(), entries.begin() + before, entries.end(),
                           [](const Entry& a, const Entry& b) { return a.first < b.first; });
    }
    std::int64_t total = 0;
    values_.reserve(entries.size());
    upto_.reserve(entries.size());
    for (const auto& [value, count] : entries) {
        total += count;
        values_.push_back(value);
        upto_.push_back(total);
    }
}

template void Lattice::take_counts(const Frames&, const std::uint32_t*);

double Lattice::at(std::int64_t rank) const {
    return values_[static_cast<std::size_t>(std::upper_bound(upto_.begin(), upto_.end(), rank) - upto_.begin())];
}

void Lattice::select(const std::int64_t* ranks, std::int64_t n, double* values) {
    for (std::int64_t i = 0; i < n; ++i) values[i] = at(ranks[i]);
}

void Lattice::select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) {
    // both sides of the center are sorted by distance from it: merge them
    std::size_t right = static_cast<std::size_t>(std::lower_bound(values_.begin(), values_.end(), center) - values_.begin());
    std::size_t left = right;  // one past the next value on the left
    std::vector<Entry> distances;  // and the number of pixels up to each
    distances.reserve(values_.size());
    std::int64_t total = 0;
    while (left > 0 || right < values_.size()) {
        const double below = left > 0 ? fabs(values_[left - 1] - center) : HUGE_VAL;
        const double above = right < values_.size() ? fabs(values_[right] - center) : HUGE_VAL;
        const bool take_left = left > 0 && (right == values_.size() || below < above);
        total += take_left ? count_of(--left) : count_of(right++);
        distances.emplace_back(take_left ? below : above, total);
    }
    for (std::int64_t i = 0; i < n; ++i) {
        values[i] = std::upper_bound(distances.begin(), distances.end(), ranks[i],
                                     [](std::int64_t rank, const Entry& entry) { return rank < entry.second; })
                        ->first;
    }
}

Moments Lattice::moments(double low, double high, double shift) {
    const std::size_t begin = static_cast<std::size_t>(std::lower_bound(values_.begin(), values_.end(), low) - values_.begin());
    const std::size_t end = static_cast<std::size_t>(std::upper_bound(values_.begin(), values_.end(), high) - values_.begin());
    Moments m{low == low && begin > 0 ? upto_[begin - 1] : 0, 0, 0.0, 0.0};
    if (!(low <= high)) return m;
    double lost = 0.0, lost_squares = 0.0;  // compensation of the sums
    const auto add = [](double term, double& sum, double& compensation) {
        const double next = sum + term;
        compensation += fabs(sum) >= fabs(term) ? (sum - next) + term : (term - next) + sum;
        sum = next;
    };
    for (std::size_t i = begin; i < end; ++i) {
        const double count = static_cast<double>(count_of(i)), distance = values_[i] - shift;
        m.count += count_of(i);
        add(count * distance, m.sum, lost);
        add(count * (distance * distance), m.squares, lost_squares);
    }
    m.sum += lost;
    m.squares += lost_squares;
    return m;
}

}  // namespace zoo
