#include "streamed.hpp"

#include <algorithm>
#include <atomic>

#include "parallel.hpp"

namespace zoo {
namespace {

constexpr std::size_t kDigits = 65536;
constexpr std::int64_t kCollect = 1 << 18;  // so few candidates are gathered and sorted instead of counted once more
constexpr std::size_t kTogether = 8;        // ranks that share the passes

bool holds_floats(const Frames& frames) {
    const bool stored = frames.kind == kF16 || frames.kind == kBF16 || frames.kind == kF32 || frames.kind == kBeF32;
    const bool as_stored = frames.calibration.bscale == 1.0 && frames.calibration.bzero == 0.0;
    return stored && as_stored && std::all_of(frames.regions, frames.regions + frames.region_count, [](const Region& region) {
        return region.bias == 0.0 && region.gain == 1.0;
    });
}

// The digit whose bin holds a rank; rank becomes the one within the bin.
std::uint64_t find_digit(const std::int64_t* counts, std::int64_t& rank) {
    std::uint64_t digit = 0;
    while (rank >= counts[digit]) rank -= counts[digit++];
    return digit;
}

}  // namespace

// How values become keys.
struct Streamed::Keys {
    bool distances;  // from the center
    double center;
    int levels;  // 2: keys of floats, with zeros below

    // The keys of one unit; returns how many. Invalid pixels get the highest key, which no value has.
    std::int64_t read(const Frames& frames, std::int64_t index, std::uint64_t* keys) const {
        double values[kUnit];
        const Unit unit = unit_at(frames, index);
        read_unit(frames, unit, values);
        ZOO_DISPATCH(keys_span, values, unit.n, levels == 2, distances, center, keys);
        return unit.n;
    }

    double value(std::uint64_t key) const {
        if (levels != 2) return value_of(key);
        const std::uint32_t high = static_cast<std::uint32_t>(key >> 32);
        return static_cast<double>(float_from(high >> 31 ? high & 0x7fffffffu : ~high));
    }
};

// A rank that is sought among the keys that begin with some digits.
struct Streamed::Target {
    std::uint64_t prefix;
    std::int64_t rank;        // among them
    std::int64_t candidates;  // how many there are
};

Streamed::Streamed(const Frames& frames, int threads) : frames_(frames), threads_(threads), levels_(holds_floats(frames) ? 2 : 4) {}

void Streamed::prepare(const StatisticsRequest& request) {
    SurveyPlan plan{};
    const bool clip = request.wanted & kWantClip;
    // the bracket of clipping holds the median too
    if (request.wanted & (kWantMedian | kWantMad) && !clip) plan.fractions.push_back(0.5);
    plan.fractions.insert(plan.fractions.end(), request.quantiles, request.quantiles + request.quantile_count);
    plan.distances = request.wanted & kWantMad;
    plan.moments = request.wanted & (kWantMoments | kWantClip);
    plan.clip_sigma = request.clip_sigma;
    plan.clip_maxiters = clip ? request.clip_maxiters : 0;
    survey_.emplace(frames_, plan, threads_);
}

std::vector<std::int64_t> Streamed::count_top(const Keys& keys) {
    // two tables per thread: neighbouring pixels mostly share their first digit, and would wait for each other's count
    std::vector<std::int64_t> counts(static_cast<std::size_t>(threads_) * 2 * kDigits);
    parallel_for(threads_, unit_count(frames_), [&](std::int64_t index, int thread) {
        std::uint64_t found[kUnit];
        const std::int64_t n = keys.read(frames_, index, found);
        std::int64_t* mine = counts.data() + static_cast<std::size_t>(thread) * 2 * kDigits;
        for (std::int64_t i = 0; i + 1 < n; i += 2) {
            ++mine[found[i] >> 48];
            ++mine[kDigits + (found[i + 1] >> 48)];
        }
        if (n % 2 != 0) ++mine[found[n - 1] >> 48];
    });
    for (std::size_t i = kDigits; i < counts.size(); ++i) counts[i % kDigits] += counts[i];
    counts.resize(kDigits);
    return counts;
}

// What the survey does not hold, such as a rank that was not announced, gets a survey of its own, and then histograms of keys, digit by
// digit.
void Streamed::select(const std::int64_t* ranks, std::int64_t n, double* values) {
    std::vector<std::int64_t> missing, places;
    std::vector<double> fractions;
    for (std::int64_t i = 0; i < n; ++i) {
        if (survey_->find(ranks[i], values + i)) continue;
        missing.push_back(ranks[i]);
        places.push_back(i);
        fractions.push_back(static_cast<double>(ranks[i]) / static_cast<double>(count()));
    }
    if (missing.empty()) return;
    std::vector<double> found(missing.size());
    Survey again(frames_, {fractions, false, false, 0.0, 0}, threads_);
    bool held = true;
    for (std::size_t i = 0; i < missing.size(); ++i) held = held && again.find(missing[i], &found[i]);
    if (!held) select_keys({false, 0.0, levels_}, missing.data(), static_cast<std::int64_t>(missing.size()), found.data());
    for (std::size_t i = 0; i < places.size(); ++i) values[places[i]] = found[i];
}

void Streamed::select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) {
    bool held = true;
    for (std::int64_t i = 0; i < n; ++i) held = held && survey_->find_distance(center, ranks[i], values + i);
    if (!held) select_keys({true, center, 4}, ranks, n, values);
}

