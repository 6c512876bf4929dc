"""The tables of ``zoo profile``: rounded, with units, on a terminal, and raw numbers elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_table, stdout_is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo.profiling import Comparison, ModelProfile, OpProfile, PaperRow, PathProfile, Profile, StepProfile, Throughput
    from zoo.profiling.samples import Percentile

STEPS = {"infer": "inference", "train": "training"}


def print_tables(result: Profile, comparisons: Sequence[Comparison] = ()) -> None:
    """Print one table after the other, with an empty line between them: models, memory, the way of a frame, throughput, layers, ops."""
    facts, asked = result.metadata, result.metadata["asked"]
    where = (
        f"{facts.get('gpu', facts.get('processor'))}, {facts.get('threads')} threads, torch {facts.get('torch')}"
        if "torch" in facts
        else ""
    )
    models, pretty = result.models, stdout_is_terminal()
    tables: list[Callable[[], None]] = []
    if models:
        title = f"{asked['precision']}, batch {models[0].batch}, at most {asked['budget_s']:g} s per model and step; {where}"
        tables.append(lambda: (_print_models if pretty else _write_models)(models, title))
    if pretty and any(step.peak_bytes is not None for model in models for step in model.steps):
        tables.append(lambda: _print_memory(models))
    if any(model.path for model in models):
        tables.append(lambda: (_print_paths if pretty else _write_paths)(models))
    if any(model.throughput for model in models):
        tables.append(lambda: (_print_throughput if pretty else _write_throughput)(models))
    tables += [lambda model=model: (_print_layers if pretty else _write_layers)(model) for model in models if model.layers]  # type: ignore[misc]
    if comparisons:
        tables.append(lambda: _print_comparisons(comparisons))
    if result.ops:
        head = f"ops on one frame, at most {asked['budget_s']:g} s each; {where}"
        tables.append(lambda: (_print_ops if pretty else _write_ops)(result.ops, head))
    for index, table in enumerate(tables):
        if index:
            click.echo()
        table()


def print_paper(rows: Sequence[PaperRow], result: Profile) -> None:
    """Print the hardware comparison of the paper, each figure marked as published, measured here or estimated."""
    from zoo.costs.text import say_bytes, say_count, say_seconds

    facts, asked = result.metadata, result.metadata["asked"]
    title = f"arXiv:2312.04948 and this machine: {facts.get('gpu', facts.get('processor'))}, {facts.get('threads')} threads"
    title += f"; inference, {asked['precision']}, batch {asked['batches'][0]}"
    if not stdout_is_terminal():
        columns = [
            "network", "model", "published_ms", "published_hardware", "parameters", "macs", "time_s", "time_least_s", "time_most_s",
            "time_kind", "memory_bytes", "memory_kind", "note",
        ]  # fmt: skip
        cells = [
            [
                row.network, row.model, row.published_ms, row.published_note, row.parameters, row.macs, row.time_s,
                *(row.time_range_s or (None, None)), row.time_kind, row.memory_bytes, row.memory_kind, row.note,
            ]
            for row in rows
        ]  # fmt: skip
        emit_table(columns, cells, title=title)
        return
    texts = [
        [
            row.network,
            row.model,
            row.published_note if row.published_ms is None else f"{row.published_ms} ms/sample, {row.published_note}",
            _or_dash(row.parameters, say_count),
            _or_dash(row.macs, say_count),
            _join(*map(say_seconds, row.time_range_s)) if row.time_range_s else _or_dash(row.time_s, say_seconds),
            row.time_kind or "-",
            _or_dash(row.memory_bytes, say_bytes),
            row.memory_kind or "-",
        ]
        for row in rows
    ]
    columns = ["network", "model", "published", "parameters", "MACs", "time per frame", "is", "peak memory", "is"]
    emit_table(columns, _aligned(texts, left=(0, 1, 2, 6, 8)), title=title, notes=[f"{row.model}: {row.note}" for row in rows if row.note])


def _print_models(models: Sequence[ModelProfile], title: str) -> None:
    from zoo.costs.text import say_bytes, say_count

    rows: list[list[str]] = []
    remarks: dict[str, list[str]] = {}
    for model in models:
        facts = [
            model.model,
            "x".join(map(str, model.input_shape)),
            _or_dash(model.parameters, say_count),
            _or_dash(model.macs, say_count),
            _or_dash(model.weights_bytes, say_bytes),
        ]
        for step in model.steps:
            median = step.percentile(50)
            times = [_say_percentile(step.percentile(percent)) for percent in (90, 99)]
            figures = [
                _or_dash(step.peak_bytes, say_bytes),
                _say_percentile(median),
                _say_interval(median),
                *times,
                str(len(step.samples_s)),
            ]
            if step.status != "measured":
                figures = ["-", step.status, "-", "-", "-", "-"]
            rows.append([*facts, STEPS[step.mode], *figures])
            facts = [""] * len(facts)
            remarks.setdefault(step.note or step.cut, []).append(f"{model.model} {STEPS[step.mode]}")
    columns = ["model", "frame", "parameters", "MACs", "weights", "step", "peak memory", "p50", "95 % interval", "p90", "p99", "N"]
    emit_table(columns, _aligned(rows, left=(0, 1, 5)), title=title, notes=_notes(remarks))


def _write_models(models: Sequence[ModelProfile], title: str) -> None:
    columns = [
        "model", "frame", "batch", "parameters", "macs", "weights_bytes", "step", "status", "bound_bytes", "peak_bytes", "reserved_bytes",
        "p50_s", "p50_lower_s", "p50_upper_s", "p90_s", "p99_s", "samples", "warmup", "note", *MEMORY,
    ]  # fmt: skip
    rows = [
        [
            model.model, "x".join(map(str, model.input_shape)), model.batch, model.parameters, model.macs, model.weights_bytes,
            step.mode, step.status, step.bound_bytes, step.peak_bytes, step.reserved_bytes, *_seconds(step),
            len(step.samples_s), step.warmup, step.note or step.cut, *_memory(step), step.cold_bytes, step.steady_bytes, step.fit_min_bytes,
        ]
        for model in models
        for step in model.steps
    ]  # fmt: skip
    emit_table([*columns, "cold_bytes", "steady_bytes", "fit_min_bytes"], rows, title=title)


MEMORY = ("expected_bytes", "expected_resident_least_bytes", "expected_resident_most_bytes", "device_used_bytes", "host_peak_bytes")


def _memory(record: StepProfile | Throughput) -> list[object]:
    """The columns of `MEMORY`."""
    return [record.expected_bytes, *(record.expected_resident_bytes or (None, None)), record.device_used_bytes, record.host_peak_bytes]


def _seconds(record: StepProfile | PathProfile) -> list[object]:
    """Median, its interval, 90th and 99th percentile; nothing where the samples are too few for one."""
    median = record.percentile(50)
    return [median.value_s, median.lower_s, median.upper_s, *(record.percentile(percent).value_s for percent in (90, 99))]


def _print_memory(models: Sequence[ModelProfile]) -> None:
    """Peaks beside the estimate of the same case. What a CPU does not have is ``n/a``."""
    from zoo.costs.text import say_bytes

    rows = []
    limited = any(step.fit_min_bytes is not None for model in models for step in model.steps)
    for model in models:
        steps: list[StepProfile | Throughput] = [step for step in model.steps if not model.throughput]
        for step in (*steps, *model.throughput):
            if step.peak_bytes is None:
                continue
            on_gpu = step.reserved_bytes is not None
            grown = "n/a" if on_gpu else say_bytes(step.peak_bytes)
            rows.append(
                [
                    model.model,
                    STEPS[step.mode],
                    str(step.batch),
                    _or_dash(step.expected_bytes, say_bytes),
                    say_bytes(step.peak_bytes) if on_gpu else "n/a",
                    say_bytes(step.reserved_bytes) if step.reserved_bytes is not None else "n/a",
                    say_bytes(step.device_used_bytes) if step.device_used_bytes is not None else "n/a",
                    _say_range(step.expected_resident_bytes),
                    grown,
                    _or_dash(step.host_peak_bytes, say_bytes),
                    *([_or_dash(getattr(step, "fit_min_bytes", None), say_bytes)] if limited else []),
                ]
            )
    columns = ["model", "step", "batch", "tensors, estimate", "allocated", "reserved", "device used"]
    columns += ["process, estimate", "process", "with libraries", *(["fit min"] if limited else [])]
    emit_table(columns, _aligned(rows, left=(0, 1)), title="peak memory beside what zoo estimate says of the same step")


def _print_paths(models: Sequence[ModelProfile]) -> None:
    from zoo.costs.text import say_seconds
    from zoo.profiling.figures import PARTS

    rows, notes = [], []
    for model in models:
        path = model.path
        if path is None:
            continue
        if path.whole_s is None:
            notes.append(f"{model.model}: {path.status}: {path.note}")
            continue
        own = model.step("infer").percentile(50).value_s if path.samples_s else None
        parts = [say_seconds(path.parts_s[part]) if path.parts_s[part] else "-" for part in PARTS]
        latency = _say_percentile(path.percentile(50))
        rows.append([model.model, latency, _or_dash(own, say_seconds), *parts, f"{100 * (path.covered or 0):.1f} %", str(path.watched)])
        notes += _path_remarks(model.model, path)
    source = next((model.path.source for model in models if model.path and model.path.source), "")
    columns = ["model", "end to end, p50", "step alone, p50", *PARTS, "parts / whole", "N"]
    title = f"from FITS file to class, one frame at a time; frames: {source}"
    if rows:
        emit_table(columns, _aligned(rows, left=(0,)), title=title, notes=notes)
    else:
        click.echo("\n".join([title, *notes]))


def _path_remarks(name: str, path: PathProfile) -> list[str]:
    remarks = []
    if not path.parts_s["decode"]:
        remarks.append(f"{name}: decoding is one pass with normalizing, in which it is counted")
    if path.refused:
        remarks.append(f"{name}: {path.refused} files were refused and left out")
    return remarks


def _write_paths(models: Sequence[ModelProfile]) -> None:
    from zoo.profiling.figures import PARTS

    columns = [
        "model", "source", "status", "end_to_end_p50_s", "p50_lower_s", "p50_upper_s", "p90_s", "p99_s", "samples",
        "whole_s", *(f"{part}_s" for part in PARTS), "covered", "adds_up", "watched", "frames_per_file", "refused", "note",
    ]  # fmt: skip
    rows = [
        [
            model.model, path.source, path.status, *_seconds(path), len(path.samples_s), path.whole_s,
            *(path.parts_s.get(part) for part in PARTS), path.covered, path.adds_up, path.watched, path.frames_per_file, path.refused,
            path.note,
        ]
        for model in models
        if (path := model.path) is not None
    ]  # fmt: skip
    emit_table(columns, rows, title="from FITS file to class, per frame")


def _print_throughput(models: Sequence[ModelProfile]) -> None:
    rows, remarks = [], dict[str, list[str]]()
    for model in models:
        for point in model.throughput:
            knee = "knee" if point.batch == model.knee(point.mode) else ""
            spread = "n/a" if point.variation is None else f"{100 * point.variation:.1f} %"
            figures = [_or_dash(point.frames_per_s, "{:.4g}".format), spread, str(len(point.windows)), knee]
            rows.append([model.model, STEPS[point.mode], str(point.batch), *(figures if point.windows else [point.status, "-", "-", ""])])
            remarks.setdefault(point.note or point.cut, []).append(f"{model.model} {STEPS[point.mode]} batch {point.batch}")
    columns = ["model", "step", "batch", "frames/s", "variation", "windows", ""]
    title = "throughput; the knee is the smallest batch with 95 % of the best"
    emit_table(columns, _aligned(rows, left=(0, 1)), title=title, notes=_notes(remarks))


def _write_throughput(models: Sequence[ModelProfile]) -> None:
    columns = ["model", "step", "batch", "status", "frames_per_s", "variation", "steady", "windows", "knee", "bound_bytes", "peak_bytes"]
    rows = [
        [
            model.model, point.mode, point.batch, point.status, point.frames_per_s, point.variation, point.steady, len(point.windows),
            point.batch == model.knee(point.mode), point.bound_bytes, point.peak_bytes, point.reserved_bytes, *_memory(point),
            point.note or point.cut,
        ]
        for model in models
        for point in model.throughput
    ]  # fmt: skip
    emit_table([*columns, "reserved_bytes", *MEMORY, "note"], rows, title="throughput")


def _print_layers(model: ModelProfile) -> None:
    from zoo.costs.text import say_bytes, say_count, say_seconds

    whole = sum(layer.time_s or 0.0 for layer in model.layers)
    rows = []
    for layer in model.layers:
        merged = whole and layer.time_s is None
        rows.append(
            [
                layer.name or layer.kind,
                layer.kind if layer.name else "",
                say_count(layer.macs) if layer.macs else "-",
                "x".join(map(str, layer.output_shape)) or "-",
                say_bytes(layer.output_bytes) if layer.output_bytes else "-",
                say_bytes(layer.saved_bytes) if layer.saved_bytes else "-",
                "merged" if merged else _or_dash(layer.time_s, say_seconds),
                f"{100 * layer.time_s / whole:.1f} %" if whole and layer.time_s is not None else "",
            ]
        )
    columns = ["layer", "kind", "MACs", "output", "output size", "saved for backward", "time", "of all"]
    notes = [f"no times: {model.layers_note}"] if model.layers_note else []
    emit_table(columns, _aligned(rows, left=(0, 1)), title=f"{model.model}: layers, times of an inference", notes=notes)


def _write_layers(model: ModelProfile) -> None:
    columns = ["model", "layer", "kind", "macs", "output", "output_bytes", "saved_bytes", "time_s", "runs"]
    rows = [
        [
            model.model, layer.name, layer.kind, layer.macs, "x".join(map(str, layer.output_shape)), layer.output_bytes, layer.saved_bytes,
            layer.time_s, layer.runs,
        ]
        for layer in model.layers
    ]  # fmt: skip
    emit_table(columns, rows, title=f"layers of {model.model}")


def _print_comparisons(comparisons: Sequence[Comparison]) -> None:
    columns = ["model", "mode", "verdict", "ratio", "lower", "upper", "clock", "blocks", "base_blocks", "note"]
    rows = [[getattr(each, name) for name in columns] for each in comparisons]
    emit_table(columns, rows, title="against the base, both in units of their own calibration: 1 is as fast, more is slower")


def _print_ops(ops: Sequence[OpProfile], title: str) -> None:
    from zoo.costs.text import say_seconds

    rows = [
        [
            op.op,
            op.pixels,
            "x".join(map(str, op.shape)),
            _or_dash(op.median_s, say_seconds),
            _or_dash(op.iqr_s, say_seconds),
            _or_dash(op.copy_s, say_seconds),
            _or_dash(op.copies, "{:.2f} x".format),
            _or_dash(op.reference_s, say_seconds),
            _or_dash(op.speedup, "{:.0f} x".format),
            _or_dash(op.difference, "{:.1e}".format),
            f"{op.library} {say_seconds(op.library_s)}" if op.library_s is not None else "-",
            _or_dash(op.library_difference, "{:.1e}".format),
            str(op.runs),
        ]
        for op in ops
    ]
    columns = ["op", "pixels", "frame", "median", "IQR", "a copy", "of a copy", "torch reference", "faster", "difference"]
    columns += ["elsewhere", "difference", "N"]
    notes = [f"{op.op}: {op.status}: {op.note}" for op in ops if op.note]
    emit_table(columns, _aligned(rows, left=(0, 1, 2)), title=title, notes=notes)


def _write_ops(ops: Sequence[OpProfile], title: str) -> None:
    columns = [
        "op", "pixels", "status", "median_s", "iqr_s", "runs", "copy_s", "copies", "reference_s", "reference_iqr_s", "reference_runs",
        "speedup", "difference", "library", "library_s", "library_runs", "library_difference", "note",
    ]  # fmt: skip
    emit_table(columns, [[getattr(op, name) for name in columns] for op in ops], title=title)


def _notes(remarks: dict[str, list[str]]) -> list[str]:
    """One line per remark, with all that it is about."""
    return [f"{', '.join(about)}: {remark}" for remark, about in remarks.items() if remark]


def _aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[list[str]]:
    """The cells padded so that all columns but those on the left end at the same place."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))] if rows else []
    return [[cell if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)] for row in rows]


def _or_dash(value: float | None, say: Callable[[float], str]) -> str:
    return "-" if value is None else say(value)


def _say_percentile(found: Percentile) -> str:
    from zoo.costs.text import say_seconds

    return _not_given(found) if found.value_s is None else say_seconds(found.value_s)


def _say_interval(found: Percentile) -> str:
    from zoo.costs.text import say_seconds

    if found.lower_s is None or found.upper_s is None:
        return _not_given(found)
    return _join(say_seconds(found.lower_s), say_seconds(found.upper_s))


def _say_range(sizes: tuple[int, int] | None) -> str:
    from zoo.costs.text import say_bytes

    return "n/a" if sizes is None else _join(*map(say_bytes, sizes))


def _join(lower: str, upper: str) -> str:
    """Two figures with their units, the unit once where it is the same."""
    (low, unit), (high, last_unit) = lower.split(), upper.split()
    return f"{low} - {high} {unit}" if unit == last_unit else f"{lower} - {upper}"


def _not_given(found: Percentile) -> str:
    """What stands for a figure that the samples are too few for."""
    return f"n/a (N={found.samples})"
