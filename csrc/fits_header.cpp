#include "fits_header.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace zoo::fits {
namespace {

constexpr std::string_view kBlanks = " \t\n\r\v\f";

std::string_view strip_end(std::string_view text) {
    const std::size_t last = text.find_last_not_of(kBlanks);
    return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

std::string_view strip(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kBlanks);
    return first == std::string_view::npos ? std::string_view() : strip_end(text.substr(first));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Moves past digits and returns how many there were.
std::size_t skip_digits(std::string_view word, std::size_t* place) {
    const std::size_t from = *place;
    while (*place < word.size() && is_digit(word[*place])) ++*place;
    return *place - from;
}

std::size_t skip_sign(std::string_view word, std::size_t place) {
    return place < word.size() && (word[place] == '+' || word[place] == '-') ? place + 1 : place;
}

bool is_integer(std::string_view word) {
    std::size_t place = skip_sign(word, 0);
    return skip_digits(word, &place) > 0 && place == word.size();
}

bool is_real(std::string_view word) {
    std::size_t place = skip_sign(word, 0);
    std::size_t digits = skip_digits(word, &place);
    if (place < word.size() && word[place] == '.') {
        ++place;
        digits += skip_digits(word, &place);
    }
    if (digits == 0) return false;
    if (place == word.size()) return true;
    if (std::string_view("EeDd").find(word[place]) == std::string_view::npos) return false;
    place = skip_sign(word, place + 1);
    return skip_digits(word, &place) > 0 && place == word.size();
}

// The value of an integer, or the nearest of 64 bits; whether it is the value.
bool parse_integer(std::string_view word, std::int64_t* value) {
    const bool negative = word.front() == '-';
    bool exact = true;
    *value = 0;
    for (std::size_t place = skip_sign(word, 0); place < word.size() && exact; ++place) {
        const std::int64_t digit = word[place] - '0';
        exact = !__builtin_mul_overflow(*value, std::int64_t{10}, value) &&
                !__builtin_add_overflow(*value, negative ? -digit : digit, value);
    }
    if (!exact) *value = negative ? std::numeric_limits<std::int64_t>::min() : kLargest;
    return exact;
}

// What lies between the quotes of a string that starts after the first of them; false where it is not closed.
bool find_text(std::string_view field, std::string_view* text) {
    for (std::size_t place = 0; (place = field.find('\'', place)) != std::string_view::npos; place += 2) {
        if (place + 1 == field.size() || field[place + 1] != '\'') {
            *text = strip_end(field.substr(0, place));
            return true;
        }
    }
    return false;
}

void read_value(std::string_view field, Card* card) {
    field = strip(field);
    card->type = Type::none;
    card->exact = false;
    card->number = 0;
    card->text = {};
    if (!field.empty() && field.front() == '\'') {
        if (find_text(field.substr(1), &card->text)) card->type = Type::text;
        return;
    }
    const std::string_view word = strip(field.substr(0, field.find('/')));
    if (word == "T" || word == "F") {
        card->type = Type::logical;
        card->number = word == "T";
    } else if (is_integer(word)) {
        card->type = Type::integer;
        card->text = word;
        card->exact = parse_integer(word, &card->number);
    } else if (is_real(word)) {
        card->type = Type::real;
        card->text = word;
    }
}

// n of a keyword such as NAXIS12, or 0.
std::size_t number_after(std::string_view prefix, std::string_view name) {
    if (name.size() <= prefix.size() || name.substr(0, prefix.size()) != prefix || name[prefix.size()] == '0') return 0;
    std::size_t number = 0;
    for (const char c : name.substr(prefix.size())) {
        if (!is_digit(c)) return 0;
        number = 10 * number + static_cast<std::size_t>(c - '0');
    }
    return number;
}

void saturating_multiply(std::int64_t factor, std::int64_t* product) {
    if (__builtin_mul_overflow(*product, factor, product)) *product = kLargest;
}

// The product of lengths, none of them negative; kLargest stands for more. A zero counts whatever stands before it.
template <class Iterator>
std::int64_t product_of(Iterator first, Iterator last) {
    if (std::find(first, last, 0) != last) return 0;
    std::int64_t product = 1;
    for (; first != last; ++first) saturating_multiply(*first, &product);
    return product;
}

}  // namespace

Walk::Walk(const unsigned char* data, std::int64_t length, const Limits& limits) : data_(data), length_(length), limits_(limits) {
    lengths_.resize(static_cast<std::size_t>(limits.axes) + 1);
    z_lengths_.resize(lengths_.size());
}

bool Walk::next() {
    constexpr std::string_view extension = "XTENSION=";
    if (fault_.reason != Reason::none || position_ >= length_) return false;
    if (index_ >= 0) {
        const std::size_t there = std::min(extension.size(), static_cast<std::size_t>(length_ - position_));
        if (std::string_view(reinterpret_cast<const char*>(data_ + position_), there) != extension) return false;
    }
    ++index_;
    fault_.hdu = index_;
    if (index_ == limits_.hdus) return fail(Reason::many_hdus);
    hdu_.start = position_;
    if (!read_header() || !describe()) return false;
    if (__builtin_add_overflow(hdu_.offset, hdu_.size, &fault_.needed)) fault_.needed = kLargest;
    if (fault_.needed > length_) return fail(Reason::cut_data);
    position_ = hdu_.offset + (hdu_.size + kBlock - 1) / kBlock * kBlock;
    return true;
}

bool Walk::read_header() {
    cards_.clear();
    std::fill(std::begin(words_), std::end(words_), -1);
    std::fill(lengths_.begin(), lengths_.end(), -1);
    std::fill(z_lengths_.begin(), z_lengths_.end(), -1);
    const std::int64_t room = std::min(limits_.header_blocks, limits_.file_blocks - blocks_);
    std::int64_t place = hdu_.start;
    for (std::int64_t block = 0; block < room; ++block, place += kBlock) {
        ++blocks_;
        const std::int64_t there = std::min(kBlock, length_ - place);
        for (std::int64_t start = 0; start + kCard <= there; start += kCard) {
            const char* card = reinterpret_cast<const char*>(data_ + place + start);
            if (std::memcmp(card, "END", 3) == 0 && strip_end({card + 3, kCard - 3}).empty()) {
                if (there < kBlock) break;
                hdu_.offset = place + kBlock;
                return true;
            }
            if (card[8] == '=' && card[9] == ' ') read_card(card);
        }
        if (there < kBlock) return fail(Reason::cut_header);
    }
    return fail(room < limits_.header_blocks ? Reason::many_blocks : Reason::no_end);
}

void Walk::read_card(const char* card) {
    Card& found = cards_.emplace_back();
    found.name = strip_end({card, 8});
    read_value({card + 10, kCard - 10}, &found);
    note(found.name);
}

// Remembers where the first card of a keyword is that says what the HDU holds.
void Walk::note(std::string_view name) {
    constexpr std::string_view names[kWords] = {"SIMPLE", "BITPIX",   "NAXIS",  "PCOUNT",  "GCOUNT",
                                                "GROUPS", "XTENSION", "ZIMAGE", "ZBITPIX", "ZNAXIS"};
    if (name.empty() || std::string_view("SBNPGXZ").find(name.front()) == std::string_view::npos) return;  // most keywords
    std::int32_t* place = nullptr;
    const auto word = std::find(std::begin(names), std::end(names), name);
    if (word != std::end(names)) {
        place = &words_[word - std::begin(names)];
    } else if (const std::size_t n = number_after("NAXIS", name); n > 0 && n < lengths_.size()) {
        place = &lengths_[n];
    } else if (const std::size_t z = number_after("ZNAXIS", name); z > 0 && z < z_lengths_.size()) {
        place = &z_lengths_[z];
    }
    if (place && *place < 0) *place = static_cast<std::int32_t>(cards_.size() - 1);
}

bool Walk::describe() {
    if (index_ == 0 && !is_true(kSimple)) return fail_keyword("SIMPLE", 0, card_of(words_[kSimple]));
    if (!read_axes(false)) return false;
    std::vector<std::int64_t>& axes = hdu_.axes;
    // PCOUNT and GCOUNT count in a primary header only where it holds random groups.
    const bool groups = index_ == 0 && is_true(kGroups) && !axes.empty() && axes.back() == 0;
    std::int64_t parameters = 0, count = 1;
    if (groups || index_ > 0) {
        if (!read_integer(card_of(words_[kPcount]), "PCOUNT", 0, 0, kLargest, 0, &parameters)) return false;
        if (!read_integer(card_of(words_[kGcount]), "GCOUNT", 0, 1, kLargest, 1, &count)) return false;
    }
    hdu_.size = axes.empty() ? 0 : product_of(axes.begin(), axes.end() - (groups ? 1 : 0));
    if (__builtin_add_overflow(hdu_.size, parameters, &hdu_.size)) hdu_.size = kLargest;
    saturating_multiply(count, &hdu_.size);
    saturating_multiply(std::abs(hdu_.bitpix) / 8, &hdu_.size);

    const Card* extension = card_of(words_[kXtension]);
    const std::string_view name = index_ == 0 ? "IMAGE" : extension && extension->type == Type::text ? extension->text : "";
    hdu_.rows = 0;
    if (groups) {
        hdu_.kind = Kind::groups;
    } else if (name == "TABLE" || name == "BINTABLE" || name == "A3DTABLE") {
        hdu_.kind = is_true(kZimage) ? Kind::compressed : Kind::table;
    } else {
        hdu_.kind = name == "IMAGE" || name == "IUEIMAGE" ? Kind::image : Kind::other;
    }
    if (hdu_.kind != Kind::compressed) return true;
    hdu_.rows = axes.empty() ? 1 : product_of(axes.begin(), axes.end() - 1);
    return read_axes(true);
}

// BITPIX and the axes of the HDU, or of the image that its table holds.
bool Walk::read_axes(bool compressed) {
    const Card* bitpix = card_of(words_[compressed ? kZbitpix : kBitpix]);
    constexpr std::int64_t known[] = {8, 16, 32, 64, -32, -64};
    const bool whole = bitpix && bitpix->type == Type::integer && bitpix->exact;
    if (!whole || std::find(std::begin(known), std::end(known), bitpix->number) == std::end(known)) {
        return fail_keyword(compressed ? "ZBITPIX" : "BITPIX", 0, bitpix);
    }
    hdu_.bitpix = bitpix->number;
    std::int64_t count = 0;
    const char* name = compressed ? "ZNAXIS" : "NAXIS";
    if (!read_integer(card_of(words_[compressed ? kZnaxis : kNaxis]), name, 0, 0, limits_.axes, -1, &count)) return false;
    hdu_.axes.resize(static_cast<std::size_t>(count));
    const std::vector<std::int32_t>& places = compressed ? z_lengths_ : lengths_;
    for (std::int64_t n = count; n > 0; --n) {
        std::int64_t* axis = &hdu_.axes[static_cast<std::size_t>(count - n)];
        if (!read_integer(card_of(places[static_cast<std::size_t>(n)]), name, n, 0, kLargest, -1, axis)) return false;
    }
    return true;
}

// An integer within bounds; `absent` where there is no card, and a fault where that is below `lowest`.
bool Walk::read_integer(const Card* card, const char* key, std::int64_t number, std::int64_t lowest, std::int64_t highest,
                        std::int64_t absent, std::int64_t* value) {
    *value = card ? card->number : absent;
    const bool valid = !card || (card->type == Type::integer && card->exact);
    return (valid && *value >= lowest && *value <= highest) || fail_keyword(key, number, card);
}

bool Walk::is_true(Word word) const {
    const Card* card = card_of(words_[word]);
    return card && card->type == Type::logical && card->number == 1;
}

bool Walk::fail(Reason reason) {
    fault_.reason = reason;
    return false;
}

bool Walk::fail_keyword(const char* key, std::int64_t number, const Card* card) {
    if (number > 0) {
        std::snprintf(fault_.key, sizeof fault_.key, "%s%d", key, static_cast<int>(number));
    } else {
        std::snprintf(fault_.key, sizeof fault_.key, "%s", key);
    }
    fault_.card = card;
    return fail(Reason::keyword);
}

}  // namespace zoo::fits
