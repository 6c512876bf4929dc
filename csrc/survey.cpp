#include "survey.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "parallel.hpp"

namespace zoo {
namespace {

constexpr std::int64_t kSample = 16384, kTogether = 16;  // neighbours come in one cache line
constexpr std::int64_t kLeastSample = 1024;              // fewer valid ones tell too little
constexpr double kReach = 6.0;                           // standard deviations of a sample's rank; neighbours are alike, so more than usual
constexpr std::int64_t kRoom = std::int64_t{1} << 20;    // pixels that a thread keeps of a bracket
constexpr std::int64_t kFew = 1024;                      // so few are sorted

// Values of the pixels of one unit, or their distances from a center.
void read_values(const Frames& frames, const Unit& unit, const double* center, double* values) {
    read_unit(frames, unit, values);
    if (center != nullptr) ZOO_DISPATCH(distances_span, values, unit.n, *center);
}

std::vector<double> take_sample(const Frames& frames, const double* center) {
    std::vector<double> sample;
    sample.reserve(kSample);
    const std::int64_t groups = kSample / kTogether, pixels = frames.pixels();
    for (std::int64_t group = 0; group < groups; ++group) {
        const std::int64_t place = group * (pixels / groups), line = place / frames.out_width, x = place % frames.out_width;
        double values[kTogether];
        const Unit unit{line / frames.out_height, line % frames.out_height, x, std::min(kTogether, frames.out_width - x)};
        read_values(frames, unit, center, values);
        for (std::int64_t i = 0; i < unit.n; ++i) {
            if (values[i] == values[i]) sample.push_back(values[i]);
        }
    }
    return sample;
}

template <class T>
void merge(const Comparison<T>& part, Comparison<T>& total) {
    total.count += part.count;
    total.complete = total.complete && part.complete;
    for (int i = 0; i < total.brackets; ++i) total.below[i] += part.below[i];
    total.min = std::min(total.min, part.min);
    total.max = std::max(total.max, part.max);
}

}  // namespace

Survey::Survey(const Frames& frames, const double* fractions, std::int64_t n, const double* center, int threads) {
    std::vector<double> sample = take_sample(frames, center);
    if (static_cast<std::int64_t>(sample.size()) >= kLeastSample) place_brackets(sample, fractions, n);
    bool plain = center == nullptr;
    for (std::int64_t region = 0; region < frames.region_count; ++region) plain = plain && is_plain_float(frames, region);
    if (plain) {
        read(frames, center, threads, floats_);
    } else {
        read(frames, center, threads, doubles_);
    }
}

void Survey::place_brackets(std::vector<double>& sample, const double* fractions, std::int64_t n) {
    const double last = static_cast<double>(sample.size() - 1);
    std::vector<double> ordered(fractions, fractions + n);
    std::sort(ordered.begin(), ordered.end());
    const auto alike = [&](double a, double b) { return (b - a) * last < 1.0; };  // neighbouring ranks share a bracket
    ordered.erase(std::unique(ordered.begin(), ordered.end(), alike), ordered.end());
    ordered.resize(std::min<std::size_t>(ordered.size(), kMostBrackets));
    for (const double fraction : ordered) {
        const double reach = kReach * std::sqrt(fraction * (1.0 - fraction) * last) + kReach, place = fraction * last;
        const auto at = [&](double rank) {
            const auto found = sample.begin() + static_cast<std::int64_t>(rank);
            std::nth_element(sample.begin(), found, sample.end());
            return *found;
        };
        // what lies beyond the sample is bracketed by the largest finite number
        const double low = place - reach < 0.0 ? -1.7976931348623157e308 : at(place - reach);
        const double high = place + reach > last ? 1.7976931348623157e308 : at(place + reach);
        brackets_.push_back({low, high, 0, 0, {}, 0});
    }
}

template <class T>
void Survey::read(const Frames& frames, const double* center, int threads, std::vector<std::vector<Kept<T>>>& kept) {
    threads = usable_threads(threads);
    Comparison<T> fresh{};
    fresh.brackets = static_cast<int>(brackets_.size());
    for (int i = 0; i < fresh.brackets; ++i) {
        // a pixel is inside by its own type; bounds of a wider type are rounded outwards, which only widens the bracket
        fresh.low[i] = static_cast<T>(std::max(brackets_[i].low, static_cast<double>(std::numeric_limits<T>::lowest())));
        fresh.high[i] = static_cast<T>(std::min(brackets_[i].high, static_cast<double>(std::numeric_limits<T>::max())));
        brackets_[i].low = static_cast<double>(fresh.low[i]);
        brackets_[i].high = static_cast<double>(fresh.high[i]);
    }
    fresh.min = std::numeric_limits<T>::infinity();
    fresh.max = -fresh.min;
    fresh.room = std::min(kRoom, frames.pixels()) + kUnit;
    fresh.complete = true;
    kept.resize(brackets_.size());
    std::vector<Comparison<T>> parts(static_cast<std::size_t>(threads), fresh);
    for (Comparison<T>& part : parts) {
        for (std::size_t i = 0; i < brackets_.size(); ++i) {
            // left as it comes: most of its pages are never touched
            kept[i].push_back({std::unique_ptr<T[]>(new T[static_cast<std::size_t>(fresh.room)]), 0});
            part.inside[i] = kept[i].back().values.get();
        }
    }
    parallel_for(threads, unit_count(frames), [&](std::int64_t index, int thread) {
        const Unit unit = unit_at(frames, index);
        Comparison<T>& mine = parts[static_cast<std::size_t>(thread)];
        if constexpr (std::is_same_v<T, float>) {
            for_each_piece(frames, unit, [&](std::int64_t, const unsigned char* data, std::int64_t n, std::int64_t) {
                ZOO_DISPATCH(compare_floats_span, frames.kind, data, n, &mine);
            });
        } else {
            double values[kUnit];
            read_values(frames, unit, center, values);
            ZOO_DISPATCH(compare_span, values, unit.n, &mine);
        }
    });
    Comparison<T> total = fresh;
    for (const Comparison<T>& part : parts) merge(part, total);
    count_ = total.count;
    min_ = static_cast<double>(total.min);
    max_ = static_cast<double>(total.max);
    if (!total.complete) return;
    for (std::size_t i = 0; i < brackets_.size(); ++i) {
        brackets_[i].below = total.below[i];
        for (std::size_t thread = 0; thread < parts.size(); ++thread) {
            kept[i][thread].n = parts[thread].used[i];
            brackets_[i].count += parts[thread].used[i];
        }
    }
}

bool Survey::holds(std::int64_t rank) const {
    return std::any_of(brackets_.begin(), brackets_.end(),
                       [&](const Bracket& bracket) { return rank >= bracket.below && rank < bracket.below + bracket.count; });
}

bool Survey::find(std::int64_t rank, double* value) {
    for (std::size_t i = 0; i < brackets_.size(); ++i) {
        Bracket& bracket = brackets_[i];
        if (rank < bracket.below || rank >= bracket.below + bracket.count) continue;
        const auto held = [&] { return rank >= bracket.first && rank < bracket.first + static_cast<std::int64_t>(bracket.sorted.size()); };
        if (!held()) sort_near(i, rank);
        *value = bracket.sorted[static_cast<std::size_t>(rank - bracket.first)];
        return true;
    }
    return false;
}

// Narrows a bracket about a rank by samples of its own pixels until few are left, and sorts those. The order in which pixels arrived
// depends on the threads; that of the sorted ones does not.
void Survey::sort_near(std::size_t index, std::int64_t rank) {
    Bracket& bracket = brackets_[index];
    std::vector<double> values;
    const auto append = [&](const auto& kept) {
        for (const auto& part : kept[index]) values.insert(values.end(), part.values.get(), part.values.get() + part.n);
    };
    if (floats_.empty()) {
        append(doubles_);
    } else {
        append(floats_);
    }
    std::int64_t first = bracket.below;
    while (static_cast<std::int64_t>(values.size()) > kFew) {
        const std::int64_t n = static_cast<std::int64_t>(values.size()), step = n / kFew;
        std::vector<double> sample;
        for (std::int64_t i = 0; i < n; i += step) sample.push_back(values[static_cast<std::size_t>(i)]);
        std::sort(sample.begin(), sample.end());
        const double last = static_cast<double>(sample.size() - 1), place = static_cast<double>(rank - first) / static_cast<double>(n) * last;
        const double reach = kReach * std::sqrt(last) / 2.0;
        Comparison<double> c{};
        c.brackets = 1;
        c.low[0] = place - reach > 0.0 ? sample[static_cast<std::size_t>(place - reach)] : bracket.low;
        c.high[0] = place + reach < last ? sample[static_cast<std::size_t>(place + reach)] : bracket.high;
        std::vector<double> inside(values.size() + static_cast<std::size_t>(kUnit));
        c.inside[0] = inside.data();
        c.room = static_cast<std::int64_t>(inside.size());
        for (std::int64_t i = 0; i < n; i += kUnit) ZOO_DISPATCH(compare_span, values.data() + i, std::min(kUnit, n - i), &c);
        const bool missed = rank < first + c.below[0] || rank >= first + c.below[0] + c.used[0];
        if (missed || c.used[0] == n) break;  // a sample that misleads, or pixels that are all alike
        first += c.below[0];
        inside.resize(static_cast<std::size_t>(c.used[0]));
        values.swap(inside);
    }
    std::sort(values.begin(), values.end());
    bracket.sorted = std::move(values);
    bracket.first = first;
}

}  // namespace zoo
