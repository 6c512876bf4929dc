// The asinh stretch between the limits as short polynomials, whose coefficients AVX-512 finds in registers: a quarter of the steps of root,
// quotient and logarithm. Within 1e-7 of float64's.
#pragma once

#include "stretch.hpp"

namespace zoo {

struct AsinhTable {
    static constexpr int kPieces = 32, kTerms = 5;
    bool usable;  // otherwise the stretch is too steep for so few pieces
    int shift;    // bits of 1 + t / a above those of 1, shifted to the right by so many, are the number of the piece
    float centers[kPieces];
    float terms[kTerms][kPieces];  // of the powers of t - center, the constant first
};

// stretch: of kAsinh.
AsinhTable asinh_table(const StretchParameters& stretch) noexcept;

}  // namespace zoo
