#include "statistics.hpp"

#include <algorithm>
#include <vector>

#include "parallel.hpp"
#include "streamed.hpp"
#include "windowed.hpp"

namespace zoo {
namespace {

struct Settled {
    Moments moments;
    double shift;
};

// Moments about a shift near enough to their mean; guess: the first shift to try.
Settled settle(Population& population, double low, double high, double guess) {
    Settled result{population.moments(low, high, guess), guess};
    for (int round = 0; round < 3 && is_far(result.moments); ++round) {
        result.shift = mean_of(result.moments, result.shift);
        result.moments = population.moments(low, high, result.shift);
    }
    return result;
}

double median_of(Population& population, std::int64_t first, std::int64_t count) {
    const std::int64_t ranks[2] = {first + (count - 1) / 2, first + count / 2};
    double values[2];
    population.select(ranks, 2, values);
    return middle(values[0], values[1], count);
}

void fill_clip(Population& population, const StatisticsRequest& request, double median, Settled settled, double* row) {
    Clip clip{-HUGE_VAL, HUGE_VAL, static_cast<double>(NAN), static_cast<double>(NAN)};
    for (int round = 0; round < request.clip_maxiters; ++round) {
        const std::int64_t before = settled.moments.count;
        clip_round(before > 0 ? median : static_cast<double>(NAN), deviation_of(settled.moments), request.clip_sigma, &clip);
        if (before == 0) break;
        settled = settle(population, clip.low, clip.high, population.guess());
        if (settled.moments.count == before) break;
        if (settled.moments.count > 0) median = median_of(population, settled.moments.below, settled.moments.count);
    }
    const Moments& left = settled.moments;
    row[kClipCount] = static_cast<double>(left.count);
    row[kClipLow] = clip.last_low;
    row[kClipHigh] = clip.last_high;
    row[kClipMean] = mean_of(left, settled.shift);
    row[kClipMedian] = left.count > 0 ? median : static_cast<double>(NAN);
    row[kClipStd] = deviation_of(left);
}

// Median and quantiles in one selection, which reads the pixels once for all of them. Returns the median.
double fill_order(Population& population, const StatisticsRequest& request, bool median_wanted, double* row) {
    const std::int64_t count = population.count();
    std::vector<std::int64_t> ranks;
    for (std::int64_t i = 0; i < request.quantile_count; ++i) {
        const Place place = quantile_place(count, request.quantiles[i]);
        ranks.push_back(place.low);
        ranks.push_back(place.high);
    }
    if (median_wanted) {
        ranks.push_back((count - 1) / 2);
        ranks.push_back(count / 2);
    }
    std::vector<double> values(ranks.size());
    population.select(ranks.data(), static_cast<std::int64_t>(ranks.size()), values.data());
    for (std::int64_t i = 0; i < request.quantile_count; ++i) {
        row[kColumns + i] = interpolate(values[2 * i], values[2 * i + 1], quantile_place(count, request.quantiles[i]).fraction);
    }
    return median_wanted ? middle(values[values.size() - 2], values.back(), count) : 0.0;
}

void fill_moments(Population& population, const StatisticsRequest& request, double median, double* row) {
    const Settled settled = settle(population, -HUGE_VAL, HUGE_VAL, population.guess());
    if (request.wanted & kWantMoments) {
        row[kMean] = mean_of(settled.moments, settled.shift);
        row[kStd] = deviation_of(settled.moments);
    }
    if (request.wanted & kWantClip) fill_clip(population, request, median, settled, row);
}

void fill_row(Population& population, const StatisticsRequest& request, double* row) {
    const bool moments_wanted = request.wanted & (kWantMoments | kWantClip);
    const bool median_wanted = request.wanted & (kWantMedian | kWantMad | kWantClip);
    population.prepare(request);
    const std::int64_t count = population.count();
    if (request.wanted & kBasic) row[kCount] = static_cast<double>(count);
    if (count == 0) return;
    double median = 0.0;
    if (median_wanted || request.quantile_count > 0) {
        const double found = fill_order(population, request, median_wanted, row);
        if (median_wanted) median = found;
    }
    if (request.wanted & (kWantMedian | kWantMad)) row[kMedian] = median;
    if (request.wanted & kWantMad) {
        const std::int64_t ranks[2] = {(count - 1) / 2, count / 2};
        double values[2];
        population.select_distances(median, ranks, 2, values);
        row[kMad] = middle(values[0], values[1], count);
    }
    if (moments_wanted) fill_moments(population, request, median, row);
    if (!(request.wanted & kBasic)) return;
    const Extremes extremes = population.extremes();
    row[kMin] = extremes.min;
    row[kMax] = extremes.max;
}

void fit_zscale(std::vector<double>& samples, const ZScaleParameters& parameters, double* row) {
    std::sort(samples.begin(), samples.end());
    std::vector<unsigned char> bad(samples.size()), grown(samples.size());
    zscale_limits(samples.data(), static_cast<std::int64_t>(samples.size()), parameters, bad.data(), grown.data(), row + kZLow);
}

// Samples every stride-th pixel.
void fill_zscale_of_all(const Frames& frames, const ZScaleParameters& parameters, double* row) {
    const std::int64_t stride = zscale_stride(frames.pixels(), parameters.samples);
    std::vector<double> samples(static_cast<std::size_t>(zscale_sample_size(frames.pixels(), parameters.samples)));
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const std::int64_t place = static_cast<std::int64_t>(i) * stride, line = place / frames.out_width;
        read_unit(frames, {line / frames.out_height, line % frames.out_height, place % frames.out_width, 1}, &samples[i]);
    }
    fit_zscale(samples, parameters, row);
}

std::int64_t count_valid(const Frames& frames, const Unit& unit) {
    Comparison<float> floats{};
    Comparison<double> doubles{};
    for_each_piece(frames, unit, [&](std::int64_t region, const unsigned char* data, std::int64_t n, std::int64_t) {
        if (is_plain_float(frames, region)) {
            ZOO_DISPATCH(compare_floats_span, frames.kind, data, n, &floats);
            return;
        }
        double values[kUnit];
        ZOO_DISPATCH(read_span, frames.kind, data, n, calibration_of(frames, region), values);
        ZOO_DISPATCH(compare_span, values, n, &doubles);
    });
    return floats.count + doubles.count;
}

// Samples every stride-th valid pixel in row order.
void fill_zscale(const Frames& frames, const ZScaleParameters& parameters, double* row, int threads) {
    const std::int64_t units = unit_count(frames);
    std::vector<std::int64_t> first(static_cast<std::size_t>(units) + 1);  // valid pixels before each unit
    parallel_for(threads, units, [&](std::int64_t index, int) {
        first[static_cast<std::size_t>(index) + 1] = count_valid(frames, unit_at(frames, index));
    });
    for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    const std::int64_t count = first.back();
    if (count == 0) return;
    const std::int64_t stride = zscale_stride(count, parameters.samples), n = zscale_sample_size(count, parameters.samples);
    std::vector<double> samples(static_cast<std::size_t>(n));
    parallel_for(threads, units, [&](std::int64_t index, int) {
        std::int64_t place = first[static_cast<std::size_t>(index)];
        std::int64_t next = (place + stride - 1) / stride;  // the first sample at or after place
        if (next >= n || next * stride >= first[static_cast<std::size_t>(index) + 1]) return;
        double values[kUnit];
        const Unit unit = unit_at(frames, index);
        read_unit(frames, unit, values);
        for (std::int64_t i = 0; i < unit.n && next < n; ++i) {
            if (values[i] != values[i]) continue;
            if (place++ == next * stride) samples[static_cast<std::size_t>(next++)] = values[i];
        }
    });
    fit_zscale(samples, parameters, row);
}

}  // namespace

void statistics_cpu(const Frames& frames, const StatisticsRequest& request, double* row, int threads) {
    std::fill(row, row + kColumns + request.quantile_count, static_cast<double>(NAN));
    row[kCount] = row[kClipCount] = 0.0;
    threads = usable_threads(threads);
    if (request.wanted & kWantZScale) {
        if (all_valid(frames)) {
            fill_zscale_of_all(frames, request.zscale, row);
        } else {
            fill_zscale(frames, request.zscale, row, threads);
        }
    }
    if (request.wanted == kWantZScale && request.quantile_count == 0) return;
    if (Windowed::suits(frames, request)) {
        Windowed population(frames, threads);
        fill_row(population, request, row);
    } else if (Lattice::suits(frames)) {
        Lattice population(frames, threads);
        fill_row(population, request, row);
    } else {
        Streamed population(frames, threads);
        fill_row(population, request, row);
    }
}

}  // namespace zoo
