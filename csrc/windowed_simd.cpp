#include "windowed.hpp"

#include "shorts.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

// One pixel after the other.
template <int K>
void count_pixels(const unsigned char* data, std::int64_t n, CodeWindows& w) {
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int16_t code = load<K>(data + 2 * i);
        for (int window = 0; window < w.n; ++window) {
            const std::uint16_t place = static_cast<std::uint16_t>(code - w.low[window]);
            w.below[window] += code < w.low[window] ? 1 : 0;
            if (place <= w.reach[window]) ++w.counts[static_cast<std::uint16_t>(code)];
        }
    }
}

#if defined(__AVX2__)

template <int K, int WINDOWS>
void count_windows(const unsigned char* data, std::int64_t n, CodeWindows& w) {
    Shorts::Vector low[WINDOWS], reach[WINDOWS];
    std::int64_t below[WINDOWS] = {};
    for (int window = 0; window < WINDOWS; ++window) {
        low[window] = Shorts::fill(w.low[window]);
        reach[window] = Shorts::fill(static_cast<std::int16_t>(w.reach[window]));
    }
    std::uint16_t kept[kSpan + Shorts::n];  // codes in windows: counted when all are known, without a branch for each vector
    std::int64_t used = 0, i = 0;
    for (; i + Shorts::n <= n; i += Shorts::n) {
        const Shorts::Vector codes = Shorts::load<K>(data + 2 * i);
        std::uint32_t within = 0;
        for (int window = 0; window < WINDOWS; ++window) {
            below[window] += __builtin_popcount(Shorts::less(codes, low[window]));
            within |= Shorts::within(codes, low[window], reach[window]);
        }
        used += Shorts::keep(kept + used, within, codes);
    }
    for (std::int64_t k = 0; k < used; ++k) ++w.counts[kept[k]];
    for (int window = 0; window < WINDOWS; ++window) w.below[window] += below[window] / Shorts::bits;
    count_pixels<K>(data + 2 * i, n - i, w);
}

template <int K>
void count_any(const unsigned char* data, std::int64_t n, CodeWindows& w) {
    switch (w.n) {
        case 1: return count_windows<K, 1>(data, n, w);
        case 2: return count_windows<K, 2>(data, n, w);
        case 3: return count_windows<K, 3>(data, n, w);
        default: return count_windows<K, 4>(data, n, w);
    }
}

#else

template <int K>
void count_any(const unsigned char* data, std::int64_t n, CodeWindows& w) {
    count_pixels<K>(data, n, w);
}

#endif

}  // namespace

void count_windows_span(int kind, const unsigned char* data, std::int64_t n, CodeWindows* windows) noexcept {
    CodeWindows w = *windows;
    if (kind == kBeI16) {
        count_any<kBeI16>(data, n, w);
    } else {
        count_any<kI16>(data, n, w);
    }
    *windows = w;
}

}  // namespace ZOO_ISA
}  // namespace zoo
