// The limits of IRAF's z-scale from a sorted sample, as astropy.visualization.ZScaleInterval finds them: shared by CPU and CUDA.
//
// Algorithm of the NOAO IRAF task numdisplay; the straight line is fitted in closed form about the mean.
#pragma once

#include "order.hpp"

namespace zoo {

struct ZScaleParameters {
    std::int64_t samples;
    double contrast, max_reject;
    std::int64_t min_npixels;
    double krej;
    int max_iterations;
};

// Every stride-th of count valid pixels is sampled.
ZOO_FN std::int64_t zscale_stride(std::int64_t count, std::int64_t samples) {
    const double stride = static_cast<double>(count) / static_cast<double>(samples);
    return stride > 1.0 ? static_cast<std::int64_t>(stride) : 1;
}

ZOO_FN std::int64_t zscale_sample_size(std::int64_t count, std::int64_t samples) {
    const std::int64_t stride = zscale_stride(count, samples);
    const std::int64_t available = (count + stride - 1) / stride;
    return available < samples ? available : samples;
}

struct Line {
    double center, height, slope;
};

// Least squares through the samples that are not bad, of which there are left > 1.
ZOO_FN Line fit_line(const double* samples, const unsigned char* bad, std::int64_t n, std::int64_t left) {
    double x = 0.0, y = 0.0, xx = 0.0, xy = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
        if (bad[i]) continue;
        x += static_cast<double>(i);
        y += samples[i];
    }
    const double count = static_cast<double>(left), x_mean = x / count, y_mean = y / count;
    for (std::int64_t i = 0; i < n; ++i) {
        if (bad[i]) continue;
        const double dx = static_cast<double>(i) - x_mean;
        xx += dx * dx;
        xy += dx * (samples[i] - y_mean);
    }
    return {x_mean, y_mean, xy / xx};
}

// samples: sorted, n >= 1 of them. bad, grown: n bytes each to work in. limits: vmin and vmax.
ZOO_FN void zscale_limits(const double* samples, std::int64_t n, const ZScaleParameters& p, unsigned char* bad, unsigned char* grown,
                          double* limits) {
    limits[0] = samples[0];
    limits[1] = samples[n - 1];
    const std::int64_t rejected = static_cast<std::int64_t>(static_cast<double>(n) * p.max_reject);
    const std::int64_t fewest = p.min_npixels > rejected ? p.min_npixels : rejected;
    const std::int64_t window = n >= 200 ? static_cast<std::int64_t>(static_cast<double>(n) * 0.01) : 1;
    for (std::int64_t i = 0; i < n; ++i) bad[i] = 0;
    std::int64_t left = n, before = n + 1;
    double slope = 0.0;
    for (int round = 0; round < p.max_iterations && left < before && left >= fewest; ++round) {
        const Line line = fit_line(samples, bad, n, left);
        slope = line.slope;
        const auto residual = [&](std::int64_t i) { return samples[i] - (line.height + line.slope * (static_cast<double>(i) - line.center)); };
        double mean = 0.0, squares = 0.0;
        for (std::int64_t i = 0; i < n; ++i) mean += bad[i] ? 0.0 : residual(i);
        mean /= static_cast<double>(left);
        for (std::int64_t i = 0; i < n; ++i) squares += bad[i] ? 0.0 : (residual(i) - mean) * (residual(i) - mean);
        const double threshold = p.krej * sqrt(squares / static_cast<double>(left));
        for (std::int64_t i = 0; i < n; ++i) bad[i] = bad[i] || residual(i) < -threshold || residual(i) > threshold;
        before = left;
        left = 0;
        // neighbours of a bad sample are bad: a window about each, longer to the left when it is even, as in numpy.convolve(mode="same")
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t first = i - window / 2 > 0 ? i - window / 2 : 0;
            const std::int64_t last = i + window - window / 2 - 1 < n - 1 ? i + window - window / 2 - 1 : n - 1;
            grown[i] = 0;
            for (std::int64_t j = first; j <= last; ++j) grown[i] = static_cast<unsigned char>(grown[i] | bad[j]);
            left += !grown[i];
        }
        for (std::int64_t i = 0; i < n; ++i) bad[i] = grown[i];
    }
    if (left < fewest) return;
    if (p.contrast > 0.0) slope /= p.contrast;
    const std::int64_t center = (n - 1) / 2;
    const double median = middle(samples[(n - 1) / 2], samples[n / 2], n);
    const double vmin = median - static_cast<double>(center - 1) * slope, vmax = median + static_cast<double>(n - center) * slope;
    limits[0] = vmin > limits[0] ? vmin : limits[0];
    limits[1] = vmax < limits[1] ? vmax : limits[1];
}

}  // namespace zoo
