"""The sections on what stands behind the figures: what the model costs, how sound the data are, and where everything comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.auditing import Audit, audit
from zoo.auditing.leaks import RELATIONS
from zoo.costs.text import say_bytes, say_count, say_seconds
from zoo.data import DataSet, Manifest, Row
from zoo.errors import ZooError
from zoo.profiling import ModelEstimate
from zoo.profiling.estimate import estimate
from zoo.reporting.blocks import Block, Cell, Code, Facts, Figure, Figures, Points, Section, Table, Text, Value
from zoo.reporting.plots import draw_costs
from zoo.reporting.source import Source

EVALUATED = "evaluated"
TRAINED = "training"
_SPLITS = {f"{TRAINED}:train": "with training", f"{TRAINED}:val": "with validation"}


def costs_section(sources: Sequence[Source]) -> Section:
    """Parameters, work and memory of each model, and how long its evaluation took."""
    estimates, problem = _estimates(sources)
    rows: list[list[Value]] = []
    points = []
    for source, (inference, training) in zip(sources, estimates, strict=True):
        facts = source.facts
        seconds, count = facts.get("time_s"), len(source.scored)
        peak = source.training.get("peak_bytes")
        rows.append(
            [
                source.title if len(sources) > 1 else str(facts["model"]),
                Cell(facts.get("parameters")),
                _said(inference and inference.macs, say_count),
                _said(inference and inference.peak_bytes, say_bytes),
                _said(training and training.peak_bytes, say_bytes),
                _said(peak, say_bytes),
                _said(seconds, say_seconds),
                _said(seconds / count if seconds and count else None, say_seconds),
            ]
        )
        accuracy = source.interval("accuracy")
        if inference and inference.macs and accuracy is not None:
            points.append((source.title, inference.macs / 1e9, accuracy))
    table = Table(
        "What it costs",
        ["model", "parameters", "MACs per frame", "inference, peak", "training, peak", "measured in training", "evaluation", "per frame"],
        rows,
        name="costs",
        notes=[
            "peaks: all tensors of one frame in fp32, in training with AdamW, computed without running anything (zoo estimate)",
            "measured in training: memory of the device, or of the whole process on a CPU, at the batch and precision of the run",
            "evaluation: reading, preprocessing and classifying, on the machine and day of the evaluation; zoo profile measures costs",
        ],
    )
    blocks: list[Block] = [table]
    if len(points) > 1:
        cost = Figure(
            "costs",
            "Accuracy against work",
            f"Accuracy against multiply-accumulates per frame of {len(points)} models.",
            lambda: draw_costs(points, xlabel="GMAC per frame"),
            caption="Bars: 95 % intervals by target.",
        )
        blocks.insert(0, Figures([cost]))
    if problem:
        blocks.append(Text(f"Work and memory could not be computed: {problem}"))
    return Section("costs", "Costs", blocks)


def _estimates(sources: Sequence[Source]) -> tuple[list[tuple[ModelEstimate | None, ModelEstimate | None]], str]:
    """An inference and a training step of each model, and what went wrong where there are none."""
    runs = [str(source.run) for source in sources]
    try:
        with ThreadPoolExecutor(2) as pool:  # each waits for processes of its own
            found = list(pool.map(lambda train: estimate(runs, train=train).models, (False, True)))
    except ZooError as error:
        return [(None, None)] * len(sources), str(error)
    problems = [record.note for records in found for record in records if record.peak_bytes is None]
    return list(zip(*found, strict=True)), problems[0] if problems else ""


def audit_section(source: Source) -> Section:
    """What is wrong or worth knowing of the evaluated frames, and of them beside the frames of the training; columns only."""
    try:
        found = audit(_lists(source), pixels=False)
    except ZooError as error:
        return Section("audit", "Data audit", [Text(f"The lists could not be audited: {error}")])
    # Files need not be here to read a report, and nothing was read: what the audit says of them is left out.
    findings = [finding for finding in found.findings if finding.kind != "files"]
    alarms = [finding.text for finding in findings if finding.level == "alarm"]
    remarks = [finding.text for finding in findings if finding.level == "remark"]
    blocks: list[Block] = [
        Points([f"Alarm: {text}" for text in alarms] or ["Nothing in the columns of these frames raises an alarm."]),
        *([Points(remarks)] if remarks else []),
        _balance(found),
        *([_leaks(found)] if len(found.lists) > 1 else []),
    ]
    lead = "The columns of the evaluated frames, alone and beside those of the training; zoo data audit also reads pixels."
    return Section("audit", "Data audit", blocks, lead=lead)


def _lists(source: Source) -> list[DataSet]:
    """The evaluated frames, with what the run's own list knows of them, and the frames that it was trained on."""
    listed = Manifest.read_csv(source.run / "manifest.csv", find=False) if (source.run / "manifest.csv").is_file() else None
    known = {_place(row.path or row.rootname, row.hdu, row.plane): row for row in listed} if listed else {}
    rows = []
    for frame in source.frames:
        hdu, plane = _index(frame["hdu"]), _index(frame.get("plane", ""))
        own = known.get(_place(frame["path"] or frame["rootname"], hdu, plane), Row())
        rows.append(
            Row(
                path=frame["path"],
                label=frame["label"],
                target=frame["target"],
                rootname=frame["rootname"],
                instrument=frame["instrument"],
                filter=frame["filter"],
                product=frame["product"],
                hdu=hdu,
                plane=plane,
                exptime=float(frame["exptime"]) if frame["exptime"] else own.exptime,
                detector=own.detector,
                ra=own.ra,
                dec=own.dec,
                visit=own.visit,
                proposal=own.proposal,
            )
        )
    labels = tuple(source.labels)
    lists = [DataSet(EVALUATED, Manifest(tuple(rows), source.run), [], labels)]
    trained = tuple(row for row in listed or () if row.split in ("train", "val"))
    return [*lists, DataSet(TRAINED, Manifest(trained, source.run), [], labels)] if trained else lists


