"""``zoo.profile``: models and ops side by side, each measured in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from zoo.costs.request import Models, check_choice, read_request
from zoo.errors import UnknownNameError, UsageError
from zoo.profiling.children import Children, Say
from zoo.profiling.machine import busy_cores, usable_cores
from zoo.profiling.result import MODES, Profile
from zoo.profiling.samples import parse_batches, parse_duration

OP_NAMES = ("normalize", "blur", "decode", "frame_statistics")
OP_SHAPE = (2048, 4096)
PATIENCE = 3.0  # budgets that a child may take before it is ended: a run that is longer than the budget is still made
LEAST_LIMIT_S = 10.0  # even where the budget is tiny

SIMULATED, NO_FRAMES = "simulated", "none"
BUSY_SHARE = 0.2  # of the cores


def profile(
    models: Models = (),
    *,
    ops: Sequence[str] = (),
    mode: str = "both",
    batch: int | str = 1,
    input_shape: tuple[int, int, int] | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    device: str = "auto",
    budget: str | float = 60.0,
    frames: str | os.PathLike[str] = SIMULATED,
    layers: bool = False,
    fit_min: bool = False,
    plain: bool = False,
    options: Mapping[str, object] | None = None,
    op_shape: tuple[int, int] = OP_SHAPE,
    progress: Say | None = None,
) -> Profile:
    """Measure parameters, MACs, memory, latency and throughput of models, the way of a frame, and the speed of ops, on this machine.

    Everything is measured in a fresh process of its own, so that neither memory nor a crash of one touches another; a model that
    fails, crashes, is too slow or does not fit becomes a record that says so. What each figure means stands in docs/profiling.md.

    Args:
        models: names (``hrcn``, ``hrcn[padding=same]``, ``owner:name``), or run or model directories, ``"latest"`` for ``runs/latest``.
        ops: ``normalize``, ``blur``, ``decode``, ``frame_statistics``.
        mode: ``infer``, ``train`` or ``both``.
        batch: frames per step; or a range such as ``"1:16"``, to measure the throughput of its ends and of what doubling the first gives
            between them. Latency is that of the first.
        input_shape: ``(C, H, W)`` of one frame; by default the one that each architecture was made for. A run has its own.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast.
        threads: of torch and the kernels; by default what torch chooses in a new process.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        budget: time per model and mode, shared by all that is measured of them, and per op: seconds, or a text such as ``"30s"`` or
            ``"2m"``. A single run may take three budgets, and ten seconds in any case.
        frames: FITS file or folder on which the way of a frame from file to class is measured; ``simulated`` for frames that are written
            to a temporary folder, ``none`` to leave it out. It belongs to inference.
        layers: also look at every layer.
        fit_min: also find the smallest limit of memory under which a step succeeds, in about six more processes; it takes its own time.
        plain: inference of the networks as they are written, without `zoo.models.prepare_inference`.
        options: options of the model, where ``models`` is a single one.
        op_shape: ``(H, W)`` of the frame for ops, in pixels.
        progress: is told what happens, line by line.

    Returns: the records in the order asked for.

    Raises:
        UsageError: an argument has a value that it cannot have, or there is nothing to profile.
        UnknownNameError: no such model, option or op.

    Example: >>> zoo.profile(["hrcn", "resnet18"], budget="30s").models[0].step("infer").percentile(50).value_s
    """
    _check(ops, mode=mode)
    batches, source = parse_batches(batch), os.fspath(frames)
    request = read_request(models, batch=batches[0], precision=precision, threads=threads, input_shape=input_shape, options=options)
    if not request.targets and not ops:
        raise UsageError("got neither a model nor an op, expected at least one; 'zoo models list' shows models, --op normalize takes an op")
    if source not in (SIMULATED, NO_FRAMES) and not os.path.exists(source):  # noqa: PTH110 - the path may be a text
        raise UsageError(f"frames: {source}: no such file or folder; expected FITS files, {SIMULATED!r} or {NO_FRAMES!r}")
    settings = {**request.settings, "batches": batches, "device": device, "budget_s": parse_duration(budget), "plain": plain}
    job = {
        **settings,
        "frames": {SIMULATED: "", NO_FRAMES: None}.get(source, source),
        "layers": layers,
        "fit_min": fit_min,
        "limit_s": max(LEAST_LIMIT_S, PATIENCE * settings["budget_s"]),
        "plugins": request.plugins,
    }
    say = progress or (lambda _: None)
    busy, cores = busy_cores(), usable_cores()
    if busy is not None and busy > BUSY_SHARE * cores:
        say(f"other processes keep {busy:.1f} of {cores} cores busy (load {os.getloadavg()[0]:.1f}): times are longer and vary more now")
    children = Children(job, say)
    modes = MODES if mode == "both" else (mode,)
    records = [children.profile_model(target, modes) for target in request.targets]
    measured = [op for name in ops for op in children.profile_op(name, op_shape)]
    asked = {**settings, "modes": modes, "frames": source, "layers": layers, "patience": PATIENCE}
    return Profile(tuple(records), tuple(measured), {**children.machine, "busy_cores_before": busy, "asked": asked})


def _check(ops: Sequence[str], *, mode: str) -> None:
    """Refuse arguments before any process is started."""
    for name in ops:
        if name not in OP_NAMES:
            raise UnknownNameError("op", name, OP_NAMES, remedy=f"Known: {', '.join(OP_NAMES)}.")
    check_choice("mode", mode, (*MODES, "both"))
