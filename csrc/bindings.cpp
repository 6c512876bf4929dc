// The module zoo._native. Only bindings*.cpp know Python; every op has its own bindings_<op>.cpp, which defines one bind_<op>() that is
// declared and called here. Pointers travel as integers from Tensor.data_ptr(); zoo/ops checks every argument before it gets here.
#include <pybind11/pybind11.h>

#include <string>

#include "parallel.hpp"
#include "simd.hpp"

#ifdef ZOO_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

void bind_blur(py::module_& module);
void bind_convolve(py::module_& module);
void bind_fits(py::module_& module);
void bind_multirate(py::module_& module);
void bind_normalize(py::module_& module);
void bind_stem(py::module_& module);

namespace {

// Number of usable CUDA devices and, where it is 0, why. Never fails: a machine without a driver is an ordinary case.
py::tuple cuda_devices() {
#ifdef ZOO_WITH_CUDA
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) {
        static_cast<void>(cudaGetLastError());
        return py::make_tuple(0, std::string(cudaGetErrorString(status)));
    }
    return py::make_tuple(count, std::string());
#else
    return py::make_tuple(0, std::string("compiled without CUDA"));
#endif
}

std::string cuda_archs() {
#ifdef ZOO_WITH_CUDA
    return ZOO_CUDA_ARCHS;
#else
    return {};
#endif
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Compiled kernels of zoo; called by zoo.ops and zoo.frames only.";
    zoo::install_fork_handler();
    module.def("simd", [] { return std::string(zoo::isa_name(zoo::isa())); });
    module.def("openmp", [] { return zoo::openmp_compiled(); });
    module.def("usable_threads", [](int requested) { return zoo::usable_threads(requested); });
    module.def("cuda_archs", cuda_archs);
    module.def("cuda_devices", cuda_devices);
    bind_blur(module);
    bind_convolve(module);
    bind_fits(module);
    bind_multirate(module);
    bind_normalize(module);
    bind_stem(module);
}
