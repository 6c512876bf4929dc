#include "asinh_table.hpp"

#include <cmath>

namespace zoo {
namespace {

constexpr int kTerms = AsinhTable::kTerms;

// Coefficients of the polynomial that equals f at n Chebyshev nodes of [low, high], of powers of t - center, by divided differences.
template <class Function>
void interpolate(Function f, double low, double high, double center, int n, double* coefficients) {
    double nodes[kTerms], differences[kTerms];
    for (int i = 0; i < n; ++i) {
        nodes[i] = (low + high) / 2.0 + (high - low) / 2.0 * std::cos(M_PI * (2 * i + 1) / (2 * n));
        differences[i] = f(nodes[i]);
    }
    for (int order = 1; order < n; ++order) {
        for (int i = n - 1; i >= order; --i) differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order]);
    }
    for (int i = 0; i < n; ++i) coefficients[i] = 0.0;
    for (int i = n - 1; i >= 0; --i) {  // c := c * (t - node) + difference
        for (int k = n - 1; k >= 0; --k) {
            coefficients[k] = (k > 0 ? coefficients[k - 1] : differences[i]) + coefficients[k] * (center - nodes[i]);
        }
    }
}

}  // namespace

AsinhTable asinh_table(const StretchParameters& stretch) noexcept {
    AsinhTable table{};
    const double inverse = static_cast<double>(stretch.a), a = 1.0 / inverse;
    const auto exact = [&](double t) { return std::asinh(t * inverse) * static_cast<double>(stretch.scale); };
    int bits = 4;  // of the mantissa: pieces for each power of two
    const auto pieces = [&] { return static_cast<int>((bits_of(1.0f + stretch.a) - bits_of(1.0f)) >> (23 - bits)) + 1; };
    while (bits > 1 && pieces() > AsinhTable::kPieces) --bits;
    table.usable = bits >= 2 && inverse >= 1.0 && pieces() <= AsinhTable::kPieces;
    if (!table.usable) return table;
    table.shift = 23 - bits;
    for (int piece = 0; piece < AsinhTable::kPieces; ++piece) {
        const auto edge = [&](int i) {
            return (static_cast<double>(float_from(bits_of(1.0f) + (static_cast<std::uint32_t>(i) << table.shift))) - 1.0) * a;
        };
        const double low = edge(piece), high = edge(piece + 1);
        double coefficients[kTerms] = {};
        if (piece == 0) {  // through 0, and exact there relative to the value
            interpolate([&](double t) { return exact(t) / t; }, low, high, 0.0, kTerms - 1, coefficients + 1);
        } else {
            table.centers[piece] = static_cast<float>((low + high) / 2.0);
            interpolate(exact, low, high, static_cast<double>(table.centers[piece]), kTerms, coefficients);
        }
        for (int k = 0; k < kTerms; ++k) table.terms[k][piece] = static_cast<float>(coefficients[k]);
    }
    return table;
}

}  // namespace zoo
