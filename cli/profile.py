"""``zoo profile``: what models and ops cost on this machine, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_json, note, warn
from zoo.errors import CheckFailedError, MemoryLimitError, ZooError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.profiling import Comparison, Profile


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--op", "ops", multiple=True, metavar="NAME", help="Also measure this op: normalize, blur, decode, frame_statistics; may be repeated."
)
@click.option(
    "--mode", type=click.Choice(["infer", "train", "both"]), default="both", show_default=True, help="Inference, a training step, or both."
)
@click.option("--batch", default="1", show_default=True, metavar="N|N:M", help="Frames per step; a range measures throughput.")
@click.option("--input-shape", metavar="CxHxW", help="Shape of one frame.  [default: what each model was made for]")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the models.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch and the kernels.  [default: as torch chooses]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--budget", default="60s", show_default=True, metavar="TIME", help="Time per model and mode, and per op: 30s, 2m, 90.")
@click.option(
    "--frames",
    default="simulated",
    show_default=True,
    metavar="PATH|simulated|none",
    help="FITS file or folder, to follow frames from file to class.",
)
@click.option("--layers", is_flag=True, help="Also print every layer: MACs, output, memory it saves, time.")
@click.option("--fit-min", is_flag=True, help="Also find the smallest limit of memory under which each step still succeeds.")
@click.option("--plain", is_flag=True, help="Inference of the networks as they are written, not as zoo prepares them.")
@click.option("--table", type=click.Choice(["paper"]), help="Print the hardware comparison of the paper for its networks.")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="BASE.json",
    help="Compare with what --json printed earlier; exit code 5 where something is slower.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg", help="Draw it; needs the extra 'report'.")
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of a single model; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every sample.")
def profile(
    models: tuple[str, ...],
    ops: tuple[str, ...],
    mode: str,
    batch: str,
    input_shape: str | None,
    precision: str,
    threads: int | None,
    device: str,
    budget: str,
    frames: str,
    layers: bool,
    fit_min: bool,
    plain: bool,
    table: str | None,
    against: Path | None,
    plot: Path | None,
    model_options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure what models and ops cost on this machine: memory, latency, throughput, and where the time of a frame goes.

    MODEL is a name of 'zoo models list', with options as in 'hrcn[padding=same]', or a run directory. Everything is measured in a process
    of its own; what does not fit, fails or is too slow is a row that says so.

    \b
      zoo profile hrcn alexnet resnet18 --budget 30s
      zoo profile runs/latest --mode infer --frames night1/ --batch 1:16 --plot night1.svg
      zoo profile hrcn --threads 1 --json > base.json; zoo profile hrcn --threads 1 --against base.json
      zoo profile --table paper --budget 20s
      zoo profile --op normalize --op blur
    """
    from zoo import profiling
    from zoo.costs.target import parse_shape
    from zoo.settings import parse_assignments

    if plot is not None:
        profiling.check_plot(plot)
    base = None if against is None else profiling.read_base(against)
    result = profiling.profile(
        models or (profiling.PAPER_MODELS if table else ()),
        ops=ops,
        mode="infer" if table else mode,
        batch=batch,
        input_shape=parse_shape(input_shape) if input_shape else None,
        precision=precision,
        threads=threads,
        device=device,
        budget=budget,
        frames="none" if table else frames,
        layers=layers,
        fit_min=fit_min,
        plain=plain,
        options=parse_assignments(model_options),
        progress=note,
    )
    comparisons = profiling.compare_profiles(base, result) if base is not None else ()
    rows = profiling.paper_rows(result) if table else ()
    if as_json:
        emit_json(
            {**result.to_dict(), "comparisons": comparisons, "paper": rows},
            **result.metadata,
        )
    else:
        from zoo.cli.profile_tables import print_paper, print_tables

        if table:
            print_paper(rows, result)
        else:
            print_tables(result, comparisons)
    if plot is not None:
        profiling.draw_profile(result, plot)
        note(f"drawn: {plot}")
    _check(result, comparisons)


def _check(result: Profile, comparisons: Sequence[Comparison]) -> None:
    """Raise for what went wrong, where nothing at all fitted, and for checks that failed."""
    failures = []
    for model in result.models:
        path = model.path
        if path is not None and not path.adds_up:
            covered = f"{100 * (path.covered or 0):.1f} %"
            failures.append(f"{model.model}: the parts add up to {covered} of the way from file to class, 95 to 105 % expected")
    failures += [f"{each.model} {each.mode}: slower, {each.ratio:.3f} times the base" for each in comparisons if each.verdict == "slower"]
    for failure in failures:
        warn(failure)
    if result.problems:
        total = result.measured + len(result.problems)
        error = ZooError(f"{len(result.problems)} of {total} measurements failed: {'; '.join(sorted({p.note for p in result.problems}))}")
        error.exit_code = max(record.exit_code for record in result.problems)
        raise error
    skipped = [step for model in result.models for step in model.steps if step.status == "skipped"]
    if skipped and not result.measured:
        raise MemoryLimitError(f"nothing fits: {skipped[0].note}; try a smaller --input-shape, --batch or --precision bf16")
    if failures:
        raise CheckFailedError("; ".join(failures))
