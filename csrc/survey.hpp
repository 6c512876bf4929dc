// One reading of the pixels that answers most questions about their order: a sample brackets the sought values, then all pixels are compared
// with the brackets, and those inside are kept. Exact; where a bracket missed, the caller has to ask in another way.
//
// The idea is that of R. W. Floyd and R. L. Rivest, "Expected time bounds for selection", Communications of the ACM 18 (1975) 165.
#pragma once

#include <memory>
#include <vector>

#include "frames.hpp"

namespace zoo {

constexpr int kMostBrackets = 4;

// What some pixels are compared with, and what comes of it. T: float or double.
template <class T>
struct Comparison {
    T low[kMostBrackets], high[kMostBrackets];
    int brackets;

    std::int64_t count;                 // valid pixels
    std::int64_t below[kMostBrackets];  // of them, under low
    T min, max;
    T* inside[kMostBrackets];           // receive the pixels within
    std::int64_t used[kMostBrackets];
    std::int64_t room;  // of each; what finds none is lost, and `complete` false
    bool complete;
};

// Compares n <= kUnit pixels; NaN is invalid.
ZOO_DECLARE_ISAS(void compare_span(const double* values, std::int64_t n, Comparison<double>* comparison) noexcept)

// The same for float32 as stored, kF32 or kBeF32; what is not finite is invalid.
ZOO_DECLARE_ISAS(void compare_floats_span(int kind, const unsigned char* data, std::int64_t n, Comparison<float>* comparison) noexcept)

// n values -> their distances from center.
ZOO_DECLARE_ISAS(void distances_span(double* values, std::int64_t n, double center) noexcept)

class Survey {
public:
    // fractions: of the sought values among all, in [0, 1]; the first kMostBrackets are bracketed. center: order by the distance from it.
    Survey(const Frames& frames, const double* fractions, std::int64_t n, const double* center, int threads);

    std::int64_t count() const { return count_; }
    double min() const { return min_; }
    double max() const { return max_; }

    bool holds(std::int64_t rank) const;

    // The value of a rank, 0 being the smallest. Returns false where no bracket holds it.
    bool find(std::int64_t rank, double* value);

private:
    struct Bracket {
        double low, high;
        std::int64_t below, count;    // pixels under low, and within; count is 0 where they were not kept
        std::vector<double> sorted;   // the values of some neighbouring ranks
        std::int64_t first;           // the rank of the first of them
    };

    template <class T>
    struct Kept {  // pixels within a bracket that one thread met
        std::unique_ptr<T[]> values;
        std::int64_t n;
    };

    template <class T>
    void read(const Frames& frames, const double* center, int threads, std::vector<std::vector<Kept<T>>>& kept);
    void place_brackets(std::vector<double>& sample, const double* fractions, std::int64_t n);
    void sort_near(std::size_t index, std::int64_t rank);

    std::vector<Bracket> brackets_;
    std::vector<std::vector<Kept<float>>> floats_;    // of each bracket: one of the two
    std::vector<std::vector<Kept<double>>> doubles_;
    std::int64_t count_ = 0;
    double min_ = HUGE_VAL, max_ = -HUGE_VAL;
};

}  // namespace zoo
