#include "fits_checksum.hpp"

#include <algorithm>
#include <cstring>

namespace zoo::fits {
namespace {

constexpr std::int64_t kWordsAtOnce = std::int64_t{1} << 30;  // whose plain sum fits in 64 bits with room

std::uint64_t fold(std::uint64_t sum) {
    while (sum >> 32) sum = (sum & 0xffffffffu) + (sum >> 32);
    return sum;
}

}  // namespace

std::uint32_t data_sum(const unsigned char* data, std::int64_t bytes) noexcept {
    std::uint64_t sum = 0;
    const std::int64_t words = bytes / 4;
    for (std::int64_t first = 0; first < words; first += kWordsAtOnce) {
        sum = fold(sum + ZOO_DISPATCH(sum_words_span, data + 4 * first, std::min(kWordsAtOnce, words - first)));
    }
    unsigned char last[4] = {};
    std::memcpy(last, data + 4 * words, static_cast<std::size_t>(bytes - 4 * words));
    return static_cast<std::uint32_t>(fold(sum + ZOO_DISPATCH(sum_words_span, last, 1)));
}

}  // namespace zoo::fits
