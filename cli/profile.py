"""``zoo profile``: what models and ops cost on this machine, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_json, emit_table, note, stdout_is_terminal
from zoo.errors import MemoryLimitError, ZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo.profiling import ModelProfile, OpProfile, Profile, StepProfile
    from zoo.profiling.samples import Percentile

STEPS = {"infer": "inference", "train": "training"}


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--op", "ops", multiple=True, metavar="NAME", help="Also measure this op: normalize, blur, decode, frame_statistics; may be repeated."
)
@click.option(
    "--mode", type=click.Choice(["infer", "train", "both"]), default="both", show_default=True, help="Inference, a training step, or both."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Frames per step.")
@click.option("--input-shape", metavar="CxHxW", help="Shape of one frame.  [default: what each model was made for]")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the models.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch and the kernels.  [default: as torch chooses]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--budget", default="60s", show_default=True, metavar="TIME", help="Time per model and mode, and per op: 30s, 2m, 90.")
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of a single model; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every sample.")
def profile(
    models: tuple[str, ...],
    ops: tuple[str, ...],
    mode: str,
    batch: int,
    input_shape: str | None,
    precision: str,
    threads: int | None,
    device: str,
    budget: str,
    model_options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure what models and ops cost on this machine: memory and latency.

    MODEL is a name of 'zoo models list', with options as in 'hrcn[padding=same]', or a run directory. Each model is measured in a process
    of its own for inference and for a training step; one that does not fit, fails or is too slow is a row that says so.

    \b
      zoo profile hrcn alexnet resnet18 --budget 30s
      zoo profile runs/latest --mode infer --json
      zoo profile --op normalize --op blur
    """
    from zoo.costs.target import parse_shape
    from zoo.profiling import profile as measure
    from zoo.settings import parse_assignments

    result = measure(
        models,
        ops=ops,
        mode=mode,
        batch=batch,
        input_shape=parse_shape(input_shape) if input_shape else None,
        precision=precision,
        threads=threads,
        device=device,
        budget=budget,
        options=parse_assignments(model_options),
        progress=note,
    )
    if as_json:
        emit_json(result.to_dict(), **result.metadata)
    else:
        _print_tables(result)
    _check(result)


def _print_tables(result: Profile) -> None:
    """Print one table of models and one of ops: rounded, with units, on a terminal, and raw numbers elsewhere."""
    pretty = stdout_is_terminal()
    facts, asked = result.metadata, result.metadata["asked"]
    where = (
        f"{facts.get('gpu', facts.get('processor'))}, {facts.get('threads')} threads, torch {facts.get('torch')}"
        if "torch" in facts
        else ""
    )
    if result.models:
        title = f"{asked['precision']}, batch {asked['batch']}, at most {asked['budget_s']:g} s per model and step; {where}"
        (_print_models if pretty else _write_models)(result.models, title)
    if result.models and result.ops:
        click.echo()
    if result.ops:
        (_print_ops if pretty else _write_ops)(result.ops, f"ops on one frame, at most {asked['budget_s']:g} s each; {where}")


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
    notes = [f"{', '.join(steps)}: {remark}" for remark, steps in remarks.items() if remark]
    emit_table(columns, _aligned(rows, left=(0, 1, 5)), title=title, notes=notes)


def _write_models(models: Sequence[ModelProfile], title: str) -> None:
    columns = [
        "model", "frame", "batch", "parameters", "macs", "weights_bytes", "step", "status", "bound_bytes", "peak_bytes", "reserved_bytes",
        "p50_s", "p50_lower_s", "p50_upper_s", "p90_s", "p99_s", "samples", "warmup", "note",
    ]  # fmt: skip
    rows = [
        [
            model.model, "x".join(map(str, model.input_shape)), model.batch, model.parameters, model.macs, model.weights_bytes,
            step.mode, step.status, step.bound_bytes, step.peak_bytes, step.reserved_bytes, *_seconds(step),
            len(step.samples_s), step.warmup, step.note or step.cut,
        ]
        for model in models
        for step in model.steps
    ]  # fmt: skip
    emit_table(columns, rows, title=title)


def _seconds(step: StepProfile) -> list[object]:
    """Median, its interval and the other percentiles of a step, ``n/a`` where the samples are too few."""
    if not step.samples_s:
        return [None] * 5
    median = step.percentile(50)
    ends: list[object] = [value if value is not None else _not_given(median) for value in (median.lower_s, median.upper_s)]
    others = [step.percentile(percent) for percent in (90, 99)]
    return [median.value_s, *ends, *(_not_given(each) if each.value_s is None else each.value_s for each in others)]


def _print_ops(ops: Sequence[OpProfile], title: str) -> None:
    from zoo.costs.text import say_seconds

    rows = [
        [
            op.op,
            op.pixels,
            "x".join(map(str, op.shape)),
            _or_dash(op.median_s, say_seconds),
            _or_dash(op.iqr_s, say_seconds),
            _or_dash(op.copies, "{:.2f} x".format),
            _or_dash(op.reference_s, say_seconds),
            _or_dash(op.speedup, "{:.0f} x".format),
            _or_dash(op.difference, "{:.1e}".format),
            str(op.runs),
        ]
        for op in ops
    ]
    columns = ["op", "pixels", "frame", "median", "IQR", "of a copy", "torch reference", "faster", "difference", "N"]
    notes = [f"{op.op}: {op.status}: {op.note}" for op in ops if op.note]
    emit_table(columns, _aligned(rows, left=(0, 1, 2)), title=title, notes=notes)


def _write_ops(ops: Sequence[OpProfile], title: str) -> None:
    columns = [
        "op", "pixels", "status", "median_s", "iqr_s", "runs", "copy_s", "copies", "reference_s", "reference_iqr_s", "reference_runs",
        "speedup", "difference", "note",
    ]  # fmt: skip
    emit_table(columns, [[getattr(op, name) for name in columns] for op in ops], title=title)


def _check(result: Profile) -> None:
    """Raise for what went wrong, and where nothing at all fitted."""
    if result.problems:
        total = result.measured + len(result.problems)
        error = ZooError(f"{len(result.problems)} of {total} measurements failed: {'; '.join(sorted({p.note for p in result.problems}))}")
        error.exit_code = max(record.exit_code for record in result.problems)
        raise error
    skipped = [step for model in result.models for step in model.steps if step.status == "skipped"]
    if skipped and not result.measured:
        raise MemoryLimitError(f"nothing fits: {skipped[0].note}; try a smaller --input-shape, --batch or --precision bf16")


def _aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[list[str]]:
    """The cells padded so that all columns but those on the left end at the same place."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
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
    (lower, unit), (upper, last_unit) = (say_seconds(end).split() for end in (found.lower_s, found.upper_s))
    return f"{lower} - {upper} {unit}" if unit == last_unit else f"{lower} {unit} - {upper} {last_unit}"


def _not_given(found: Percentile) -> str:
    """What stands for a figure that the samples are too few for."""
    return f"n/a (N={found.samples})"
