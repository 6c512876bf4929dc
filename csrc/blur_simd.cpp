// Horizontal and vertical pass of one block of columns, fused: rows go through a ring in L2, and no intermediate frame exists.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "blur_across.hpp"
#include "blur_block.hpp"
#include "line.hpp"
#include "streaming.hpp"
#include "vector.hpp"

namespace zoo::ZOO_ISA {
namespace {

constexpr int any = -1;

// COUNT neighbouring vectors of blur_together rows of output; row j sums kernel[k] * rows[j + k] over 2 * radius + 1 taps, from both ends to
// the middle, so that the small terms are added first. A row of input is read once for all rows of output.
//
// RADIUS is the radius, or `any` for one of at least blur_together / 2.
template <int RADIUS, int COUNT, class T>
void sum_rows(const T* const* rows, const T* kernel, std::int64_t any_radius, T* out, std::int64_t out_stride, bool around,
              std::int64_t x) {
    constexpr std::int64_t n = blur_together;
    const std::int64_t radius = RADIUS >= 0 ? RADIUS : any_radius;
    Vector<T> upper[n][COUNT] = {}, lower[n][COUNT] = {};
    const auto add = [&](std::int64_t i, Vector<T>(&sums)[n][COUNT]) {
        Vector<T> row[COUNT];
        for (int v = 0; v < COUNT; ++v) row[v] = load(rows[i] + x + v * lanes<T>);
        for (std::int64_t j = 0; j < n; ++j) {
            for (int v = 0; v < COUNT; ++v) sums[j][v] += kernel[i - j] * row[v];
        }
    };
    // At both ends: not 0 times a row beyond the kernel, which may hold NaN.
    const auto add_end = [&](std::int64_t i, Vector<T>(&sums)[n][COUNT]) {
        for (std::int64_t j = 0; j < n; ++j) {
            if (i < j || i - j > 2 * radius) continue;
            for (int v = 0; v < COUNT; ++v) sums[j][v] += kernel[i - j] * load(rows[i] + x + v * lanes<T>);
        }
    };
    const std::int64_t middle = radius + n / 2, last = 2 * radius + n - 1;
    constexpr bool is_long = RADIUS < 0 || 2 * RADIUS >= n;  // long enough for rows that reach all outputs
    const std::int64_t ends = is_long ? n - 1 : middle, far_ends = is_long ? n - 1 : last + 1 - middle;
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < ends; ++i) add_end(i, upper);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < far_ends; ++i) add_end(last - i, lower);
    if constexpr (RADIUS >= 0) {
#pragma GCC unroll 16
        for (std::int64_t i = ends; i < middle; ++i) add(i, upper);
#pragma GCC unroll 16
        for (std::int64_t i = last - far_ends; i >= middle; --i) add(i, lower);
    } else {
        const auto add_part = [&](std::int64_t begin, std::int64_t count, std::int64_t step, Vector<T>(&sums)[n][COUNT]) {
            Vector<T> part[n][COUNT] = {};
            for (std::int64_t k = 0; k < count; ++k) add(begin + k * step, part);
            for (std::int64_t j = 0; j < n; ++j) {
                for (int v = 0; v < COUNT; ++v) sums[j][v] += part[j][v];
            }
        };
        for (std::int64_t i = ends; i < middle; i += part_terms) add_part(i, i + part_terms < middle ? part_terms : middle - i, 1, upper);
        for (std::int64_t i = last - far_ends; i >= middle; i -= part_terms) {
            add_part(i, i - part_terms >= middle ? part_terms : i - middle + 1, -1, lower);
        }
    }
    for (std::int64_t j = 0; j < n; ++j) {
        for (int v = 0; v < COUNT; ++v) {
            T* target = out + j * out_stride + x + v * lanes<T>;
            const Vector<T> sum = upper[j][v] + lower[j][v];
            if (around) {
                store_around(target, sum);
            } else {
                store(target, sum);
            }
        }
    }
}

template <int RADIUS, class T>
void sum_all_rows(const T* const* rows, const T* kernel, std::int64_t radius, T* out, std::int64_t out_stride, bool around,
                  std::int64_t width) {
    std::int64_t x = 0;
    for (; x + 2 * lanes<T> <= width; x += 2 * lanes<T>) sum_rows<RADIUS, 2>(rows, kernel, radius, out, out_stride, around, x);
    for (; x < width; x += lanes<T>) sum_rows<RADIUS, 1>(rows, kernel, radius, out, out_stride, around, x);
}

