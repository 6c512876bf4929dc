// Run-time choice between the copies of a kernel that are compiled for different instruction sets.
//
// A file named *_simd.cpp is compiled once per instruction set with ZOO_ISA defined as plain, avx2 or avx512, and puts everything into
// namespace zoo::ZOO_ISA. It must not call inline functions of the standard library: the linker keeps one copy of those, and it might be
// the one with instructions that this processor lacks. For the same reason its own helpers live in an unnamed namespace inside ZOO_ISA.
//
// Declare an entry point with ZOO_DECLARE_ISAS(void f(int)); and call it with ZOO_DISPATCH(f, 3).
#pragma once

namespace zoo {

enum class Isa { plain, avx2, avx512 };

// The level in use: the best that processor and operating system support, or a lower one from the environment variable ZOO_SIMD. Fixed at
// the first call.
Isa isa() noexcept;

const char* isa_name(Isa level) noexcept;

}  // namespace zoo

#ifdef ZOO_X86
#define ZOO_DECLARE_ISAS(...)               \
    namespace plain {                       \
    __VA_ARGS__;                            \
    }                                       \
    namespace avx2 {                        \
    __VA_ARGS__;                            \
    }                                       \
    namespace avx512 {                      \
    __VA_ARGS__;                            \
    }
#define ZOO_DISPATCH(function, ...)                                            \
    (::zoo::isa() == ::zoo::Isa::avx512 ? ::zoo::avx512::function(__VA_ARGS__) \
     : ::zoo::isa() == ::zoo::Isa::avx2 ? ::zoo::avx2::function(__VA_ARGS__)   \
                                        : ::zoo::plain::function(__VA_ARGS__))
#else
#define ZOO_DECLARE_ISAS(...) \
    namespace plain {         \
    __VA_ARGS__;              \
    }
#define ZOO_DISPATCH(function, ...) ::zoo::plain::function(__VA_ARGS__)
#endif
