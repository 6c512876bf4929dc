// What the kernels of statistics.cu and zscale.cu keep on the device between launches.
#pragma once

#include "frames.cuh"
#include "statistics.hpp"

namespace zoo {

constexpr int kLevels = 6;     // digits of a 64-bit key: five of 11 bits and one of 9
constexpr int kBins = 2048;
constexpr int kTargets = 4;    // ranks that one selection finds
constexpr std::int64_t kChunk = 16 * kBlock;  // pixels that one block of the z-scale kernels looks at
constexpr unsigned kSlabGroups = 64;          // rows of the table that share one set of launches

__device__ inline int digit_bits(int level) { return level < 5 ? 11 : 9; }
__device__ inline int digit_shift(int level) { return level < 5 ? 53 - 11 * level : 0; }

struct Partial {
    Moments moments;
    Extremes extremes;
};

__device__ inline void add_partial(const Partial& from, Partial* to) {
    to->moments.below += from.moments.below;
    to->moments.count += from.moments.count;
    to->moments.sum += from.moments.sum;
    to->moments.squares += from.moments.squares;
    to->extremes.min = from.extremes.min < to->extremes.min ? from.extremes.min : to->extremes.min;
    to->extremes.max = from.extremes.max > to->extremes.max ? from.extremes.max : to->extremes.max;
}

// Of one row of the table.
struct State {
    std::int64_t count;  // all valid pixels
    Moments moments;     // of those within clip, about shift
    Extremes extremes;
    double shift, median;
    bool settling;  // moments are to be computed
    bool clipped;   // clipping has come to its end
    Clip clip;
    std::int64_t before;  // pixels before the last round of clipping
    int targets;
    std::int64_t rank[kTargets];     // of each target among the pixels with its prefix
    std::uint64_t prefix[kTargets];  // its digits so far; in the end its key
    int shares[kTargets];            // the target whose table counts for it
};

struct Question {
    enum Kind : int { quantiles, median, distance } kind;
    int column;  // of the first answer; -1: keep the median on the device only
    int points;
    double q[2];
};

// The rows that are worked on together, and their parts of the scratch memory.
struct Slab {
    std::int64_t first;   // row
    unsigned groups;      // rows
    unsigned blocks;      // per row
    int columns;
    std::int64_t pixels;  // per row
    std::int64_t chunks;  // per row
    std::int64_t samples, padded;  // of the z-scale: most there can be, and the next power of two
    double* table;
    State* state;
    Partial* all_partials;
    unsigned long long* all_bins;
    std::int64_t* all_valid;  // valid pixels of each chunk, then those before it
    double* all_samples;
    unsigned char* all_flags;
    std::int64_t bytes;

    dim3 grid() const { return dim3(blocks, groups); }
    __device__ double* row(unsigned group) const { return table + (first + group) * columns; }
    __device__ Partial* partials(unsigned group) const { return all_partials + static_cast<std::int64_t>(group) * blocks; }
    __device__ unsigned long long* bins(unsigned group) const { return all_bins + static_cast<std::int64_t>(group) * kTargets * kBins; }
    __device__ std::int64_t* valid(unsigned group) const { return all_valid + group * (chunks + 1); }
    __device__ double* sample(unsigned group) const { return all_samples + group * padded; }
    __device__ unsigned char* flags(unsigned group) const { return all_flags + group * 2 * padded; }
};

inline Slab describe_slab(const Frames& frames, std::int64_t pooled, const StatisticsRequest& request, double* table,
                          unsigned char* scratch) {
    Slab slab{};
    slab.groups = static_cast<unsigned>(std::min<std::int64_t>(kSlabGroups, frames.count / pooled));
    slab.pixels = pooled * frames.out_height * frames.out_width;
    slab.blocks = blocks_for(slab.pixels);
    slab.columns = static_cast<int>(kColumns + request.quantile_count);
    slab.table = table;
    const bool zscale = request.wanted & kWantZScale;
    slab.chunks = zscale ? (slab.pixels + kChunk - 1) / kChunk : 0;
    slab.samples = zscale ? std::min(request.zscale.samples, slab.pixels) : 0;
    slab.padded = 1;
    while (slab.padded < slab.samples) slab.padded *= 2;
    const auto take = [&](std::int64_t bytes) {
        unsigned char* place = scratch + slab.bytes;
        slab.bytes += (bytes + 255) / 256 * 256;
        return place;
    };
    const std::int64_t groups = slab.groups;
    slab.state = reinterpret_cast<State*>(take(groups * static_cast<std::int64_t>(sizeof(State))));
    slab.all_partials = reinterpret_cast<Partial*>(take(groups * slab.blocks * static_cast<std::int64_t>(sizeof(Partial))));
    slab.all_bins = reinterpret_cast<unsigned long long*>(take(groups * kTargets * kBins * 8));
    slab.all_valid = reinterpret_cast<std::int64_t*>(take(groups * (slab.chunks + 1) * 8));
    slab.all_samples = reinterpret_cast<double*>(take(groups * slab.padded * 8));
    slab.all_flags = take(groups * slab.padded * 2);
    return slab;
}

// Writes the z-scale limits of the rows of a slab.
void zscale_cuda(const DeviceFrames& frames, const Slab& slab, const ZScaleParameters& parameters, cudaStream_t stream);

}  // namespace zoo
