#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "blur.hpp"

#ifdef ZOO_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;  // Tensor.data_ptr()

zoo::BlurArguments arguments_of(Address image, Address out, Address taps, Address radii, std::int64_t sets, std::int64_t max_radius,
                                std::int64_t frames, std::int64_t height, std::int64_t width, int dtype, int border, int nan_treatment,
                                bool preserve_nan, double cval, double fill_value) {
    zoo::BlurArguments arguments{};
    arguments.image = reinterpret_cast<const void*>(image);
    arguments.out = reinterpret_cast<void*>(out);
    arguments.taps = reinterpret_cast<const void*>(taps);
    arguments.radii = reinterpret_cast<const std::int64_t*>(radii);
    arguments.sets = sets;
    arguments.max_radius = max_radius;
    arguments.frames = frames;
    arguments.height = height;
    arguments.width = width;
    arguments.dtype = static_cast<zoo::Dtype>(dtype);
    arguments.border = static_cast<zoo::Border>(border);
    arguments.nan_treatment = static_cast<zoo::NanTreatment>(nan_treatment);
    arguments.preserve_nan = preserve_nan;
    arguments.cval = cval;
    arguments.fill_value = fill_value;
    return arguments;
}

}  // namespace

void bind_blur(py::module_& module) {
    py::class_<zoo::BlurArguments>(module, "BlurArguments")
        .def(py::init(&arguments_of), py::kw_only(), py::arg("image"), py::arg("out"), py::arg("taps"), py::arg("radii"), py::arg("sets"),
             py::arg("max_radius"), py::arg("frames"), py::arg("height"), py::arg("width"), py::arg("dtype"), py::arg("border"),
             py::arg("nan_treatment"), py::arg("preserve_nan"), py::arg("cval"), py::arg("fill_value"));
    module.def("blur_cpu_scratch_bytes", &zoo::blur_cpu_scratch_bytes);
    module.def(
        "blur_cpu",
        [](const zoo::BlurArguments& arguments, Address scratch, int threads) {
            zoo::blur_cpu(arguments, reinterpret_cast<void*>(scratch), threads);
        },
        py::call_guard<py::gil_scoped_release>());
#ifdef ZOO_WITH_CUDA
    module.def("blur_cuda_scratch_bytes", &zoo::blur_cuda_scratch_bytes);
    module.def(
        "blur_cuda",
        [](const zoo::BlurArguments& arguments, Address scratch, int device, Address stream) {
            const int status = zoo::blur_cuda(arguments, reinterpret_cast<void*>(scratch), device, reinterpret_cast<void*>(stream));
            if (status != 0) {
                const char* cause = cudaGetErrorString(static_cast<cudaError_t>(status));
                throw std::runtime_error(std::string("blur on cuda:") + std::to_string(device) + " failed: " + cause);
            }
        },
        py::call_guard<py::gil_scoped_release>());
#endif
}
