// The statistics on the device, in small kernels whose intermediate state stays there: nothing waits for the host. Order statistics come
// from histograms of key digits, counted with integer atomics; sums are added in a fixed order. So every run gives the same bits.
#include "frames.cuh"
#include "statistics.hpp"
#include "statistics.cuh"

namespace zoo {
namespace {

__device__ std::int64_t thread_of() { return static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x; }

__device__ std::int64_t thread_count() { return static_cast<std::int64_t>(gridDim.x) * kBlock; }

__global__ void init_kernel(const Slab slab) {
    State& s = slab.state[blockIdx.x];
    double* row = slab.row(blockIdx.x);
    for (int i = static_cast<int>(threadIdx.x); i < slab.columns; i += kBlock) {
        row[i] = i == kCount || i == kClipCount ? 0.0 : static_cast<double>(NAN);
    }
    for (int i = static_cast<int>(threadIdx.x); i < kTargets * kBins; i += kBlock) slab.bins(blockIdx.x)[i] = 0;
    if (threadIdx.x != 0) return;
    s = State{};
    s.clip = {-HUGE_VAL, HUGE_VAL, static_cast<double>(NAN), static_cast<double>(NAN)};
    s.settling = true;
}

// Partial moments of each block about s.shift within the bounds of s.clip.
__global__ void __launch_bounds__(kBlock) moments_kernel(const __grid_constant__ DeviceFrames frames, const Slab slab) {
    __shared__ Partial parts[kBlock];
    const State& s = slab.state[blockIdx.y];
    if (!s.settling) return;
    const double low = s.clip.low, high = s.clip.high, shift = s.shift;
    Partial part{{0, 0, 0.0, 0.0}, {HUGE_VAL, -HUGE_VAL}};
    for (std::int64_t i = thread_of(); i < slab.pixels; i += thread_count()) {
        const double value = pixel_at(frames, (slab.first + blockIdx.y) * slab.pixels + i);
        part.moments.below += value < low ? 1 : 0;
        part.extremes.min = value < part.extremes.min ? value : part.extremes.min;
        part.extremes.max = value > part.extremes.max ? value : part.extremes.max;
        if (!(value >= low && value <= high)) continue;
        const double distance = value - shift;
        part.moments.count += 1;
        part.moments.sum += distance;
        part.moments.squares += distance * distance;
    }
    parts[threadIdx.x] = part;
    for (unsigned half = kBlock / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) add_partial(parts[threadIdx.x + half], &parts[threadIdx.x]);
    }
    if (threadIdx.x == 0) slab.partials(blockIdx.y)[blockIdx.x] = parts[0];
}

// Adds the blocks up in their order. A shift far from the mean is replaced by it, and one more pass asked for.
__global__ void moments_finish_kernel(const Slab slab, bool last) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0 || !s.settling) return;
    Partial total = slab.partials(blockIdx.x)[0];
    for (unsigned i = 1; i < slab.blocks; ++i) add_partial(slab.partials(blockIdx.x)[i], &total);
    s.moments = total.moments;
    s.extremes = total.extremes;
    s.settling = !last && is_far(total.moments);
    if (s.settling) s.shift = mean_of(total.moments, s.shift);
}

// Takes the moments of all valid pixels as those of the population.
__global__ void population_kernel(const Slab slab, int wanted) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0) return;
    double* row = slab.row(blockIdx.x);
    s.count = s.moments.count;
    if (wanted & kBasic) row[kCount] = static_cast<double>(s.count);
    if (s.count == 0) return;
    if (wanted & kBasic) {
        row[kMin] = s.extremes.min;
        row[kMax] = s.extremes.max;
    }
    if (wanted & kWantMoments) {
        row[kMean] = mean_of(s.moments, s.shift);
        row[kStd] = deviation_of(s.moments);
    }
}

// Sets the ranks that a question asks for.
__global__ void plan_kernel(const Slab slab, const Question question) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0) return;
    // distances and quantiles are of all valid pixels, the median is of those that clipping has left
    const std::int64_t first = question.kind == Question::median ? s.moments.below : 0;
    const std::int64_t count = question.kind == Question::median ? s.moments.count : s.count;
    s.targets = 0;
    if (count == 0 || (question.kind == Question::median && s.clipped)) return;
    if (question.kind == Question::quantiles) {
        for (int i = 0; i < question.points; ++i) {
            const Place place = quantile_place(count, question.q[i]);
            s.rank[s.targets++] = place.low;
            s.rank[s.targets++] = place.high;
        }
    } else {
        s.rank[s.targets++] = first + (count - 1) / 2;
        s.rank[s.targets++] = first + count / 2;
    }
    for (int i = 0; i < s.targets; ++i) {
        s.prefix[i] = 0;
        s.shares[i] = 0;
    }
}

