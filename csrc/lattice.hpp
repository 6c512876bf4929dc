// A population as sorted distinct values with their counts: integers of up to 16 bits, whose histograms per region are merged as shifted
// lattices, so that fractional biases cost no exactness; and few pixels of any type, sorted.
#pragma once

#include <vector>

#include "statistics.hpp"

namespace zoo {

class Lattice final : public Population {
public:
    static bool suits(const Frames& frames);
    Lattice(const Frames& frames, int threads);

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

    std::vector<double> values_;      // ascending
    std::vector<std::int64_t> upto_;  // pixels up to and with this value
};

}  // namespace zoo
