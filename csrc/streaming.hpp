// Results that are too large to stay in a cache go around it: nothing is read from memory only to be overwritten, and what the caches hold
// stays there. Measured on 2 cores of an AMD EPYC, 32 MiB: 0.80 ms instead of 1.9 for int16 -> float32.
//
// For files compiled per instruction set (simd.hpp): internal linkage, no calls.
#pragma once

#include <string.h>

#include <cstdint>

#ifdef ZOO_X86
#include <immintrin.h>
#endif

namespace zoo {

constexpr std::int64_t kStreamFrom = std::int64_t{8} << 20;  // bytes of a whole result

// Copies from a buffer in cache to its place in the result. Stores that stream are seen by other threads after fence_streams().
static inline void place_bytes(const void* from, std::int64_t bytes, bool stream, void* to) {
#ifdef ZOO_X86
    if (stream) {
        const unsigned char* source = static_cast<const unsigned char*>(from);
        unsigned char* target = static_cast<unsigned char*>(to);
        const std::int64_t lead = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(target) & 63u);
        std::int64_t i = lead < bytes ? lead : bytes;
        memcpy(target, source, static_cast<std::size_t>(i));
        for (; i + 64 <= bytes; i += 64) {
#if defined(__AVX512F__)
            _mm512_stream_si512(reinterpret_cast<__m512i*>(target + i), _mm512_loadu_si512(source + i));
#else
            for (int part = 0; part < 64; part += 16) {
                const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i + part));
                _mm_stream_si128(reinterpret_cast<__m128i*>(target + i + part), block);
            }
#endif
        }
        memcpy(target + i, source + i, static_cast<std::size_t>(bytes - i));
        return;
    }
#endif
    static_cast<void>(stream);
    memcpy(to, from, static_cast<std::size_t>(bytes));
}

// Makes this thread's streamed stores visible to threads that it hands over to.
static inline void fence_streams() {
#ifdef ZOO_X86
    _mm_sfence();
#endif
}

}  // namespace zoo
