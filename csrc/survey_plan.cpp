// What a sorted sample says about where the sought values lie.
#include <algorithm>
#include <cmath>

#include "survey.hpp"

namespace zoo {
namespace {

constexpr double kReach = 6.0;    // standard deviations of a sample's rank; neighbours are alike, so more than usual
constexpr double kMargin = 0.1;   // of the reach of clipping, between the bounds of the sample and the core
constexpr double kLargest = 1.7976931348623157e308;  // what lies beyond the sample is bracketed by it

double value_at(const std::vector<double>& sorted, double rank) {
    if (rank < 0.0) return -kLargest;
    if (rank > static_cast<double>(sorted.size() - 1)) return kLargest;
    return sorted[static_cast<std::size_t>(rank)];
}

// Distances from center, ascending, of a sorted sample.
std::vector<double> distances_of(const std::vector<double>& sorted, double center) {
    std::vector<double> result(sorted.size());
    std::size_t right = static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), center) - sorted.begin()), left = right;
    for (double& distance : result) {
        const double below = left > 0 ? center - sorted[left - 1] : HUGE_VAL;
        const double above = right < sorted.size() ? sorted[right] - center : HUGE_VAL;
        distance = below < above ? below : above;
        below < above ? static_cast<void>(--left) : static_cast<void>(++right);
    }
    return result;
}

}  // namespace

Ranks ranks_about(double first, double last_fraction, double last) {
    const auto reach = [&](double fraction) { return kReach * std::sqrt(fraction * (1.0 - fraction) * last) + kReach; };
    return {first * last - reach(first), last_fraction * last + reach(last_fraction)};
}

void Survey::plan_brackets(const std::vector<double>& sample, const SurveyPlan& plan) {
    const double last = static_cast<double>(sample.size() - 1);
    shift_ = sample[sample.size() / 2];
    const std::size_t reserved = (plan.distances ? 2 : 0) + (plan.clip_maxiters > 0 ? 3 : 0);
    std::vector<double> ordered = plan.fractions;
    std::sort(ordered.begin(), ordered.end());
    const auto alike = [&](double a, double b) { return (b - a) * last < 1.0; };  // neighbouring ranks share a bracket
    ordered.erase(std::unique(ordered.begin(), ordered.end(), alike), ordered.end());
    ordered.resize(std::min<std::size_t>(ordered.size(), kMostBrackets - reserved));
    for (const double fraction : ordered) {
        const Ranks ranks = ranks_about(fraction, fraction, last);
        add_bracket(value_at(sample, ranks.low), value_at(sample, ranks.high));
    }
    if (plan.distances) plan_distances(sample);
    if (plan.clip_maxiters > 0) plan_clipping(sample, plan);
}

// Pixels may be one MAD from the median if they are for some median and some MAD that the sample admits.
void Survey::plan_distances(const std::vector<double>& sample) {
    const Ranks ranks = ranks_about(0.5, 0.5, static_cast<double>(sample.size() - 1));
    const double low = value_at(sample, ranks.low), high = value_at(sample, ranks.high);
    const std::vector<double> distances = distances_of(sample, shift_);
    const double nearest = value_at(distances, ranks.low), farthest = value_at(distances, ranks.high);
    const double inner_left = high - nearest, inner_right = low + nearest;
    left_ = right_ = static_cast<int>(brackets_.size());
    if (inner_left < inner_right) {
        add_bracket(low - farthest, inner_left);
        add_bracket(inner_right, high + farthest);
        right_ = left_ + 1;
    } else {
        add_bracket(low - farthest, high + farthest);
    }
}

// Clips the sample: what stays by a margin is the core, and one bracket holds the medians of all rounds.
void Survey::plan_clipping(const std::vector<double>& sample, const SurveyPlan& plan) {
    std::vector<double> sums(sample.size() + 1), squares(sample.size() + 1);
    for (std::size_t i = 0; i < sample.size(); ++i) {
        const double distance = sample[i] - shift_;
        sums[i + 1] = sums[i] + distance;
        squares[i + 1] = squares[i] + distance * distance;
    }
    Clip clip{-HUGE_VAL, HUGE_VAL, 0.0, 0.0};
    std::size_t first = 0, end = sample.size();
    double lowest = 0.5, highest = 0.5, reach = 0.0;  // of the medians, as fractions of all
    for (int round = 0; round < plan.clip_maxiters && first < end; ++round) {
        const Moments m{0, static_cast<std::int64_t>(end - first), sums[end] - sums[first], squares[end] - squares[first]};
        const std::size_t middle = first + (end - first) / 2, before = end - first;
        const double fraction = static_cast<double>(middle) / static_cast<double>(sample.size());
        lowest = std::min(lowest, fraction);
        highest = std::max(highest, fraction);
        reach = plan.clip_sigma * deviation_of(m);
        clip_round(sample[middle], deviation_of(m), plan.clip_sigma, &clip);
        first = static_cast<std::size_t>(std::lower_bound(sample.begin(), sample.end(), clip.low) - sample.begin());
        end = static_cast<std::size_t>(std::upper_bound(sample.begin(), sample.end(), clip.high) - sample.begin());
        if (end - first == before) break;
    }
    const double core_low = clip.low + kMargin * reach, core_high = clip.high - kMargin * reach;
    if (!(first < end && core_low < core_high)) return;
    core_low_ = core_low;
    core_high_ = core_high;
    const Ranks ranks = ranks_about(lowest, highest, static_cast<double>(sample.size() - 1));
    add_bracket(value_at(sample, ranks.low), value_at(sample, ranks.high));
    tails_ = static_cast<int>(brackets_.size());
    add_bracket(-kLargest, core_low_);
    add_bracket(core_high_, kLargest);
}

}  // namespace zoo
