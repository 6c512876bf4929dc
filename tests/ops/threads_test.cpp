// The CPU kernels from several threads at once, and on several threads each, without Python: what ThreadSanitizer can follow. Every result
// must have the bits of the same call on one thread. Prints the first difference and exits 1.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blur.hpp"
#include "convolve.hpp"
#include "decode.hpp"
#include "multirate.hpp"
#include "normalize.hpp"
#include "statistics.hpp"
#include "stem.hpp"

namespace {

using Bytes = std::vector<unsigned char>;

constexpr std::int64_t kFrames = 2, kHeight = 96, kWidth = 2051;  // rows of three units, the last one short
constexpr std::int64_t kPixels = kFrames * kHeight * kWidth;

template <class T, class Draw>
Bytes stored(Draw draw) {
    Bytes bytes(sizeof(T) * kPixels);
    for (std::int64_t i = 0; i < kPixels; ++i) {
        const T value = draw(i);
        std::memcpy(bytes.data() + sizeof(T) * i, &value, sizeof(T));
    }
    return bytes;
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
    Bytes bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

class Scratch {
public:
    explicit Scratch(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes) + 64) {}
    void* data() { return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(bytes_.data()) + 63) & ~std::uintptr_t{63}); }

private:
    Bytes bytes_;
};

struct Sky {
    std::mt19937_64 random{1};
    std::normal_distribution<double> noise{1000.0, 60.0};
    double operator()(std::int64_t i) { return i % 977 == 0 ? std::numeric_limits<double>::quiet_NaN() : noise(random); }
};

struct Case {
    std::string name;
    int kind;
    Bytes pixels;
};

std::vector<Case> cases() {
    Sky sky;
    const auto whole = [&](std::int64_t i) { return std::isnan(sky(i)) ? -32768.0 : std::round(sky.noise(sky.random)); };
    std::vector<Case> all;
    all.push_back({"int16", zoo::kBeI16, stored<std::uint16_t>([&](std::int64_t i) {
                       return zoo::swap_bytes(static_cast<std::uint16_t>(static_cast<std::int16_t>(whole(i))));
                   })});
    all.push_back({"int32", zoo::kI32, stored<std::int32_t>([&](std::int64_t i) { return static_cast<std::int32_t>(whole(i)); })});
    all.push_back({"float32", zoo::kF32, stored<float>([&](std::int64_t i) { return static_cast<float>(sky(i)); })});
    all.push_back({"float64", zoo::kF64, stored<double>([&](std::int64_t i) { return sky(i); })});
    return all;
}

// Two amplifiers with biases of their own, as a raw frame has them.
const zoo::Region kRegions[] = {{0, 0, kHeight, 1025, 0, 0, 10.25, 1.5}, {0, 1025, kHeight, kWidth - 1025, 0, 1025, 12.5, 1.0}};
const zoo::Region kWhole[] = {{0, 0, kHeight, kWidth, 0, 0, 0.0, 1.0}};

zoo::Frames frames_of(const Case& c, bool calibrated) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    const zoo::Calibration calibration{1.0, 0.0, 0.0, 1.0, none, -32768, c.kind == zoo::kBeI16 || c.kind == zoo::kI32, false, false};
    return {c.pixels.data(), c.kind, kFrames, kHeight, kWidth, kHeight, kWidth, calibration, calibrated ? kRegions : kWhole, calibrated ? 2 : 1};
}

Bytes decoded(const zoo::Frames& frames, int threads) {
    Bytes out(sizeof(float) * kPixels);
    zoo::decode_cpu(frames, zoo::Dtype::float32, out.data(), threads);
    return out;
}

Bytes figures(const zoo::Frames& frames, int threads) {
    const double quantiles[] = {0.01, 0.5, 0.99};
    const zoo::StatisticsRequest request{quantiles, 3, zoo::kBasic | zoo::kWantMoments | zoo::kWantMedian | zoo::kWantMad | zoo::kWantClip |
                                         zoo::kWantZScale, 3.0, 5, {1000, 0.25, 0.5, 5, 2.5, 5}};
    Bytes row(sizeof(double) * (zoo::kColumns + 3));
    zoo::statistics_cpu(frames, request, reinterpret_cast<double*>(row.data()), threads);
    return row;
}

