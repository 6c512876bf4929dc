#include <pybind11/pybind11.h>

#include "multirate.hpp"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;  // Tensor.data_ptr()

zoo::MultirateAxis axis_of(Address taps, std::int64_t step, std::int64_t margin, std::int64_t coarse) {
    return {reinterpret_cast<const void*>(taps), step, margin, coarse};
}

zoo::MultirateArguments arguments_of(Address image, Address coarse, Address out, std::int64_t frames, std::int64_t height, std::int64_t width,
                                     int dtype, int border, double cval, const zoo::MultirateAxis& down, const zoo::MultirateAxis& across) {
    zoo::MultirateArguments arguments{};
    arguments.image = reinterpret_cast<const void*>(image);
    arguments.coarse = reinterpret_cast<void*>(coarse);
    arguments.out = reinterpret_cast<void*>(out);
    arguments.frames = frames;
    arguments.height = height;
    arguments.width = width;
    arguments.dtype = static_cast<zoo::Dtype>(dtype);
    arguments.border = static_cast<zoo::Border>(border);
    arguments.cval = cval;
    arguments.down = down;
    arguments.across = across;
    return arguments;
}

template <void (*function)(const zoo::MultirateArguments&, void*, int) noexcept>
void call(const zoo::MultirateArguments& arguments, Address scratch, int threads) {
    function(arguments, reinterpret_cast<void*>(scratch), threads);
}

}  // namespace

void bind_multirate(py::module_& module) {
    py::class_<zoo::MultirateAxis>(module, "MultirateAxis")
        .def(py::init(&axis_of), py::kw_only(), py::arg("taps"), py::arg("step"), py::arg("margin"), py::arg("coarse"));
    py::class_<zoo::MultirateArguments>(module, "MultirateArguments")
        .def(py::init(&arguments_of), py::kw_only(), py::arg("image"), py::arg("coarse"), py::arg("out"), py::arg("frames"), py::arg("height"),
             py::arg("width"), py::arg("dtype"), py::arg("border"), py::arg("cval"), py::arg("down"), py::arg("across"));
    module.def("multirate_scratch_bytes", &zoo::multirate_scratch_bytes);
    module.def("multirate_decimate", &call<zoo::multirate_decimate>, py::call_guard<py::gil_scoped_release>());
    module.def("multirate_interpolate", &call<zoo::multirate_interpolate>, py::call_guard<py::gil_scoped_release>());
}
