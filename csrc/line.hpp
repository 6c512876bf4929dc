// A piece of a row of an image with what stands beyond its borders, and its treatment of NaN: the input of every convolution on the CPU.
// Only for *_simd.cpp (simd.hpp).
#pragma once

#include "blur.hpp"

namespace zoo::ZOO_ISA {
namespace {

// Fills the line with `count` pixels of a row from column `begin` on, which may be negative; a row of nullptr is outside altogether.
template <class Storage, class Compute>
void read_line(const Storage* row, std::int64_t width, std::int64_t begin, std::int64_t count, Border border, Compute outside, Compute* line) {
    if (row == nullptr) {
        for (std::int64_t i = 0; i < count; ++i) line[i] = outside;
        return;
    }
    const auto beyond = [&](std::int64_t i) {
        const std::int64_t x = border_index(begin + i, width, border);
        return x < 0 ? outside : static_cast<Compute>(widen(row[x]));
    };
    const std::int64_t left = begin < 0 ? (-begin < count ? -begin : count) : 0;
    const std::int64_t rest = width - begin;
    const std::int64_t right = rest < count ? (rest > left ? rest : left) : count;
    for (std::int64_t i = 0; i < left; ++i) line[i] = beyond(i);
    for (std::int64_t i = left; i < right; ++i) line[i] = widen(row[begin + i]);
    for (std::int64_t i = right; i < count; ++i) line[i] = beyond(i);
}

// Replaces NaN as the treatment says. With `interpolate` returns whether there was one, and if so fills the weights with 0 and 1.
template <class Compute>
bool treat_line(NanTreatment treatment, Compute filling, std::int64_t count, Compute* line, Compute* weights) {
    if (treatment == NanTreatment::fill) {
        for (std::int64_t i = 0; i < count; ++i) line[i] = is_nan(line[i]) ? filling : line[i];
    }
    if (treatment != NanTreatment::interpolate) return false;
    int invalid = 0;
    for (std::int64_t i = 0; i < count; ++i) invalid |= is_nan(line[i]) ? 1 : 0;
    if (invalid == 0) return false;
    for (std::int64_t i = 0; i < count; ++i) {
        weights[i] = is_nan(line[i]) ? Compute(0) : Compute(1);
        line[i] = is_nan(line[i]) ? Compute(0) : line[i];
    }
    return true;
}

}  // namespace
}  // namespace zoo::ZOO_ISA
