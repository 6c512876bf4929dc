"""``zoo.estimate``: the memory of models, computed without running them, and what it fits into."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from zoo.costs.hardware import RESIDENT_EXTRA_BYTES, Budget, needed_bytes, parse_budgets, usable_bytes
from zoo.costs.predict import DEVICES, OPTIMIZERS
from zoo.costs.process import MEASURED, run_job
from zoo.costs.request import Models, check_choice, read_request
from zoo.costs.target import Target
from zoo.errors import UsageError
from zoo.profiling.capacity import Measured, fit_rates, parse_hardware, parse_rate, read_measured
from zoo.profiling.estimation import BudgetFit, Estimate, ModelEstimate, Remedy
from zoo.profiling.samples import parse_duration


def estimate(
    models: Models,
    *,
    train: bool = False,
    batch: int = 1,
    precision: str = "fp32",
    optimizer: str = "adamw",
    ema: bool = False,
    stream: bool = False,
    recompute: bool = False,
    device: str = "cuda",
    threads: int | None = None,
    memory: str | Iterable[str] = (),
    rate: str | None = None,
    deadline: str | float | None = None,
    hardware: str | Iterable[str] = (),
    measured: str | os.PathLike[str] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    options: Mapping[str, object] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Estimate:
    """Compute the peak memory of an inference or a training step, its parts, and what it fits into; nothing is run and no GPU is needed.

    Each model is followed in a process of its own on fake tensors, which have shapes but no memory. A model that fails or crashes becomes
    a record that says so. What each figure means and how far it can be trusted stands in docs/estimate.md.

    Args:
        models: names (``hrcn``, ``hrcn[padding=same]``, ``owner:name``), or run or model directories, ``"latest"`` for ``runs/latest``.
        train: a training step as `zoo.train` makes it instead of an inference.
        batch: frames per step.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast.
        optimizer: ``adamw``, or ``sgd`` with momentum; this and the next three are of no effect in inference.
        ema: an average of the weights is kept beside them.
        stream: the stem runs in strips; in inference it does so where its map is large, as in `zoo.predict`.
        recompute: blocks keep their input only and are computed again in the backward pass.
        device: ``cuda``, or ``cpu``, where oneDNN copies what it works on into a layout of its own.
        threads: of torch on the CPU, each of which has scratch memory; by default what torch chooses.
        memory: budgets: ``"8GB,rtx4090"``, or several such texts; GB is 10^9 bytes, GiB 2^30.
        rate: frames that arrive: ``"49000/day"``, or per ``h``, ``min`` or ``s``; then the records say what keeps up with it.
        deadline: time within which a frame must be through, as ``"60s"``, or in seconds.
        hardware: GPUs to say it of: ``"h200,rtx4090"``.
        measured: file of ``zoo profile --json``, whose throughput is taken where it is of this model and hardware; else it is predicted.
        input_shape: ``(C, H, W)`` of one frame; by default the one that each architecture was made for. A run has its own.
        options: options of the model, where ``models`` is a single one.
        progress: is told what goes wrong, line by line.

    Returns: the records in the order asked for.

    Raises:
        UsageError: an argument has a value that it cannot have.
        UnknownNameError: no such model, option or GPU.

    Example: >>> zoo.estimate("hrcn", train=True, memory="24GB").models[0].fits[0].largest_batch
    """
    for what, value, choices in (("optimizer", optimizer, OPTIMIZERS), ("device", device, DEVICES)):
        check_choice(what, value, choices)
    request = read_request(models, batch=batch, precision=precision, threads=threads, input_shape=input_shape, options=options)
    if not request.targets:
        raise UsageError("got no model, expected at least one; 'zoo models list' shows them")
    budgets = parse_budgets(memory)
    pace = _read_pace(rate, deadline, hardware, measured)
    more = {"optimizer": optimizer, "ema": ema, "stream": stream, "recompute": recompute, "device": device}
    asked = {"mode": "train" if train else "infer", **request.settings, **more}
    usable = [usable_bytes(budget.capacity_bytes, device=device, train=train) for budget in budgets]
    job = {**asked, "work": "zoo.costs.recording:estimate", "budgets": usable, "plugins": request.plugins}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(lambda target: run_job({**job, **target.aim()}), request.targets))
    records = [_record(target, facts, budgets, asked, pace) for target, facts in zip(request.targets, found, strict=True)]
    for record in records:
        if record.note and progress:
            progress(f"{record.model}: {record.note}")
    told = next((facts for facts in found if "torch" in facts), {})
    known = {key: told.get(key) for key in ("torch", "threads")}
    words = {"memory": [budget.name for budget in budgets], "rate": rate, "deadline_s": pace.deadline_s, "hardware": pace.hardware}
    return Estimate(tuple(records), {**known, "asked": {**asked, **words}})


class _Pace(NamedTuple):
    """What is asked about a rate: frames per second or ``None``, the deadline, GPUs, and what has been measured."""

    rate: float | None
    deadline_s: float | None
    hardware: tuple[str, ...]
    measured: list[Measured]


def _read_pace(
    rate: str | None, deadline: str | float | None, hardware: str | Iterable[str], measured: str | os.PathLike[str] | None
) -> _Pace:
    names = parse_hardware(hardware) if hardware else ()
    if rate is None:
        if names or deadline is not None or measured is not None:
            raise UsageError("got a deadline, hardware or a measurement without a rate, expected one, such as --rate 49000/day")
        return _Pace(None, None, (), [])
    if not names and measured is None:
        raise UsageError("got a rate, expected what to compare it with: --hardware h200,rtx4090 or --measured FILE")
    known = read_measured(Path(measured)) if measured is not None else []
    return _Pace(parse_rate(rate), None if deadline is None else parse_duration(deadline), names, known)


def _record(target: Target, facts: Mapping[str, Any], budgets: Sequence[Budget], asked: Mapping[str, Any], pace: _Pace) -> ModelEstimate:
    """Make the record of what a child has told."""
    if facts["status"] != MEASURED:
        return ModelEstimate(target.text, target.text, facts["status"], facts["note"], facts["exit_code"])
    peak = facts["peak"]
    total, (least, most) = peak["total"], RESIDENT_EXTRA_BYTES[asked["mode"]]
    unfollowed = f"its code looks at values after {peak['layer'] or 'its beginning'}; the figures are of the part before, and too small"
    train = asked["mode"] == "train"
    fits = [
        BudgetFit(
            budget,
            usable_bytes(budget.capacity_bytes, device=asked["device"], train=train),
            fit["verdict"],
            fit["largest_batch"],
            _remedy(target, facts["label"], fit["remedy"], asked),
        )
        for budget, fit in zip(budgets, facts["fits"], strict=True)
    ]
    return ModelEstimate(
        model=target.text,
        label=facts["label"],
        note="" if facts["complete"] else unfollowed,
        input_shape=tuple(facts["input_shape"]),
        parameters=facts["parameters"],
        macs=facts["macs"],
        peak_bytes=total,
        parts=peak["parts"],
        phase=peak["phase"],
        layer=peak["layer"],
        holders=tuple((layer, size) for layer, size in peak["holders"]),
        needed_bytes=needed_bytes(total, device=asked["device"], train=train),
        resident_bytes=(facts["touched"] + least, total + most) if asked["device"] == "cpu" else None,
        complete=facts["complete"],
        fits=tuple(fits),
        rates=fit_rates(facts["label"], facts, {**asked, **pace._asdict()}, pace.hardware, pace.measured) if pace.rate else (),
    )


def _remedy(target: Target, label: str, found: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> Remedy | None:
    """Put settings into words, and into a command line."""
    if found is None:
        return None
    settings = {"recompute": found["checkpoint"], **found}
    batch, passes = str(settings["batch"]), str(settings["accumulate"])
    changes = [settings[key] for key in ("precision", "optimizer") if settings[key] != asked[key]]
    precision = ["--precision", settings["precision"]]
    if asked["mode"] == "train":
        switches = [key for key in ("stream", "recompute") if settings[key]]
        changes += [key for key in switches if not asked[key]]
        changes += ["no ema"] if asked["ema"] and not settings["ema"] else []
        if settings["batch"] != asked["batch"]:
            changes.append(f"{passes} x batch {batch}")
        name = target.name or label.partition("[")[0]
        options = [word for key, value in target.options.items() for word in ("--model-option", f"{key}={value}")]
        words = ["train", "--model", name, *options, "--batch-size", batch, "--accumulate", passes, *precision]
        words += ["--optimizer", settings["optimizer"], *(f"--{key}" for key in switches)]
        words += ["--ema", "0.999"] if settings["ema"] else []
    else:
        if settings["batch"] != asked["batch"]:
            changes.append(f"batch {batch}")
        words = ["predict", target.run or "RUN", "FILES", "--batch-size", batch, *precision]
    kept = {key: settings[key] for key in Remedy.__dataclass_fields__ if key in settings}
    return Remedy(**kept, change=", ".join(changes), command=shlex.join(["zoo", *words]))
