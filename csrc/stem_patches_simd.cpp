// Sums of image patches and of their outer products. Two pixels of a patch that lie a given distance apart are the same two pixels in the
// patches beside and below it, so a product is summed once for each distance, and what enters and leaves at the ends is added.
// Compiled once per instruction set; see simd.hpp for what that forbids.
#include "stem_tile.hpp"

namespace zoo::ZOO_ISA {
namespace {

#if defined(__AVX512F__)
typedef double Vector __attribute__((vector_size(64)));
#elif defined(__AVX2__)
typedef double Vector __attribute__((vector_size(32)));
#else
typedef double Vector __attribute__((vector_size(16)));
#endif
constexpr std::int64_t lanes = sizeof(Vector) / sizeof(double);

Vector load(const double* source) {
    Vector value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

// sums[t] = sum over j of a[j] * b[j + t] for COUNT shifts t.
template <int COUNT>
void dot_shifted(const double* a, const double* b, std::int64_t size, double* sums) {
    Vector parts[COUNT] = {};
    std::int64_t j = 0;
    for (; j + lanes <= size; j += lanes) {
        const Vector value = load(a + j);
#pragma GCC unroll 8
        for (int t = 0; t < COUNT; ++t) parts[t] += value * load(b + j + t);
    }
    for (int t = 0; t < COUNT; ++t) {
        double sum = 0.0;
        for (std::int64_t lane = 0; lane < lanes; ++lane) sum += parts[t][lane];
        for (std::int64_t rest = j; rest < size; ++rest) sum += a[rest] * b[rest + t];
        sums[t] = sum;
    }
}

void dot_any(const double* a, const double* b, std::int64_t size, std::int64_t count, double* sums) {
    for (; count > 0; count -= 8, b += 8, sums += 8) {
        switch (count) {
            case 1: dot_shifted<1>(a, b, size, sums); break;
            case 2: dot_shifted<2>(a, b, size, sums); break;
            case 3: dot_shifted<3>(a, b, size, sums); break;
            case 4: dot_shifted<4>(a, b, size, sums); break;
            case 5: dot_shifted<5>(a, b, size, sums); break;
            case 6: dot_shifted<6>(a, b, size, sums); break;
            case 7: dot_shifted<7>(a, b, size, sums); break;
            default: dot_shifted<8>(a, b, size, sums);
        }
    }
}

// One padded row of the image, minus pivot, its columns sorted by their remainder modulo the stride: (stride, phase).
template <class T>
void copy_row(const T* source, const StemAxis& h, std::int64_t phase, double pivot, double* target) {
    for (std::int64_t remainder = 0; remainder < h.stride; ++remainder) {
        for (std::int64_t i = 0; i < phase; ++i) {
            const std::int64_t x = i * h.stride + remainder - h.padding;
            const bool inside = source != nullptr && x >= 0 && x < h.size;
            target[remainder * phase + i] = (inside ? static_cast<double>(widen(source[x])) : 0.0) - pivot;
        }
    }
}

void copy_any_row(const StemArguments& a, std::int64_t frame, std::int64_t row, std::int64_t phase, double pivot, double* target) {
    const std::int64_t y = row - a.vertical.padding;
    const bool inside = y >= 0 && y < a.vertical.size;
    const std::int64_t offset = frame * a.frame_stride + y * a.row_stride;
    switch (a.dtype) {
        case Dtype::bfloat16:
            return copy_row(inside ? static_cast<const Bfloat16*>(a.image) + offset : nullptr, a.horizontal, phase, pivot, target);
        case Dtype::float16:
            return copy_row(inside ? static_cast<const Float16*>(a.image) + offset : nullptr, a.horizontal, phase, pivot, target);
        default: return copy_row(inside ? static_cast<const float*>(a.image) + offset : nullptr, a.horizontal, phase, pivot, target);
    }
}

// out[i * kernel + j] = sum over the columns of the map of upper[column * stride + i] * lower[column * stride + j].
void multiply_rows(const double* upper, const double* lower, const StemAxis& h, std::int64_t phase, double* out) {
    const std::int64_t k = h.kernel, s = h.stride < k ? h.stride : k;
    const auto at = [&](const double* row, std::int64_t x) { return row[x % h.stride * phase + x / h.stride]; };
    double sums[stem_longest_kernel];
    for (std::int64_t i = 0; i < s; ++i) {
        for (std::int64_t j = 0; j < s; ++j) {
            // pairs (i, j + t * stride) and (i + t * stride, j) that no other pair leads to
            const std::int64_t right = (k - 1 - j) / h.stride + 1, left = (k - 1 - i) / h.stride;
            dot_any(upper + i * phase, lower + j * phase, h.map, right, sums);
            for (std::int64_t t = 0; t < right; ++t) out[i * k + j + t * h.stride] = sums[t];
            dot_any(lower + j * phase, upper + i * phase + 1, h.map, left, sums);
            for (std::int64_t t = 0; t < left; ++t) out[(i + (t + 1) * h.stride) * k + j] = sums[t];
        }
    }
    const std::int64_t span = h.map * h.stride;
    for (std::int64_t i = h.stride; i < k; ++i) {
        for (std::int64_t j = h.stride; j < k; ++j) {
            const std::int64_t u = i - h.stride, w = j - h.stride;
            out[i * k + j] = out[u * k + w] + (at(upper, u + span) * at(lower, w + span) - at(upper, u) * at(lower, w));
        }
    }
}

}  // namespace

void stem_patch_rows(const StemArguments& a, std::int64_t frame, std::int64_t first, std::int64_t last, double pivot, double* sums,
                     double* products, double* scratch) {
    const StemAxis &v = a.vertical, &h = a.horizontal;
    const std::int64_t phase = stem_phase(h), line = h.stride * phase, taps = v.kernel * h.kernel;
    const std::int64_t rows = (v.map - 1) * v.stride + v.kernel;
    double* product = scratch + v.kernel * line;
    double* total = product + h.kernel * h.kernel;
    const auto ring = [&](std::int64_t row) { return scratch + row % v.kernel * line; };
    for (std::int64_t row = first; row < rows && row < first + v.kernel - 1; ++row) copy_any_row(a, frame, row, phase, pivot, ring(row));
    for (std::int64_t row = first; row < last; ++row) {
        // Rows [row, row + kernel) are in the ring. Row `row` is the i-th of the patches of one row of the map for some i.
        const std::int64_t newest = row + v.kernel - 1;
        if (newest < rows) copy_any_row(a, frame, newest, phase, pivot, ring(newest));
        for (std::int64_t j = 0; j < h.kernel; ++j) {
            double sum = 0.0;
            for (std::int64_t x = 0; x < h.map; ++x) sum += ring(row)[j % h.stride * phase + j / h.stride + x];
            total[j] = sum;
        }
        for (std::int64_t distance = 0; distance < v.kernel && row + distance < rows; ++distance) {
            multiply_rows(ring(row), ring(row + distance), h, phase, product);
            for (std::int64_t i = 0; i + distance < v.kernel; ++i) {
                if (row < i || (row - i) % v.stride != 0 || (row - i) / v.stride >= v.map) continue;
                double* target = products + i * h.kernel * taps + (i + distance) * h.kernel;
                for (std::int64_t p = 0; p < h.kernel; ++p) {
                    for (std::int64_t q = 0; q < h.kernel; ++q) target[p * taps + q] += product[p * h.kernel + q];
                }
                if (distance > 0) continue;
                for (std::int64_t p = 0; p < h.kernel; ++p) sums[i * h.kernel + p] += total[p];
            }
        }
    }
}

}  // namespace zoo::ZOO_ISA
