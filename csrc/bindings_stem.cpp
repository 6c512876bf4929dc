#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "stem.hpp"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;  // Tensor.data_ptr()
using Sizes = std::array<std::int64_t, 9>;

zoo::StemAxis axis_of(const Sizes& sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]};
}

zoo::StemArguments arguments_of(Address image, std::int64_t frames, std::int64_t frame_stride, std::int64_t row_stride, int dtype,
                                const Sizes& vertical, const Sizes& horizontal, std::int64_t channels) {
    zoo::StemArguments arguments{};
    arguments.image = reinterpret_cast<const void*>(image);
    arguments.frames = frames;
    arguments.frame_stride = frame_stride;
    arguments.row_stride = row_stride;
    arguments.dtype = static_cast<zoo::Dtype>(dtype);
    arguments.vertical = axis_of(vertical);
    arguments.horizontal = axis_of(horizontal);
    arguments.channels = channels;
    return arguments;
}

}  // namespace

void bind_stem(py::module_& module) {
    py::class_<zoo::StemArguments>(module, "StemArguments")
        .def(py::init(&arguments_of), py::kw_only(), py::arg("image"), py::arg("frames"), py::arg("frame_stride"), py::arg("row_stride"),
             py::arg("dtype"), py::arg("vertical"), py::arg("horizontal"), py::arg("channels"));
    module.def("stem_channel_block", [] { return zoo::stem_channel_block; });
    module.def("stem_longest_kernel", [] { return zoo::stem_longest_kernel; });
    module.def("stem_forward_scratch_bytes", &zoo::stem_forward_scratch_bytes);
    module.def(
        "stem_forward_cpu",
        [](const zoo::StemArguments& arguments, Address weight, Address bias, Address out, Address places, int out_dtype, int place_bytes,
           Address scratch, int threads) {
            const zoo::StemForward forward{reinterpret_cast<const float*>(weight),   reinterpret_cast<const float*>(bias),
                                           reinterpret_cast<void*>(out),             reinterpret_cast<void*>(places),
                                           static_cast<zoo::Dtype>(out_dtype),       place_bytes};
            zoo::stem_forward_cpu(arguments, forward, reinterpret_cast<void*>(scratch), threads);
        },
        py::call_guard<py::gil_scoped_release>());
    module.def("stem_backward_scratch_bytes", &zoo::stem_backward_scratch_bytes);
    module.def(
        "stem_backward_cpu",
        [](const zoo::StemArguments& arguments, Address grad, Address places, int grad_dtype, int place_bytes, Address weight, Address bias,
           Address scratch, int threads) {
            const zoo::StemBackward backward{reinterpret_cast<const void*>(grad),  reinterpret_cast<const void*>(places),
                                             static_cast<zoo::Dtype>(grad_dtype),  place_bytes,
                                             reinterpret_cast<double*>(weight),    reinterpret_cast<double*>(bias)};
            zoo::stem_backward_cpu(arguments, backward, reinterpret_cast<void*>(scratch), threads);
        },
        py::call_guard<py::gil_scoped_release>());
    module.def("stem_patches_scratch_bytes", &zoo::stem_patches_scratch_bytes);
    module.def(
        "stem_patches_cpu",
        [](const zoo::StemArguments& arguments, double pivot, Address sums, Address products, Address scratch, int threads) {
            zoo::stem_patches_cpu(arguments, pivot, reinterpret_cast<double*>(sums), reinterpret_cast<double*>(products),
                                  reinterpret_cast<void*>(scratch), threads);
        },
        py::call_guard<py::gil_scoped_release>());
}
