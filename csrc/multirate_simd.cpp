// Sums along y first, where a vector holds neighbours of one row; along x a line is cut into its phases, each of which is again contiguous.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "line.hpp"
#include "multirate_block.hpp"
#include "streaming.hpp"
#include "vector.hpp"

namespace zoo::ZOO_ISA {
namespace {

constexpr std::int64_t group = multirate_group, reach = multirate_reach;

template <class Compute, class Storage>
Vector<Compute> load_wide(const Storage* source) {
    if constexpr (sizeof(Storage) == sizeof(Compute)) {
        return load(source);
    } else {
        Compute wide[lanes<Compute>];
        for (std::int64_t i = 0; i < lanes<Compute>; ++i) wide[i] = widen(source[i]);
        return load(wide);
    }
}

// COUNT neighbouring vectors of a group of coarse rows, which lie `step` rows of pixels apart.
template <int COUNT, class Storage, class Compute>
void decimate_vectors(const Storage* const* rows, const Compute* taps, std::int64_t step, Compute* out, std::int64_t stride, std::int64_t x) {
    Vector<Compute> sums[group][COUNT] = {};
#pragma GCC unroll 8
    for (std::int64_t b = 0; b < group + reach - 1; ++b) {
        for (std::int64_t p = 0; p < step; ++p) {
            Vector<Compute> pixels[COUNT];
            for (int v = 0; v < COUNT; ++v) pixels[v] = load_wide<Compute>(rows[b * step + p] + x + v * lanes<Compute>);
#pragma GCC unroll 4
            for (std::int64_t j = 0; j < group; ++j) {
                if (b < j || b - j >= reach) continue;
                for (int v = 0; v < COUNT; ++v) sums[j][v] += taps[(b - j) * step + p] * pixels[v];
            }
        }
    }
    for (std::int64_t j = 0; j < group; ++j) {
        for (int v = 0; v < COUNT; ++v) store(out + j * stride + x + v * lanes<Compute>, sums[j][v]);
    }
}

template <class Storage, class Compute>
void decimate_pixel(const Storage* const* rows, const Compute* taps, std::int64_t step, Compute* out, std::int64_t stride, std::int64_t x) {
    for (std::int64_t j = 0; j < group; ++j) {
        Compute sum = Compute(0);
        for (std::int64_t k = 0; k < reach * step; ++k) sum += taps[k] * static_cast<Compute>(widen(rows[j * step + k][x]));
        out[j * stride + x] = sum;
    }
}

// STEP is known at compile time for the commonest steps, so that the strided accesses become shuffles.
template <int STEP, class T>
void split(const T* line, std::int64_t any_step, std::int64_t count, T* phases, std::int64_t stride) {
    const std::int64_t step = STEP > 0 ? STEP : any_step;
    for (std::int64_t p = 0; p < step; ++p) {
        for (std::int64_t x = 0; x < count; ++x) phases[p * stride + x] = line[x * step + p];
    }
}

template <int STEP, class T>
void join(const T* phases, std::int64_t stride, std::int64_t any_step, std::int64_t count, T* line) {
    const std::int64_t step = STEP > 0 ? STEP : any_step;
    for (std::int64_t x = 0; x < count; ++x) {
        for (std::int64_t p = 0; p < step; ++p) line[x * step + p] = phases[p * stride + x];
    }
}

template <class T>
void split(const T* line, std::int64_t step, std::int64_t count, T* phases, std::int64_t stride) {
    switch (step) {
        case 2: return split<2>(line, step, count, phases, stride);
        case 3: return split<3>(line, step, count, phases, stride);
        case 4: return split<4>(line, step, count, phases, stride);
        default: return split<0>(line, step, count, phases, stride);
    }
}

template <class T>
void join(const T* phases, std::int64_t stride, std::int64_t step, std::int64_t count, T* line) {
    switch (step) {
        case 2: return join<2>(phases, stride, step, count, line);
        case 3: return join<3>(phases, stride, step, count, line);
        case 4: return join<4>(phases, stride, step, count, line);
        default: return join<0>(phases, stride, step, count, line);
    }
}

template <class Storage, class Compute>
void decimate(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end, Compute* lines) {
    const std::int64_t width = arguments.width, stride = multirate_line(arguments);
    const MultirateAxis& down = arguments.down;
    const MultirateAxis& across = arguments.across;
    const Storage* image = static_cast<const Storage*>(arguments.image) + frame * arguments.height * width;
    const Compute* taps = static_cast<const Compute*>(down.taps);
    Compute* line = lines + group * stride;
    Compute* phases = line + stride;
    Storage* constant = reinterpret_cast<Storage*>(phases + stride);
    if (arguments.border == Border::constant) {
        for (std::int64_t x = 0; x < width; ++x) constant[x] = narrow(static_cast<Compute>(arguments.cval), Storage{});
    }
    const Storage* rows[(group + reach - 1) * multirate_most_step];
    const std::int64_t count = (group + reach - 1) * down.step;
    const std::int64_t first = (begin - down.margin - 2) * down.step;
    const auto row_at = [&](std::int64_t k) {
        const std::int64_t y = border_index(first + k, arguments.height, arguments.border);
        return y < 0 ? static_cast<const Storage*>(constant) : image + y * width;
    };
    for (std::int64_t k = 0; k < count; ++k) rows[k] = row_at(k);
    constexpr std::int64_t together = 4 * lanes<Compute>;
    std::int64_t x = 0;
    for (; x + together <= width; x += together) decimate_vectors<4>(rows, taps, down.step, lines, stride, x);
    for (; x + lanes<Compute> <= width; x += lanes<Compute>) decimate_vectors<1>(rows, taps, down.step, lines, stride, x);
    for (; x < width; ++x) decimate_pixel(rows, taps, down.step, lines, stride, x);

    const Compute* weights = static_cast<const Compute*>(across.taps);
    const std::int64_t places = across.coarse + reach - 1;  // of each phase
    const std::int64_t phase_stride = stride / across.step;
    for (std::int64_t j = begin; j < end; ++j) {
        const Compute outside = static_cast<Compute>(arguments.cval);
        read_line(static_cast<const Compute*>(lines + (j - begin) * stride), width, (-across.margin - 2) * across.step, places * across.step,
                  arguments.border, outside, line);
        split(static_cast<const Compute*>(line), across.step, places, phases, phase_stride);
        Compute* target = static_cast<Compute*>(arguments.coarse) + (frame * down.coarse + j) * across.coarse;
        for (std::int64_t i = 0; i < across.coarse; i += lanes<Compute>) {
            Vector<Compute> sum = {};
            for (std::int64_t t = 0; t < reach; ++t) {
                for (std::int64_t p = 0; p < across.step; ++p) sum += weights[t * across.step + p] * load(phases + p * phase_stride + i + t);
            }
            if (i + lanes<Compute> <= across.coarse) {
                store(target + i, sum);
            } else {
                for (std::int64_t v = 0; i + v < across.coarse; ++v) target[i + v] = sum[v];
            }
        }
    }
}

template <class Storage, class Compute>
void interpolate(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end, bool stream, Compute* lines) {
    const std::int64_t width = arguments.width, height = arguments.height, stride = multirate_line(arguments);
    const MultirateAxis& down = arguments.down;
    const MultirateAxis& across = arguments.across;
    const Compute* taps = static_cast<const Compute*>(down.taps);
    const Compute* weights = static_cast<const Compute*>(across.taps);
    const std::int64_t places = (width + across.step - 1) / across.step;
    const std::int64_t phase_stride = stride / across.step;
    Compute* result = lines + reach * stride;
    Compute* phases = result + stride;
    const auto make_line = [&](std::int64_t j, Compute* line) {  // the pixels of coarse row j, between coarse columns
        const Compute* source = static_cast<const Compute*>(arguments.coarse) + (frame * down.coarse + j) * across.coarse + across.margin - 2;
        const Compute gain = static_cast<Compute>(across.step);
        for (std::int64_t p = 0; p < across.step; ++p) {
            for (std::int64_t i = 0; i < places; ++i) {
                Compute sum = Compute(0);
                for (std::int64_t t = 0; t < reach; ++t) sum += weights[(reach - 1 - t) * across.step + p] * source[i + t];
                phases[p * phase_stride + i] = gain * sum;
            }
        }
        join(static_cast<const Compute*>(phases), phase_stride, across.step, places, line);
    };
    for (std::int64_t j = begin; j < begin + reach - 1; ++j) make_line(j + down.margin - 2, lines + j % reach * stride);
    const Compute gain = static_cast<Compute>(down.step);
    for (std::int64_t j = begin; j < end; ++j) {
        const std::int64_t newest = j + reach - 1;
        make_line(newest + down.margin - 2, lines + newest % reach * stride);
        const Compute* sources[reach];
        for (std::int64_t t = 0; t < reach; ++t) sources[t] = lines + (j + t) % reach * stride;
        for (std::int64_t p = 0; p < down.step && j * down.step + p < height; ++p) {
            Compute shares[reach];
            for (std::int64_t t = 0; t < reach; ++t) shares[t] = gain * taps[(reach - 1 - t) * down.step + p];
            for (std::int64_t x = 0; x < width; x += lanes<Compute>) {
                Vector<Compute> sum = shares[0] * load(sources[0] + x);
                for (std::int64_t t = 1; t < reach; ++t) sum += shares[t] * load(sources[t] + x);
                store(result + x, sum);
            }
            Storage* target = static_cast<Storage*>(arguments.out) + (frame * height + j * down.step + p) * width;
            if constexpr (sizeof(Storage) == sizeof(Compute)) {
                place_bytes(result, width * static_cast<std::int64_t>(sizeof(Compute)), stream, target);
            } else {
                for (std::int64_t x = 0; x < width; ++x) target[x] = narrow(result[x], Storage{});
            }
        }
    }
}

}  // namespace

void decimate_rows(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end, void* scratch) noexcept {
    switch (arguments.dtype) {
        case Dtype::float32: decimate<float>(arguments, frame, begin, end, static_cast<float*>(scratch)); break;
        case Dtype::float64: decimate<double>(arguments, frame, begin, end, static_cast<double*>(scratch)); break;
        case Dtype::bfloat16: decimate<Bfloat16>(arguments, frame, begin, end, static_cast<float*>(scratch)); break;
        case Dtype::float16: decimate<Float16>(arguments, frame, begin, end, static_cast<float*>(scratch)); break;
    }
}

void interpolate_rows(const MultirateArguments& arguments, std::int64_t frame, std::int64_t begin, std::int64_t end, bool stream,
                      void* scratch) noexcept {
    switch (arguments.dtype) {
        case Dtype::float32: interpolate<float>(arguments, frame, begin, end, stream, static_cast<float*>(scratch)); break;
        case Dtype::float64: interpolate<double>(arguments, frame, begin, end, stream, static_cast<double*>(scratch)); break;
        case Dtype::bfloat16: interpolate<Bfloat16>(arguments, frame, begin, end, stream, static_cast<float*>(scratch)); break;
        case Dtype::float16: interpolate<Float16>(arguments, frame, begin, end, stream, static_cast<float*>(scratch)); break;
    }
}

}  // namespace zoo::ZOO_ISA
