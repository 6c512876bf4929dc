"""``zoo estimate``: what models need, without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_json, emit_table, note, stdout_is_terminal
from zoo.errors import MemoryLimitError, ZooError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.profiling import Estimate, ModelEstimate

PARTS = ("weights", "gradients", "optimizer", "saved", "transient", "input")
VERDICTS = {"fits": "fits", "perhaps": "perhaps", "too-large": "too large"}


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--train/--infer", default=False, help="A training step, or an inference.  [default: infer]")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Frames per step.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), default="adamw", show_default=True, help="Of --train.")
@click.option("--ema", is_flag=True, help="Of --train: an average of the weights is kept beside them.")
@click.option("--stream", is_flag=True, help="Of --train: the stem runs in strips.")
@click.option("--recompute", is_flag=True, help="Of --train: blocks are computed again in the backward pass.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="Whose kernels run.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch on the CPU.  [default: as torch chooses]")
@click.option("--memory", multiple=True, metavar="SIZE|GPU,...", help="Does it fit? 8GB,24GiB,rtx4090; may be repeated.")
@click.option("--rate", metavar="N/TIME", help="Will it keep up? Frames that arrive: 49000/day, 200/h, 30/min, 2/s.")
@click.option("--deadline", metavar="TIME", help="Of --rate: a frame is through within 60s, 5m.")
@click.option("--hardware", multiple=True, metavar="GPU,...", help="Of --rate: h200,rtx4090; may be repeated.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Of --rate: what 'zoo profile --json' wrote; its throughput goes before a predicted one.",
)
@click.option("--input-shape", metavar="CxHxW", help="Shape of one frame.  [default: what each model was made for]")
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of a single model; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every layer that holds memory.")
def estimate(
    models: tuple[str, ...],
    train: bool,
    batch: int,
    precision: str,
    optimizer: str,
    ema: bool,
    stream: bool,
    recompute: bool,
    device: str,
    threads: int | None,
    memory: tuple[str, ...],
    rate: str | None,
    deadline: str | None,
    hardware: tuple[str, ...],
    measured: Path | None,
    input_shape: str | None,
    model_options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what memory models need and whether it fits, without running them.

    MODEL is a name of 'zoo models list', with options as in 'hrcn[padding=same]', or a run directory. No GPU is needed and nothing of the
    size of a frame is allocated. Where a model does not fit, a command line with settings that do is printed, if there are such settings.
    The exit code is 4 when nothing fits.

    \b
      zoo estimate hrcn vgg16 resnet50 --train --memory 8GB,16GB,24GB,80GB
      zoo estimate hrcn --train --batch 16 --memory rtx4090,h200
      zoo estimate runs/latest --batch 8 --json
      zoo estimate hrcn --precision bf16 --rate 49000/day --deadline 60s --hardware h200,rtx4090
    """
    from zoo.costs.target import parse_shape
    from zoo.profiling.estimate import estimate as compute
    from zoo.settings import parse_assignments

    result = compute(
        models,
        train=train,
        batch=batch,
        precision=precision,
        optimizer=optimizer,
        ema=ema,
        stream=stream,
        recompute=recompute,
        device=device,
        threads=threads,
        memory=memory,
        rate=rate,
        deadline=deadline,
        hardware=hardware,
        measured=measured,
        input_shape=parse_shape(input_shape) if input_shape else None,
        options=parse_assignments(model_options),
        progress=note,
    )
    if as_json:
        emit_json(result.to_dict(), **result.metadata)
    else:
        _print_tables(result)
    _check(result)


def _print_tables(result: Estimate) -> None:
    """Print one table of parts and one of budgets: with units on a terminal, and raw numbers elsewhere."""
    asked = result.metadata["asked"]
    pretty = stdout_is_terminal()
    what = f"training step, {asked['optimizer']}" if asked["mode"] == "train" else "inference"
    what += "".join(f", {key}" for key in ("ema", "stream", "recompute") if asked["mode"] == "train" and asked[key])
    (_print_models if pretty else _write_models)(result.models, f"{what}, {asked['precision']}, batch {asked['batch']}, {asked['device']}")
    if any(model.fits for model in result.models):
        click.echo()
        (_print_fits if pretty else _write_fits)(result.models)
    if asked["rate"]:
        click.echo()
        (_print_rates if pretty else _write_rates)(result.models, asked["rate"])


def _print_models(models: Sequence[ModelEstimate], title: str) -> None:
    """One column per model: the rows are too many to stand side by side on a terminal."""
    from zoo.costs.text import say_bytes, say_count

    columns, notes = [], []
    for model in models:
        if model.peak_bytes is None or model.needed_bytes is None:
            columns.append([model.status, *["-"] * (len(PARTS) + 4)])
            notes.append(f"{model.model}: {model.note}")
            continue
        parts = [say_bytes(model.parts[part]) if model.parts[part] else "-" for part in PARTS]
        counts = ["-" if count is None else say_count(count) for count in (model.parameters, model.macs)]
        frame = "x".join(map(str, model.input_shape))
        columns.append([frame, *counts, say_bytes(model.peak_bytes), *parts, _say_range(model.needed_bytes)])
        where = f"{model.phase}{f' of {model.layer}' if model.layer else ''}"
        held = ", ".join(f"{layer or 'no layer'} {say_bytes(size)}" for layer, size in model.holders[:3])
        notes.append(f"{model.model}: the peak is in {where}{f'; held by {held}' if held else ''}")
    heads = ["frame", "parameters", "MACs", "peak", *(f"  {part}" for part in PARTS), "device needed"]
    emit_table(["", *(model.model for model in models)], zip(heads, *columns, strict=True), title=title, notes=notes)


