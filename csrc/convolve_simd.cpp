// One block of columns of a convolution: lines of input go through a ring in L2, several rows of the output are summed together.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "convolve_block.hpp"
#include "line.hpp"
#include "streaming.hpp"
#include "vector.hpp"

namespace zoo::ZOO_ISA {
namespace {

constexpr std::int64_t group = convolve_together;  // rows

// Sums and loaded pixels fill the registers: 16 + 4 of 32, or 8 + 2 of 16.
#if defined(__AVX512F__)
constexpr int most_vectors = 4;
#else
constexpr int most_vectors = 2;
#endif

// Terms are summed in parts of about this many: rounding errors grow with the longest chain of additions.
constexpr std::int64_t part_terms = 32;

// COUNT neighbouring vectors of a group of rows of output; row j sums kernel[i][k] * rows[j + i][x + k].
template <int COUNT, class T>
void sum_vectors(const T* const* rows, const T* kernel, std::int64_t height, std::int64_t width, T* out, std::int64_t out_stride,
                 std::int64_t x) {
    Vector<T> totals[group][COUNT] = {};
    for (std::int64_t begin = 0; begin < width; begin += part_terms) {
        const std::int64_t end = begin + part_terms < width ? begin + part_terms : width;
        const std::int64_t rows_together = part_terms / (end - begin);
        for (std::int64_t i = 0; i < height + group - 1;) {
            Vector<T> parts[group][COUNT] = {};
            for (const std::int64_t stop = i + rows_together < height + group - 1 ? i + rows_together : height + group - 1; i < stop; ++i) {
                const T* line = rows[i] + x;
                if (i >= group - 1 && i < height) {
                    const T* taps = kernel + i * width;
                    for (std::int64_t k = begin; k < end; ++k) {
                        Vector<T> pixels[COUNT];
                        for (int v = 0; v < COUNT; ++v) pixels[v] = load(line + k + v * lanes<T>);
                        for (std::int64_t j = 0; j < group; ++j) {
                            for (int v = 0; v < COUNT; ++v) parts[j][v] += taps[k - j * width] * pixels[v];
                        }
                    }
                    continue;
                }
                // A row that not all outputs need: not 0 times its pixels, which may be NaN.
#pragma GCC unroll 4
                for (std::int64_t j = 0; j < group; ++j) {
                    if (i < j || i - j >= height) continue;
                    const T* taps = kernel + (i - j) * width;
                    for (std::int64_t k = begin; k < end; ++k) {
                        for (int v = 0; v < COUNT; ++v) parts[j][v] += taps[k] * load(line + k + v * lanes<T>);
                    }
                }
            }
            for (std::int64_t j = 0; j < group; ++j) {
                for (int v = 0; v < COUNT; ++v) totals[j][v] += parts[j][v];
            }
        }
    }
    for (std::int64_t j = 0; j < group; ++j) {
        for (int v = 0; v < COUNT; ++v) store(out + j * out_stride + x + v * lanes<T>, totals[j][v]);
    }
}

template <class Storage, class Compute>
class Block {
public:
    Block(const ConvolveArguments& arguments, const ConvolveBlock& block)
        : arguments_(arguments),
          block_(block),
          image_(static_cast<const Storage*>(arguments.image) + block.frame * arguments.height * arguments.width),
          out_(static_cast<Storage*>(arguments.out) + block.frame * arguments.height * arguments.width),
          weights_(arguments.nan_treatment == NanTreatment::interpolate),
          width_(block.column_end - block.column_begin),
          line_width_(width_ + arguments.kernel_width - 1),
          stride_(convolve_line(width_, arguments.kernel_width)),
          padded_(convolve_padded(width_)),
          ring_rows_(arguments.kernel_height - 1 + group) {
        pointers_ = static_cast<const Compute**>(block.scratch);
        ring_ = reinterpret_cast<Compute*>(static_cast<char*>(block.scratch) + convolve_padded(ring_rows_ * 8));
        results_ = ring_ + ring_rows_ * stride_;
        ring_weight_ = results_ + group * padded_;
        result_weights_ = ring_weight_ + ring_rows_ * stride_;
        for (std::int64_t i = 0; i < (weights_ ? 2 : 1) * (ring_rows_ * stride_ + group * padded_); ++i) ring_[i] = Compute(0);
    }

