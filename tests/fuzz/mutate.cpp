// A small fuzzer for g++, which has no libFuzzer: mutates inputs, keeps those that reach new edges, and goes on from them.
// Usage: fits_header_fuzz SECONDS CORPUS...      files or folders; the first folder receives what was new
//
// Mutations know of cards and blocks, since random bytes hardly ever make a header. The input at which a sanitizer or a promise fails is
// written to the file `crash`. Edges come from g++'s -fsanitize-coverage=trace-pc; this file is compiled without it, and without sanitizers,
// which would make it the slowest part.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <sanitizer/common_interface_defs.h>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size);

namespace {

using Bytes = std::vector<unsigned char>;

constexpr std::size_t kCard = 80, kBlock = 2880, kLongest = 12 * kBlock;

std::array<unsigned char, 1 << 14> edges, seen;
std::uintptr_t previous = 0;
const Bytes* current = nullptr;
std::mt19937_64 generator(1);

std::size_t below(std::size_t n) { return n == 0 ? 0 : generator() % n; }

void write(const std::string& path, const Bytes& bytes) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

void save_crash() {
    if (current) write("crash", *current);
}

void save_crash_at_abort(int) {
    save_crash();
    std::_Exit(1);
}

// Runs one input in memory of its own size, so that a sanitizer sees the first byte too many. Returns whether an edge was new.
bool run(const Bytes& input) {
    current = &input;
    edges.fill(0);
    previous = 0;
    unsigned char* exact = new unsigned char[input.size()];
    std::copy(input.begin(), input.end(), exact);
    LLVMFuzzerTestOneInput(exact, input.size());
    delete[] exact;
    bool fresh = false;
    for (std::size_t i = 0; i < edges.size(); ++i) {
        // How often counts by its order of magnitude, as in AFL (M. Zalewski).
        unsigned char magnitude = 0;
        for (unsigned n = edges[i]; n > 0; n >>= 1) magnitude = static_cast<unsigned char>(magnitude << 1 | 1);
        fresh = fresh || (magnitude & ~seen[i]);
        seen[i] = static_cast<unsigned char>(seen[i] | magnitude);
    }
    return fresh;
}

void put(Bytes& input, std::size_t place, const std::string& text) {
    for (std::size_t i = 0; i < text.size() && place + i < input.size(); ++i) input[place + i] = static_cast<unsigned char>(text[i]);
}

void mutate(Bytes& input, const std::vector<Bytes>& corpus) {
    static const std::vector<std::string> keys = {"SIMPLE  =", "BITPIX  =", "NAXIS   =", "NAXIS1  =", "NAXIS2  =", "NAXIS999=", "NAXIS01 =",
                                                  "PCOUNT  =", "GCOUNT  =", "GROUPS  =", "XTENSION=", "ZIMAGE  =", "ZBITPIX =", "ZNAXIS  =",
                                                  "ZNAXIS1 =", "ZNAXIS99=", "END      ", "        ="};
    static const std::vector<std::string> values = {
        "0", "1", "2", "3", "8", "16", "-32", "-64", "999", "1000", "2879", "2880", "2881", "4294967296", "2305843009213693952",
        "4611686018427387904", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
        "18446744073709551616", "99999999999999999999999999999999999999999999999999999999999999999999", "T", "F", "1.5", ".", "1E999", "+",
        "'IMAGE   '", "'BINTABLE'", "'", "''", "'''", "'it''s'", "'open''", "/", "5/", "/ 5"};
    const std::size_t cards = input.size() / kCard, card = below(cards) * kCard;
    switch (below(input.size() < kBlock ? 3 : 12)) {
        case 0:
            if (!input.empty()) input[below(input.size())] ^= static_cast<unsigned char>(1u << below(8));
            break;
        case 1:
            if (!input.empty()) input[below(input.size())] = static_cast<unsigned char>(generator());
            break;
        case 2: {  // the head of this one, the rest of another one
            const Bytes& other = corpus[below(corpus.size())];
            const std::size_t head = below(input.size() / kBlock + 1) * kBlock, from = below(other.size() / kBlock + 1) * kBlock;
            input.resize(std::min(head, input.size()));
            input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(std::min(from, other.size())), other.end());
            break;
        }
        case 3: input.resize(below(input.size() + 1)); break;
        case 4: input.resize(input.size() + 1 + below(kBlock), static_cast<unsigned char>(below(2) ? ' ' : 0)); break;
        case 5:
        case 6:
            put(input, card + 10, std::string(kCard - 10, ' '));
            put(input, card + 10, values[below(values.size())]);
            break;
        case 7: put(input, card, keys[below(keys.size())] + " "); break;
        case 8: {
            const std::size_t other = below(cards) * kCard;
            for (std::size_t i = 0; i < kCard; ++i) std::swap(input[card + i], input[other + i]);
            break;
        }
        case 9: {
            const std::size_t other = below(cards) * kCard;
            std::copy_n(input.begin() + static_cast<std::ptrdiff_t>(other), kCard, input.begin() + static_cast<std::ptrdiff_t>(card));
            break;
        }
        case 10: {  // a block again
            const Bytes copy(input.begin(), input.begin() + kBlock);
            input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() / kBlock + 1) * kBlock), copy.begin(), copy.end());
            break;
        }
        default: put(input, below(input.size()), values[below(values.size())]); break;
    }
    if (input.size() > kLongest) input.resize(kLongest);
}

std::vector<Bytes> read(int count, char** paths) {
    std::vector<Bytes> corpus;
    const auto add = [&](const std::filesystem::path& path) {
        std::ifstream file(path, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    };
    for (int i = 0; i < count; ++i) {
        if (!std::filesystem::is_directory(paths[i])) {
            add(paths[i]);
            continue;
        }
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::directory_iterator(paths[i])) files.push_back(entry.path());
        std::sort(files.begin(), files.end());
        for (const auto& file : files) add(file);
    }
    return corpus;
}

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
    const std::uintptr_t here = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    unsigned char& edge = edges[(here ^ previous >> 1) % edges.size()];
    if (edge < 255) ++edge;
    previous = here;
}

int main(int count, char** arguments) {
    if (count < 3) {
        std::fprintf(stderr, "usage: %s SECONDS CORPUS...\n", arguments[0]);
        return 2;
    }
    __sanitizer_set_death_callback(save_crash);
    std::signal(SIGABRT, save_crash_at_abort);
    std::vector<Bytes> corpus = read(count - 2, arguments + 2);
    if (corpus.empty()) {
        std::fprintf(stderr, "no file in the corpus\n");
        return 2;
    }
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    const double seconds = std::atof(arguments[1]);
    for (const Bytes& input : corpus) run(input);
    const std::size_t given = corpus.size();
    std::uint64_t executions = given;
    while (elapsed() < seconds) {
        Bytes input = corpus[below(corpus.size())];
        for (std::size_t n = 1 + below(6); n > 0; --n) mutate(input, corpus);
        ++executions;
        if (!run(input)) continue;
        if (std::filesystem::is_directory(arguments[2])) write(std::string(arguments[2]) + "/new-" + std::to_string(corpus.size()), input);
        corpus.push_back(input);
    }
    const auto reached = std::count_if(seen.begin(), seen.end(), [](unsigned char n) { return n > 0; });
    std::printf("%llu executions in %.0f s, %zu inputs given, %zu kept, %td edges, no fault\n", static_cast<unsigned long long>(executions),
                elapsed(), given, corpus.size() - given, reached);
    return 0;
}