def _balance(found: Audit) -> Table:
    rows: list[list[Value]] = [
        [
            one.label,
            one.list,
            one.frames,
            one.exposures,
            one.targets,
            Cell(f"{one.effective_targets:.1f}", right=True),
            f"{one.largest} ({one.largest_share:.0%})",
        ]
        for one in found.balance
    ]
    columns = ["class", "list", "frames", "exposures", "targets", "effective targets", "largest target"]
    return Table("Classes", columns, rows, name="audit-classes")


def _leaks(found: Audit) -> Table:
    crossing = [leak for leak in found.leakage.leaks if (leak.first.startswith(EVALUATED)) != (leak.second.startswith(EVALUATED))]
    others = list(dict.fromkeys(leak.second for leak in crossing))
    shared = {(leak.relation, leak.second): leak for leak in crossing if leak.checked}
    rows: list[list[Value]] = []
    for relation in dict.fromkeys(relation for relation, _ in shared):
        leaks = [shared.get((relation, other)) for other in others]
        examples = [example for leak in leaks if leak for example in leak.examples[:2]]
        rows.append([RELATIONS[relation], *(leak.shared if leak else None for leak in leaks), ", ".join(examples)])
    columns = ["what", *(_SPLITS.get(other, other) for other in others), "examples"]
    return Table("What the evaluated frames share with those of the training", columns, rows, name="audit-leaks")


def provenance_section(sources: Sequence[Source], command: str | None) -> Section:
    """Where everything comes from: hashes, pipeline, versions, commands."""
    blocks: list[Block] = [Facts("This page", [("command", command)])] if command else []
    for source in sources:
        name = f" of {source.title}" if len(sources) > 1 else ""
        blocks.append(Facts(f"Evaluation{name}", _evaluation_facts(source)))
        blocks.append(Facts(f"Training{name}", _training_facts(source)))
        blocks.append(_pipeline(source, name))
        if source.config:
            blocks.append(Code(f"config.toml{name}", source.config))
    return Section("provenance", "Provenance", blocks, lead="What these figures were made of. Equal hashes mean equal bytes.")


def _evaluation_facts(source: Source) -> list[tuple[str, str]]:
    facts = source.facts
    return _known(
        {
            "run": source.run.name,
            "stored in": f"{source.folder.parent.name}/{source.folder.name}",
            "data": source.of,
            "rows, SHA-256": facts.get("rows_sha256"),
            "model directory, SHA-256": facts.get("model_sha256"),
            "weights, SHA-256": source.weights,
            "evaluation, SHA-256": storage.sha256(source.folder / storage.SEAL_NAME),
            "precision": facts.get("precision"),
            "geometry": facts.get("geometry"),
            "device": facts.get("device"),
            "zoo": facts.get("zoo"),
            "intervals": facts.get("method"),
        }
    )


def _training_facts(source: Source) -> list[tuple[str, str]]:
    own, trained = source.environment, source.card.get("training", {})
    machine = own.get("machine", {})
    return _known(
        {
            "command": shlex.join(own["command"]) if own.get("command") else None,
            "commit": own.get("commit"),
            "zoo": own.get("zoo"),
            "versions": ", ".join(
                f"{name} {version}" for name, version in {"python": own.get("python"), **own.get("versions", {})}.items()
            ),
            "platform": own.get("platform"),
            "device": ", ".join(f"{name} {machine[name]}" for name in ("device", "precision", "threads", "cpu") if name in machine),
            "data": trained.get("data"),
            "data, SHA-256": machine.get("data"),
            "frames and targets": f"{trained['frames']} and {trained['targets']}" if "frames" in trained and "targets" in trained else None,
            "epochs, steps": f"{trained['epochs']}, {trained['steps']}" if "epochs" in trained and "steps" in trained else None,
            "seed": own.get("seed"),
            "loss": trained.get("loss"),
            "pretrained": trained.get("pretrained"),
        }
    )


def _pipeline(source: Source, name: str) -> Block:
    owners = {step["name"]: f"{step['distribution']} {step['version']}" for step in source.card.get("steps", [])}
    rows: list[list[Value]] = []
    for step in source.card.get("pipeline", []):
        options = ", ".join(f"{key}={value}" for key, value in step.items() if key != "step")
        rows.append([step["step"], options or "as it is", owners.get(step["step"], "")])
    return Table(f"Pipeline{name}", ["step", "options", "from"], rows, name=f"pipeline{name.replace(' ', '-')}")


def _known(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _said(value: Any, say: Any) -> Value:
    """A size or a time in words, at the right of its column."""
    return Cell(None) if not value else Cell(say(value), right=True)


def _place(name: str, hdu: int | None, plane: int | None) -> tuple[str, int | None, int | None]:
    return Path(name).name, hdu, plane


def _index(text: str | None) -> int | None:
    return int(text) if text else None
