// The fuzz target: any bytes as a FITS file. Sanitizers see what is read; the checks here say what a walk promises. Its entry point is that
// of libFuzzer.
#include "fits_header.hpp"

#include <cstdio>
#include <cstdlib>

#include "fits_checksum.hpp"

namespace {

namespace fits = zoo::fits;

#define PROMISE(condition)                                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            std::fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                               \
        }                                                                               \
    } while (false)

// Reads every byte of a view, which must lie in the header.
unsigned touch(std::string_view view, const char* begin, const char* end) {
    if (view.empty()) return 0;
    PROMISE(view.data() >= begin && view.data() + view.size() <= end && view.size() <= 80);
    unsigned sum = 0;
    for (const char c : view) sum += static_cast<unsigned char>(c);
    return sum;
}

void check_cards(const fits::Walk& walk, const char* begin, const char* end) {
    static volatile unsigned sink;  // so that reading is not left out
    for (const fits::Card& card : walk.cards()) sink = touch(card.name, begin, end) + touch(card.text, begin, end);
}

void walk_with(const unsigned char* data, std::int64_t length, const fits::Limits& limits) {
    fits::Walk walk(data, length, limits);
    const char* bytes = reinterpret_cast<const char*>(data);
    std::int64_t hdus = 0, blocks = 0, end = 0;
    while (walk.next()) {
        const fits::Hdu& hdu = walk.hdu();
        PROMISE(++hdus <= limits.hdus);
        PROMISE(hdu.start >= end && hdu.offset > hdu.start && hdu.size >= 0 && hdu.rows >= 0);
        PROMISE(hdu.size <= length && hdu.offset <= length - hdu.size);
        PROMISE((hdu.offset - hdu.start) % fits::kBlock == 0);
        PROMISE((hdu.offset - hdu.start) / fits::kBlock <= limits.header_blocks);
        blocks += (hdu.offset - hdu.start) / fits::kBlock;
        PROMISE(blocks <= limits.file_blocks);
        PROMISE(static_cast<std::int64_t>(hdu.axes.size()) <= limits.axes);
        for (const std::int64_t axis : hdu.axes) PROMISE(axis >= 0);
        check_cards(walk, bytes + hdu.start, bytes + hdu.offset);
        static_cast<void>(fits::data_sum(data + hdu.offset, hdu.size));
        end = hdu.offset + hdu.size;
    }
    const fits::Fault& fault = walk.fault();
    if (fault.reason != fits::Reason::none) check_cards(walk, bytes, bytes + length);
    PROMISE(fault.reason != fits::Reason::cut_data || fault.needed > length);
    PROMISE((fault.reason == fits::Reason::keyword) == (fault.key[0] != 0));
    PROMISE(!walk.next());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    walk_with(data, static_cast<std::int64_t>(size), {1000, 2000, 10000, 999});
    walk_with(data, static_cast<std::int64_t>(size), {3, 2, 4, 3});
    return 0;
}