// Counts the digit below the known prefix of each target.
__global__ void __launch_bounds__(kBlock)
digits_kernel(const __grid_constant__ DeviceFrames frames, const Slab slab, int level, bool distances) {
    __shared__ unsigned counts[kTargets * kBins];
    __shared__ std::uint64_t prefixes[kTargets];  // of the targets that count
    __shared__ int tables[kTargets];
    const State& s = slab.state[blockIdx.y];
    if (s.targets == 0) return;
    const int targets = s.targets;
    int owners = 0;
    for (int t = 0; t < targets; ++t) {
        if (s.shares[t] != t) continue;
        prefixes[owners] = s.prefix[t];  // every thread writes the same
        tables[owners++] = t;
    }
    for (int i = static_cast<int>(threadIdx.x); i < targets * kBins; i += kBlock) counts[i] = 0;
    __syncthreads();
    const double center = s.median;
    const int shift = digit_shift(level), bits = digit_bits(level);
    for (std::int64_t i = thread_of(); i < slab.pixels; i += thread_count()) {
        const double value = pixel_at(frames, (slab.first + blockIdx.y) * slab.pixels + i);
        if (value != value) continue;
        const std::uint64_t key = key_of(distances ? fabs(rounded_add(value, -center)) : value);
        const unsigned digit = static_cast<unsigned>(key >> shift) & ((1u << bits) - 1u);
        for (int owner = 0; owner < owners; ++owner) {
            const bool within = level == 0 || key >> (shift + bits) == prefixes[owner];
            if (within) atomicAdd(&counts[tables[owner] * kBins + static_cast<int>(digit)], 1u);
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < targets * kBins; i += kBlock) {
        if (counts[i] != 0) atomicAdd(&slab.bins(blockIdx.y)[i], static_cast<unsigned long long>(counts[i]));
    }
}

// Finds the digit of each target, lengthens its prefix, and clears the counts for the next level.
__global__ void __launch_bounds__(kBlock) pick_kernel(const Slab slab, int level) {
    __shared__ std::int64_t sums[kBlock];
    State& s = slab.state[blockIdx.x];
    const int targets = s.targets;
    if (targets == 0) return;
    unsigned long long* bins = slab.bins(blockIdx.x);
    constexpr int each = kBins / kBlock;
    for (int t = 0; t < targets; ++t) {
        const unsigned long long* mine = bins + s.shares[t] * kBins;
        std::int64_t sum = 0;
        for (int i = 0; i < each; ++i) sum += static_cast<std::int64_t>(mine[static_cast<int>(threadIdx.x) * each + i]);
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            int thread = 0;
            std::int64_t rank = s.rank[t];
            while (rank >= sums[thread]) rank -= sums[thread++];
            int digit = thread * each;
            while (rank >= static_cast<std::int64_t>(mine[digit])) rank -= static_cast<std::int64_t>(mine[digit++]);
            s.rank[t] = rank;
            s.prefix[t] = s.prefix[t] << digit_bits(level) | static_cast<std::uint64_t>(digit);
        }
        __syncthreads();
    }
    for (int i = static_cast<int>(threadIdx.x); i < targets * kBins; i += kBlock) bins[i] = 0;
    if (threadIdx.x != 0) return;
    for (int t = 0; t < targets; ++t) {  // targets with equal prefixes share one table
        int owner = 0;
        while (s.prefix[owner] != s.prefix[t]) ++owner;
        s.shares[t] = owner;
    }
}

// Turns the selected values into figures.
__global__ void answer_kernel(const Slab slab, const Question question) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0 || s.targets == 0) return;
    double* row = slab.row(blockIdx.x);
    if (question.kind == Question::quantiles) {
        for (int i = 0; i < question.points; ++i) {
            const double a = value_of(s.prefix[2 * i]), b = value_of(s.prefix[2 * i + 1]);
            row[question.column + i] = interpolate(a, b, quantile_place(s.count, question.q[i]).fraction);
        }
        return;
    }
    const std::int64_t count = question.kind == Question::median ? s.moments.count : s.count;
    const double value = middle(value_of(s.prefix[0]), value_of(s.prefix[1]), count);
    if (question.kind == Question::median) s.median = value;
    if (question.column >= 0) row[question.column] = value;
}

