// Statistics of the valid pixels of frames on the CPU.
#pragma once

#include "frames.hpp"
#include "order.hpp"
#include "zscale.hpp"

namespace zoo {

struct StatisticsRequest {
    const double* quantiles;
    std::int64_t quantile_count;
    int wanted;  // Wanted
    double clip_sigma;
    int clip_maxiters;
    ZScaleParameters zscale;
};

struct Extremes {
    double min, max;
};

// Adds what n values, NaN among them, contribute to the moments about shift within [low, high].
ZOO_DECLARE_ISAS(void moments_span(const double* values, std::int64_t n, double low, double high, double shift, Moments* moments) noexcept)

// The same for float32 as stored, kF32 or kBeF32; low and high are finite.
ZOO_DECLARE_ISAS(void moments_floats_span(int kind, const unsigned char* data, std::int64_t n, double low, double high, double shift,
                                          Moments* moments) noexcept)

// n values -> keys that order them, all ones for NaN; of their distances from center if asked; of floats in the upper half if narrow.
ZOO_DECLARE_ISAS(void keys_span(const double* values, std::int64_t n, bool narrow, bool distances, double center,
                                std::uint64_t* keys) noexcept)

// The valid pixels of some frames, as one multiset.
class Population {
public:
    virtual ~Population() = default;
    // Called first: what will be asked.
    virtual void prepare(const StatisticsRequest& request) = 0;
    virtual std::int64_t count() const = 0;
    virtual Extremes extremes() = 0;
    // Values of the given ranks, 0 being the smallest, each < count().
    virtual void select(const std::int64_t* ranks, std::int64_t n, double* values) = 0;
    // The same for the distances of the pixels from center.
    virtual void select_distances(double center, const std::int64_t* ranks, std::int64_t n, double* values) = 0;
    // A value about the median, once count() > 0: moments about it may be known already.
    virtual double guess() = 0;
    virtual Moments moments(double low, double high, double shift) = 0;
};

// row: kColumns figures and the quantiles, of all frames together. The same at any number of threads. Throws std::bad_alloc.
void statistics_cpu(const Frames& frames, const StatisticsRequest& request, double* row, int threads);

// Bytes of device scratch, aligned to 256, that statistics_cuda needs.
std::int64_t statistics_cuda_scratch_bytes(const Frames& frames, std::int64_t pooled, const StatisticsRequest& request) noexcept;

// A row for each `pooled` frames. Launches on the stream of the current device and returns at once, with a cudaError_t. Frames, table and
// scratch are device memory; regions, kMaxCudaRegions of them at most, and quantiles are host memory. The same in every run.
int statistics_cuda(const Frames& frames, std::int64_t pooled, const StatisticsRequest& request, double* table, void* scratch,
                    void* stream) noexcept;

}  // namespace zoo
