"""``zoo stress``: how far a frame can get worse until its class changes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from zoo.cli.output import JsonStream, Refusals, RowStream, counted, note, note_domain, progress, stdout_is_terminal
from zoo.cli.robustness_options import axes_options, chosen_axes
from zoo.cli.row_output import PATH_WIDTH, fate, given_paths, interrupted, shorten, sigterm_as_interrupt
from zoo.errors import DataError
from zoo.settings import GEOMETRIES

if TYPE_CHECKING:
    from zoo.robustness import Stressed

TERMINAL_COLUMNS = {"path": PATH_WIDTH, "hdu": 3, "predicted": 9, "probability": 11}
LEVEL_WIDTH = 9


class _Sink(Protocol):
    def write(self, row: dict[str, object]) -> None: ...


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows to this .csv, .jsonl or .parquet file."
)
@click.option("--force", is_flag=True, help="Replace the file of -o if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with class and probability at every level.")
@axes_options("")
@click.option("--hdu", type=click.IntRange(0), help="Take this HDU of every file.  [default: its science frames]")
@click.option("--plane", type=click.IntRange(0), help="Take this plane of every file, for cubes; from 0.")
@click.option("--geometry", type=click.Choice(GEOMETRIES), help="Frames of other sizes than in training.  [default: as trained]")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read, degrade and preprocess.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--allow-bad", type=click.IntRange(0), default=0, show_default=True, help="Exit 0 with up to this many refused rows.")
@click.option("--allow-product", is_flag=True, help="Also take products that the run was not trained on.")
def stress(
    run: str,
    paths: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    axes: str | None,
    levels: tuple[str, ...],
    hdu: int | None,
    plane: int | None,
    geometry: str | None,
    batch_size: int | None,
    workers: int,
    device: str,
    precision: str,
    allow_bad: int,
    allow_product: bool,
) -> None:
    """Make frames worse until their class changes, and say where it does.

    RUN is a run directory, its model directory, or "latest"; PATH is as for "zoo predict". No labels are needed. Every frame is classified
    as it is and at each level of each axis; the column flip_AXIS is the first level at which its class is another, and empty where it stays
    the same or where left_out names the axis, which cannot be applied to the frame. Refused files are rows, and the exit code is 3.

    \b
      zoo stress runs/latest night1/*_raw.fits
      zoo stress runs/latest m31_flc.fits --axes psf,sky --levels psf=0.1,0.12,0.15 --json
    """
    from zoo import prediction, robustness
    from zoo.models import load

    if output is not None:
        prediction.check_output(output, force=force)
    names, own = chosen_axes(axes, levels)
    ladders = robustness.choose_axes(names, own)
    loaded = load(run)
    prediction.check_inputs(path for path in paths if path != "-")
    tally = _Tally()
    rows = robustness.stress(
        loaded,
        given_paths(paths),
        axes=names,
        levels=own,
        hdu=hdu,
        plane=plane,
        geometry=geometry,
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        allow_product=allow_product,
        on_other=tally.add_other,
        notify=note,
    )
    domain = str(loaded.card["domain"])
    note(f"{loaded.name} from {loaded.path}: classes {', '.join(loaded.labels)}")
    for axis, steps in ladders:
        note(f"{axis.name}: {axis.label} ({axis.unit}): {', '.join(f'{level:g}' for level in steps)}")
    note(f"at most {1 + sum(len(steps) for _, steps in ladders)} passes of the model for each frame")
    note_domain(domain, data="other")
    used = [axis.name for axis, _ in ladders]
    kinds = robustness.columns(loaded.labels, used)
    file = None if output is None else prediction.RowFile(output, loaded.labels, force=force, kinds=kinds)
    try:
        with sigterm_as_interrupt(), contextlib.ExitStack() as stack:
            sinks: list[_Sink] = [] if file is None else [stack.enter_context(file)]
            document = None
            if as_json:
                facts = {"run": loaded.path, "model": loaded.name, "labels": loaded.labels, "domain": domain}
                units = {axis.name: {"label": axis.label, "unit": axis.unit, "step": axis.step} for axis, _ in ladders}
                document = stack.enter_context(JsonStream(**facts, axes=units))
            elif file is None:
                sinks.append(_Table(list(kinds), used))
            shown = not stdout_is_terminal() or (file is not None and not as_json)  # a bar between the rows would spoil them
            advance = stack.enter_context(progress("stressing")) if shown else lambda _count: None
            for row in rows:
                values = row.row(loaded.labels, used)
                for sink in sinks:
                    sink.write(values)
                if document is not None:
                    document.write(row)
                tally.add(row)
                advance(1)
            if document is not None:
                document.summarise(**tally.summary())
    except KeyboardInterrupt as stop:
        raise interrupted(stop, tally.rows, file) from None
    except Exception:
        if file is not None:
            note(f"stopped after {counted(tally.rows, 'row')}{fate(file)}")
        raise
    _report(tally, used, output, allow_bad)


class _Tally:
    """Counts of what the rows say."""

    def __init__(self) -> None:
        self.rows = self.frames = self.others = 0
        self.flips: Counter[str] = Counter()
        self.refused = Refusals()
        self.left_out: dict[str, Refusals] = {}

    def add(self, row: Stressed) -> None:
        self.rows += 1
        if row.status != "ok":
            self.refused.add(row.path, row.code, row.message)
            return
        self.frames += 1
        for name, response in row.axes.items():
            self.flips[name] += response.flips_at is not None
            if response.code:
                self.left_out.setdefault(name, Refusals()).add(row.path, response.code, response.message)

    def add_other(self, _file: Path) -> None:
        """Count a file of a folder that is passed over."""
        self.others += 1

    def summary(self) -> dict[str, object]:
        left_out = {name: dict(refusals.counts) for name, refusals in self.left_out.items()}
        return {"rows": self.rows, "flipped": dict(self.flips), "left_out": left_out, "refused": dict(self.refused.counts.most_common())}


class _Table:
    """Rows on stdout: all columns as TSV, the main ones on a terminal."""

    def __init__(self, columns: Sequence[str], axes: Sequence[str]) -> None:
        self._terminal = stdout_is_terminal()
        self._names = ["path", "hdu", "predicted", "probability", *(f"flip_{name}" for name in axes), "code"] if self._terminal else columns
        widths = [TERMINAL_COLUMNS.get(name, LEVEL_WIDTH) for name in self._names]
        self._stream = RowStream([name.removeprefix("flip_") for name in self._names] if self._terminal else self._names, widths)

    def write(self, row: dict[str, object]) -> None:
        path = shorten(str(row["path"])) if self._terminal else row["path"]
        self._stream.write([path if name == "path" else row[name] for name in self._names])


def _report(tally: _Tally, axes: Sequence[str], output: Path | None, allow_bad: int) -> None:
    """Say on stderr what came out, and raise DataError where more was refused than is allowed."""
    refused = tally.refused.counts.total()
    note(f"{counted(tally.rows, 'row')}{f' in {output}' if output else ''}{f': refused {refused}' if refused else ''}")
    if tally.frames:
        note(f"class changes within the levels: {', '.join(f'{name} {tally.flips[name]}' for name in axes)} of {tally.frames}")
    alike: dict[str, list[str]] = {}  # what frames lack for one axis they often lack for others too
    for name, refusals in tally.left_out.items():
        alike.setdefault(str(refusals), []).append(name)
    for codes, names in alike.items():
        left_out = tally.left_out[names[0]]
        note(f"{', '.join(names)}: cannot be applied to {left_out.counts.total()} of {counted(tally.frames, 'frame')} ({codes}):")
        left_out.explain()
    if tally.others:
        note(f"{counted(tally.others, 'other file')} in the folders {'was' if tally.others == 1 else 'were'} not looked at")
    tally.refused.explain()
    if not tally.rows:
        raise DataError("standard input named no file, expected one path per line")
    if refused > allow_bad:
        raise DataError(
            f"{refused} of {counted(tally.rows, 'row')} {'was' if refused == 1 else 'were'} refused ({tally.refused}); "
            f"the results of the others are complete; --allow-bad {refused} accepts this"
        )