    void run() {
        const std::int64_t radius = arguments_.kernel_height / 2;
        const std::int64_t first = block_.row_begin - radius;
        std::int64_t position = first;
        for (std::int64_t row = block_.row_begin; row < block_.row_end; row += group) {
            const std::int64_t rows = row + group <= block_.row_end ? group : block_.row_end - row;
            for (; position < row + rows + radius; ++position) read_row(position, (position - first) % ring_rows_);
            finish_rows(row, rows, (row - block_.row_begin) % ring_rows_);
        }
    }

private:
    // The row that stands at a vertical position, perhaps outside the frame, into a slot of the ring.
    void read_row(std::int64_t position, std::int64_t slot) {
        const std::int64_t row = border_index(position, arguments_.height, arguments_.border);
        Compute* line = ring_ + slot * stride_;
        Compute* weights = ring_weight_ + slot * stride_;
        read_line(row < 0 ? nullptr : image_ + row * arguments_.width, arguments_.width, block_.column_begin - arguments_.kernel_width / 2,
                  line_width_, arguments_.border, static_cast<Compute>(arguments_.cval), line);
        if (treat_line(arguments_.nan_treatment, static_cast<Compute>(arguments_.fill_value), line_width_, line, weights)) {
            last_nan_ = position;
        } else if (weights_) {
            for (std::int64_t i = 0; i < line_width_; ++i) weights[i] = Compute(1);
        }
    }

    // Sums the ring, whose oldest row is in slot `oldest`, into rows of the output.
    void finish_rows(std::int64_t row, std::int64_t rows, std::int64_t oldest) {
        sum_ring(ring_, oldest, results_);
        const bool weighted = weights_ && last_nan_ >= row - arguments_.kernel_height / 2;
        if (weighted) sum_ring(ring_weight_, oldest, result_weights_);
        const Compute scale = static_cast<Compute>(arguments_.scale);
        for (std::int64_t j = 0; j < rows; ++j) {
            Compute* result = results_ + j * padded_;
            const Compute* weight = result_weights_ + j * padded_;
            if (weighted) {
                for (std::int64_t x = 0; x < width_; ++x) result[x] = weighted_mean(result[x], weight[x]);
            }
            if (scale != Compute(1)) {
                for (std::int64_t x = 0; x < width_; ++x) result[x] *= scale;
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

    // A group of rows from the ring; those beyond what the ring holds by now are never used.
    void sum_ring(const Compute* ring, std::int64_t oldest, Compute* results) {
        std::int64_t slot = oldest;
        for (std::int64_t k = 0; k < ring_rows_; ++k) {
            pointers_[k] = ring + slot * stride_;
            slot = slot + 1 == ring_rows_ ? 0 : slot + 1;
        }
        const Compute* kernel = static_cast<const Compute*>(arguments_.kernel);
        const std::int64_t height = arguments_.kernel_height, width = arguments_.kernel_width;
        constexpr std::int64_t together = most_vectors * lanes<Compute>;
        std::int64_t x = 0;
        for (; x + together <= width_; x += together) sum_vectors<most_vectors>(pointers_, kernel, height, width, results, padded_, x);
        for (; x < width_; x += lanes<Compute>) sum_vectors<1>(pointers_, kernel, height, width, results, padded_, x);
    }

    const ConvolveArguments& arguments_;
    const ConvolveBlock& block_;
    const Storage* image_;
    Storage* out_;
    bool weights_;
    std::int64_t width_, line_width_, stride_, padded_, ring_rows_;
    std::int64_t last_nan_ = INT64_MIN;
    const Compute** pointers_;
    Compute *ring_, *results_, *ring_weight_, *result_weights_;
};

}  // namespace

void convolve_block(const ConvolveArguments& arguments, const ConvolveBlock& block) noexcept {
    switch (arguments.dtype) {
        case Dtype::float32: Block<float, float>(arguments, block).run(); break;
        case Dtype::float64: Block<double, double>(arguments, block).run(); break;
        case Dtype::bfloat16: Block<Bfloat16, float>(arguments, block).run(); break;
        case Dtype::float16: Block<Float16, float>(arguments, block).run(); break;
    }
}

}  // namespace zoo::ZOO_ISA
