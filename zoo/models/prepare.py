"""Preparing a model for inference: the same logits in less time and memory."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, fx, nn

from zoo.errors import UsageError
from zoo.models.prepare_graph import CONVOLUTIONS, note_shapes, simplify, trace
from zoo.models.streaming import stream_stem

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STREAM_BYTES = 1 << 25  # of the map of a stem for one frame; smaller ones fit into caches and are as fast as a whole


class Prepared(nn.Module):
    """What `prepare_inference` gives; always in eval mode.

    Attributes:
        folded: how many BatchNorm layers are part of the layer before them.
        plain_because: why the model runs as it is, where it does; else empty.
    """

    def __init__(self, model: nn.Module, precision: str, *, folded: int, plain_because: str) -> None:
        super().__init__()
        self.model, self.precision, self.folded, self.plain_because = model, precision, folded, plain_because
        self.training = False

    def train(self, mode: bool = True) -> Prepared:
        """Do nothing: the layers that training needs are gone."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of frames ``(N, C, H, W)`` float32, in float32 or the 16-bit type of the precision."""
        dtype = PRECISIONS[self.precision]
        with torch.autocast("cuda" if images.is_cuda else "cpu", dtype=dtype, enabled=dtype is not None):
            logits: Tensor = self.model(images)
        return logits


def prepare_inference(
    model: nn.Module,
    *,
    precision: str = "fp32",
    input_shape: tuple[int, int, int] | None = None,
    device: torch.device | str | None = None,
    stream: bool | None = None,
) -> Prepared:
    """Return a module that gives the logits of ``model`` in eval mode, faster and in less memory. The model stays as it is.

    BatchNorm is folded into the layer before it, kernels lie in channels_last, which saves oneDNN the copies between its layout and ours,
    ReLU works in place and after max-pooling, 16-bit weights are converted once instead of in every call, and a stem runs in strips where
    its map is large (`stream_stem`). In float32 the logits differ from the plain ones by rounding (below 1e-4 for logits of order 1).
    Tensors that need no change share the model's memory, so prepare again once the weights have changed.

    A model whose forward torch.fx cannot trace (Python decisions by values or shapes) runs as it is; ``plain_because`` says why.

    Args:
        model: any device, the meta device too; in training or eval mode.
        precision: ``fp32``; ``bf16`` or ``fp16`` for autocast, which the module brings with it.
        input_shape: ``(C, H, W)`` of a frame; by default ``model.input_shape``. Without it sums get new memory, a BatchNorm behind a linear
            layer stays, and the stem runs as the model's does.
        device: by default where the model is.
        stream: let the stem run in strips, or not; by default where its map takes 32 MiB a frame or more.

    Raises:
        UsageError: unknown precision, or a model that cannot be copied is in training mode. Such a model itself is moved to the device.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    dtype = PRECISIONS[precision]
    try:
        twin = share_weights(model, device)
    except Exception as error:  # whatever the attributes of a plugin's model raise when they are copied
        return Prepared(_as_it_is(model, device), precision, folded=0, plain_because=f"it cannot be copied: {_describe(error)}")
    shape = input_shape or getattr(model, "input_shape", None)
    _stream(twin, shape, dtype, stream)
    if reason := why_plain(twin):
        return Prepared(twin, precision, folded=0, plain_because=reason)
    graph = trace(twin)
    if shape is not None:
        note_shapes(graph, shape, dtype)
    folded = simplify(graph)
    _lay_out(graph, dtype)
    return Prepared(graph.eval(), precision, folded=folded, plain_because="")


def release_weights(model: nn.Module, prepared: Prepared) -> None:
    """Let go of the weights of a model that `prepare_inference` has made others of; it keeps its layers and shapes and loses its numbers.

    A model that runs as it is, because it cannot be copied, keeps them.
    """
    if prepared.model is not model:
        model.to("meta")


def why_plain(model: nn.Module) -> str:
    """Return why `prepare_inference` would leave a model in eval mode as it is, or nothing where it would not."""
    try:
        trace(model)
    except Exception as error:  # whatever forward does with a symbolic input
        return f"it cannot be traced: {_describe(error)}"
    return ""


def share_weights(model: nn.Module, device: torch.device | str | None) -> nn.Module:
    """Return a copy in eval mode whose tensors are those of the model (where they need not move), without gradients."""
    memo: dict[int, Tensor] = {
        id(parameter): nn.Parameter(parameter.detach().to(device), requires_grad=False) for parameter in model.parameters()
    }
    memo |= {id(buffer): buffer.detach().to(device) for buffer in model.buffers()}
    return copy.deepcopy(model, memo).eval()


def _as_it_is(model: nn.Module, device: torch.device | str | None) -> nn.Module:
    """The model itself, if it can serve as such."""
    if any(module.training for module in model.modules()):
        raise UsageError(f"{type(model).__name__} cannot be copied, and is in training mode; call model.eval() before")
    return model if device is None else model.to(device)


def _stream(model: nn.Module, input_shape: tuple[int, int, int] | None, dtype: torch.dtype | None, wanted: bool | None) -> None:
    """Stream the stem, or switch it off, as it is wanted or by the size of its map."""
    if wanted is None and input_shape is None:
        return
    streamed = stream_stem(model, wanted is not False)
    if wanted is None and streamed and input_shape is not None:
        convolution = model.get_submodule(streamed[0])
        assert isinstance(convolution, nn.Conv2d)
        pixels = input_shape[1] * input_shape[2] // (convolution.stride[0] * convolution.stride[1])
        if convolution.out_channels * pixels * (dtype or torch.float32).itemsize < STREAM_BYTES:
            stream_stem(model, False)


def _lay_out(graph: fx.GraphModule, dtype: torch.dtype | None) -> None:
    """Give convolutions channels_last kernels and, with a 16-bit ``dtype``, these and linear layers weights of that type.

    Tensors with more than one owner are left alone.
    """
    owners = Counter(id(parameter) for module in graph.modules() for parameter in module.parameters(recurse=False))
    owners += Counter(id(getattr(graph, str(node.target), None)) for node in graph.graph.nodes if node.op == "get_attr")
    for module in graph.modules():
        if type(module) not in (*CONVOLUTIONS, nn.Linear):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if owners[id(parameter)] == 1:
                changed = parameter.detach() if dtype is None else parameter.detach().to(dtype)
                changed = _channels_last(changed) if changed.ndim == 4 else changed
                setattr(module, name, nn.Parameter(changed, requires_grad=False))


def _channels_last(kernel: Tensor) -> Tensor:
    """The kernel in channels_last; with strides that say so for one channel or one pixel too, for which torch takes it as NCHW."""
    _, channels, height, width = kernel.shape
    return kernel.contiguous(memory_format=torch.channels_last).as_strided(
        kernel.shape, (channels * height * width, 1, width * channels, channels)
    )


def _describe(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:160]}" if words else type(error).__name__
