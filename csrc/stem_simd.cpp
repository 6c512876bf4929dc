// One tile of the stem: a row of the convolution's map at a time, channels in the lanes, folded at once into maxima across and down.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "stem_tile.hpp"

namespace zoo::ZOO_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, together = 12;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32, together = 6;
#else
constexpr int vector_bytes = 16, together = 6;
#endif
static_assert(stem_slack % together == 0, "rows of the map are rounded up to whole groups");

typedef float Vector __attribute__((vector_size(vector_bytes)));
typedef std::int32_t Places __attribute__((vector_size(vector_bytes)));
constexpr std::int64_t lanes = vector_bytes / 4;
constexpr std::int64_t block = 2 * lanes;  // channels at a time
static_assert(stem_channel_block % block == 0, "channels are padded to whole blocks");

template <class V, class T>
V load(const T* source) {
    V value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

template <class V, class T>
void store(T* target, V value) {
    __builtin_memcpy(target, &value, sizeof value);
}

// `count` values of one row of the map, rounded up to whole groups, for one block of channels: (count, block).
template <int STRIDE>
void convolve_row(const float* image, std::int64_t row_pixels, const StemAxis& v, const StemAxis& h, const float* weight,
                  std::int64_t padded, std::int64_t count, float* out) {
    const std::int64_t stride = STRIDE > 0 ? STRIDE : h.stride;
    for (std::int64_t x = 0; x < count; x += together) {
        Vector sums[together][2] = {};
        const float* tap = weight;
        for (std::int64_t dy = 0; dy < v.kernel; ++dy) {
            const float* pixels = image + dy * row_pixels + x * stride;
            for (std::int64_t dx = 0; dx < h.kernel; ++dx, tap += padded) {
                const Vector first = load<Vector>(tap), second = load<Vector>(tap + lanes);
#pragma GCC unroll 12
                for (int i = 0; i < together; ++i) {
                    const float pixel = pixels[i * stride + dx];
                    sums[i][0] += first * pixel;
                    sums[i][1] += second * pixel;
                }
            }
        }
        for (int i = 0; i < together; ++i) {
            store(out + (x + i) * block, sums[i][0]);
            store(out + (x + i) * block + lanes, sums[i][1]);
        }
    }
}

void convolve_any_row(const float* image, std::int64_t row_pixels, const StemAxis& v, const StemAxis& h, const float* weight,
                      std::int64_t padded, std::int64_t count, float* out) {
    switch (h.stride) {
        case 1: return convolve_row<1>(image, row_pixels, v, h, weight, padded, count, out);
        case 2: return convolve_row<2>(image, row_pixels, v, h, weight, padded, count, out);
        default: return convolve_row<0>(image, row_pixels, v, h, weight, padded, count, out);
    }
}

// Takes a value, and its place, where it is above the maximum so far; with NAN_WINS also where it is NaN, as torch does. Without, it must
// not be NaN.
template <bool PLACES, bool NAN_WINS>
void take(Vector& best, Places& where, Vector value, Places place) {
    Places above = value > best;
    if constexpr (NAN_WINS) above |= value != value;
    best = above ? value : best;
    if constexpr (PLACES) where = above ? place : where;
}

// Maxima of one row of the map over the columns of each window.
template <bool PLACES, bool NAN_WINS>
void fold_across(const StemAxis& h, const StemTile& tile, const float* row, float* best, std::int32_t* where) {
    for (std::int64_t column = tile.first_column; column < tile.last_column; ++column, best += block, where += block) {
        const std::int64_t left = column * h.pool_stride - h.pool_padding;
        const std::int64_t begin = left < 0 ? -left : 0;
        const std::int64_t end = left + h.pool > h.map ? h.map - left : h.pool;
        const float* values = row + (column - tile.first_column) * h.pool_stride * block;
        for (std::int64_t half = 0; half < block; half += lanes) {
            Vector top = load<Vector>(values + begin * block + half);
            Places place = Places{} + static_cast<std::int32_t>(begin);
            for (std::int64_t x = begin + 1; x < end; ++x) {
                take<PLACES, NAN_WINS>(top, place, load<Vector>(values + x * block + half), Places{} + static_cast<std::int32_t>(x));
            }
            store(best + half, top);
            if constexpr (PLACES) store(where + half, place);
        }
    }
}

// Adds the maxima of one row, the dy-th of its windows, to those of the rows above it.
template <bool PLACES, bool NAN_WINS>
void fold_down(std::int64_t count, std::int32_t row_place, bool is_first, const float* best, const std::int32_t* where, float* window,
               std::int32_t* window_where) {
    for (std::int64_t i = 0; i < count * block; i += lanes) {
        const Vector value = load<Vector>(best + i);
        Places place{};
        if constexpr (PLACES) place = load<Places>(where + i) + row_place;
        if (is_first) {
            store(window + i, value);
            if constexpr (PLACES) store(window_where + i, place);
            continue;
        }
        Vector top = load<Vector>(window + i);
        Places top_place{};
        if constexpr (PLACES) top_place = load<Places>(window_where + i);
        take<PLACES, NAN_WINS>(top, top_place, value, place);
        store(window + i, top);
        if constexpr (PLACES) store(window_where + i, top_place);
    }
}

template <class T>
void write_values(const float* window, const float* bias, std::int64_t count, std::int64_t width, std::int64_t channels, T* out) {
    for (std::int64_t i = 0; i < count; ++i, window += block, out += channels) {
        for (std::int64_t c = 0; c < width; ++c) {
            const float value = window[c] + bias[c];
            out[c] = narrow(value < 0.0f ? 0.0f : value, T{});
        }
    }
}

template <class T>
void write_places(const float* window, const float* bias, const std::int32_t* where, std::int64_t count, std::int64_t width,
                  std::int64_t channels, T* out, std::int32_t dead) {
    for (std::int64_t i = 0; i < count; ++i, window += block, where += block, out += channels) {
        for (std::int64_t c = 0; c < width; ++c) out[c] = static_cast<T>(window[c] + bias[c] <= 0.0f ? dead : where[c]);
    }
}

// Writes finished windows of one pooled row, from its first column in the tile on.
void finish(const StemArguments& a, const StemForward& f, std::int64_t offset, std::int64_t count, std::int64_t channel,
            const float* window, const std::int32_t* where) {
    const std::int64_t left = a.channels - channel, width = left < block ? left : block;
    const float* bias = f.bias + channel;
    switch (f.out_dtype) {
        case Dtype::bfloat16: write_values(window, bias, count, width, a.channels, static_cast<Bfloat16*>(f.out) + offset); break;
        case Dtype::float16: write_values(window, bias, count, width, a.channels, static_cast<Float16*>(f.out) + offset); break;
        default: write_values(window, bias, count, width, a.channels, static_cast<float*>(f.out) + offset);
    }
    if (f.places == nullptr) return;
    if (f.place_bytes == 1) {
        write_places(window, bias, where, count, width, a.channels, static_cast<std::uint8_t*>(f.places) + offset, 255);
    } else {
        write_places(window, bias, where, count, width, a.channels, static_cast<std::int16_t*>(f.places) + offset, 32767);
    }
}

template <bool PLACES, bool NAN_WINS>
void run_tile(const StemArguments& a, const StemForward& f, const StemTile& tile, const float* image, float* scratch) {
    const StemAxis &v = a.vertical, &h = a.horizontal;
    const std::int64_t count = tile.last_column - tile.first_column;
    const std::int64_t row_pixels = stem_row_pixels(h, count), across = stem_map_size(h, count);
    const std::int64_t padded = stem_padded_channels(a);
    const std::int64_t open = (v.pool + v.pool_stride - 1) / v.pool_stride;  // windows that share a row
    float* row = scratch;
    float* best = row + (across + stem_slack) * block;
    std::int32_t* where = reinterpret_cast<std::int32_t*>(best + count * block);
    float* windows = reinterpret_cast<float*>(where + count * block);
    std::int32_t* windows_where = reinterpret_cast<std::int32_t*>(windows + open * count * block);

    const std::int64_t origin = tile.first_row * v.pool_stride - v.pool_padding;
    const std::int64_t begin = origin < 0 ? 0 : origin;
    const std::int64_t wanted = origin + stem_map_size(v, tile.last_row - tile.first_row), end = wanted < v.map ? wanted : v.map;
    for (std::int64_t channel = 0; channel < a.channels; channel += block) {
        for (std::int64_t y = begin; y < end; ++y) {
            // windows [low, high) hold row y
            const std::int64_t reach = y + v.pool_padding - v.pool;
            std::int64_t low = reach < 0 ? 0 : reach / v.pool_stride + 1, high = (y + v.pool_padding) / v.pool_stride + 1;
            low = low < tile.first_row ? tile.first_row : low;
            high = high > tile.last_row ? tile.last_row : high;
            if (low >= high) continue;  // between windows that lie apart
            convolve_any_row(image + (y - origin) * v.stride * row_pixels, row_pixels, v, h, f.weight + channel, padded, across, row);
            fold_across<PLACES, NAN_WINS>(h, tile, row, best, where);
            for (std::int64_t window = low; window < high; ++window) {
                const std::int64_t top = window * v.pool_stride - v.pool_padding, slot = window % open * count * block;
                const bool is_first = y == (top < 0 ? 0 : top), is_last = y + 1 == (top + v.pool < v.map ? top + v.pool : v.map);
                const auto row_place = static_cast<std::int32_t>((y - top) * h.pool);
                fold_down<PLACES, NAN_WINS>(count, row_place, is_first, best, where, windows + slot, windows_where + slot);
                if (!is_last) continue;
                const std::int64_t offset = ((tile.frame * v.pooled + window) * h.pooled + tile.first_column) * a.channels + channel;
                finish(a, f, offset, count, channel, windows + slot, windows_where + slot);
            }
        }
    }
}

// The largest absolute weight; NaN if there is one.
float largest_weight(const StemArguments& a, const float* weight) {
    float largest = 0.0f;
    for (std::int64_t i = 0; i < a.vertical.kernel * a.horizontal.kernel * stem_padded_channels(a); ++i) {
        const float size = weight[i] < 0.0f ? -weight[i] : weight[i];
        if (size != size) return size;
        if (size > largest) largest = size;
    }
    return largest;
}

}  // namespace

void stem_forward_tile(const StemArguments& a, const StemForward& f, const StemTile& tile, float* scratch) {
    // Pixels up to this size cannot make a sum that is not finite.
    const float taps = static_cast<float>(a.vertical.kernel * a.horizontal.kernel), heaviest = largest_weight(a, f.weight);
    const float limit = heaviest < 1e30f ? 1e38f / (taps * (heaviest > 1e-30f ? heaviest : 1e-30f)) : -1.0f;
    const std::int64_t pixels = stem_image_size(a.vertical, tile.last_row - tile.first_row) *
                                stem_row_pixels(a.horizontal, tile.last_column - tile.first_column);
    const bool tame = copy_any_tile(a, tile, limit, scratch);
    float* rest = scratch + pixels;
    if (f.places != nullptr) {
        tame ? run_tile<true, false>(a, f, tile, scratch, rest) : run_tile<true, true>(a, f, tile, scratch, rest);
    } else {
        tame ? run_tile<false, false>(a, f, tile, scratch, rest) : run_tile<false, true>(a, f, tile, scratch, rest);
    }
}

}  // namespace zoo::ZOO_ISA
