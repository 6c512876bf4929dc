// The headers of a FITS file, walked without touching a pixel.
//
// The bytes may be anything: nothing outside [data, data + length) is read, sizes are worked out with checked integers and compared with
// the length before they are relied on, and the work is bounded by Limits. The rules are those of the FITS Standard 4.0 (IAU FITS Working
// Group, 2018), sections 3 and 4, read leniently; zoo/frames/headers.py states the same in Python, and tests compare the two.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace zoo::fits {

constexpr std::int64_t kBlock = 2880, kCard = 80;
constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

struct Limits {
    std::int64_t hdus, header_blocks, file_blocks, axes;  // header_blocks: of one header; file_blocks: of all headers together
};

enum class Type : unsigned char { none, text, logical, integer, real };  // none: no value, or one of no type known here

// A keyword with its value. The views point into the file.
struct Card {
    std::string_view name;
    std::string_view text;  // text: between its quotes, '' still doubled, without trailing blanks; a number: its digits
    std::int64_t number;    // a logical: 0 or 1; an integer: its value, or the nearest of 64 bits
    Type type;
    bool exact;             // whether `number` is the value of an integer
};

enum class Kind : unsigned char { image, compressed, table, groups, other };

struct Hdu {
    Kind kind;
    std::int64_t bitpix;              // of a compressed image that of the image
    std::vector<std::int64_t> axes;   // slowest first; of a compressed image those of the image
    std::int64_t start, offset, size;  // of the header, of its data, and how many bytes these are
    std::int64_t rows;                // tiles of a compressed image; kLargest stands for more
};

enum class Reason : unsigned char {
    none,        // the whole file was walked
    keyword,     // a mandatory keyword is absent or impossible
    no_end,      // no END within Limits::header_blocks
    many_blocks, // more header blocks than Limits::file_blocks
    many_hdus,
    cut_header,  // the file ends within a header
    cut_data,    // the file ends before the data do
};

struct Fault {
    Reason reason = Reason::none;
    std::int64_t hdu = 0;
    char key[16] = {};           // keyword
    const Card* card = nullptr;  // its card, or nullptr where it is absent; lives as long as the walk
    std::int64_t needed = 0;     // cut_data: the length that the file should have; kLargest stands for more
};

// Walks a file whose first bytes are "SIMPLE  =". Calls of next() give one HDU after the other; false at the end or at a fault.
class Walk {
public:
    Walk(const unsigned char* data, std::int64_t length, const Limits& limits);

    bool next();

    const Hdu& hdu() const { return hdu_; }
    const std::vector<Card>& cards() const { return cards_; }  // of this HDU, repeated keywords too
    const Fault& fault() const { return fault_; }

private:
    // Keywords that say what an HDU holds. NAXISn and ZNAXISn come after the others.
    enum Word { kSimple, kBitpix, kNaxis, kPcount, kGcount, kGroups, kXtension, kZimage, kZbitpix, kZnaxis, kWords };

    bool read_header();
    void read_card(const char* card);
    void note(std::string_view name);
    bool describe();
    bool read_axes(bool compressed);
    bool read_integer(const Card* card, const char* key, std::int64_t number, std::int64_t lowest, std::int64_t highest,
                      std::int64_t absent, std::int64_t* value);
    bool is_true(Word word) const;
    const Card* card_of(std::int32_t place) const { return place < 0 ? nullptr : &cards_[static_cast<std::size_t>(place)]; }
    bool fail(Reason reason);
    bool fail_keyword(const char* key, std::int64_t number, const Card* card);

    const unsigned char* data_;
    std::int64_t length_;
    Limits limits_;
    std::int64_t index_ = -1, position_ = 0, blocks_ = 0;
    Hdu hdu_{};
    Fault fault_;
    std::vector<Card> cards_;
    std::int32_t words_[kWords] = {};                // places in cards_, or -1
    std::vector<std::int32_t> lengths_, z_lengths_;  // of NAXISn and ZNAXISn
};

}  // namespace zoo::fits
