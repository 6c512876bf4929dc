"""Checks of an architecture under what zoo does with it: saving, copying, autocast, memory formats, tracing."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import torch
from torch import Tensor, fx, nn

from zoo.testing.check import CheckList, FaultError, NotApplicableError, describe_error
from zoo.testing.effects import preserved_state
from zoo.testing.model_checks import drift, tolerance
from zoo.testing.subject import ModelSubject

CHECKS = CheckList()


@CHECKS.check(remedy="keep all that forward uses in parameters and buffers", after="model-logits")
def model_state(subject: ModelSubject) -> str:
    """A fresh model with its state dict gives the same logits, and the state dict can be stored as safetensors."""
    from safetensors.torch import save

    state = subject.model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            remedy = "keep states in buffers; zoo stores tensors only, no pickles"
            raise FaultError(f"{name} in the state dict is {type(value).__name__}, expected a tensor", remedy)
        try:
            save({name: value.flatten()[:1].clone()})
        except Exception as error:
            raise FaultError(f"{name} cannot be stored: {describe_error(error)}", "use dense tensors of an ordinary dtype") from error
    twin = subject.other
    try:
        twin.load_state_dict(state)
    except RuntimeError as error:
        raise FaultError(f"a fresh model does not load the state dict: {' '.join(str(error).split())[:200]}") from error
    if drift(subject.run(twin.eval(), subject.frames), subject.logits) != 0:
        raise FaultError("a fresh model with the same state dict gives other logits")
    del subject.other  # its weights are those of the model now
    return f"{len(state)} tensors"


@CHECKS.check(remedy="let copies share nothing with the original, and keep open files out of the model", after="model-logits")
def model_copy(subject: ModelSubject) -> str:
    """A deep copy gives the same logits."""
    if drift(subject.run(copy.deepcopy(subject.model), subject.frames), subject.logits) != 0:
        raise FaultError("a deep copy gives other logits", "keep all that forward uses in parameters, buffers and attributes")
    return "equal"


@CHECKS.check(remedy="keep lambdas, local classes and open files out of its attributes", after="model-logits")
def model_pickle(subject: ModelSubject) -> str:
    """It survives pickling, as when it is handed to another process."""
    try:
        twin = _pickled(subject.model)
    except Exception as error:
        raise FaultError(f"it cannot be pickled: {describe_error(error)}") from error
    if drift(subject.run(twin, subject.frames), subject.logits) != 0:
        raise FaultError("a pickled copy gives other logits", "have __getstate__ and __setstate__ keep everything")
    return "equal"


@CHECKS.check(
    remedy="do not mix dtypes by hand: create tensors with the dtype of the frames, and no .float() or .half()", after="model-logits"
)
def model_autocast(subject: ModelSubject) -> str:
    """It runs forward and backward under autocast to bfloat16."""
    try:
        with preserved_state(), torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
            logits = subject.spare.train()(subject.frames.clone())
            if logits.requires_grad:
                logits.float().square().mean().backward()
    except Exception as error:
        raise FaultError(f"under torch.autocast: {describe_error(error)}") from error
    finally:
        subject.spare.zero_grad(set_to_none=True)
    if not bool(torch.isfinite(logits).all()):
        raise FaultError("logits under autocast are not finite", "look for numbers beyond the range of the dtype")
    return str(logits.dtype).removeprefix("torch.")


@CHECKS.check(remedy="use flatten or reshape instead of view, and no strides by hand", after="model-logits")
def model_channels_last(subject: ModelSubject) -> str:
    """Frames and weights in channels_last give the same logits."""
    model = subject.model
    try:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        logits = subject.run(model, subject.frames.contiguous(memory_format=torch.channels_last))
    finally:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    change = drift(logits, subject.logits)
    if not change <= tolerance(subject.logits, 1e-3):
        raise FaultError(f"logits change by {change:.3g}")
    return f"largest change {change:.2g}"


@CHECKS.check(remedy="no `if` or loop on the values of tensors, and no numpy, in forward", after="model-repeatable")
def model_fx(subject: ModelSubject) -> str:
    """torch.fx traces it, and the graph gives the same logits."""
    try:
        with preserved_state():
            graph = fx.symbolic_trace(subject.model)
    except Exception as error:
        raise FaultError(f"torch.fx.symbolic_trace raised {describe_error(error)}") from error
    change = drift(subject.run(graph.eval(), subject.frames), subject.logits)
    if not change <= tolerance(subject.logits, 1e-4):
        raise FaultError(f"the traced graph gives other logits, by {change:.3g}", "no random numbers and no counters in forward")
    return f"{len(graph.graph.nodes)} nodes"


@CHECKS.check(
    remedy="keep shapes independent of the values: no .item(), nonzero or boolean masks, and no numpy, in forward", after="model-logits"
)
def model_fake(subject: ModelSubject) -> str:
    """It runs on fake tensors, with which memory is estimated without running it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with preserved_state(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        held = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
        fake: dict[str, Tensor] = {name: mode.from_tensor(tensor.detach()) for name, tensor in held.items()}
        try:
            with torch.no_grad():
                logits = torch.func.functional_call(subject.model, fake, (mode.from_tensor(subject.frames),))
        except Exception as error:
            raise FaultError(f"on fake tensors forward raised {describe_error(error)}") from error
    if tuple(logits.shape) != tuple(subject.logits.shape):
        raise FaultError(f"on fake tensors it gives {tuple(logits.shape)}, expected {tuple(subject.logits.shape)}")
    return f"{tuple(logits.shape)}"


def _pickled(model: nn.Module) -> nn.Module:
    """Pickle and unpickle a model, its tensors by reference: what they hold needs no test, and may be large."""
    tensors: list[Tensor] = []

    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> int | None:
            if not isinstance(value, Tensor):
                return None
            tensors.append(value)
            return len(tensors) - 1

    class Reader(pickle.Unpickler):
        def persistent_load(self, index: Any) -> Any:
            return tensors[index]

    stream = io.BytesIO()
    Writer(stream).dump(model)
    stream.seek(0)
    twin = Reader(stream).load()
    if not isinstance(twin, nn.Module):
        raise NotApplicableError(f"it pickles to {type(twin).__name__}")
    return twin
