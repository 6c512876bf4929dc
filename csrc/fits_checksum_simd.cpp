#include "fits_checksum.hpp"

#include <string.h>

namespace zoo {
namespace ZOO_ISA {

std::uint64_t sum_words_span(const unsigned char* data, std::int64_t words) noexcept {
    std::uint64_t sum = 0;
    for (std::int64_t i = 0; i < words; ++i) {
        std::uint32_t word;
        memcpy(&word, data + 4 * i, 4);
        sum += __builtin_bswap32(word);
    }
    return sum;
}

}  // namespace ZOO_ISA
}  // namespace zoo
