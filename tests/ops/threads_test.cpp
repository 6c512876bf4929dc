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
#include "decode.hpp"
#include "normalize.hpp"
#include "statistics.hpp"

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
    Bytes scratch(static_cast<std::size_t>(zoo::blur_cpu_scratch_bytes(a, threads)) + 64);
    const std::uintptr_t address = (reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) & ~std::uintptr_t{63};
    zoo::blur_cpu(a, reinterpret_cast<void*>(address), threads);
    return out;
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
