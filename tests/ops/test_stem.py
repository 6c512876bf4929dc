"""The streamed stem against torch's layers one after another: values, gradients, statistics, and its behaviour as a torch op."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo.errors import UsageError
from zoo.ops import stem, stem_kernels
from zoo.ops.native import native

STEMS = {
    "hrcn": {"channels": 1, "kernel": 7, "pool": 8, "pool_stride": 4},
    "resnet": {"channels": 1, "kernel": 7, "stride": 2, "padding": 3, "pool": 3, "pool_stride": 2, "pool_padding": 1},
    "odd": {"channels": 3, "kernel": 3, "stride": (1, 2), "padding": (2, 1), "pool": (3, 2), "pool_stride": (2, 3), "pool_padding": (1, 0)},
    "gaps": {"channels": 2, "kernel": 2, "pool": 2, "pool_stride": 5},
    "alexnet": {"channels": 1, "kernel": 11, "stride": 4, "padding": 2, "pool": 3, "pool_stride": 2},
    "wide": {"channels": 1, "kernel": 3, "padding": 1, "pool": 17, "pool_stride": 3, "pool_padding": 8},
}


def sizes_of(name: str) -> dict[str, Any]:
    return {key: value for key, value in STEMS[name].items() if key not in ("channels", "kernel")}


def tensors(name: str, dtype: torch.dtype = torch.float64, *, width: int = 61, grad: bool = True) -> list[Tensor]:
    """Image, weight, bias, gamma and beta; a gamma is negative, and one is zero."""
    channels, kernel = STEMS[name]["channels"], STEMS[name]["kernel"]
    image = torch.randn(2, channels, 53, width, dtype=torch.float64)
    weight = torch.randn(5, channels, kernel, kernel, dtype=torch.float64)
    gamma = torch.tensor([1.0, -0.5, 2.0, 0.0, 0.7], dtype=torch.float64)
    vectors = [torch.randn(5, dtype=torch.float64), gamma, torch.randn(5, dtype=torch.float64)]
    return [tensor.to(dtype).requires_grad_(grad) for tensor in (image, weight, *vectors)]


def plain(image: Tensor, weight: Tensor, bias: Any, gamma: Any, beta: Any, mean: Any, var: Any, **options: Any) -> Tensor:
    values = F.conv2d(image, weight, bias, options.get("stride", 1), options.get("padding", 0))
    if options.get("training") or mean is not None:
        values = F.batch_norm(values, mean, var, gamma, beta, options.get("training", False), options.get("momentum", 0.1), 1e-5)
    return F.max_pool2d(F.relu(values), options["pool"], options.get("pool_stride"), options.get("pool_padding", 0))


def worst(got: Tensor, want: Tensor) -> float:
    """The largest error in units of the largest value."""
    return ((got.double() - want.double()).abs().max() / want.double().abs().max()).item()


@pytest.mark.parametrize("strip", [None, 1, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", STEMS)
def test_stem_matches_the_layers_in_float64(name: str, training: bool, strip: int | None) -> None:
    inputs = tensors(name)
    results = []
    for call, extra in ((plain, {}), (stem, {"strip": strip})):
        running = [torch.full((5,), 0.3, dtype=torch.float64), torch.full((5,), 1.7, dtype=torch.float64)]
        out = call(*inputs, *running, training=training, momentum=0.3, **sizes_of(name), **extra)
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        gradients = torch.autograd.grad((out * weights).sum(), inputs)
        results.append((out, *gradients, *running))
    for index, (want, got) in enumerate(zip(*results, strict=True)):
        if index == 3 and training:
            assert torch.equal(got, torch.zeros_like(got))
        else:
            assert worst(got, want) < 1e-12


@pytest.fixture(params=["compiled", "strips"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the compiled kernels and with strips of torch's layers."""
    if request.param == "strips":
        monkeypatch.setattr(stem_kernels, "is_compiled", lambda *_: False)
    elif native() is None:
        pytest.skip("zoo._native is not built")
    return str(request.param)


@pytest.mark.parametrize("name", ["hrcn", "resnet", "alexnet", "wide"])
def test_stem_in_float32_is_as_near_to_the_truth_as_the_layers(kernel: str, name: str) -> None:
    exact = tensors(name)
    exact[0] = exact[0].detach() + 3  # sums cancel
    inputs = [tensor.detach().float().requires_grad_() for tensor in exact]
    results = []
    for call, given in ((plain, exact), (plain, inputs), (stem, inputs)):
        running = [torch.zeros(5, dtype=given[0].dtype), torch.ones(5, dtype=given[0].dtype)]
        out = call(given[0].detach(), *given[1:], *running, training=True, **sizes_of(name))
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
        gradients = torch.autograd.grad((out * weights).sum(), given[1:])
        results.append([out, *(gradients[index] for index in (0, 2, 3)), *running])
    for truth, layers, own in zip(*results, strict=True):
        assert worst(own, truth) < 2 * worst(layers, truth) + 1e-6  # worst measured beyond the layers' own: 4.5e-7


