"""``zoo predict``: files in, one row per frame out."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import click

from zoo.cli.output import JsonStream, RowStream, note, note_domain, plain, progress, stdout_is_terminal
from zoo.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    from zoo.models import LoadedModel
    from zoo.prediction import Prediction

TERMINAL_COLUMNS = {"path": 40, "hdu": 3, "label": 8, "probability": 11, "code": 13, "product": 7, "instrument": 10}


class _Sink(Protocol):
    def write(self, row: dict[str, object]) -> None: ...


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows to this .csv or .jsonl file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--hdu", type=click.IntRange(0), help="Classify this HDU of every file.  [default: its science frames]")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--allow-bad", type=click.IntRange(0), default=0, show_default=True, help="Exit 0 with up to this many refused inputs.")
@click.option("--allow-product", is_flag=True, help="Also classify products that the run was not trained on.")
def predict(
    run: str,
    paths: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    hdu: int | None,
    batch_size: int | None,
    workers: int,
    device: str,
    precision: str,
    allow_bad: int,
    allow_product: bool,
) -> None:
    """Classify FITS files: class and probability of every frame.

    RUN is a run directory, its model directory, or "latest". PATH is a FITS file, a folder (searched with its sub-folders), a pattern such
    as "night1/*_raw.fits", or - for a list of them on standard input, one per line.

    Every input gives at least one row, in order. A file that cannot be used has status "refused" and a code that says why; the others are
    classified all the same, and the exit code is 3. A file given with -o appears when it is complete.

    \b
      zoo predict runs/latest night1/ -o night1.csv
      find /data -name "*_flt.fits" | zoo predict runs/latest - --allow-product --json
    """
    if output is not None and output.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--output {output}: got the suffix {output.suffix!r}, expected .csv or .jsonl")
    from zoo import prediction
    from zoo.models import load

    loaded = load(run)
    prediction.check_inputs(path for path in paths if path != "-")
    rows = prediction.predict(
        loaded,
        _inputs(paths),
        hdu=hdu,
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        allow_product=allow_product,
    )
    domain = str(loaded.card["domain"])
    note(f"{loaded.name} from {loaded.path}: classes {', '.join(loaded.labels)}")
    note_domain(domain, data="other")
    tally = _Tally()
    with contextlib.ExitStack() as stack:
        document = (
            stack.enter_context(JsonStream(run=loaded.path, model=loaded.name, labels=loaded.labels, domain=domain)) if as_json else None
        )
        sinks: list[_Sink] = [document] if document is not None else []
        if output is not None:
            sinks.append(stack.enter_context(_file_sink(output, prediction.columns(loaded.labels))))
        if not sinks:
            sinks.append(_Table(prediction.columns(loaded.labels), loaded.labels))
        shown = not stdout_is_terminal() or (output is not None and not as_json)  # a bar between the rows would spoil them
        advance = stack.enter_context(progress("classifying")) if shown else lambda _count: None
        for row in rows:
            values = row.row(loaded.labels)
            for sink in sinks:
                sink.write(values)
            tally.add(row)
            advance(1)
        if document is not None:
            document.summarise(**tally.summary())
    _report(tally, loaded, output, allow_bad)


def _inputs(paths: Sequence[str]) -> Iterator[str]:
    """Yield the inputs, with the lines of standard input in the place of ``-``."""
    for path in paths:
        if path == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield path


class _Tally:
    """Counts of what the rows say."""

    def __init__(self) -> None:
        self.rows = self.adapted = 0
        self.labels: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.products: Counter[str] = Counter()

    def add(self, row: Prediction) -> None:
        self.rows += 1
        if row.status == "ok":
            self.labels[row.label] += 1
            self.products[row.product] += 1
            self.adapted += row.adapted
        else:
            self.refused[row.code] += 1

    def summary(self) -> dict[str, object]:
        refused = dict(self.refused.most_common())
        return {
            "rows": self.rows,
            "classes": dict(self.labels),
            "refused": refused,
            "products": dict(self.products),
            "adapted": self.adapted,
        }


class _Table:
    """Rows on stdout: all columns as TSV, the main ones on a terminal."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        widths = {**dict.fromkeys(columns, 8), **TERMINAL_COLUMNS}
        kept = ["path", "hdu", "label", *(f"p_{label}" for label in labels), "instrument", "code"]
        self._names = kept if stdout_is_terminal() else list(columns)
        self._stream = RowStream(self._names, [widths[name] for name in self._names])

    def write(self, row: dict[str, object]) -> None:
        self._stream.write([row[name] for name in self._names])


class _CsvFile:
    """One line per row."""

    def __init__(self, stream: IO[str], columns: Sequence[str]) -> None:
        self._writer = csv.DictWriter(stream, columns, lineterminator="\n")
        self._writer.writeheader()

    def write(self, row: dict[str, object]) -> None:
        self._writer.writerow({name: "" if value is None else value for name, value in row.items()})


class _JsonLines:
    """One JSON object per row."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, row: dict[str, object]) -> None:
        self._stream.write(json.dumps(plain(row)) + "\n")


@contextlib.contextmanager
def _file_sink(path: Path, columns: Sequence[str]) -> Iterator[_Sink]:
    """Give a sink whose file takes its name when the last row is in it; what an error cuts off is kept as ``NAME.partial``."""
    from zoo.storage import atomic_path

    with atomic_path(path) as temporary:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                yield _CsvFile(stream, columns) if path.suffix.lower() == ".csv" else _JsonLines(stream)
        except BaseException as error:
            if temporary.exists():
                partial = path.with_name(f"{path.name}.partial")
                temporary.replace(partial)
                note(f"{path} was not written; the rows up to here are in {partial}")
            elif isinstance(error, OSError):
                raise StorageError(f"{path}: cannot be written: {error.strerror or error}; check free space and permissions") from error
            raise


def _report(tally: _Tally, loaded: LoadedModel, output: Path | None, allow_bad: int) -> None:
    """Say on stderr what came out, and raise DataError where more was refused than is allowed."""
    refused = tally.refused.total()
    parts = [f"{name} {count}" for name, count in tally.labels.items()] + ([f"refused {refused}"] if refused else [])
    note(f"{tally.rows} rows{f' in {output}' if output else ''}: {', '.join(parts) or 'none'}")
    if tally.adapted:
        note(f"{tally.adapted} frames have another shape than the model's input and were padded or cut to fit (column 'adapted')")
    trained = loaded.card["products"]
    others = ", ".join(f"{name} {count}" for name, count in tally.products.items() if name not in trained)
    if others and trained:
        note(f"--allow-product: {others} frames; the run was trained on {', '.join(trained)}")
    if not tally.rows:
        raise DataError("standard input named no file, expected one path per line")
    if refused > allow_bad:
        codes = ", ".join(f"{code} {count}" for code, count in tally.refused.most_common())
        raise DataError(
            f"{refused} of {tally.rows} inputs were refused ({codes}); the results of the others are complete; "
            f"--allow-bad {refused} accepts this"
        )
