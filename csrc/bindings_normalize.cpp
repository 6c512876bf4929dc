// decode, normalize and frame_statistics for Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "decode.hpp"
#include "normalize.hpp"
#include "pages.hpp"
#include "statistics.hpp"

#ifdef ZOO_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;  // Tensor.data_ptr()

struct FrameSource {
    zoo::Frames frames;
    std::vector<zoo::Region> regions;

    FrameSource(Address data, int kind, std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t out_height,
                std::int64_t out_width, double bscale, double bzero, std::optional<std::int64_t> blank,
                const std::vector<std::int64_t>& geometry, const std::vector<double>& calibration, double saturation, bool drop_saturated,
                bool mark_saturated) {
        for (std::size_t i = 0; i < calibration.size() / 2; ++i) {
            const std::int64_t* g = geometry.data() + 6 * i;
            regions.push_back({g[0], g[1], g[2], g[3], g[4], g[5], calibration[2 * i], calibration[2 * i + 1]});
        }
        if (regions.empty()) regions.push_back({0, 0, height, width, 0, 0, 0.0, 1.0});
        zoo::Region& only = regions.front();
        if (regions.size() == 1 && only.height == height && only.width == width) {
            // the whole frame is one row: kernels then work in long runs whatever its width
            only.width = width = out_width = height * width;
            only.height = height = out_height = 1;
        }
        const zoo::Calibration c{bscale, bzero, 0.0, 1.0, saturation, blank.value_or(0), blank.has_value(), drop_saturated, mark_saturated};
        frames = {reinterpret_cast<const unsigned char*>(data), kind, count, height, width, out_height, out_width, c, nullptr,
                  static_cast<std::int64_t>(regions.size())};
    }

    zoo::Frames get() const {
        zoo::Frames result = frames;
        result.regions = regions.data();
        return result;
    }

    // For a kernel on the CPU: big-endian pixels mostly lie in a mapped file.
    zoo::Frames get_mapped() const {
        const std::int64_t bytes = frames.count * frames.height * frames.width * zoo::item_size(frames.kind);
        if (frames.kind >= zoo::kBeI16) zoo::map_pages(frames.data, bytes);
        return get();
    }
};

zoo::NormalizeParameters parameters_of(bool clip, bool mark_saturated, double lowest, double fill, double a, double scale, double sign) {
    zoo::NormalizeParameters p{};
    p.low = clip ? 0.0 : -HUGE_VAL;
    p.high = clip ? 1.0 : HUGE_VAL;
    p.top = clip ? 1.0f : NAN;
    p.marker = mark_saturated ? HUGE_VALF : NAN;
    p.lowest = static_cast<float>(lowest);
    p.fill = static_cast<float>(fill);
    p.stretch = {static_cast<float>(a), static_cast<float>(scale), static_cast<float>(sign)};
    return p;
}

struct Request {
    std::vector<double> quantiles;
    zoo::StatisticsRequest request;

    Request(std::vector<double> points, int wanted, const std::vector<double>& clip, const std::vector<double>& z)
        : quantiles(std::move(points)), request{} {
        request.wanted = wanted;
        if (!clip.empty()) {
            request.clip_sigma = clip[0];
            request.clip_maxiters = static_cast<int>(clip[1]);
        }
        if (!z.empty()) {
            request.zscale = {static_cast<std::int64_t>(z[0]), z[1], z[2], static_cast<std::int64_t>(z[3]), z[4], static_cast<int>(z[5])};
        }
    }

    zoo::StatisticsRequest get() const {
        zoo::StatisticsRequest result = request;
        result.quantiles = quantiles.data();
        result.quantile_count = static_cast<std::int64_t>(quantiles.size());
        return result;
    }
};

// Each row of the table is of `pooled` frames together.
void statistics_rows(const FrameSource& source, const Request& request, std::int64_t pooled, Address table, int threads) {
    zoo::Frames frames = source.get_mapped();
    const zoo::StatisticsRequest wanted = request.get();
    const std::int64_t groups = frames.count / pooled, bytes = pooled * frames.height * frames.width * zoo::item_size(frames.kind);
    frames.count = pooled;
    double* row = reinterpret_cast<double*>(table);
    for (std::int64_t group = 0; group < groups; ++group) {
        zoo::statistics_cpu(frames, wanted, row, threads);
        frames.data += bytes;
        row += zoo::kColumns + wanted.quantile_count;
    }
}