// Short kernels are unrolled; the sums are the same.
template <class T>
void sum_all_rows(const T* const* rows, const T* kernel, std::int64_t radius, T* out, std::int64_t out_stride, bool around,
                  std::int64_t width) {
    switch (radius) {
        case 0: return sum_all_rows<0>(rows, kernel, radius, out, out_stride, around, width);
        case 1: return sum_all_rows<1>(rows, kernel, radius, out, out_stride, around, width);
        case 2: return sum_all_rows<2>(rows, kernel, radius, out, out_stride, around, width);
        case 3: return sum_all_rows<3>(rows, kernel, radius, out, out_stride, around, width);
        case 4: return sum_all_rows<4>(rows, kernel, radius, out, out_stride, around, width);
        case 6: return sum_all_rows<6>(rows, kernel, radius, out, out_stride, around, width);
        case 8: return sum_all_rows<8>(rows, kernel, radius, out, out_stride, around, width);
        case 16: return sum_all_rows<16>(rows, kernel, radius, out, out_stride, around, width);
        default: return sum_all_rows<any>(rows, kernel, radius, out, out_stride, around, width);
    }
}

template <class Storage, class Compute>
class Block {
public:
    Block(const BlurArguments& arguments, const BlurBlock& block)
        : arguments_(arguments),
          block_(block),
          image_(static_cast<const Storage*>(arguments.image) + block.frame * arguments.height * arguments.width),
          out_(static_cast<Storage*>(arguments.out) + block.frame * arguments.height * arguments.width),
          weights_(arguments.nan_treatment == NanTreatment::interpolate),
          width_(block.column_end - block.column_begin),
          padded_(blur_padded(width_)),
          stride_(blur_stride(width_)) {
        const std::int64_t set = arguments.sets == 1 ? 0 : block.frame;
        const Compute* taps = static_cast<const Compute*>(arguments.taps) + set * 2 * (arguments.max_radius + 1);
        vertical_ = taps;
        horizontal_ = taps + arguments.max_radius + 1;
        vertical_radius_ = arguments.radii[2 * set];
        horizontal_radius_ = arguments.radii[2 * set + 1];
        ring_rows_ = 2 * vertical_radius_ + blur_together;
        line_width_ = width_ + 2 * horizontal_radius_;
        lead_ = blur_padded(horizontal_radius_) - horizontal_radius_;

        const std::int64_t rows_most = 2 * arguments.max_radius + blur_together;
        const std::int64_t line_items = blur_line(width_, arguments.max_radius);
        pointers_ = static_cast<const Compute**>(block.scratch);
        sum_rows_ = pointers_ + rows_most;
        weight_rows_ = sum_rows_ + rows_most;
        kernel_ = reinterpret_cast<Compute*>(static_cast<char*>(block.scratch) + blur_pointer_bytes(rows_most));
        line_ = kernel_ + blur_padded(rows_most);
        results_ = line_ + line_items;
        ring_ = results_ + blur_together * padded_;
        line_weight_ = ring_ + rows_most * stride_;
        result_weights_ = line_weight_ + line_items;
        ring_weight_ = result_weights_ + blur_together * padded_;
        for (std::int64_t k = 0; k <= 2 * vertical_radius_; ++k) kernel_[k] = vertical_[k < vertical_radius_ ? vertical_radius_ - k : k - vertical_radius_];
        for (std::int64_t i = 0; i < line_items; ++i) line_[i] = Compute(0);
        if (weights_) {
            ones_ = ring_weight_ + rows_most * stride_;
            for (std::int64_t i = 0; i < line_items; ++i) line_weight_[i] = Compute(0);
            for (std::int64_t i = 0; i < padded_; ++i) ones_[i] = Compute(1);
        }
        for (std::int64_t slot = 0; slot < ring_rows_; ++slot) {
            sum_rows_[slot] = ring_ + slot * stride_;
            weight_rows_[slot] = ones_;
        }
    }

    void run() {
        const std::int64_t first = block_.row_begin - vertical_radius_;
        std::int64_t position = first;
        for (std::int64_t row = block_.row_begin; row < block_.row_end; row += blur_together) {
            const std::int64_t rows = row + blur_together <= block_.row_end ? blur_together : block_.row_end - row;
            for (; position < row + rows + vertical_radius_; ++position) blur_row(position, (position - first) % ring_rows_);
            finish_rows(row, rows, (row - block_.row_begin) % ring_rows_);
        }
    }

private:
    // Blurs along x the row that stands at a vertical position, perhaps outside the frame, into a slot of the ring.
    void blur_row(std::int64_t position, std::int64_t slot) {
        const bool holds_nan = load_line(border_index(position, arguments_.height, arguments_.border));
        Compute* target = ring_ + slot * stride_;
        sum_line(line_ + lead_ + horizontal_radius_, horizontal_, horizontal_radius_, target, width_);
        if (!weights_) return;
        Compute* weight = ring_weight_ + slot * stride_;
        if (holds_nan) {
            last_nan_ = position;
            sum_line(line_weight_ + lead_ + horizontal_radius_, horizontal_, horizontal_radius_, weight, width_);
        }
        weight_rows_[slot] = holds_nan ? weight : ones_;
    }