// Narrows the bounds by one round and asks for the moments within.
__global__ void clip_kernel(const Slab slab, double sigma) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0 || s.clipped) return;
    const bool empty = s.moments.count == 0;
    clip_round(empty ? static_cast<double>(NAN) : s.median, deviation_of(s.moments), sigma, &s.clip);
    s.before = s.moments.count;
    s.clipped = empty;
    s.settling = !empty;
    s.shift = s.median;
}

__global__ void clip_check_kernel(const Slab slab) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x == 0 && s.moments.count == s.before) s.clipped = true;
}

__global__ void clip_write_kernel(const Slab slab) {
    State& s = slab.state[blockIdx.x];
    if (threadIdx.x != 0 || s.count == 0) return;
    double* row = slab.row(blockIdx.x);
    row[kClipCount] = static_cast<double>(s.moments.count);
    row[kClipLow] = s.clip.last_low;
    row[kClipHigh] = s.clip.last_high;
    row[kClipMean] = mean_of(s.moments, s.shift);
    row[kClipMedian] = s.moments.count > 0 ? s.median : static_cast<double>(NAN);
    row[kClipStd] = deviation_of(s.moments);
}

void settle(const DeviceFrames& frames, const Slab& slab, cudaStream_t stream) {
    for (int round = 0; round < 2; ++round) {
        launch(moments_kernel, slab.grid(), stream, frames, slab);
        launch(moments_finish_kernel, dim3(slab.groups), stream, slab, round == 1);
    }
}

void ask(const DeviceFrames& frames, const Slab& slab, const Question& question, cudaStream_t stream) {
    launch(plan_kernel, dim3(slab.groups), stream, slab, question);
    for (int level = 0; level < kLevels; ++level) {
        launch(digits_kernel, slab.grid(), stream, frames, slab, level, question.kind == Question::distance);
        launch(pick_kernel, dim3(slab.groups), stream, slab, level);
    }
    launch(answer_kernel, dim3(slab.groups), stream, slab, question);
}

void fill_rows(const DeviceFrames& frames, const Slab& slab, const StatisticsRequest& request, cudaStream_t stream) {
    const int wanted = request.wanted;
    launch(init_kernel, dim3(slab.groups), stream, slab);
    if (wanted & kWantZScale) zscale_cuda(frames, slab, request.zscale, stream);
    if (wanted == kWantZScale && request.quantile_count == 0) return;
    settle(frames, slab, stream);
    launch(population_kernel, dim3(slab.groups), stream, slab, wanted);
    for (std::int64_t i = 0; i < request.quantile_count; i += 2) {
        Question question{Question::quantiles, static_cast<int>(kColumns + i), 1, {request.quantiles[i], 0.0}};
        if (i + 1 < request.quantile_count) question.q[question.points++] = request.quantiles[i + 1];
        ask(frames, slab, question, stream);
    }
    if (wanted & (kWantMedian | kWantMad | kWantClip)) {
        ask(frames, slab, {Question::median, wanted & (kWantMedian | kWantMad) ? kMedian : -1, 0, {}}, stream);
    }
    if (wanted & kWantMad) ask(frames, slab, {Question::distance, kMad, 0, {}}, stream);
    if (!(wanted & kWantClip)) return;
    for (int round = 0; round < request.clip_maxiters; ++round) {
        launch(clip_kernel, dim3(slab.groups), stream, slab, request.clip_sigma);
        settle(frames, slab, stream);
        launch(clip_check_kernel, dim3(slab.groups), stream, slab);
        ask(frames, slab, {Question::median, -1, 0, {}}, stream);
    }
    launch(clip_write_kernel, dim3(slab.groups), stream, slab);
}

}  // namespace

std::int64_t statistics_cuda_scratch_bytes(const Frames& frames, std::int64_t pooled, const StatisticsRequest& request) noexcept {
    return describe_slab(frames, pooled, request, nullptr, nullptr).bytes;
}

int statistics_cuda(const Frames& frames, std::int64_t pooled, const StatisticsRequest& request, double* table, void* scratch,
                    void* stream) noexcept {
    const DeviceFrames device = device_frames(frames);
    Slab slab = describe_slab(frames, pooled, request, table, static_cast<unsigned char*>(scratch));
    const std::int64_t groups = frames.count / pooled;
    const unsigned most = slab.groups;
    for (slab.first = 0; slab.first < groups; slab.first += most) {
        slab.groups = static_cast<unsigned>(std::min<std::int64_t>(most, groups - slab.first));
        fill_rows(device, slab, request, static_cast<cudaStream_t>(stream));
    }
    return static_cast<int>(cudaGetLastError());
}

}  // namespace zoo
