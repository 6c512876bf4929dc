// A population as sorted distinct values with their counts: integers of up to 16 bits, whose histograms per region are merged as shifted
// lattices, so that fractional biases cost no exactness; and few pixels of any type, sorted.
#pragma once

#include <utility>
#include <vector>

#include "codes.hpp"
#include "statistics.hpp"

namespace zoo {

using Entry = std::pair<double, std::int64_t>;  // a value and how many pixels have it

// Entries of n <= kUnit neighbouring codes of a region; counts: how often each occurs. Those that do not, or are invalid, are left out.
template <class Count>
void append_codes(const Frames& frames, std::int64_t region, std::int64_t first, std::int64_t n, const Count* counts,
                  std::vector<Entry>& entries) {
    double values[kUnit];
    ZOO_DISPATCH(code_values_span, frames.kind, first, n, calibration_of(frames, region), values);
    for (std::int64_t i = 0; i < n; ++i) {
        if (counts[i] > 0 && values[i] == values[i]) entries.emplace_back(values[i], static_cast<std::int64_t>(counts[i]));
    }
}

class Lattice final : public Population {
public:
    static bool suits(const Frames& frames);
    Lattice(const Frames& frames, int threads);
    Lattice(const Frames& frames, const std::uint32_t* counts) { take_counts(frames, counts); }  // by region and code, kCodes of each

    void prepare(const StatisticsRequest&) override {}
    std::int64_t count() const override { return upto_.empty() ? 0 : upto_.back(); }
    Extremes extremes() override { return {values_.front(), values_.back()}; }
    void select(const std::int64_t* ranks, std::int64_t n, double* values) override;
    void select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) override;
    double guess() override { return at(count() / 2); }
    Moments moments(double low, double high, double shift) override;

private:
    std::int64_t count_of(std::size_t i) const { return i == 0 ? upto_[0] : upto_[i] - upto_[i - 1]; }
    double at(std::int64_t rank) const;
    template <class Count>
    void take_counts(const Frames& frames, const Count* counts);

    std::vector<double> values_;      // ascending
    std::vector<std::int64_t> upto_;  // pixels up to and with this value
};

}  // namespace zoo