#ifdef ZOO_WITH_CUDA
void check_cuda(const char* op, int status) {
    if (status != 0) throw std::runtime_error(std::string(op) + " on cuda failed: " + cudaGetErrorString(static_cast<cudaError_t>(status)));
}
#endif

}  // namespace

void bind_normalize(py::module_& module) {
    py::class_<FrameSource>(module, "FrameSource")
        .def(py::init<Address, int, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, double, double,
                      std::optional<std::int64_t>, const std::vector<std::int64_t>&, const std::vector<double>&, double, bool, bool>(),
             py::kw_only(), py::arg("data"), py::arg("kind"), py::arg("count"), py::arg("height"), py::arg("width"), py::arg("out_height"),
             py::arg("out_width"), py::arg("bscale"), py::arg("bzero"), py::arg("blank"), py::arg("geometry"), py::arg("calibration"),
             py::arg("saturation"), py::arg("drop_saturated"), py::arg("mark_saturated"));
    py::class_<zoo::NormalizeParameters>(module, "NormalizeParameters")
        .def(py::init(&parameters_of), py::kw_only(), py::arg("clip"), py::arg("mark_saturated"), py::arg("lowest"), py::arg("fill"),
             py::arg("a"), py::arg("scale"), py::arg("sign"));
    py::class_<Request>(module, "StatisticsRequest")
        .def(py::init<std::vector<double>, int, const std::vector<double>&, const std::vector<double>&>(), py::kw_only(),
             py::arg("quantiles"), py::arg("wanted"), py::arg("clip"), py::arg("zscale"));
    module.def(
        "decode_cpu",
        [](const FrameSource& source, int dtype, Address out, int threads) {
            zoo::decode_cpu(source.get_mapped(), static_cast<zoo::Dtype>(dtype), reinterpret_cast<void*>(out), threads);
        },
        py::call_guard<py::gil_scoped_release>());
    module.def(
        "normalize_cpu",
        [](const FrameSource& source, Address limits, int stretch, const zoo::NormalizeParameters& parameters, int dtype, Address out,
           int threads) {
            zoo::normalize_cpu(source.get_mapped(), reinterpret_cast<const double*>(limits), stretch, parameters, static_cast<zoo::Dtype>(dtype),
                               reinterpret_cast<void*>(out), threads);
        },
        py::call_guard<py::gil_scoped_release>());
    module.def("statistics_cpu", &statistics_rows, py::call_guard<py::gil_scoped_release>());
#ifdef ZOO_WITH_CUDA
    module.def(
        "decode_cuda",
        [](const FrameSource& source, int dtype, Address out, Address stream) {
            check_cuda("decode", zoo::decode_cuda(source.get(), static_cast<zoo::Dtype>(dtype), reinterpret_cast<void*>(out),
                                                  reinterpret_cast<void*>(stream)));
        },
        py::call_guard<py::gil_scoped_release>());
    module.def(
        "normalize_cuda",
        [](const FrameSource& source, Address limits, int stretch, const zoo::NormalizeParameters& parameters, int dtype, Address out,
           Address stream) {
            check_cuda("normalize", zoo::normalize_cuda(source.get(), reinterpret_cast<const double*>(limits), stretch, parameters,
                                                        static_cast<zoo::Dtype>(dtype), reinterpret_cast<void*>(out),
                                                        reinterpret_cast<void*>(stream)));
        },
        py::call_guard<py::gil_scoped_release>());
    module.def("statistics_cuda_scratch_bytes", [](const FrameSource& source, const Request& request, std::int64_t pooled) {
        return zoo::statistics_cuda_scratch_bytes(source.get(), pooled, request.get());
    });
    module.def(
        "statistics_cuda",
        [](const FrameSource& source, const Request& request, std::int64_t pooled, Address table, Address scratch, Address stream) {
            check_cuda("frame_statistics",
                       zoo::statistics_cuda(source.get(), pooled, request.get(), reinterpret_cast<double*>(table),
                                            reinterpret_cast<void*>(scratch), reinterpret_cast<void*>(stream)));
        },
        py::call_guard<py::gil_scoped_release>());
#endif
}