Bytes normalized(const zoo::Frames& frames, int threads) {
    zoo::NormalizeParameters p{};
    p.low = 0.0;
    p.high = 1.0;
    p.top = 1.0f;
    p.marker = std::numeric_limits<float>::quiet_NaN();
    p.lowest = 0.0f;
    p.stretch = {10.0f, static_cast<float>(1.0 / std::asinh(10.0)), 1.0f};
    const double limits[] = {900.0, 1200.0, 950.0, 1250.0};
    Bytes out(sizeof(float) * kPixels);
    zoo::normalize_cpu(frames, limits, zoo::kAsinh, p, zoo::Dtype::float32, out.data(), threads);
    return out;
}

Bytes blurred(const Bytes& image, zoo::NanTreatment treatment, int threads) {
    constexpr std::int64_t radius = 5;
    float taps[2 * (radius + 1)];
    for (int axis = 0; axis < 2; ++axis) {
        for (std::int64_t i = 0; i <= radius; ++i) taps[axis * (radius + 1) + i] = i == 0 ? 0.2f : 0.08f;
    }
    const std::int64_t radii[] = {radius, radius};
    Bytes out(sizeof(float) * kPixels);
    zoo::BlurArguments a{};
    a.image = image.data();
    a.out = out.data();
    a.taps = taps;
    a.radii = radii;
    a.sets = 1;
    a.max_radius = radius;
    a.frames = kFrames;
    a.height = kHeight;
    a.width = kWidth;
    a.dtype = zoo::Dtype::float32;
    a.border = zoo::Border::reflect;
    a.nan_treatment = treatment;
    Scratch scratch(zoo::blur_cpu_scratch_bytes(a, threads));
    zoo::blur_cpu(a, scratch.data(), threads);
    return out;
}

Bytes convolved(const Bytes& image, zoo::NanTreatment treatment, int threads) {
    float kernel[5 * 7];
    for (int i = 0; i < 5 * 7; ++i) kernel[i] = static_cast<float>(i + 1) / 630.0f;
    Bytes out(sizeof(float) * kPixels);
    zoo::ConvolveArguments a{};
    a.image = image.data();
    a.out = out.data();
    a.kernel = kernel;
    a.kernel_height = 5;
    a.kernel_width = 7;
    a.frames = kFrames;
    a.height = kHeight;
    a.width = kWidth;
    a.dtype = zoo::Dtype::float32;
    a.border = zoo::Border::mirror;
    a.nan_treatment = treatment;
    a.scale = 1.0;
    Scratch scratch(zoo::convolve_cpu_scratch_bytes(a, threads));
    zoo::convolve_cpu(a, scratch.data(), threads);
    return out;
}

// The coarse frames, and behind them the pixels that are made of them.
Bytes at_two_rates(const Bytes& image, int threads) {
    constexpr std::int64_t step = 4, margin = 2;
    float taps[zoo::multirate_reach * step];
    for (std::int64_t i = 0; i < zoo::multirate_reach * step; ++i) taps[i] = 0.05f;
    const auto axis = [&](std::int64_t size) { return zoo::MultirateAxis{taps, step, margin, margin + (size - 1) / step + 4}; };
    const zoo::MultirateAxis down = axis(kHeight), across = axis(kWidth);
    const std::size_t coarse = sizeof(float) * static_cast<std::size_t>(kFrames * down.coarse * across.coarse);
    Bytes both(coarse + sizeof(float) * kPixels);
    zoo::MultirateArguments a{};
    a.image = image.data();
    a.coarse = both.data();
    a.out = both.data() + coarse;
    a.frames = kFrames;
    a.height = kHeight;
    a.width = kWidth;
    a.dtype = zoo::Dtype::float32;
    a.border = zoo::Border::reflect;
    a.down = down;
    a.across = across;
    Scratch scratch(zoo::multirate_scratch_bytes(a, threads));
    zoo::multirate_decimate(a, scratch.data(), threads);
    zoo::multirate_interpolate(a, scratch.data(), threads);
    return both;
}

zoo::StemAxis stem_axis(std::int64_t size) {
    constexpr std::int64_t kernel = 7, stride = 2, padding = 3, pool = 3, pool_stride = 2, pool_padding = 1;
    const std::int64_t map = (size + 2 * padding - kernel) / stride + 1, pooled = (map + 2 * pool_padding - pool) / pool_stride + 1;
    return {size, kernel, stride, padding, pool, pool_stride, pool_padding, map, pooled};
}