def _print_fits(models: Sequence[ModelEstimate]) -> None:
    from zoo.costs.text import say_bytes

    rows, notes = [], []
    for model in models:
        for fit in model.fits:
            remedy = fit.remedy
            if remedy is not None:
                change = f"{remedy.change}: {say_bytes(remedy.peak_bytes)}"
                notes.append(f"{model.model} in {fit.budget.name}: {remedy.command}")
            else:
                change = "-" if fit.verdict == "fits" else "nothing that zoo has"
            rows.append([model.model, fit.budget.name, _say_range(fit.usable_bytes), VERDICTS[fit.verdict], fit.largest_batch, change])
    emit_table(["model", "memory", "usable", "verdict", "largest batch", "what makes it fit"], rows, notes=notes)


def _write_models(models: Sequence[ModelEstimate], title: str) -> None:
    columns = ["model", "frame", "status", "parameters", "macs", "peak_bytes", *(f"{part}_bytes" for part in PARTS)]
    columns += ["phase", "layer", "needed_least_bytes", "needed_most_bytes", "resident_least_bytes", "resident_most_bytes", "note"]
    rows = [
        [
            model.model, "x".join(map(str, model.input_shape)), model.status, model.parameters, model.macs, model.peak_bytes,
            *(model.parts.get(part) for part in PARTS), model.phase, model.layer,
            *(model.needed_bytes or (None, None)), *(model.resident_bytes or (None, None)), model.note,
        ]
        for model in models
    ]  # fmt: skip
    emit_table(columns, rows, title=title)


def _write_fits(models: Sequence[ModelEstimate]) -> None:
    columns = ["model", "memory", "capacity_bytes", "usable_least_bytes", "usable_most_bytes", "verdict", "largest_batch"]
    columns += ["remedy", "remedy_peak_bytes", "command"]
    rows = [
        [
            model.model, fit.budget.name, fit.budget.capacity_bytes, *fit.usable_bytes, fit.verdict, fit.largest_batch,
            *((fit.remedy.change, fit.remedy.peak_bytes, fit.remedy.command) if fit.remedy else (None, None, None)),
        ]
        for model in models
        for fit in model.fits
    ]  # fmt: skip
    emit_table(columns, rows)


def _print_rates(models: Sequence[ModelEstimate], rate: str) -> None:
    from zoo.costs.text import say_seconds

    rows, basis = [], set()
    for model in models:
        for fit in model.rates:
            basis.add(fit.basis)
            speed = _say_pair(*(f"{value:.3g}" for value in fit.frames_per_s))
            use = _say_pair(*(f"{100 * value:.2g} %" for value in fit.utilisation))
            latency = _say_pair(*map(say_seconds, fit.latency_s))
            rows.append([model.model, fit.hardware, fit.basis, speed, use, _say_pair(*map(str, fit.devices)), latency, fit.verdict])
    columns = ["model", "hardware", "basis", "frames/s", "utilisation", "devices", "latency", "verdict"]
    remark = "predicted: from peak figures of the hardware and the share of them that is assumed to be reached; docs/estimate.md says how"
    emit_table(columns, rows, title=f"{rate} frames, the network alone", notes=[remark] if "predicted" in basis else [])


def _write_rates(models: Sequence[ModelEstimate], rate: str) -> None:
    pairs = ("frames_per_s", "utilisation", "devices", "latency_s")
    columns = ["model", "hardware", "basis", *(f"{name}_{end}" for name in pairs for end in ("least", "most")), "verdict"]
    rows = [
        [model.model, fit.hardware, fit.basis, *(value for name in pairs for value in getattr(fit, name)), fit.verdict]
        for model in models
        for fit in model.rates
    ]
    emit_table(columns, rows, title=f"{rate} frames, the network alone")


def _say_pair(least: str, most: str) -> str:
    return least if least == most else f"{least} - {most}"


def _check(result: Estimate) -> None:
    """Raise for what went wrong, and where nothing fits."""
    if result.problems:
        error = ZooError(f"{len(result.problems)} of {len(result.models)} estimates failed: {'; '.join(m.note for m in result.problems)}")
        error.exit_code = max(model.exit_code for model in result.problems)
        raise error
    if not result.fits:
        remedies = [fit.remedy for model in result.models for fit in model.fits if fit.remedy]
        hint = (
            f"this would: {remedies[0].command}" if remedies else "try smaller frames (--input-shape; in training --step resize:factor=2)"
        )
        raise MemoryLimitError(f"nothing fits as asked; {hint}")


def _say_range(sizes: tuple[int, int]) -> str:
    from zoo.costs.text import say_bytes

    (least, unit), (most, last_unit) = (say_bytes(size).split() for size in sizes)
    return f"{least} - {most} {unit}" if unit == last_unit else f"{least} {unit} - {most} {last_unit}"