    // Fills the line with a row and its border on both sides; treats NaN. Returns whether pixels were given weight 0.
    bool load_line(std::int64_t row) {
        read_line(row < 0 ? nullptr : image_ + row * arguments_.width, arguments_.width, block_.column_begin - horizontal_radius_, line_width_,
                  arguments_.border, static_cast<Compute>(arguments_.cval), line_ + lead_);
        return treat_line(arguments_.nan_treatment, static_cast<Compute>(arguments_.fill_value), line_width_, line_ + lead_, line_weight_ + lead_);
    }

    // Sums the ring, whose oldest row is in slot `oldest`, into rows of the output.
    void finish_rows(std::int64_t row, std::int64_t rows, std::int64_t oldest) {
        const bool weighted = weights_ && last_nan_ >= row - vertical_radius_;
        if constexpr (sizeof(Storage) == sizeof(Compute)) {
            Storage* target = out_ + row * arguments_.width + block_.column_begin;
            const bool whole = rows == blur_together && width_ % lanes<Compute> == 0;
            const bool aligned = (reinterpret_cast<std::uintptr_t>(target) | static_cast<std::uintptr_t>(arguments_.width) * sizeof(Compute)) % vector_bytes == 0;
            if (whole && !weighted && !arguments_.preserve_nan && (aligned || !block_.stream)) {
                sum_ring(sum_rows_, oldest, target, arguments_.width, block_.stream);
                return;
            }
        }
        sum_ring(sum_rows_, oldest, results_, padded_, false);
        if (weighted) sum_ring(weight_rows_, oldest, result_weights_, padded_, false);
        for (std::int64_t j = 0; j < rows; ++j) {
            Compute* result = results_ + j * padded_;
            if (weighted) {
                const Compute* weight = result_weights_ + j * padded_;
                for (std::int64_t x = 0; x < width_; ++x) result[x] = normalised(result[x], weight[x]);
            }
            finish_row(row + j, result);
        }
    }

    void finish_row(std::int64_t row, Compute* result) {
        const std::int64_t start = row * arguments_.width + block_.column_begin;
        if (arguments_.preserve_nan) {
            for (std::int64_t x = 0; x < width_; ++x) {
                const Compute original = static_cast<Compute>(widen(image_[start + x]));
                result[x] = is_nan(original) ? original : result[x];
            }
        }
        if constexpr (sizeof(Storage) == sizeof(Compute)) {
            place_bytes(result, width_ * static_cast<std::int64_t>(sizeof(Compute)), block_.stream, out_ + start);
        } else {
            for (std::int64_t x = 0; x < width_; ++x) out_[start + x] = narrow(result[x], Storage{});
        }
    }

    // blur_together rows from the ring; those beyond what the ring holds by now are never used.
    void sum_ring(const Compute* const* slots, std::int64_t oldest, Compute* results, std::int64_t stride, bool around) {
        std::int64_t slot = oldest;
        for (std::int64_t k = 0; k < ring_rows_; ++k) {
            pointers_[k] = slots[slot];
            slot = slot + 1 == ring_rows_ ? 0 : slot + 1;
        }
        sum_all_rows(pointers_, kernel_, vertical_radius_, results, stride, around, width_);
    }

    const BlurArguments& arguments_;
    const BlurBlock& block_;
    const Storage* image_;
    Storage* out_;
    bool weights_;
    std::int64_t width_, padded_, stride_;
    const Compute *vertical_, *horizontal_;
    std::int64_t vertical_radius_, horizontal_radius_, ring_rows_, line_width_;
    std::int64_t lead_;  // items before the line: the centre of the first output is aligned
    std::int64_t last_nan_ = INT64_MIN;
    const Compute** pointers_;     // the rows of the ring from the oldest on
    const Compute** sum_rows_;     // by slot
    const Compute** weight_rows_;  // by slot; a row without NaN has no weights of its own
    Compute* ones_ = nullptr;
    Compute *kernel_, *line_, *results_, *ring_, *line_weight_, *result_weights_, *ring_weight_;
};

}  // namespace

void blur_block(const BlurArguments& arguments, const BlurBlock& block) noexcept {
    switch (arguments.dtype) {
        case Dtype::float32: Block<float, float>(arguments, block).run(); break;
        case Dtype::float64: Block<double, double>(arguments, block).run(); break;
        case Dtype::bfloat16: Block<Bfloat16, float>(arguments, block).run(); break;
        case Dtype::float16: Block<Float16, float>(arguments, block).run(); break;
    }
}

}  // namespace zoo::ZOO_ISA