// What training takes of a stem: its result, the gradients of its weight and bias for a gradient of ones, and the moments of its patches.
Bytes stem_of(const Bytes& image, int threads) {
    constexpr std::int64_t channels = 40, padded = 64, taps = 49;
    zoo::StemArguments a{};
    a.image = image.data();
    a.frames = kFrames;
    a.frame_stride = kHeight * kWidth;
    a.row_stride = kWidth;
    a.dtype = zoo::Dtype::float32;
    a.vertical = stem_axis(kHeight);
    a.horizontal = stem_axis(kWidth);
    a.channels = channels;
    const std::size_t pixels = static_cast<std::size_t>(kFrames * a.vertical.pooled * a.horizontal.pooled * channels);
    std::vector<float> weight(taps * padded), bias(padded), out(pixels), ones(pixels, 1.0f);
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 11) / 11.0f - 0.5f;
    std::vector<unsigned char> places(pixels);
    std::vector<double> gradients(channels * (taps + 1)), moments(taps * (taps + 1));

    Scratch forward(zoo::stem_forward_scratch_bytes(a, threads));
    zoo::stem_forward_cpu(a, {weight.data(), bias.data(), out.data(), places.data(), zoo::Dtype::float32, 1}, forward.data(), threads);
    Scratch backward(zoo::stem_backward_scratch_bytes(a, threads));
    double* of_bias = gradients.data() + channels * taps;
    zoo::stem_backward_cpu(a, {ones.data(), places.data(), zoo::Dtype::float32, 1, gradients.data(), of_bias}, backward.data(), threads);
    Scratch patches(zoo::stem_patches_scratch_bytes(a, threads));
    zoo::stem_patches_cpu(a, 1000.0, moments.data(), moments.data() + taps, patches.data(), threads);

    Bytes all = bytes_of(out);
    for (const Bytes& more : {places, bytes_of(gradients), bytes_of(moments)}) all.insert(all.end(), more.begin(), more.end());
    return all;
}

struct Result {
    std::string name;
    Bytes bytes;
};

std::vector<Result> all_of(const std::vector<Case>& cases, int threads) {
    std::vector<Result> results;
    for (const Case& c : cases) {
        for (const bool calibrated : {false, true}) {
            const zoo::Frames frames = frames_of(c, calibrated);
            const std::string name = c.name + (calibrated ? ", two regions" : "");
            results.push_back({"decode " + name, decoded(frames, threads)});
            results.push_back({"statistics " + name, figures(frames, threads)});
            results.push_back({"normalize " + name, normalized(frames, threads)});
        }
        if (c.kind != zoo::kF32) continue;
        results.push_back({"blur", blurred(c.pixels, zoo::NanTreatment::propagate, threads)});
        results.push_back({"blur over NaN", blurred(c.pixels, zoo::NanTreatment::interpolate, threads)});
        results.push_back({"convolution", convolved(c.pixels, zoo::NanTreatment::propagate, threads)});
        results.push_back({"convolution over NaN", convolved(c.pixels, zoo::NanTreatment::interpolate, threads)});
        results.push_back({"blur at two rates", at_two_rates(c.pixels, threads)});
        results.push_back({"stem", stem_of(c.pixels, threads)});
    }
    return results;
}

int differences(const std::vector<Result>& expected, const std::vector<Result>& got, const char* where) {
    int found = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (expected[i].bytes == got[i].bytes) continue;
        std::fprintf(stderr, "%s: %s differs from the same call on one thread\n", where, expected[i].name.c_str());
        ++found;
    }
    return found;
}

}  // namespace

int main() {
    const std::vector<Case> inputs = cases();
    const std::vector<Result> expected = all_of(inputs, 1);
    int found = differences(expected, all_of(inputs, 4), "four threads");

    std::vector<std::vector<Result>> results(3);
    std::vector<std::thread> callers;
    for (std::vector<Result>& mine : results) callers.emplace_back([&] { mine = all_of(inputs, 2); });
    for (std::thread& caller : callers) caller.join();
    for (const std::vector<Result>& each : results) found += differences(expected, each, "three callers at once");

    std::printf("%zu results with the instruction set %s: %d differences\n", expected.size(), zoo::isa_name(zoo::isa()), found);
    return found == 0 ? 0 : 1;
}
