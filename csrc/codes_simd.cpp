#include "codes.hpp"

#include "streaming.hpp"

namespace zoo {
namespace ZOO_ISA {
namespace {

// Plain loads, four codes at a time: gather instructions take twice as long, and so does one code at a time.
template <int K, class Item>
void look_up_words(const unsigned char* data, std::int64_t n, const Item* table, Item* items) {
    constexpr int first = K == kBeI16 ? 3 : 0, step = K == kBeI16 ? -1 : 1;  // a swap of eight bytes turns four codes around
    std::int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        std::uint64_t four;
        memcpy(&four, data + 2 * i, 8);
        if constexpr (K == kBeI16) four = swap_bytes(four);
        asm("" : "+r"(four));  // keeps the compiler from gathering
        items[i + first] = table[four & 0xffffu];
        items[i + first + step] = table[four >> 16 & 0xffffu];
        items[i + first + 2 * step] = table[four >> 32 & 0xffffu];
        items[i + first + 3 * step] = table[four >> 48];
    }
    for (; i < n; ++i) items[i] = table[static_cast<std::uint16_t>(load<K>(data + 2 * i))];
}

template <class Item>
void look_up(int kind, const unsigned char* data, std::int64_t n, const void* table, bool stream, void* out) {
    const Item* entries = static_cast<const Item*>(table);
    Item* to = static_cast<Item*>(out);
    for (std::int64_t done = 0; done < n; done += kUnit) {
        const unsigned char* from = data + done * item_size(kind);
        const std::int64_t m = n - done < kUnit ? n - done : kUnit;
        alignas(64) Item items[kUnit];
        if (item_size(kind) == 1) {
            for (std::int64_t i = 0; i < m; ++i) items[i] = entries[from[i]];
        } else if (kind == kBeI16) {
            look_up_words<kBeI16>(from, m, entries, items);
        } else {
            look_up_words<kI16>(from, m, entries, items);
        }
        place_bytes(items, m * static_cast<std::int64_t>(sizeof(Item)), stream, to + done);
    }
}

}  // namespace

void look_up_span(int kind, const unsigned char* data, std::int64_t n, const void* table, std::int64_t item, bool stream,
                  void* out) noexcept {
    switch (item) {
        case 2: return look_up<std::uint16_t>(kind, data, n, table, stream, out);
        case 4: return look_up<std::uint32_t>(kind, data, n, table, stream, out);
        default: return look_up<std::uint64_t>(kind, data, n, table, stream, out);
    }
}

void code_values_span(int kind, std::int64_t first, std::int64_t n, const Calibration& calibration, double* out) noexcept {
    if (item_size(kind) == 1) {
        std::uint8_t codes[kUnit];
        for (std::int64_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(first + i);
        return read_span(kind, codes, n, calibration, out);
    }
    std::uint16_t codes[kUnit];
    for (std::int64_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint16_t>(first + i);
    const int native = kind == kBeI16 ? static_cast<int>(kI16) : kind;
    read_span(native, reinterpret_cast<const unsigned char*>(codes), n, calibration, out);
}

}  // namespace ZOO_ISA
}  // namespace zoo
