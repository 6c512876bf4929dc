"""The conformance kit for plugin authors: the checks that zoo's own models and steps pass.

Put ``check_model("tinynet")`` or ``check_step("destripe")`` into a test of the plugin. Each raises :class:`zoo.errors.CheckFailedError`
with what was got, what was expected, and how to mend it.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.errors import CheckFailedError, UsageError
from zoo.frames import Frame, FrameInfo
from zoo.models import create_model
from zoo.registry import get_registry
from zoo.steps import Step

__all__ = ["check_model", "check_step", "make_frame"]

_SEED = 20231208


class _Verify(Protocol):
    def __call__(self, holds: bool, got: str, remedy: str) -> None: ...


def _verifier(subject: str) -> _Verify:
    def verify(holds: bool, got: str, remedy: str) -> None:
        if not holds:
            raise CheckFailedError(f"{subject}: {got}; {remedy}")

    return verify


def make_frame(height: int = 64, width: int = 128, *, seed: int = _SEED) -> Frame:
    """A small frame with a sky, noise, a few stars and one smooth source: ``(1, height, width)`` float32 in electrons."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None, :]
    pixels = 50.0 + 5.0 * torch.randn(height, width, generator=generator)
    for _ in range(6):
        cy, cx, flux = torch.rand(3, generator=generator).tolist()
        pixels += 4000 * flux * torch.exp(-((y - cy * height) ** 2 + (x - cx * width) ** 2) / 4.5)
    pixels += 300 * torch.exp(-(((y - height / 2) / (height / 6)) ** 2) - ((x - width / 2) / (width / 6)) ** 2)
    return Frame(pixels=pixels[None], encoding=None, info=FrameInfo(), unit="electron")


def check_model(
    name: str,
    *,
    options: Mapping[str, object] | None = None,
    input_shape: tuple[int, int, int] = (1, 64, 128),
    num_classes: int = 2,
) -> nn.Module:
    """Check that a registered architecture keeps the contract of ``register_models``.

    Built with ``input_shape`` it must give finite float logits ``(N, num_classes)`` for a batch of two and of one, the same logits for
    the same input in eval mode, and for a frame whatever its neighbours in the batch; refuse a transposed frame; leave its input
    unmodified; give every parameter a finite gradient; and survive a state-dict round trip and a deep copy.

    Args:
        name: registered name. options: as ``--model-option`` gives them.
        input_shape: ``(C, H, W)``, small enough for a test and large enough for the network.
        num_classes: how many logits to ask for.
    Returns: the model, in eval mode.
    Raises:
        CheckFailedError: with what was got and how to mend it.
        UnknownNameError, UsageError, PluginError: the name or an option is unknown, or the builder cannot be imported.
    """
    verify = _verifier(f"model {name!r} at {'x'.join(map(str, input_shape))}")
    torch.manual_seed(_SEED)
    model = _create(name, options, input_shape, num_classes)
    batch = torch.randn(2, *input_shape)
    kept = batch.clone()

    model.train()
    _check_gradients(verify, model, batch, num_classes)
    model.eval()
    with torch.inference_mode():
        logits = model(batch)
        _check_logits(verify, logits, (2, num_classes))
        _check_logits(verify, model(batch[:1]), (1, num_classes))
        verify(torch.equal(model(batch), logits), "two eval passes over one input differ", "switch random layers off in eval mode")
        lone = model(batch[1:])
        drift = (lone - logits[1:]).abs().max().item()
        remedy = "a frame's logits must not depend on the frames beside it; use running statistics in eval mode"
        verify(drift <= 1e-4 * (1 + logits.abs().max().item()), f"logits of a frame change by {drift:.3g} with its batch", remedy)
        _check_copies(verify, model, name, options, input_shape, num_classes, batch, logits)
    verify(torch.equal(batch, kept), "forward changed its input", "work on a new tensor, not in place on the frames")
    _check_transposed(verify, model, input_shape)
    return model


