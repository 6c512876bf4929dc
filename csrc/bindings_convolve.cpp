#include <pybind11/pybind11.h>

#include "convolve.hpp"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;  // Tensor.data_ptr()

zoo::ConvolveArguments arguments_of(Address image, Address out, Address kernel, std::int64_t kernel_height, std::int64_t kernel_width,
                                    std::int64_t frames, std::int64_t height, std::int64_t width, int dtype, int border, int nan_treatment,
                                    bool preserve_nan, double cval, double fill_value, double scale) {
    zoo::ConvolveArguments arguments{};
    arguments.image = reinterpret_cast<const void*>(image);
    arguments.out = reinterpret_cast<void*>(out);
    arguments.kernel = reinterpret_cast<const void*>(kernel);
    arguments.kernel_height = kernel_height;
    arguments.kernel_width = kernel_width;
    arguments.frames = frames;
    arguments.height = height;
    arguments.width = width;
    arguments.dtype = static_cast<zoo::Dtype>(dtype);
    arguments.border = static_cast<zoo::Border>(border);
    arguments.nan_treatment = static_cast<zoo::NanTreatment>(nan_treatment);
    arguments.preserve_nan = preserve_nan;
    arguments.cval = cval;
    arguments.fill_value = fill_value;
    arguments.scale = scale;
    return arguments;
}

}  // namespace

void bind_convolve(py::module_& module) {
    py::class_<zoo::ConvolveArguments>(module, "ConvolveArguments")
        .def(py::init(&arguments_of), py::kw_only(), py::arg("image"), py::arg("out"), py::arg("kernel"), py::arg("kernel_height"),
             py::arg("kernel_width"), py::arg("frames"), py::arg("height"), py::arg("width"), py::arg("dtype"), py::arg("border"),
             py::arg("nan_treatment"), py::arg("preserve_nan"), py::arg("cval"), py::arg("fill_value"), py::arg("scale"));
    module.def("convolve_cpu_scratch_bytes", &zoo::convolve_cpu_scratch_bytes);
    module.def(
        "convolve_cpu",
        [](const zoo::ConvolveArguments& arguments, Address scratch, int threads) {
            zoo::convolve_cpu(arguments, reinterpret_cast<void*>(scratch), threads);
        },
        py::call_guard<py::gil_scoped_release>());
}
