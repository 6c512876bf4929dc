#include "simd.hpp"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace zoo {
namespace {

Isa best_supported() noexcept {
#ifdef ZOO_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")) {
        return Isa::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
    return Isa::plain;
}

Isa choose() noexcept {
    const Isa best = best_supported();
    const char* wanted = std::getenv("ZOO_SIMD");
    if (wanted == nullptr) return best;
    for (const Isa level : {Isa::plain, Isa::avx2, Isa::avx512}) {
        if (std::strcmp(wanted, isa_name(level)) == 0 && level <= best) return level;
    }
    return best;
}

}  // namespace

Isa isa() noexcept {
    static const Isa chosen = choose();
    return chosen;
}

const char* isa_name(Isa level) noexcept {
    switch (level) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        case Isa::plain: break;
    }
    return "plain";
}

}  // namespace zoo