def _create(name: str, options: Mapping[str, object] | None, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return create_model(name, num_classes=num_classes, in_channels=input_shape[0], input_shape=input_shape, **dict(options or {}))


def _check_logits(verify: _Verify, logits: Any, shape: tuple[int, int]) -> None:
    got = f"{tuple(logits.shape)} {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
    well_formed = isinstance(logits, Tensor) and tuple(logits.shape) == shape and logits.is_floating_point()
    verify(well_formed, f"forward gave {got}, expected float logits {shape}", "return one row of raw logits a frame")
    verify(bool(torch.isfinite(logits).all()), "logits are not finite", "check the initialisation and divisions in forward")


def _check_gradients(verify: _Verify, model: nn.Module, batch: Tensor, num_classes: int) -> None:
    logits = model(batch)
    _check_logits(verify, logits, (2, num_classes))
    labels = torch.arange(2) % num_classes
    try:
        nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        verify(False, f"backward failed: {str(error).splitlines()[0]}", "work out of place, on new tensors, in forward")
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        verify(parameter.grad is not None, f"parameter {key} receives no gradient", "use it in forward, or do not register it")
        finite = parameter.grad is not None and bool(torch.isfinite(parameter.grad).all())
        verify(finite, f"the gradient of {key} is not finite", "look for a division by zero or a log of zero in forward")
    model.zero_grad(set_to_none=True)


def _check_copies(
    verify: _Verify,
    model: nn.Module,
    name: str,
    options: Mapping[str, object] | None,
    input_shape: tuple[int, int, int],
    num_classes: int,
    batch: Tensor,
    logits: Tensor,
) -> None:
    twin = _create(name, options, input_shape, num_classes)
    twin.load_state_dict(model.state_dict())
    remedy = "keep all that forward uses in parameters and buffers"
    verify(torch.equal(twin.eval()(batch), logits), "a fresh model with the same state dict gives other logits", remedy)
    verify(torch.equal(copy.deepcopy(model)(batch), logits), "a deep copy gives other logits", remedy)


def _check_transposed(verify: _Verify, model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    channels, height, width = input_shape
    if height == width:
        return
    try:
        with torch.inference_mode():
            model(torch.zeros(1, channels, width, height))
    except (UsageError, ValueError, RuntimeError):
        return
    verify(False, f"a transposed frame ({width}x{height}) was accepted", "call zoo.models.check_input_shape at the top of forward")


def check_step(name: str, *, options: Mapping[str, object] | None = None, shape: tuple[int, int] = (64, 128)) -> Step:
    """Check that a registered step keeps the contract of ``register_steps``.

    It must declare scope (as registered), units and randomness; give the shape that ``output_shape`` promises; leave its input
    unmodified; do the same twice without a generator; with one, depend on nothing else; accept ``out`` (frame scope), and pickle.

    Args:
        name: registered name. options: as ``--step name:key=value`` gives them. shape: (height, width) of the test frame.
    Returns: the step.
    Raises: CheckFailedError: with what was got and how to mend it. UnknownNameError, UsageError, PluginError.
    """
    verify = _verifier(f"step {name!r}")
    registry = get_registry()
    entry = registry.get("steps", name)
    step: Step = registry.build("steps", name, options=options)
    _check_declaration(verify, step, entry.metadata["scope"])
    _check_pickle(verify, step)
    if step.scope == "frame":
        _check_frame_step(verify, step, make_frame(*shape))
    else:
        _check_batch_step(verify, step, torch.stack([make_frame(*shape, seed=seed).decode() for seed in (1, 2, 3)]))
    return step


def _check_declaration(verify: _Verify, step: Step, registered_scope: str) -> None:
    for attribute, allowed in (
        ("scope", ("frame", "batch")),
        ("unit_in", ("DN", "electron", "physical", "any")),
        ("unit_out", ("DN", "electron", "dimensionless", "same")),
        ("random", (True, False)),
    ):
        value = getattr(step, attribute, None)
        verify(value in allowed, f"{attribute} is {value!r}", f"set it to one of {', '.join(map(repr, allowed))}")
    remedy = "give register() and the step the same scope"
    verify(step.scope == registered_scope, f"it was registered with scope {registered_scope!r} and says {step.scope!r}", remedy)


def _check_pickle(verify: _Verify, step: Step) -> None:
    try:
        pickle.loads(pickle.dumps(step))
    except Exception as error:
        verify(False, f"it cannot be pickled ({error})", "keep lambdas and open files out of its attributes")


def _run_frame(step: Step, frame: Frame, seed: int | None, out: Tensor | None = None) -> Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    result: Frame = step(frame, generator=generator, out=out)
    return result.decode()


def _check_frame_step(verify: _Verify, step: Step, frame: Frame) -> None:
    kept = frame.decode().clone()
    first = _run_frame(step, frame, None)
    promised = tuple(step.output_shape(frame.shape))
    verify(tuple(first.shape) == promised, f"it gave {tuple(first.shape)} and output_shape says {promised}", "make the two agree")
    verify(first.dtype == torch.float32, f"it gave {first.dtype}", "give float32 pixels")
    verify(bool(torch.isfinite(first).all()), "a finite frame became NaN or infinite", "guard divisions and logarithms")
    verify(torch.equal(_run_frame(step, frame, None), first), "two calls without a generator differ", "draw only from the generator given")
    for seed in range(4):
        once, again = _run_frame(step, frame, seed), _run_frame(step, frame, seed)
        verify(torch.equal(once, again), "two calls with equal generators differ", "draw only from the generator given")
    out = torch.empty(promised)
    written = _run_frame(step, frame, None, out)
    verify(torch.equal(written, first), "with out= it gives other pixels", "write the same result into out")
    verify(torch.equal(frame.decode(), kept), "it changed the frame it was given", "write into a new tensor or into out")


def _check_batch_step(verify: _Verify, step: Step, batch: Tensor) -> None:
    kept = batch.clone()

    def run(seed: int | None) -> Tensor:
        generators = None if seed is None else [torch.Generator().manual_seed(seed + i) for i in range(len(batch))]
        result: Tensor = step(batch, generator=generators)
        return result.clone()

    first = run(None)
    promised = (len(batch), *step.output_shape((1, *batch.shape[-2:])))
    verify(tuple(first.shape) == promised, f"it gave {tuple(first.shape)} and output_shape says {promised}", "make the two agree")
    verify(torch.equal(run(None), first), "two calls without a generator differ", "draw only from the generators given")
    for seed in range(4):
        verify(torch.equal(run(seed), run(seed)), "two calls with equal generators differ", "draw only from the generators given")
    if step.random:
        verify(torch.equal(first, kept), "a random step changed frames without a generator", "do nothing when generator is None")
        changed = any(not torch.equal(run(seed), kept) for seed in range(16))
        verify(changed, "sixteen draws changed nothing", "set random = False, or use the generators")
    verify(torch.equal(batch, kept), "it changed the batch it was given", "write into a new tensor")
