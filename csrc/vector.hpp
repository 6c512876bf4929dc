// Vectors of floating-point numbers as wide as the instruction set that a file is compiled for. Only for *_simd.cpp (simd.hpp): every
// copy has its own types and functions.
#pragma once

#include <cstdint>

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

}  // namespace
}  // namespace zoo::ZOO_ISA
