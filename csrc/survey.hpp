// One reading of the pixels that answers most questions about them. A sample tells about where the sought values lie: brackets about each
// of them, and the bounds that sigma clipping will come to. Then all pixels are compared with the brackets, and those inside are kept;
// those that are surely left by clipping are summed. Exact; where a bracket missed, the caller has to ask in another way.
//
// The brackets are the idea of R. W. Floyd and R. L. Rivest, "Expected time bounds for selection", Communications of the ACM 18 (1975) 165.
#pragma once

#include <optional>
#include <vector>

#include "frames.hpp"
#include "order.hpp"
#include "scratch.hpp"

namespace zoo {

constexpr int kMostBrackets = 8;

// What some pixels are compared with, and what comes of it. T: float or double.
template <class T>
struct Comparison {
    T low[kMostBrackets], high[kMostBrackets];
    int brackets;

    std::int64_t count;                  // valid pixels
    std::int64_t below[kMostBrackets];   // of them, under low
    std::int64_t within[kMostBrackets];  // in [low, high]
    T min, max;
    T* inside[kMostBrackets];          // receive the pixels within
    std::int64_t used[kMostBrackets];  // how many are there
    std::int64_t room;                 // of each: kUnit more than are wanted, and what one call may add
    bool lost[kMostBrackets];          // there was no room: what is there is of no use
};

// Compares n pixels; NaN is invalid, no other is infinite.
ZOO_DECLARE_ISAS(void compare_span(const double* values, std::int64_t n, Comparison<double>* comparison) noexcept)

// The same for float32 as stored, kF32 or kBeF32; what is not finite is invalid.
ZOO_DECLARE_ISAS(void compare_floats_span(int kind, const unsigned char* data, std::int64_t n, Comparison<float>* comparison) noexcept)

ZOO_DECLARE_ISAS(void widen_span(const float* values, std::int64_t n, double* out) noexcept)

// n values -> their distances from center.
ZOO_DECLARE_ISAS(void distances_span(double* values, std::int64_t n, double center) noexcept)

// Ranks of a sample, the highest of which is `last`, between which values from one fraction of all to another lie.
struct Ranks {
    double low, high;
};

Ranks ranks_about(double first, double last_fraction, double last);

// What will be asked.
struct SurveyPlan {
    std::vector<double> fractions;  // of the sought values among all, in [0, 1]; the first few are bracketed
    bool distances;                 // also the median of the distances from the median
    bool moments;
    double clip_sigma;
    int clip_maxiters;  // 0: moments are of all pixels; else of those that so many rounds leave, and the medians of all rounds are sought
};

class Survey {
public:
    Survey(const Frames& frames, const SurveyPlan& plan, int threads);

    std::int64_t count() const { return count_; }
    double min() const { return min_; }
    double max() const { return max_; }
    double shift() const { return shift_; }  // of the moments: about the median

    // The value of a rank, 0 being the smallest. Returns false where no bracket holds it.
    bool find(std::int64_t rank, double* value);

    // The same for the distances from center.
    bool find_distance(double center, std::int64_t rank, double* value);

    // Moments about shift() over [low, high]. Returns false where they were not gathered.
    bool moments(double low, double high, Moments* result) const;

private:
    struct Bracket {
        double low, high;
        std::int64_t below, count;   // pixels under low, and within
        bool kept;                   // those within
        std::vector<double> sorted;  // the values of some neighbouring ranks
        std::int64_t first;          // the rank of the first of them
    };

    struct Part {  // pixels within a bracket that one thread met: floats or doubles
        const void* values;
        std::int64_t n;
    };

    struct Met {  // what one unit added to the two tails
        int thread;
        std::int64_t first[2], n[2];
    };

    void plan_brackets(const std::vector<double>& sample, const SurveyPlan& plan);
    void plan_distances(const std::vector<double>& sample);
    void plan_clipping(const std::vector<double>& sample, const SurveyPlan& plan);
    void add_bracket(double low, double high) { brackets_.push_back({low, high, 0, 0, false, {}, 0}); }

    template <class T>
    void read(const Frames& frames, int threads);

    template <class T>
    void gather_tails(const std::vector<Met>& met, const std::vector<Moments>& parts);

    template <class Take>
    void take_part(const Part& part, std::int64_t from, std::int64_t n, Take&& take) const;

    std::int64_t sort_near(const std::vector<Part>& parts, const double* center, std::int64_t rank, std::vector<double>& sorted) const;

    bool floats_;  // pixels are kept as they are stored
    std::vector<Bracket> brackets_;
    std::vector<std::vector<Part>> parts_;  // of each bracket
    std::optional<Scratch> scratch_;        // holds them
    int left_ = -1, right_ = -1;            // brackets of the pixels about one MAD from the median; the same where they meet
    int tails_ = -1;                        // the bracket under the core, and the one above it follows
    double core_low_ = 0.0, core_high_ = 0.0;  // pixels that clipping surely leaves
    std::optional<Moments> core_;              // of them
    std::vector<double> tail_;                 // the others, in row order
    double shift_ = 0.0;
    std::int64_t count_ = 0;
    double min_ = HUGE_VAL, max_ = -HUGE_VAL;
};

}  // namespace zoo
