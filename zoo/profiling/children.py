"""The child processes of one profile, one after the other, and the records of what they found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from zoo.costs.hardware import RESIDENT_EXTRA_BYTES
from zoo.costs.process import MEASURED, run_job
from zoo.costs.target import Target
from zoo.costs.text import say_bytes, say_seconds
from zoo.profiling.figures import LayerProfile, PathProfile, Throughput
from zoo.profiling.limit import HEADROOM, SPARE_BYTES, find_limit
from zoo.profiling.result import ModelProfile, OpProfile, StepProfile
from zoo.profiling.samples import Block, Lap

OP_LEAST_LIMIT_S = 120.0  # references take seconds, and each is run at least once

LIMIT_PATIENCE = 3.0  # times what a job may take, for a step whose memory is limited: one that only takes long has succeeded

WORDS = {"infer": "inference", "train": "training step"}

# How the budget of a model and mode is shared by what is measured of it.
WEIGHTS = {"step": 3, "path": 2, "layers": 1, "throughput": 3}

Say = Callable[[str], None]
_Record = TypeVar("_Record", StepProfile, PathProfile, Throughput)


class Children:
    """Runs the jobs of one profile.

    Args:
        job: what all of them have in common: ``batches``, ``frames`` (``None`` for no way of a frame), ``layers``, ``fit_min``, ``plain``,
            ``budget_s``, ``limit_s`` and the settings of `zoo.costs.request`.
        say: is told what happens, line by line.

    Attributes:
        machine: the circumstances that the first child told.
    """

    def __init__(self, job: Mapping[str, Any], say: Say) -> None:
        self._job, self._say = dict(job), say
        self.machine: dict[str, Any] = {}

    def profile_model(self, target: Target, modes: Sequence[str]) -> ModelProfile:
        """Count, bound and measure one model."""
        batch = self._job["batches"][0]
        facts = self._run("measure_facts", {**target.aim(), "modes": list(modes)})
        if facts["status"] != MEASURED:
            self._say(f"{target.text}: {facts['note']}")
            steps = tuple(StepProfile(mode, facts["status"], facts["note"], facts["exit_code"], batch) for mode in modes)
            return ModelProfile(target.text, target.text, batch=batch, steps=steps)
        model = ModelProfile(
            model=target.text,
            label=facts["label"],
            input_shape=tuple(facts["input_shape"]),
            batch=batch,
            parameters=facts["parameters"],
            macs=facts["macs"],
            weights_bytes=facts["weights_bytes"],
        )
        aim = {**target.aim(), "macs": facts["macs"], "modes": list(modes)}
        cases = {(case["mode"], case["batch"]): case for case in facts["steps"]}
        for mode in modes:
            model = self._profile_mode(model, aim, mode, cases)
        return model

    def profile_op(self, name: str, shape: tuple[int, int]) -> list[OpProfile]:
        """Measure one op on every kind of pixel."""
        self._say(f"{name}: {shape[0]}x{shape[1]}, budget {say_seconds(self._job['budget_s'])}")
        found = self._run("measure_op", {"op": name, "shape": list(shape), "limit_s": max(self._job["limit_s"], OP_LEAST_LIMIT_S)})
        if found["status"] != MEASURED:
            self._say(f"{name}: {found['note']}")
            return [OpProfile(name, "", shape, found["status"], found["note"], found.get("exit_code", 0))]
        return [OpProfile(op=name, **{**case, "shape": tuple(case["shape"])}) for case in found["cases"]]

    def _profile_mode(
        self, model: ModelProfile, aim: Mapping[str, Any], mode: str, cases: Mapping[tuple[str, int], Mapping[str, Any]]
    ) -> ModelProfile:
        """Make all measurements of one mode; where the step itself cannot be made, nothing else of this mode is tried."""
        job, batches = self._job, self._job["batches"]
        wanted = {
            "step": True,
            "path": mode == "infer" and job["frames"] is not None,
            "layers": job["layers"] and mode == aim["modes"][0],
            "throughput": len(batches) > 1,
        }
        whole = sum(weight for name, weight in WEIGHTS.items() if wanted[name])
        budget = {name: job["budget_s"] * weight / whole for name, weight in WEIGHTS.items()}
        case = cases[mode, batches[0]]
        aim = {**aim, "mode": mode, "batch": batches[0], "bound_bytes": case["bound"]}
        expected = self._expected(mode, case)
        self._say(f"{model.model}: {WORDS[mode]}, at least {say_bytes(case['bound'])}, budget {say_seconds(job['budget_s'])}")
        step = self._record(StepProfile("", ""), {**aim, **expected}, "measure_step", {**aim, "budget_s": budget["step"]})
        if step.status == MEASURED and job["fit_min"]:
            step = self._limit(step, aim)
        model = replace(model, steps=(*model.steps, step))
        if step.status != MEASURED:
            self._say(f"{model.model}: {WORDS[mode]} {step.status}: {step.note}")
            return model
        if wanted["path"]:
            path = self._record(PathProfile(""), {}, "measure_frames", {**aim, "budget_s": budget["path"]})
            model = replace(model, path=path)
            if path.status != MEASURED:
                self._say(f"{model.model}: from file to class {path.status}: {path.note}")
        if wanted["layers"]:
            found = self._run("measure_layers", {**aim, "budget_s": budget["layers"]})
            rows = [{**row, "output_shape": tuple(row["output_shape"])} for row in found.get("layers", ())]
            model = replace(model, layers=tuple(LayerProfile(**row) for row in rows), layers_note=found["note"])
        if wanted["throughput"]:
            points = self._sweep({**aim, "budget_s": budget["throughput"]}, mode, cases)
            model = replace(model, throughput=(*model.throughput, *points))
        return model

    def _limit(self, step: StepProfile, aim: Mapping[str, Any]) -> StepProfile:
        """Find the smallest limit of memory under which the step succeeds."""
        start = int(HEADROOM * (step.peak_bytes or 0)) + SPARE_BYTES
        failures: list[str] = []

        def succeeds(limit: int) -> bool:
            found = self._run("try_limit", {**aim, "limit_bytes": limit, "limit_s": LIMIT_PATIENCE * self._job["limit_s"]})
            well = bool(found["status"] == MEASURED)
            failures.extend([] if well else [found["note"]])
            self._say(f"{WORDS[step.mode]} in {say_bytes(limit)}: {'succeeds' if well else 'does not succeed'}")
            return well

        least = find_limit(step.bound_bytes or 0, start, succeeds)
        if least is None:
            self._say(f"{WORDS[step.mode]}: it does not succeed in {say_bytes(start)} either, which is more than its peak: {failures[0]}")
        return replace(step, fit_min_bytes=least)

    def _sweep(self, aim: Mapping[str, Any], mode: str, cases: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[Throughput]:
        """Measure one batch after the other, up to the first that cannot be: those after it are larger."""
        points: list[Throughput] = []
        batches = self._job["batches"]
        for batch in batches:
            case = cases[mode, batch]
            job = {**aim, "batch": batch, "bound_bytes": case["bound"], "budget_s": aim["budget_s"] / len(batches)}
            point = self._record(Throughput("", 0), {**job, **self._expected(mode, case)}, "measure_throughput", job)
            points.append(point)
            if point.status != MEASURED:
                self._say(f"{WORDS[mode]} with batch {batch} {point.status}: {point.note}")
                break
        return points

    def _expected(self, mode: str, case: Mapping[str, Any]) -> dict[str, Any]:
        """What `zoo.estimate` says of a step."""
        resident = None
        if case["touched"] is not None:
            least, most = RESIDENT_EXTRA_BYTES[mode]
            resident = (case["touched"] + least, case["peak"] + most)
        return {"expected_bytes": case["peak"], "expected_resident_bytes": resident}

    def _record(self, kind: _Record, given: Mapping[str, Any], work: str, job: Mapping[str, Any]) -> _Record:
        """Do a job and put what it found into a record like ``kind``, beside what was given."""
        found = self._run(work, job)
        known = {entry.name for entry in fields(kind)}
        values: dict[str, Any] = {key: value for key, value in {**given, **found}.items() if key in known}
        if "blocks" in values:
            values["blocks"] = tuple(Block(*(Lap(*lap) for lap in block)) for block in values["blocks"])
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return replace(kind, **{**values, **lists})

    def _run(self, work: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do a job with the settings of this profile."""

        def listen(event: Mapping[str, Any]) -> None:
            if "processor" in event and not self.machine:
                self.machine = dict(event)

        whole = {**self._job, **job, "work": f"zoo.profiling.work:{work}"}
        return run_job(whole, limit_s=whole["limit_s"], listen=listen)
