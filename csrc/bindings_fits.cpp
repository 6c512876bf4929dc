// The headers of a FITS file and its data sums, for Python. A walk gives what zoo/frames/headers.py gives, as plain tuples.
#include <pybind11/pybind11.h>

#include <array>
#include <string>

#include "fits_checksum.hpp"
#include "fits_header.hpp"

namespace py = pybind11;
namespace fits = zoo::fits;

namespace {

const unsigned char* bytes_of(const py::buffer_info& view) { return static_cast<const unsigned char*>(view.ptr); }

py::object latin(std::string_view text) {
    return py::reinterpret_steal<py::object>(PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

std::string without_doubled_quotes(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        result += text[i];
        if (text[i] == '\'') ++i;  // within a string they come in pairs
    }
    return result;
}

py::object real(std::string_view digits) {
    std::string word(digits);
    for (char& c : word)
        if (c == 'D' || c == 'd') c = 'E';
    const double value = PyOS_string_to_double(word.c_str(), nullptr, nullptr);  // infinite where it is too large
    if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
    return py::float_(value);
}

py::object value_of(const fits::Card& card) {
    switch (card.type) {
        case fits::Type::text:
            return card.text.find('\'') == std::string_view::npos ? latin(card.text) : latin(without_doubled_quotes(card.text));
        case fits::Type::logical: return py::bool_(card.number == 1);
        case fits::Type::integer:
            if (card.exact) return py::int_(card.number);
            return py::reinterpret_steal<py::object>(PyLong_FromString(std::string(card.text).c_str(), nullptr, 10));
        case fits::Type::real: return real(card.text);
        case fits::Type::none: break;
    }
    return py::none();
}

// Of a repeated keyword the first.
py::dict header_of(const std::vector<fits::Card>& cards) {
    py::dict header;
    for (const fits::Card& card : cards) {
        const py::object name = latin(card.name), value = value_of(card);
        if (!name || !value || !PyDict_SetDefault(header.ptr(), name.ptr(), value.ptr())) throw py::error_already_set();
    }
    return header;
}

py::tuple tuple_of(const fits::Hdu& hdu, const std::vector<fits::Card>& cards) {
    constexpr std::array<const char*, 5> kinds = {"image", "compressed", "table", "groups", "other"};
    py::tuple axes(hdu.axes.size());
    for (std::size_t i = 0; i < hdu.axes.size(); ++i) axes[i] = py::int_(hdu.axes[i]);
    return py::make_tuple(kinds[static_cast<std::size_t>(hdu.kind)], header_of(cards), hdu.bitpix, axes, hdu.offset, hdu.size, hdu.start,
                          hdu.rows);
}

py::object tuple_of(const fits::Fault& fault) {
    constexpr std::array<const char*, 7> reasons = {"", "keyword", "no-end", "many-blocks", "many-hdus", "cut-header", "cut-data"};
    if (fault.reason == fits::Reason::none) return py::none();
    const bool cut = fault.reason == fits::Reason::cut_data;
    return py::make_tuple(reasons[static_cast<std::size_t>(fault.reason)], fault.hdu, std::string(fault.key), fault.card != nullptr,
                          fault.card ? value_of(*fault.card) : cut ? py::int_(fault.needed) : py::object(py::none()));
}

py::tuple walk_headers(const py::buffer& data, std::int64_t hdus, std::int64_t header_blocks, std::int64_t file_blocks, std::int64_t axes) {
    const py::buffer_info view = data.request();
    fits::Walk walk(bytes_of(view), view.size * view.itemsize, {hdus, header_blocks, file_blocks, axes});
    py::list found;
    while (walk.next()) found.append(tuple_of(walk.hdu(), walk.cards()));
    return py::make_tuple(found, tuple_of(walk.fault()));
}

std::uint32_t data_sum(const py::buffer& data, std::int64_t offset, std::int64_t bytes) {
    const py::buffer_info view = data.request();
    const py::gil_scoped_release unlocked;
    return fits::data_sum(bytes_of(view) + offset, bytes);
}

}  // namespace

void bind_fits(py::module_& module) {
    module.def("walk_headers", &walk_headers, py::arg("data"), py::kw_only(), py::arg("hdus"), py::arg("header_blocks"),
               py::arg("file_blocks"), py::arg("axes"));
    module.def("data_sum", &data_sum);
}
