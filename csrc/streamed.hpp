// A population that is read from the frames anew for each question: many pixels of more than 16 bits.
#pragma once

#include <optional>
#include <vector>

#include "statistics.hpp"
#include "survey.hpp"

namespace zoo {

class Streamed final : public Population {
public:
    Streamed(const Frames& frames, int threads);

    void prepare(const StatisticsRequest& request) override;
    std::int64_t count() const override { return survey_->count(); }
    Extremes extremes() override { return {survey_->min(), survey_->max()}; }
    void select(const std::int64_t* ranks, std::int64_t n, double* values) override;
    void select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) override;
    double guess() override { return survey_->shift(); }
    Moments moments(double low, double high, double shift) override;

private:
    struct Keys;
    struct Target;
    void select_keys(const Keys& keys, const std::int64_t* ranks, std::int64_t n, double* values);
    void refine(const Keys& keys, int level, std::vector<Target>& targets);
    void collect(const Keys& keys, int level, const std::vector<Target>& targets, double* values);
    std::vector<std::int64_t> count_top(const Keys& keys);

    Frames frames_;
    int threads_;
    int levels_;  // 16-bit digits of a key that differ between values: 2 where all values are floats, else 4
    std::optional<Survey> survey_;
};

}  // namespace zoo
