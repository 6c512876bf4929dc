"""``zoo.profile``: models and ops side by side, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from zoo.costs.process import MEASURED, run_job
from zoo.costs.request import Models, check_choice, read_request
from zoo.costs.target import Target
from zoo.costs.text import say_bytes, say_seconds
from zoo.errors import UnknownNameError, UsageError
from zoo.profiling.result import MODES, ModelProfile, OpProfile, Profile, StepProfile
from zoo.profiling.samples import parse_duration

OP_NAMES = ("normalize", "blur", "decode", "frame_statistics")
OP_SHAPE = (2048, 4096)
PATIENCE = 3.0  # budgets that a child may take before it is ended: a run that is longer than the budget is still made
LEAST_LIMIT_S = 10.0  # even where the budget is tiny
OP_LEAST_LIMIT_S = 120.0  # references take seconds, and each is run at least once

WORDS = {"infer": "inference", "train": "training step"}

Say = Callable[[str], None]


def profile(
    models: Models = (),
    *,
    ops: Sequence[str] = (),
    mode: str = "both",
    batch: int = 1,
    input_shape: tuple[int, int, int] | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    device: str = "auto",
    budget: str | float = 60.0,
    options: Mapping[str, object] | None = None,
    op_shape: tuple[int, int] = OP_SHAPE,
    progress: Say | None = None,
) -> Profile:
    """Measure parameters, MACs, memory and latency of models, and the speed of ops, on this machine.

    Every model is measured in a fresh process for each mode, so that neither memory nor a crash of one touches another; a model that
    fails, crashes, is too slow or does not fit becomes a record that says so. What each figure means stands in docs/profiling.md.

    Args:
        models: names (``hrcn``, ``hrcn[padding=same]``, ``owner:name``), or run or model directories, ``"latest"`` for ``runs/latest``.
        ops: ``normalize``, ``blur``, ``decode``, ``frame_statistics``.
        mode: ``infer``, ``train`` or ``both``.
        batch: frames per step.
        input_shape: ``(C, H, W)`` of one frame; by default the one that each architecture was made for. A run has its own.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast.
        threads: of torch and the kernels; by default what torch chooses in a new process.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        budget: time per model and mode, and per op: seconds, or a text such as ``"30s"`` or ``"2m"``. A single run may take three
            budgets, and ten seconds in any case.
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
    request = read_request(models, batch=batch, precision=precision, threads=threads, input_shape=input_shape, options=options)
    if not request.targets and not ops:
        raise UsageError("got neither a model nor an op, expected at least one; 'zoo models list' shows models, --op normalize takes an op")
    settings = {**request.settings, "device": device, "budget_s": parse_duration(budget)}
    job = {**settings, "limit_s": max(LEAST_LIMIT_S, PATIENCE * settings["budget_s"]), "plugins": request.plugins}
    session = _Session(job, progress or (lambda _: None))
    modes = MODES if mode == "both" else (mode,)
    records = [session.profile_model(target, modes) for target in request.targets]
    measured = [op for name in ops for op in session.profile_op(name, op_shape)]
    metadata = {**session.machine, "asked": {**settings, "modes": modes, "patience": PATIENCE}}
    return Profile(tuple(records), tuple(measured), metadata)


def _check(ops: Sequence[str], *, mode: str) -> None:
    """Refuse arguments before any process is started."""
    for name in ops:
        if name not in OP_NAMES:
            raise UnknownNameError("op", name, OP_NAMES, remedy=f"Known: {', '.join(OP_NAMES)}.")
    check_choice("mode", mode, (*MODES, "both"))


class _Session:
    """The children of one profile, one after the other.

    Attributes:
        machine: the circumstances that the first child told.
    """

    def __init__(self, job: Mapping[str, Any], say: Say) -> None:
        self._job, self._say = dict(job), say
        self.machine: dict[str, Any] = {}

    def profile_model(self, target: Target, modes: Sequence[str]) -> ModelProfile:
        """Count, bound and measure one model."""
        aim = target.aim()
        facts = self._run({**aim, "work": "zoo.profiling.work:measure_facts", "modes": list(modes)})
        if facts["status"] != MEASURED:
            self._say(f"{target.text}: {facts['note']}")
            steps = tuple(StepProfile(mode, facts["status"], facts["note"], facts["exit_code"]) for mode in modes)
            return ModelProfile(target.text, target.text, batch=self._job["batch"], steps=steps)
        return ModelProfile(
            model=target.text,
            label=facts["label"],
            input_shape=tuple(facts["input_shape"]),
            batch=self._job["batch"],
            parameters=facts["parameters"],
            macs=facts["macs"],
            weights_bytes=facts["weights_bytes"],
            steps=tuple(self._profile_step(target, aim, mode, facts) for mode in modes),
        )

    def _profile_step(self, target: Target, aim: Mapping[str, Any], mode: str, facts: Mapping[str, Any]) -> StepProfile:
        bound = facts["bounds"][mode]["peak"]
        self._say(f"{target.text}: {WORDS[mode]}, at least {say_bytes(bound)}, budget {say_seconds(self._job['budget_s'])}")
        found = self._run({**aim, "work": "zoo.profiling.work:measure_step", "mode": mode, "bound_bytes": bound, "macs": facts["macs"]})
        known = {entry.name for entry in fields(StepProfile)}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items() if key in known}
        step = StepProfile(**{"mode": mode, "bound_bytes": bound, **values})
        if step.status != MEASURED:
            self._say(f"{target.text}: {WORDS[mode]} {step.status}: {step.note}")
        return step

    def profile_op(self, name: str, shape: tuple[int, int]) -> list[OpProfile]:
        """Measure one op on every kind of pixel."""
        self._say(f"{name}: {shape[0]}x{shape[1]}, budget {say_seconds(self._job['budget_s'])}")
        job = {"work": "zoo.profiling.work:measure_op", "op": name, "shape": list(shape)}
        found = self._run({**job, "limit_s": max(self._job["limit_s"], OP_LEAST_LIMIT_S)})
        if found["status"] != MEASURED:
            self._say(f"{name}: {found['note']}")
            return [OpProfile(name, "", shape, found["status"], found["note"], found.get("exit_code", 0))]
        return [OpProfile(op=name, **{**case, "shape": tuple(case["shape"])}) for case in found["cases"]]

    def _run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do a job with the settings of this profile."""

        def listen(event: Mapping[str, Any]) -> None:
            if "processor" in event and not self.machine:
                self.machine = dict(event)

        whole = {**self._job, **job}
        return run_job(whole, limit_s=whole["limit_s"], listen=listen)
