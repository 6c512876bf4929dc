"""Checks of an architecture: what it takes, what it gives, and on what that may depend."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.errors import InputShapeError
from zoo.models.macs import count_macs, count_parameters
from zoo.testing.check import CheckList, FaultError, NotApplicableError, describe_error
from zoo.testing.effects import differences, preserved_state, snapshot
from zoo.testing.samples import SEED
from zoo.testing.subject import ModelSubject, refuses

CHECKS = CheckList()
ODD_SIZES = ((61, 131), (97, 66))


@CHECKS.check(
    remedy="read the size from input_shape, and refuse what the layers cannot take with zoo.errors.InputShapeError", after="entry-signature"
)
def model_builds(subject: ModelSubject) -> str:
    """It builds for a small frame and gives logits."""
    model = subject.model
    _ = subject.logits
    return f"{'x'.join(map(str, subject.shape))}, {count_parameters(model):,} parameters"


@CHECKS.check(remedy="keep seeds, threads, default dtypes and folders out of build and forward; zoo sets them", after="model-builds")
def model_effects(subject: ModelSubject) -> str:
    """Building it and running it leave the state of the process alone."""
    from zoo.models.build import build_model

    with preserved_state():
        before = snapshot(weights_may_be_drawn=True)
        model = build_model(subject.entry, subject.built_with, **subject.arguments())
        changes = differences(before, snapshot(weights_may_be_drawn=True))
        model.eval()
        with torch.no_grad():
            before = snapshot(weights_may_be_drawn=True)  # an eval pass that draws is the fault of another check
            model(subject.frames.clone())
            changes += differences(before, snapshot(weights_may_be_drawn=True))
    if changes:
        raise FaultError(f"it changes {'; '.join(dict.fromkeys(changes))}")
    return "nothing changed"


@CHECKS.check(remedy="register the input_shape that build accepts with the default options", after="model-builds")
def model_declared_shape(subject: ModelSubject) -> str:
    """It builds with default options for the input shape that it registers."""
    shape = subject.entry.metadata["input_shape"]
    try:
        model = subject.shell(options=subject.entry.parse_options({}), in_channels=shape[0], size=shape[1:])
    except Exception as error:
        raise FaultError(f"building it for {'x'.join(map(str, shape))} raised {describe_error(error)}") from error
    try:
        with preserved_state():
            macs = count_macs(model, shape)
    except InputShapeError as error:
        raise FaultError(str(error)) from error
    except Exception as error:
        raise NotApplicableError(f"its operations cannot be counted without running it: {describe_error(error)}") from error
    return f"{'x'.join(map(str, shape))}, {macs / 1e9:.3g} G multiply-accumulates"


@CHECKS.check(remedy="return one row of num_classes raw logits a frame, without softmax", after="model-builds")
def model_logits(subject: ModelSubject) -> str:
    """It maps two frames to two rows of finite float logits."""
    expected = (2, subject.num_classes)
    got = f"{tuple(subject.logits.shape)} {str(subject.logits.dtype).removeprefix('torch.')}"
    if tuple(subject.logits.shape) != expected or subject.logits.dtype != torch.float32:
        raise FaultError(f"forward gave {got}, expected float32 logits {expected}")
    if not bool(torch.isfinite(subject.logits).all()):
        raise FaultError("logits are not finite", "check the initialisation and divisions in forward")
    return got


@CHECKS.check(remedy="switch random layers off in eval mode, and have train() and eval() reach every layer", after="model-logits")
def model_repeatable(subject: ModelSubject) -> str:
    """In eval mode two passes over the same frames give the same logits."""
    model = subject.model
    for mode in (True, False):
        if model.train(mode) is not model:
            raise FaultError(f"train({mode}) returned something else than the model", "end train() with `return super().train(mode)`")
    left = [name or "the model" for name, module in model.named_modules() if module.training]
    if left:
        raise FaultError(f"eval() leaves {', '.join(left[:3])} in training mode", "let train(mode) reach every layer when mode is False")
    with torch.no_grad(), preserved_state():
        first, second = model(subject.frames.clone()), model(subject.frames.clone())
    if not torch.equal(first, second):
        raise FaultError("two eval passes over one input differ", "switch random layers off in eval mode")
    return "equal"


@CHECKS.check(remedy="draw initial weights from torch's global random numbers, and never seed them", after="model-repeatable")
def model_seed(subject: ModelSubject) -> str:
    """The same seed gives the same weights, and another seed others."""
    weights = [tensor for tensor in subject.model.state_dict().values() if isinstance(tensor, Tensor) and tensor.is_floating_point()]
    if not weights:
        raise NotApplicableError("it has no weights")
    for model, equal in ((subject.spare, True), (subject.other, False)):
        others = [tensor for tensor in model.state_dict().values() if isinstance(tensor, Tensor) and tensor.is_floating_point()]
        same = len(others) == len(weights) and all(map(torch.equal, weights, others))
        if same is not equal:
            raise FaultError("the same seed gives other weights" if equal else "another seed gives the same weights")
    return "repeatable"


@CHECKS.check(remedy="return raw logits; the loss and the prediction apply the softmax", after="model-logits")
def model_raw_logits(subject: ModelSubject) -> str:
    """Its logits are raw: neither probabilities nor their logarithms."""
    # Those of a raw network change sign with its last layer; probabilities stay in [0, 1] whatever the weights are.
    batches = [subject.frames * scale for scale in (1.0, -100.0)]
    last = [p for p in subject.model.parameters() if p.ndim and p.shape[0] == subject.num_classes and p.is_floating_point()]
    seen = [subject.run(subject.model, batch) for batch in batches]
    try:
        for parameter in last:
            parameter.data.neg_()
        seen += [subject.run(subject.model, batch) for batch in batches]
    finally:
        for parameter in last:
            parameter.data.neg_()
    rows = torch.cat(seen)
    rows = rows[torch.isfinite(rows).all(dim=1)]
    sums, log_sums = rows.sum(dim=1), rows.logsumexp(dim=1)
    if bool(((rows >= 0) & (rows <= 1)).all()) and (bool(last) or torch.allclose(sums, torch.ones_like(sums), atol=1e-3)):
        raise FaultError(f"all outputs lie in [0, 1] whatever the frames and the last layer, such as {_numbers(rows[0])}")
    if bool((rows <= 0).all()) and torch.allclose(log_sums, torch.zeros_like(log_sums), atol=1e-3):
        raise FaultError(f"the outputs are logarithms of probabilities, such as {_numbers(rows[0])}")
    return f"from {rows.min():.3g} to {rows.max():.3g}"


@CHECKS.check(remedy="build the last layer with num_classes outputs", after="model-logits")
def model_classes(subject: ModelSubject) -> str:
    """It gives as many logits as there are classes."""
    for classes in (2, 5):
        shape = subject.logits_shape(num_classes=classes)
        if shape != (2, classes):
            raise FaultError(f"with num_classes={classes} two frames gave {shape}, expected (2, {classes})")
    return "2 and 5"


@CHECKS.check(
    remedy="build the first layer with in_channels inputs, or refuse with zoo.errors.InputShapeError in build", after="model-logits"
)
def model_channels(subject: ModelSubject) -> str:
    """It takes frames of one and of three channels, or refuses them when it is built."""
    notes = []
    for channels in (1, 3):
        try:
            shape = subject.logits_shape(in_channels=channels)
        except Exception as error:
            if not refuses(error):
                raise FaultError(
                    f"with in_channels={channels}: {error if isinstance(error, FaultError) else describe_error(error)}"
                ) from error
            notes.append(f"{channels} refused")
            continue
        if shape != (2, subject.num_classes):
            raise FaultError(f"with in_channels={channels} two frames gave {shape}, expected (2, {subject.num_classes})")
        notes.append(str(channels))
    return " and ".join(notes)


@CHECKS.check(
    remedy="compute the size of the head from input_shape, or pool adaptively; refuse a size in build, not in forward", after="model-logits"
)
def model_sizes(subject: ModelSubject) -> str:
    """It builds for frames of odd sizes, or refuses them when it is built."""
    notes = []
    for height, width in ODD_SIZES:
        try:
            shape = subject.logits_shape(size=(height, width))
        except Exception as error:
            if not refuses(error):
                raise FaultError(
                    f"built for {height}x{width}: {error if isinstance(error, FaultError) else describe_error(error)}"
                ) from error
            notes.append(f"{height}x{width} refused")
            continue
        if shape != (2, subject.num_classes):
            raise FaultError(f"built for {height}x{width} two frames gave {shape}, expected (2, {subject.num_classes})")
        notes.append(f"{height}x{width}")
    return " and ".join(notes)


@CHECKS.check(remedy="call zoo.models.check_input_shape(frames, input_shape) at the top of forward", after="model-logits")
def model_shapes(subject: ModelSubject) -> str:
    """It refuses frames of any other shape than the one it was built for."""
    channels, height, width = subject.shape
    wrong = {
        f"a transposed frame ({width}x{height})": (2, channels, width, height),
        f"a frame of twice the height ({2 * height}x{width})": (2, channels, 2 * height, width),
        f"frames of {channels + 2} channels": (2, channels + 2, height, width),
        "a frame without the batch axis": (channels, height, width),
    }
    if height == width:
        del wrong[f"a transposed frame ({width}x{height})"]
    for words, shape in wrong.items():
        try:
            subject.run(subject.model, torch.zeros(shape))
        except FaultError:
            continue
        raise FaultError(f"{words} was accepted")
    return f"{len(wrong)} shapes refused"


@CHECKS.check(remedy="do not squeeze the batch axis; BatchNorm may refuse a batch of one in training only", after="model-logits")
def model_batch_of_one(subject: ModelSubject) -> str:
    """It takes a batch of one, in eval mode and in training unless BatchNorm refuses."""
    lone = subject.run(subject.model, subject.frames[:1])
    if tuple(lone.shape) != (1, subject.num_classes):
        raise FaultError(f"one frame gave {tuple(lone.shape)}, expected (1, {subject.num_classes})")
    try:
        logits = subject.run(subject.spare.train(), subject.frames[:1])
    except FaultError as fault:
        if "more than 1 value per channel" in fault.got:
            return "eval; BatchNorm needs two frames in training"
        raise
    if tuple(logits.shape) != (1, subject.num_classes):
        raise FaultError(f"one frame gave {tuple(logits.shape)} in training, expected (1, {subject.num_classes})")
    return "eval and training"


@CHECKS.check(
    remedy="a frame's logits must not depend on the frames beside it; use running statistics in eval mode", after="model-repeatable"
)
def model_neighbours(subject: ModelSubject) -> str:
    """In eval mode the logits of a frame do not depend on its batch."""
    change = drift(subject.run(subject.model, subject.frames[1:]), subject.logits[1:])
    if not change <= tolerance(subject.logits, 1e-4):
        raise FaultError(f"logits of a frame change by {change:.3g} with its batch")
    return f"largest change {change:.2g}"


@CHECKS.check(remedy="do not replace NaN in forward; a frame without a value must not get a confident class", after="model-neighbours")
def model_nan(subject: ModelSubject) -> str:
    """NaN pixels make the logits of their own frame NaN and of no other, or are refused."""
    _, height, width = subject.shape
    frames = subject.frames.clone()
    frames[0, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = math.nan
    try:
        logits = subject.run(subject.model, frames)
    except FaultError:
        return "refused"
    if not bool(torch.isnan(logits[0]).any()):
        raise FaultError(f"a frame whose middle is NaN got the logits {_numbers(logits[0])}")
    if not bool(torch.isfinite(logits[1]).all()):
        raise FaultError("NaN in one frame makes its neighbour's logits NaN", "normalise each frame by itself, or by running statistics")
    return "NaN for that frame only"


@CHECKS.check(remedy="work on a new tensor, not in place on the frames", after="model-logits")
def model_input_kept(subject: ModelSubject) -> str:
    """It leaves the frames that it is given unmodified."""
    for model in (subject.model, subject.spare.train()):
        frames = subject.frames.clone()
        with torch.no_grad(), preserved_state():
            model(frames)
        if not torch.equal(frames, subject.frames):
            raise FaultError("forward changed its input")
    return "unmodified"


@CHECKS.check(remedy="use it in forward, or do not register it; look for divisions by zero and logarithms of zero", after="model-logits")
def model_gradients(subject: ModelSubject) -> str:
    """Every parameter receives a finite gradient."""
    model = subject.spare.train()
    with preserved_state(), torch.enable_grad():
        torch.manual_seed(SEED)
        logits = model(subject.frames.clone())
        if not logits.requires_grad:
            if any(parameter.requires_grad for parameter in model.parameters()):
                raise FaultError("the logits do not depend on any parameter", "do not detach, and keep numpy out of forward")
            raise NotApplicableError("it has no parameters to train")
        try:
            nn.functional.cross_entropy(logits, torch.arange(2) % subject.num_classes).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise FaultError(f"backward failed: {str(error).splitlines()[0]}", "work out of place, on new tensors, in forward") from error
    trained = [(key, parameter) for key, parameter in model.named_parameters() if parameter.requires_grad]
    for key, parameter in trained:
        if parameter.grad is None:
            raise FaultError(f"parameter {key} receives no gradient", "use it in forward, or do not register it")
        if not bool(torch.isfinite(parameter.grad).all()):
            raise FaultError(f"the gradient of {key} is not finite", "look for a division by zero or a log of zero in forward")
    model.zero_grad(set_to_none=True)
    return f"{len(trained)} tensors"


def _numbers(row: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in row.tolist())


def drift(got: Tensor, expected: Tensor) -> float:
    """Largest difference of two tensors of logits; NaN where one is NaN."""
    return (got.float() - expected.float()).abs().max().item()


def tolerance(logits: Tensor, relative: float) -> float:
    """How far logits may differ that are equal but for rounding."""
    return relative * (1 + logits.abs().max().item())
