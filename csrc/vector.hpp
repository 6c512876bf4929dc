// Vectors of floating-point numbers as wide as the instruction set that a file is compiled for. Only for *_simd.cpp (simd.hpp): every
// copy has its own types and functions.
#pragma once

#include <cstdint>

#ifdef ZOO_X86
#include <immintrin.h>
#endif

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

// Stores around the caches (streaming.hpp); the target must be aligned to a whole vector.
template <class T>
void store_around(T* target, Vector<T> value) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target), reinterpret_cast<__m512i>(value));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target), reinterpret_cast<__m256i>(value));
#elif defined(ZOO_X86)
    _mm_stream_si128(reinterpret_cast<__m128i*>(target), reinterpret_cast<__m128i>(value));
#else
    store(target, value);
#endif
}

}  // namespace
}  // namespace zoo::ZOO_ISA
