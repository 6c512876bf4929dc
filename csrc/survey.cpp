#include "survey.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

#include "parallel.hpp"
#include "statistics.hpp"

namespace zoo {
namespace {

constexpr std::int64_t kSample = 16384, kTogether = 16;  // neighbours come in one cache line
constexpr std::int64_t kLeastSample = 1024;              // fewer valid ones tell too little
constexpr std::int64_t kShare = 4;                       // this part of all pixels, at most, is kept of a bracket
constexpr std::int64_t kFew = 1024;                      // so few are sorted

std::vector<double> take_sample(const Frames& frames) {
    std::vector<double> sample;
    sample.reserve(kSample);
    const std::int64_t pixels = frames.pixels(), groups = std::max<std::int64_t>(1, std::min(kSample, pixels) / kTogether);
    for (std::int64_t group = 0; group < groups; ++group) {
        const std::int64_t place = group * (pixels / groups), line = place / frames.out_width, x = place % frames.out_width;
        double values[kTogether];
        const Unit unit{line / frames.out_height, line % frames.out_height, x, std::min(kTogether, frames.out_width - x)};
        read_unit(frames, unit, values);
        for (std::int64_t i = 0; i < unit.n; ++i) {
            if (values[i] == values[i]) sample.push_back(values[i]);
        }
    }
    return sample;
}

// By digits of 11 bits from the lowest; those in which all values agree, as floats do in the lower ones, cost nothing.
void sort_values(std::vector<double>& values) {
    constexpr int bits = 11, digits = 6;
    if (static_cast<std::int64_t>(values.size()) <= kFew) return std::sort(values.begin(), values.end());
    std::vector<std::uint64_t> keys(values.size()), sorted(values.size());
    std::vector<std::array<std::uint32_t, 1 << bits>> counts(digits);
    for (std::size_t i = 0; i < values.size(); ++i) {
        keys[i] = key_of(values[i]);
        for (int digit = 0; digit < digits; ++digit) ++counts[static_cast<std::size_t>(digit)][keys[i] >> (bits * digit) & 2047u];
    }
    for (int digit = 0; digit < digits; ++digit) {
        auto& places = counts[static_cast<std::size_t>(digit)];
        if (places[keys[0] >> (bits * digit) & 2047u] == keys.size()) continue;
        std::uint32_t place = 0;
        for (std::uint32_t& count : places) place += std::exchange(count, place);
        for (const std::uint64_t key : keys) sorted[places[key >> (bits * digit) & 2047u]++] = key;
        keys.swap(sorted);
    }
    std::transform(keys.begin(), keys.end(), values.begin(), value_of);
}

template <class T>
T clamp_to(double value) {
    using Limits = std::numeric_limits<T>;
    return static_cast<T>(std::clamp(value, static_cast<double>(Limits::lowest()), static_cast<double>(Limits::max())));
}

}  // namespace

Survey::Survey(const Frames& frames, const SurveyPlan& plan, int threads) : floats_(true) {
    for (std::int64_t region = 0; region < frames.region_count; ++region) floats_ = floats_ && is_plain_float(frames, region);
    std::vector<double> sample = take_sample(frames);
    core_low_ = -std::numeric_limits<double>::max();
    core_high_ = -core_low_;
    if (static_cast<std::int64_t>(sample.size()) >= kLeastSample) {
        sort_values(sample);
        plan_brackets(sample, plan);
    }
    if (plan.moments) core_.emplace();
    if (floats_) {
        read<float>(frames, threads);
    } else {
        read<double>(frames, threads);
    }
}

template <class T>
void Survey::read(const Frames& frames, int threads) {
    threads = usable_threads(threads);
    Comparison<T> fresh{};
    fresh.brackets = static_cast<int>(brackets_.size());
    core_low_ = static_cast<double>(clamp_to<T>(core_low_));
    core_high_ = static_cast<double>(clamp_to<T>(core_high_));
    for (int i = 0; i < fresh.brackets; ++i) {
        fresh.low[i] = clamp_to<T>(brackets_[i].low);
        fresh.high[i] = clamp_to<T>(brackets_[i].high);
        // the tails are what the core leaves
        if (i == tails_) fresh.high[i] = std::nextafter(clamp_to<T>(core_low_), std::numeric_limits<T>::lowest());
        if (i == tails_ + 1 && tails_ >= 0) fresh.low[i] = std::nextafter(clamp_to<T>(core_high_), std::numeric_limits<T>::max());
        brackets_[i].low = static_cast<double>(fresh.low[i]);
        brackets_[i].high = static_cast<double>(fresh.high[i]);
    }
    fresh.min = std::numeric_limits<T>::infinity();
    fresh.max = -fresh.min;
    constexpr std::int64_t most = std::is_same_v<T, float> ? kSpan : kUnit;
    fresh.room = frames.pixels() / kShare + most + kUnit;
    std::vector<Comparison<T>> parts(static_cast<std::size_t>(threads), fresh);
    if (!brackets_.empty()) {
        scratch_.emplace(parts.size() * brackets_.size() * static_cast<std::size_t>(fresh.room) * sizeof(T));
        T* place = static_cast<T*>(scratch_->data());
        for (Comparison<T>& part : parts) {
            for (int i = 0; i < fresh.brackets; ++i, place += fresh.room) part.inside[i] = place;
        }
    }
    const std::int64_t units = unit_count(frames, most);
    std::vector<Moments> moments(core_ ? static_cast<std::size_t>(units) : 0, Moments{0, 0, 0.0, 0.0});
    std::vector<Met> met(tails_ >= 0 ? static_cast<std::size_t>(units) : 0);
    parallel_for(threads, units, [&](std::int64_t index, int thread) {
        const Unit unit = unit_at(frames, index, most);
        Comparison<T>& mine = parts[static_cast<std::size_t>(thread)];
        Moments* sums = core_ ? &moments[static_cast<std::size_t>(index)] : nullptr;
        const std::int64_t* used = mine.used + std::max(tails_, 0);
        const std::int64_t before[2] = {used[0], used[1]};
        if constexpr (std::is_same_v<T, float>) {
            for_each_piece(frames, unit, [&](std::int64_t, const unsigned char* data, std::int64_t n, std::int64_t) {
                ZOO_DISPATCH(compare_floats_span, frames.kind, data, n, &mine);
                if (sums != nullptr) ZOO_DISPATCH(moments_floats_span, frames.kind, data, n, core_low_, core_high_, shift_, sums);
            });
        } else {
            double values[kUnit];
            read_unit(frames, unit, values);
            ZOO_DISPATCH(compare_span, values, unit.n, &mine);
            if (sums != nullptr) ZOO_DISPATCH(moments_span, values, unit.n, core_low_, core_high_, shift_, sums);
        }
        if (tails_ < 0) return;
        met[static_cast<std::size_t>(index)] = {thread, {before[0], before[1]}, {used[0] - before[0], used[1] - before[1]}};
    });
    min_ = static_cast<double>(fresh.min);
    max_ = static_cast<double>(fresh.max);
    parts_.resize(brackets_.size());
    for (const Comparison<T>& part : parts) {
        count_ += part.count;
        min_ = std::min(min_, static_cast<double>(part.min));
        max_ = std::max(max_, static_cast<double>(part.max));
        for (std::size_t i = 0; i < brackets_.size(); ++i) {
            brackets_[i].below += part.below[i];
            brackets_[i].count += part.within[i];
            parts_[i].push_back({part.inside[i], part.used[i]});
        }
    }
    // by all threads together, so that it does not depend on how they shared the work; no thread alone loses what is kept
    for (Bracket& bracket : brackets_) bracket.kept = bracket.count <= frames.pixels() / kShare;
    if (core_) gather_tails<T>(met, moments);
}

// Sums the core, and puts the tails in row order: sums then do not depend on the threads.
template <class T>
void Survey::gather_tails(const std::vector<Met>& met, const std::vector<Moments>& parts) {
    for (const Moments& part : parts) {
        core_->count += part.count;
        core_->sum += part.sum;
        core_->squares += part.squares;
    }
    if (tails_ < 0) return;
    if (!brackets_[static_cast<std::size_t>(tails_)].kept || !brackets_[static_cast<std::size_t>(tails_) + 1].kept) {
        core_.reset();
        return;
    }
    tail_.reserve(static_cast<std::size_t>(count_ - core_->count));
    for (const Met& unit : met) {
        for (int side = 0; side < 2; ++side) {
            const Part& part = parts_[static_cast<std::size_t>(tails_ + side)][static_cast<std::size_t>(unit.thread)];
            const T* values = static_cast<const T*>(part.values) + unit.first[side];
            tail_.insert(tail_.end(), values, values + unit.n[side]);
        }
    }
}

bool Survey::moments(double low, double high, Moments* result) const {
    // a core that reaches over all numbers has no tails
    const bool covered = (tails_ < 0 && low == -HUGE_VAL && high == HUGE_VAL) || (tails_ >= 0 && low <= core_low_ && high >= core_high_);
    if (!core_ || !covered) return false;
    Moments m{0, 0, 0.0, 0.0};
    const std::int64_t n = static_cast<std::int64_t>(tail_.size());
    for (std::int64_t i = 0; i < n; i += kUnit) ZOO_DISPATCH(moments_span, tail_.data() + i, std::min(kUnit, n - i), low, high, shift_, &m);
    m.count += core_->count;
    m.sum += core_->sum;
    m.squares += core_->squares;
    *result = m;
    return true;
}

bool Survey::find(std::int64_t rank, double* value) {
    for (std::size_t i = 0; i < brackets_.size(); ++i) {
        Bracket& bracket = brackets_[i];
        if (rank < bracket.below || rank >= bracket.below + bracket.count) continue;
        if (bracket.low == bracket.high) {
            *value = bracket.low;
            return true;
        }
        if (!bracket.kept) continue;
        const auto held = [&] { return rank >= bracket.first && rank < bracket.first + static_cast<std::int64_t>(bracket.sorted.size()); };
        if (!held()) bracket.first = bracket.below + sort_near(parts_[i], nullptr, rank - bracket.below, bracket.sorted);
        *value = bracket.sorted[static_cast<std::size_t>(rank - bracket.first)];
        return true;
    }
    return false;
}

bool Survey::find_distance(double center, std::int64_t rank, double* value) {
    if (left_ < 0) return false;
    const Bracket &left = brackets_[static_cast<std::size_t>(left_)], &right = brackets_[static_cast<std::size_t>(right_)];
    if (!left.kept || !right.kept) return false;
    // pixels between the brackets are nearer than those within, and pixels beyond them farther: whether that holds is seen by the result
    const std::int64_t inner = left_ == right_ ? 0 : right.below - left.below - left.count;
    const double nearest = left_ == right_ ? 0.0 : std::max(center - left.high, right.low - center);
    const double farthest = std::min(center - left.low, right.high - center);
    std::vector<Part> parts = parts_[static_cast<std::size_t>(left_)];
    const std::vector<Part>& others = parts_[static_cast<std::size_t>(right_)];
    if (left_ != right_) parts.insert(parts.end(), others.begin(), others.end());
    std::int64_t n = 0;
    for (const Part& part : parts) n += part.n;
    if (rank < inner || rank >= inner + n) return false;
    std::vector<double> sorted;
    const std::int64_t first = sort_near(parts, &center, rank - inner, sorted);
    *value = sorted[static_cast<std::size_t>(rank - inner - first)];
    return *value >= nearest && *value <= farthest;
}

// Calls take(values, n) for up to kUnit pixels of a part at a time.
template <class Take>
void Survey::take_part(const Part& part, std::int64_t from, std::int64_t n, Take&& take) const {
    for (std::int64_t i = from; i < from + n; i += kUnit) {
        double values[kUnit];
        const std::int64_t m = std::min(kUnit, from + n - i);
        if (floats_) {
            ZOO_DISPATCH(widen_span, static_cast<const float*>(part.values) + i, m, values);
        } else {
            std::copy_n(static_cast<const double*>(part.values) + i, m, values);
        }
        take(values, m);
    }
}

// Narrows some pixels, or their distances from a center, about a rank by samples of themselves until few are left, and sorts those; returns
// the rank of the first. The order in which pixels arrived depends on the threads; that of the sorted ones does not.
std::int64_t Survey::sort_near(const std::vector<Part>& parts, const double* center, std::int64_t rank, std::vector<double>& sorted) const {
    std::int64_t total = 0, first = 0;
    for (const Part& part : parts) total += part.n;
    // the pixels as they are kept in the first round, what is left of them later
    std::unique_ptr<double[]> left;
    bool all = true;
    const auto each = [&](auto&& take) {
        if (all) {
            for (const Part& part : parts) {
                take_part(part, 0, part.n, [&](double* values, std::int64_t n) {
                    if (center != nullptr) ZOO_DISPATCH(distances_span, values, n, *center);
                    take(values, n);
                });
            }
            return;
        }
        for (std::int64_t i = 0; i < total; i += kUnit) take(left.get() + i, std::min(kUnit, total - i));
    };
    const auto sample_of = [&] {
        std::vector<double> sample;
        const std::int64_t step = total / kFew;
        if (!all) {
            for (std::int64_t i = 0; i < total; i += step) sample.push_back(left[i]);
            return sample;
        }
        for (const Part& part : parts) {
            for (std::int64_t i = 0; i < part.n; i += step) {
                take_part(part, i, 1, [&](double* value, std::int64_t n) {
                    if (center != nullptr) ZOO_DISPATCH(distances_span, value, n, *center);
                    sample.push_back(*value);
                });
            }
        }
        return sample;
    };
    bool tied = false;  // few different values: the next bracket holds one of them
    while (total > kFew) {
        std::vector<double> sample = sample_of();
        std::sort(sample.begin(), sample.end());
        const double last = static_cast<double>(sample.size() - 1);
        const double place = static_cast<double>(rank - first) / static_cast<double>(total) * last;
        const double reach = tied ? 0.0 : 3.0 * std::sqrt(last);
        Comparison<double> c{};
        c.brackets = 1;
        c.low[0] = place - reach >= 0.0 ? sample[static_cast<std::size_t>(place - reach)] : -std::numeric_limits<double>::max();
        c.high[0] = place + reach <= last ? sample[static_cast<std::size_t>(place + reach)] : std::numeric_limits<double>::max();
        c.room = total + 2 * kUnit;
        std::unique_ptr<double[]> inside(new double[static_cast<std::size_t>(c.room)]);  // most of its pages are never touched
        c.inside[0] = inside.get();
        each([&](const double* values, std::int64_t n) { ZOO_DISPATCH(compare_span, values, n, &c); });
        const bool missed = rank < first + c.below[0] || rank >= first + c.below[0] + c.used[0];
        if (missed) break;  // a sample that misleads
        if (c.used[0] == total && c.low[0] != c.high[0]) {
            tied = true;
            continue;
        }
        first += c.below[0];
        total = c.used[0];
        if (c.low[0] == c.high[0]) {
            sorted.assign(static_cast<std::size_t>(total), c.low[0]);
            return first;
        }
        left.swap(inside);
        all = false;
    }
    sorted.clear();
    each([&](const double* values, std::int64_t n) { sorted.insert(sorted.end(), values, values + n); });
    sort_values(sorted);
    return first;
}

}  // namespace zoo
