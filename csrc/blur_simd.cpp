// Horizontal and vertical pass of one block of columns, fused: rows go through a ring in L2, and no intermediate frame exists.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "blur_block.hpp"

namespace zoo::ZOO_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(vector_bytes)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(vector_bytes)));
};

template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr std::int64_t lanes = vector_bytes / static_cast<std::int64_t>(sizeof(T));

template <class T>
Vector<T> load(const T* source) {
    Vector<T> value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

template <class T>
void store(T* target, Vector<T> value) {
    __builtin_memcpy(target, &value, sizeof value);
}

// Terms are summed in parts of this many: rounding errors grow with the longest chain of additions. Measured at sigma 16 against float64:
// 3.4e-7 of the peak in one chain, 2e-7 in parts.
constexpr std::int64_t part_terms = 16;

// COUNT neighbouring vectors of sum over k of taps[|k|] * rows[radius + k]; the far, small terms first.
template <int COUNT, class T>
void sum_vectors(const T* const* rows, const T* taps, std::int64_t radius, T* out, std::int64_t x) {
    Vector<T> sums[COUNT] = {};
    for (std::int64_t k = radius; k > 0;) {
        Vector<T> part[COUNT] = {};
        for (const std::int64_t stop = k > part_terms ? k - part_terms : 0; k > stop; --k) {
            const T* before = rows[radius - k] + x;
            const T* after = rows[radius + k] + x;
            for (int i = 0; i < COUNT; ++i) part[i] += taps[k] * (load(before + i * lanes<T>) + load(after + i * lanes<T>));
        }
        for (int i = 0; i < COUNT; ++i) sums[i] += part[i];
    }
    const T* centre = rows[radius] + x;
    for (int i = 0; i < COUNT; ++i) store(out + x + i * lanes<T>, sums[i] + taps[0] * load(centre + i * lanes<T>));
}

// The weighted sum of 2 * radius + 1 rows, symmetric taps folded. Rows and out hold whole vectors beyond width.
template <class T>
void weighted_sum(const T* const* rows, const T* taps, std::int64_t radius, T* out, std::int64_t width) {
    std::int64_t x = 0;
    for (; x + 4 * lanes<T> <= width; x += 4 * lanes<T>) sum_vectors<4>(rows, taps, radius, out, x);
    for (; x < width; x += lanes<T>) sum_vectors<1>(rows, taps, radius, out, x);
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
          padded_(blur_padded(width_)) {
        const std::int64_t set = arguments.sets == 1 ? 0 : block.frame;
        const Compute* taps = static_cast<const Compute*>(arguments.taps) + set * 2 * (arguments.max_radius + 1);
        vertical_ = taps;
        horizontal_ = taps + arguments.max_radius + 1;
        vertical_radius_ = arguments.radii[2 * set];
        horizontal_radius_ = arguments.radii[2 * set + 1];
        ring_rows_ = 2 * vertical_radius_ + 1;
        line_width_ = width_ + 2 * horizontal_radius_;

        pointers_ = static_cast<const Compute**>(block.scratch);
        const std::int64_t taps_most = 2 * arguments.max_radius + 1;
        char* items = static_cast<char*>(block.scratch) + blur_padded(taps_most * static_cast<std::int64_t>(sizeof(void*)));
        const std::int64_t line_items = blur_padded(padded_ + 2 * arguments.max_radius);
        line_ = reinterpret_cast<Compute*>(items);
        result_ = line_ + line_items;
        ring_ = result_ + padded_;
        line_weight_ = ring_ + taps_most * padded_;
        result_weight_ = line_weight_ + line_items;
        ring_weight_ = result_weight_ + padded_;
        for (std::int64_t i = line_width_; i < line_items; ++i) line_[i] = Compute(0);
        if (weights_) {
            for (std::int64_t i = line_width_; i < line_items; ++i) line_weight_[i] = Compute(0);
        }
    }

    void run() {
        const std::int64_t first = block_.row_begin - vertical_radius_;
        for (std::int64_t position = first; position < block_.row_end + vertical_radius_; ++position) {
            blur_row(position, (position - first) % ring_rows_);
            const std::int64_t row = position - vertical_radius_;
            if (row >= block_.row_begin) finish_row(row, (row - block_.row_begin) % ring_rows_);
        }
    }

private:
    // Blurs along x the row that stands at a vertical position, perhaps outside the frame, into a slot of the ring.
    void blur_row(std::int64_t position, std::int64_t slot) {
        const bool holds_nan = load_line(border_index(position, arguments_.height, arguments_.border));
        Compute* target = ring_ + slot * padded_;
        for (std::int64_t k = 0; k <= 2 * horizontal_radius_; ++k) pointers_[k] = line_ + k;
        weighted_sum(pointers_, horizontal_, horizontal_radius_, target, width_);
        if (!weights_) return;
        Compute* weight = ring_weight_ + slot * padded_;
        if (holds_nan) {
            last_nan_ = position;
            for (std::int64_t k = 0; k <= 2 * horizontal_radius_; ++k) pointers_[k] = line_weight_ + k;
            weighted_sum(pointers_, horizontal_, horizontal_radius_, weight, width_);
        } else {
            for (std::int64_t x = 0; x < padded_; ++x) weight[x] = Compute(1);
        }
    }

    // Fills the line with a row and its border on both sides; treats NaN. Returns whether pixels were given weight 0.
    bool load_line(std::int64_t row) {
        const Compute outside = static_cast<Compute>(arguments_.cval);
        if (row < 0) {
            for (std::int64_t i = 0; i < line_width_; ++i) line_[i] = outside;
        } else {
            const Storage* source = image_ + row * arguments_.width;
            const std::int64_t begin = block_.column_begin - horizontal_radius_;
            const std::int64_t left = begin < 0 ? (-begin < line_width_ ? -begin : line_width_) : 0;
            const std::int64_t rest = arguments_.width - begin;
            const std::int64_t right = rest < line_width_ ? (rest > left ? rest : left) : line_width_;
            for (std::int64_t i = 0; i < left; ++i) line_[i] = border_pixel(source, begin + i, outside);
            for (std::int64_t i = left; i < right; ++i) line_[i] = widen(source[begin + i]);
            for (std::int64_t i = right; i < line_width_; ++i) line_[i] = border_pixel(source, begin + i, outside);
        }
        if (arguments_.nan_treatment == NanTreatment::fill) {
            const Compute filling = static_cast<Compute>(arguments_.fill_value);
            for (std::int64_t i = 0; i < line_width_; ++i) line_[i] = is_nan(line_[i]) ? filling : line_[i];
        }
        if (!weights_) return false;
        int invalid = 0;
        for (std::int64_t i = 0; i < line_width_; ++i) invalid |= is_nan(line_[i]) ? 1 : 0;
        if (invalid == 0) return false;
        for (std::int64_t i = 0; i < line_width_; ++i) {
            line_weight_[i] = is_nan(line_[i]) ? Compute(0) : Compute(1);
            line_[i] = is_nan(line_[i]) ? Compute(0) : line_[i];
        }
        return true;
    }

    Compute border_pixel(const Storage* source, std::int64_t column, Compute outside) const {
        const std::int64_t x = border_index(column, arguments_.width, arguments_.border);
        return x < 0 ? outside : static_cast<Compute>(widen(source[x]));
    }

    // Sums the ring, whose oldest row is in slot `oldest`, into one row of the output.
    void finish_row(std::int64_t row, std::int64_t oldest) {
        point_to_ring(ring_, oldest);
        weighted_sum(pointers_, vertical_, vertical_radius_, result_, width_);
        if (weights_ && last_nan_ >= row - vertical_radius_) {
            point_to_ring(ring_weight_, oldest);
            weighted_sum(pointers_, vertical_, vertical_radius_, result_weight_, width_);
            for (std::int64_t x = 0; x < width_; ++x) result_[x] = normalised(result_[x], result_weight_[x]);
        }
        const std::int64_t start = row * arguments_.width + block_.column_begin;
        if (arguments_.preserve_nan) {
            for (std::int64_t x = 0; x < width_; ++x) {
                const Compute original = static_cast<Compute>(widen(image_[start + x]));
                result_[x] = is_nan(original) ? original : result_[x];
            }
        }
        for (std::int64_t x = 0; x < width_; ++x) out_[start + x] = narrow(result_[x], Storage{});
    }

    void point_to_ring(const Compute* ring, std::int64_t oldest) {
        std::int64_t slot = oldest;
        for (std::int64_t k = 0; k < ring_rows_; ++k) {
            pointers_[k] = ring + slot * padded_;
            slot = slot + 1 == ring_rows_ ? 0 : slot + 1;
        }
    }

    const BlurArguments& arguments_;
    const BlurBlock& block_;
    const Storage* image_;
    Storage* out_;
    bool weights_;
    std::int64_t width_, padded_;
    const Compute *vertical_, *horizontal_;
    std::int64_t vertical_radius_, horizontal_radius_, ring_rows_, line_width_;
    std::int64_t last_nan_ = INT64_MIN;
    const Compute** pointers_;
    Compute *line_, *result_, *ring_, *line_weight_, *result_weight_, *ring_weight_;
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
