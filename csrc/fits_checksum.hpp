// The checksum that FITS keeps in DATASUM.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace zoo::fits {

// The sum of big-endian 32-bit words in ones' complement (FITS Standard 4.0, section 4.4.2.7 and appendix J). The last word is filled up
// with zeros, and so may the rest of its block be: they add nothing. One thread: 17 MB take 0.2 ms from the caches of an AMD EPYC.
std::uint32_t data_sum(const unsigned char* data, std::int64_t bytes) noexcept;

}  // namespace zoo::fits

namespace zoo {

// The plain sum of words <= 2^32 big-endian words.
ZOO_DECLARE_ISAS(std::uint64_t sum_words_span(const unsigned char* data, std::int64_t words) noexcept)

}  // namespace zoo