@pytest.mark.parametrize("training", [True, False])
def test_stem_under_autocast_gives_its_dtype(kernel: str, training: bool) -> None:
    inputs = tensors("hrcn", torch.float32)
    mean, var = torch.zeros(5), torch.ones(5)
    want = plain(*inputs, mean.clone(), var.clone(), training=training, **sizes_of("hrcn"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = stem(*inputs, mean, var, training=training, **sizes_of("hrcn"))
    assert got.dtype == torch.bfloat16
    assert worst(got, want) < 0.03
    got.float().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.dtype == torch.float32 for tensor in inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert stem(*tensors("hrcn"), mean.double(), var.double(), **sizes_of("hrcn")).dtype == torch.float64


@pytest.mark.parametrize("training", [True, False])
def test_stem_gradcheck(training: bool) -> None:
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 1, 7, 8), (2, 1, 3, 3), (2,), (2,), (2,))]
    running = [torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]

    def run(*given: Tensor) -> Tensor:
        return stem(*given, *(tensor.clone() for tensor in running), pool=3, pool_stride=2, training=training, strip=1)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_stem_twice_in_one_graph() -> None:
    inputs = tensors("hrcn")
    gradients = []
    for call in (plain, stem):
        first = call(*inputs, None, None, training=True, **sizes_of("hrcn"))
        second = call(inputs[0] * first.mean(), *inputs[1:], None, None, training=True, **sizes_of("hrcn"))
        gradients.append(torch.autograd.grad((first.sum() + second.square().sum()), inputs))
    for index, (want, got) in enumerate(zip(*gradients, strict=True)):
        assert index == 2 or worst(got, want) < 1e-12


def test_stem_without_norm_is_convolution_relu_and_pool() -> None:
    image, weight, bias, gamma, _ = tensors("resnet")
    want = plain(image, weight, bias, None, None, None, None, **sizes_of("resnet"))
    got = stem(image, weight, bias, **sizes_of("resnet"))
    assert worst(got, want) < 1e-13
    assert stem(image, weight, pool=2).shape == (2, 5, 23, 27)
    with pytest.raises(UsageError, match="gamma and beta need statistics"):
        stem(image, weight, bias, gamma, pool=2)


def test_tail_rows_without_a_window_count_in_the_statistics() -> None:
    image = torch.zeros(1, 1, 11, 8, dtype=torch.float64)
    image[:, :, 8:] = 1000.0  # rows that no window of 8 covers
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    mean, var = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    stem(image, weight, running_mean=mean, running_var=var, training=True, momentum=1.0, pool=8)
    assert mean.item() == pytest.approx(3000 / 11)
    assert var.item() == pytest.approx(image.var().item())


@pytest.mark.parametrize("training", [True, False])
def test_nan_spreads_to_the_windows_above_it(kernel: str, training: bool) -> None:
    inputs = tensors("hrcn", torch.float32, grad=False)
    inputs[0][1, 0, 20, 30] = math.nan
    running = [torch.zeros(5), torch.ones(5)]
    want = plain(*inputs, *[tensor.clone() for tensor in running], training=training, **sizes_of("hrcn"))
    got = stem(*inputs, *running, training=training, **sizes_of("hrcn"))
    assert torch.equal(got.isnan(), want.isnan())