void Streamed::select_keys(const Keys& keys, const std::int64_t* ranks, std::int64_t n, double* values) {
    const std::vector<std::int64_t> top = count_top(keys);
    for (std::int64_t begin = 0; begin < n; begin += kTogether) {
        std::vector<Target> targets;
        for (std::int64_t i = begin; i < std::min<std::int64_t>(begin + kTogether, n); ++i) {
            Target target{0, ranks[i], 0};
            target.prefix = find_digit(top.data(), target.rank);
            target.candidates = top[target.prefix];
            targets.push_back(target);
        }
        int level = 1;
        const auto candidates = [&] {
            std::int64_t total = 0;
            for (const Target& target : targets) total += target.candidates;
            return total;
        };
        while (level < keys.levels && candidates() > kCollect) refine(keys, level++, targets);
        if (level < keys.levels) {
            collect(keys, level, targets, values + begin);
        } else {
            for (std::size_t i = 0; i < targets.size(); ++i) values[begin + i] = keys.value(targets[i].prefix << (64 - 16 * level));
        }
    }
}

void Streamed::refine(const Keys& keys, int level, std::vector<Target>& targets) {
    std::vector<std::uint64_t> prefixes;
    for (const Target& target : targets) prefixes.push_back(target.prefix);
    std::sort(prefixes.begin(), prefixes.end());
    prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
    const std::size_t tables = prefixes.size();
    const int shift = 64 - 16 * level;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(threads_) * tables * kDigits);
    parallel_for(threads_, unit_count(frames_), [&](std::int64_t index, int thread) {
        std::uint64_t found[kUnit];
        const std::int64_t n = keys.read(frames_, index, found);
        std::int64_t* mine = counts.data() + static_cast<std::size_t>(thread) * tables * kDigits;
        for (std::int64_t i = 0; i < n; ++i) {
            const std::uint64_t prefix = found[i] >> shift, digit = found[i] >> (shift - 16) & 0xffffu;
            for (std::size_t table = 0; table < tables; ++table) {
                if (prefixes[table] == prefix) ++mine[table * kDigits + digit];
            }
        }
    });
    for (std::size_t i = tables * kDigits; i < counts.size(); ++i) counts[i % (tables * kDigits)] += counts[i];
    for (Target& target : targets) {
        const auto found = std::lower_bound(prefixes.begin(), prefixes.end(), target.prefix);
        const std::size_t table = static_cast<std::size_t>(found - prefixes.begin());
        const std::uint64_t digit = find_digit(counts.data() + table * kDigits, target.rank);
        target.prefix = target.prefix << 16 | digit;
        target.candidates = counts[table * kDigits + digit];
    }
}

void Streamed::collect(const Keys& keys, int level, const std::vector<Target>& targets, double* values) {
    const int shift = 64 - 16 * level;
    std::int64_t most = 0;
    for (const Target& target : targets) most += target.candidates;
    std::vector<std::uint64_t> gathered(static_cast<std::size_t>(most));
    std::atomic<std::int64_t> used{0};
    parallel_for(threads_, unit_count(frames_), [&](std::int64_t index, int) {
        std::uint64_t found[kUnit];
        const std::int64_t n = keys.read(frames_, index, found);
        const auto end = std::remove_if(found, found + n, [&](std::uint64_t key) {
            return std::none_of(targets.begin(), targets.end(), [&](const Target& target) { return target.prefix == key >> shift; });
        });
        std::copy(found, end, gathered.begin() + used.fetch_add(end - found, std::memory_order_relaxed));
    });
    gathered.resize(static_cast<std::size_t>(used.load()));  // targets may share candidates
    std::sort(gathered.begin(), gathered.end());              // the order of arrival depends on the threads, the sorted one does not
    for (std::size_t i = 0; i < targets.size(); ++i) {
        const auto first = std::lower_bound(gathered.begin(), gathered.end(), targets[i].prefix << shift);
        values[i] = keys.value(first[targets[i].rank]);
    }
}

Moments Streamed::moments(double low, double high, double shift) {
    Moments total{0, 0, 0.0, 0.0};
    if (shift == survey_->shift() && survey_->moments(low, high, &total)) return total;
    std::vector<Moments> parts(static_cast<std::size_t>(unit_count(frames_)), total);
    parallel_for(threads_, unit_count(frames_), [&](std::int64_t index, int) {
        double values[kUnit];
        const Unit unit = unit_at(frames_, index);
        read_unit(frames_, unit, values);
        ZOO_DISPATCH(moments_span, values, unit.n, low, high, shift, &parts[static_cast<std::size_t>(index)]);
    });
    for (const Moments& part : parts) {  // in row order, whatever thread worked on which
        total.below += part.below;
        total.count += part.count;
        total.sum += part.sum;
        total.squares += part.squares;
    }
    return total;
}

}  // namespace zoo
