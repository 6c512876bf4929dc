#include "decode.hpp"

#include "shorts.hpp"
#include "streaming.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

template <int K>
void read(const unsigned char* data, std::int64_t n, const Calibration& calibration, double* out) {
    const Calibration c = calibration;
    const bool as_stored = c.bscale == 1.0 && c.bzero == 0.0 && c.bias == 0.0 && c.gain == 1.0 && c.saturation != c.saturation;
    if (as_stored && !c.has_blank) {
        for (std::int64_t i = 0; i < n; ++i) {
            const double value = static_cast<double>(load<K>(data + i * item_size(K)));
            out[i] = is_finite(value) ? value : static_cast<double>(NAN);
        }
        return;
    }
    for (std::int64_t i = 0; i < n; ++i) out[i] = linear_value(load<K>(data + i * item_size(K)), c);
}

// The integer that is all there is to add, exactly, or nothing.
bool is_offset(const Calibration& c, std::int32_t* offset) {
    *offset = fabs(c.bzero) <= 0x1p23 ? static_cast<std::int32_t>(c.bzero) : 0;
    return c.bscale == 1.0 && c.bias == 0.0 && c.gain == 1.0 && static_cast<double>(*offset) == c.bzero;
}

// What whole vectors there are, straight into the result if it is aligned to them. Returns how many pixels were decoded.
template <int K>
std::int64_t decode_around(const unsigned char* data, std::int64_t n, std::int32_t offset, float* out) {
    std::int64_t i = 0;
#if defined(__AVX2__)
    if (reinterpret_cast<std::uintptr_t>(out) % sizeof(Shorts::Vector) != 0) return 0;
    for (; i + Shorts::n <= n; i += Shorts::n) Shorts::place(Shorts::load<K>(data + 2 * i), offset, out + i);
#else
    static_cast<void>(data), static_cast<void>(n), static_cast<void>(offset), static_cast<void>(out);
#endif
    return i;
}

template <int K>
void decode_shorts(const unsigned char* data, std::int64_t n, const Calibration& calibration, bool stream, float* out) {
    const Calibration c = calibration;
    std::int32_t offset;
    const bool integers = is_offset(c, &offset);
    for (std::int64_t done = stream && integers ? decode_around<K>(data, n, offset, out) : 0; done < n; done += kUnit) {
        const unsigned char* from = data + 2 * done;
        const std::int64_t m = n - done < kUnit ? n - done : kUnit;
        alignas(64) float values[kUnit];
        if (integers) {
            for (std::int64_t i = 0; i < m; ++i) values[i] = static_cast<float>(load<K>(from + 2 * i) + offset);
        } else {
            for (std::int64_t i = 0; i < m; ++i) {
                values[i] = static_cast<float>((static_cast<double>(load<K>(from + 2 * i)) * c.bscale + c.bzero - c.bias) * c.gain);
            }
        }
        place_bytes(values, 4 * m, stream, out + done);
    }
}

}  // namespace

void decode_shorts_span(int kind, const unsigned char* data, std::int64_t n, const Calibration& c, bool stream, void* out) noexcept {
    float* floats = static_cast<float*>(out);
    if (kind == kBeI16) return decode_shorts<kBeI16>(data, n, c, stream, floats);
    decode_shorts<kI16>(data, n, c, stream, floats);
}

void read_span(int kind, const unsigned char* data, std::int64_t n, const Calibration& c, double* out) noexcept {
    switch (kind) {
        case kU8: return read<kU8>(data, n, c, out);
        case kI8: return read<kI8>(data, n, c, out);
        case kI16: return read<kI16>(data, n, c, out);
        case kI32: return read<kI32>(data, n, c, out);
        case kI64: return read<kI64>(data, n, c, out);
        case kF16: return read<kF16>(data, n, c, out);
        case kBF16: return read<kBF16>(data, n, c, out);
        case kF32: return read<kF32>(data, n, c, out);
        case kF64: return read<kF64>(data, n, c, out);
        case kBeI16: return read<kBeI16>(data, n, c, out);
        case kBeI32: return read<kBeI32>(data, n, c, out);
        case kBeI64: return read<kBeI64>(data, n, c, out);
        case kBeF32: return read<kBeF32>(data, n, c, out);
        case kBeF64: return read<kBeF64>(data, n, c, out);
        default: return;
    }
}

void store_span(const double* values, std::int64_t n, Dtype dtype, bool stream, void* out) noexcept {
    if (dtype == Dtype::float64) return place_bytes(values, 8 * n, stream, out);
    alignas(64) float narrowed[kUnit];
    for (std::int64_t i = 0; i < n; ++i) narrowed[i] = static_cast<float>(values[i]);
    if (dtype == Dtype::float32) return place_bytes(narrowed, 4 * n, stream, out);
    alignas(64) std::uint16_t bits[kUnit];
    if (dtype == Dtype::bfloat16) {
        for (std::int64_t i = 0; i < n; ++i) bits[i] = narrow(narrowed[i], Bfloat16{}).bits;
    } else {
        for (std::int64_t i = 0; i < n; ++i) bits[i] = narrow(narrowed[i], Float16{}).bits;
    }
    place_bytes(bits, 2 * n, stream, out);
}

}  // namespace ZOO_ISA
}  // namespace zoo
