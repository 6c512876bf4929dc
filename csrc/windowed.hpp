// Order statistics of many 16-bit integers, all of them valid, without a histogram of all codes: a sample tells between which values the
// sought ones lie, the pixels below each such window are counted in vectors, and only the few inside one by one. Exact: a rank that no
// window holds is found in the whole histogram.
#pragma once

#include <optional>
#include <vector>

#include "lattice.hpp"

namespace zoo {

constexpr int kMostWindows = 4;

// Windows of codes of one region, and what its pixels are in relation to them.
struct CodeWindows {
    int n;
    std::int16_t low[kMostWindows];     // codes as signed numbers
    std::uint16_t reach[kMostWindows];  // highest code - low
    std::int64_t below[kMostWindows];   // pixels under low
    std::uint32_t* counts;              // by code as a native number, of the codes in windows
};

// Counts n <= kSpan pixels of kI16 or kBeI16.
ZOO_DECLARE_ISAS(void count_windows_span(int kind, const unsigned char* data, std::int64_t n, CodeWindows* windows) noexcept)

class Windowed final : public Population {
public:
    // Whether windows pay: quantiles and a median are all that is asked for, and there are enough pixels.
    static bool suits(const Frames& frames, const StatisticsRequest& request);
    Windowed(const Frames& frames, int threads) : frames_(frames), threads_(threads) {}

    void prepare(const StatisticsRequest& request) override;
    std::int64_t count() const override { return frames_.pixels(); }
    Extremes extremes() override { return whole().extremes(); }
    void select(const std::int64_t* ranks, std::int64_t n, double* values) override;
    void select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) override {
        whole().select_distances(center, ranks, n, values);
    }
    double guess() override { return whole().guess(); }
    Moments moments(double low, double high, double shift) override { return whole().moments(low, high, shift); }

private:
    struct Window {
        double low, high;
        std::int64_t below;
        std::vector<Entry> upto;  // its values, ascending, and how many pixels of the window are not above each
    };

    void count_sample(std::uint32_t* counts) const;
    CodeWindows code_windows(std::int64_t region) const;
    void count_windows(std::uint32_t* counts);
    void take_window(std::size_t index, const std::vector<CodeWindows>& parts);
    bool find(std::int64_t rank, double* value) const;
    Lattice& whole();

    Frames frames_;
    int threads_;
    std::vector<Window> windows_;  // ascending, without overlap
    std::optional<Lattice> whole_;
};

}  // namespace zoo