COMPILED = {
    **{name: STEMS[name] for name in ("hrcn", "resnet", "alexnet", "wide")},
    "gaps": {"channels": 1, "kernel": 2, "pool": 2, "pool_stride": 5},
    "sparse": {"channels": 1, "kernel": 2, "stride": 3, "padding": 1, "pool": (2, 3), "pool_stride": (1, 2), "pool_padding": (1, 0)},
    "long": {"channels": 1, "kernel": 17, "pool": 3, "pool_stride": 2},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_kernels_match_the_strips(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers small enough that float32 sums are exact: values, places of ties and gradients agree to the last bit."""
    if native() is None:
        pytest.skip("zoo._native is not built")
    monkeypatch.setitem(STEMS, name, COMPILED[name])
    kernel = COMPILED[name]["kernel"]
    image = torch.randint(-3, 4, (2, 290, 150, 1)).permute(0, 3, 2, 1).to(dtype)  # two tiles across and down; strided columns
    weight = torch.randint(-2, 3, (70, 1, kernel, kernel)).double()
    bias = torch.randint(-9, 10, (70,)).double()
    lists = op_arguments(name, torch.float32, keep=True)[3:8]
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(stem_kernels, "is_compiled", lambda *_: False)
        given = image if compiled else image.float()
        out, places = torch.ops.zoo.stem(given, weight, bias, *lists, torch.float32, True, 0)
        grad = (torch.arange(out.numel()) % 5 - 2.0).view(out.shape)
        backward = torch.ops.zoo.stem_backward(grad, places, given, weight, *lists, False, 0)
        mean, variance, _ = torch.ops.zoo.stem_moments(given, weight, *lists[:2], torch.float32)
        results.append((out, places, *backward[1:], mean, variance))
    for index, (own, strips) in enumerate(zip(*results, strict=True)):
        if index < 4:
            assert torch.equal(own, strips)
        else:
            torch.testing.assert_close(own, strips, rtol=2e-6, atol=2e-6)


def test_compiled_kernels_do_not_depend_on_the_number_of_threads(torch_threads: Callable[[int], None]) -> None:
    image, *others = tensors("hrcn", torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch_threads(threads)
        out = stem(image.detach(), *others, training=True, **sizes_of("hrcn"))
        results.append((out, *torch.autograd.grad(out.square().sum(), (others[0], *others[2:]))))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_weights_that_are_not_finite_do_as_in_torch(kernel: str, value: float) -> None:
    image, weight, bias, _, _ = tensors("hrcn", torch.float32, grad=False)
    image[0, 0, 10, 10] = 0.0
    weight[2, 0, 3, 3] = value
    image[1, 0, 20, 20] = 100.0
    want = plain(image, weight, bias, None, None, None, None, **sizes_of("hrcn"))
    got = stem(image, weight, bias, **sizes_of("hrcn"))
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.isinf(), want.isinf())


def test_statistics_of_several_processes_are_those_of_the_whole_batch() -> None:
    """Two calls, whose sums are exchanged by hand in the order in which the op asks for them."""
    inputs = tensors("resnet", grad=False)
    want_mean, want_var = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    want = stem(*inputs, want_mean, want_var, training=True, **sizes_of("resnet"))
    sums: list[list[Tensor]] = [[], []]
    for _ in range(3):  # in each round one more sum of the other half is known
        outs = []
        for half in (0, 1):
            asked: list[Tensor] = []

            def reduce(own: Tensor, half: int = half, asked: list[Tensor] = asked) -> Tensor:
                asked.append(own.clone())
                known = sums[1 - half]
                return own + (known[len(asked) - 1] if len(known) >= len(asked) else own)

            mean, var = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
            outs.append(stem(inputs[0][half : half + 1], *inputs[1:], mean, var, training=True, reduce=reduce, **sizes_of("resnet")))
            sums[half] = asked
    assert worst(torch.cat(outs), want) < 1e-12
    assert worst(mean, want_mean) < 1e-12
    assert worst(var, want_var) < 1e-12


def op_arguments(name: str, dtype: torch.dtype, *, keep: bool) -> tuple[Any, ...]:
    image, weight, bias, _, _ = tensors(name, grad=False)
    weight.requires_grad_()
    sizes = sizes_of(name)
    pairs = [sizes.get(key, 0 if "padding" in key else 1) for key in ("stride", "padding", "pool", "pool_stride", "pool_padding")]
    lists = [list(pair) if isinstance(pair, tuple) else [pair, pair] for pair in pairs]
    return (image.to(dtype), weight, bias, *lists, dtype, keep, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_opcheck(dtype: torch.dtype) -> None:
    stem(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 1, 1), pool=2)  # defines the ops
    arguments = op_arguments("resnet", dtype, keep=True)
    torch.library.opcheck(torch.ops.zoo.stem.default, arguments)
    torch.library.opcheck(torch.ops.zoo.stem_moments.default, (*arguments[:2], *arguments[3:5], dtype))
    out, places = torch.ops.zoo.stem(*arguments)
    backward = (torch.ones_like(out), places, arguments[0], arguments[1].detach(), *arguments[3:8], True, 0)
    torch.library.opcheck(torch.ops.zoo.stem_backward.default, backward)
    mean, _, patches = torch.ops.zoo.stem_moments(*arguments[:2], *arguments[3:5], dtype)
    backward = (torch.ones_like(mean), torch.ones_like(mean), mean.detach(), patches, arguments[0], arguments[1].detach())
    torch.library.opcheck(torch.ops.zoo.stem_moments_backward.default, (*backward, *arguments[3:5], dtype, True))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_stem_writes_into_out(kernel: str, training: bool, layout: torch.memory_format) -> None:
    inputs = tensors("hrcn", torch.float32, grad=False)
    running = [torch.zeros(5), torch.ones(5)]
    want = stem(*inputs, *[tensor.clone() for tensor in running], training=training, **sizes_of("hrcn"))
    out = torch.empty_like(want, memory_format=layout)
    assert stem(*inputs, *running, training=training, out=out, **sizes_of("hrcn")) is out
    assert torch.equal(out, want)


def test_stem_out_opcheck() -> None:
    image, weight, bias, *lists = op_arguments("resnet", torch.float32, keep=False)[:8]
    out, _ = torch.ops.zoo.stem(image, weight.detach(), bias, *lists, torch.float32, False, 0)
    torch.library.opcheck(torch.ops.zoo.stem.out, (image, weight.detach(), bias, *lists, 0), {"out": torch.empty_like(out)})


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch._dynamo itself does it
def test_stem_with_out_compiles_as_one_graph() -> None:
    inputs = tensors("hrcn", torch.float32, grad=False)

    def run(out: Tensor) -> Tensor:
        return stem(*inputs[:3], out=out, **sizes_of("hrcn"))

    want = stem(*inputs[:3], **sizes_of("hrcn"))
    out = torch.empty(want.shape)  # dynamo takes no other than a contiguous one
    torch.compile(run, fullgraph=True, backend="aot_eager")(out)
    assert torch.equal(out, want)


def test_an_unfit_out_is_refused() -> None:
    image, weight, bias, _, _ = tensors("hrcn", torch.float32, grad=False)
    want = stem(image, weight, bias, **sizes_of("hrcn"))
    for out, message in (
        (want[:1], r"out must have shape \(2, 5, 10, 12\)"),
        (want.double(), "out must be one of torch.float32"),
        (want[:1].expand(want.shape), "must not have elements that share memory"),
    ):
        with pytest.raises(UsageError, match=message):
            stem(image, weight, bias, out=out, **sizes_of("hrcn"))
    with pytest.raises(UsageError, match="where a gradient is required"):
        stem(image, weight.requires_grad_(), bias, out=want, **sizes_of("hrcn"))


def test_gradient_without_places_is_refused() -> None:
    out, _ = torch.ops.zoo.stem(*op_arguments("hrcn", torch.float64, keep=False))
    with pytest.raises(RuntimeError, match="keep_places=False"):
        out.sum().backward()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch._dynamo itself does it
@pytest.mark.parametrize("training", [True, False])
def test_stem_compiles_as_one_graph(training: bool) -> None:
    inputs = tensors("hrcn", torch.float32, grad=training)
    running = [torch.zeros(5), torch.ones(5)]

    def run(*given: Tensor) -> Tensor:
        return stem(*given, training=training, **sizes_of("hrcn"))

    want = run(*inputs, *[tensor.clone() for tensor in running])
    got = torch.compile(run, fullgraph=True, backend="aot_eager")(*inputs, *running)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(1, 4, 4)}, r"image must be \(N, C, H, W\)"),
        ({"image": torch.zeros(1, 1, 9, 9, dtype=torch.int16)}, "image must be .* got .* torch.int16"),
        ({"weight": torch.zeros(2, 3, 3, 3)}, r"weight must be \(K, 1, h, w\) for images of 1 channels"),
        ({"gamma": torch.ones(3)}, r"gamma must have shape \(2,\)"),
        ({"running_mean": torch.zeros(2)}, "running_mean and running_var belong together"),
        ({"stride": 0}, "stride must be an integer >= 1"),
        ({"padding": (1, 2, 3)}, "padding must be an integer >= 0 or a pair"),
        ({"pool_padding": 2}, "pool_padding must be at most half of the pool"),
        ({"pool": 200, "pool_padding": 100}, "pool must have at most 32767 pixels"),
        ({"pool": 9}, "leaves nothing behind a kernel"),
        ({"strip": 0}, "strip must be at least 1"),
        ({"image": torch.zeros(1, 1, 3, 3), "pool": 1, "training": True}, "more than 1 value per channel"),
    ],
)
def test_stem_refuses(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"image": torch.zeros(1, 1, 9, 9), "weight": torch.zeros(2, 1, 3, 3), "pool": 2, **change}
    with pytest.raises(UsageError, match=message):
        stem(**arguments)


def test_kernels_take_fake_tensors() -> None:
    """Predictions of memory call the kernels themselves, to see what they hold."""
    with FakeTensorMode():
        image, weight, bias = torch.empty(2, 1, 53, 61), torch.empty(5, 1, 7, 7).double(), torch.empty(5).double()
        options = ([1, 1], [0, 0], [8, 8], [4, 4], [0, 0], torch.float32, True, 0)
        out, places = stem_kernels._stem(image, weight, bias, *options)
        mean, variance, _ = stem_kernels._moments(image, weight, *options[:2], torch.float32)
        gradients = stem_kernels._stem_backward(out, places, image, weight, *options[:5], False, 0)
    assert out.shape == places.shape == (2, 5, 10, 12)
    assert mean.shape == variance.shape == gradients[2].shape == (5,)
    assert gradients[1].shape == weight.shape
