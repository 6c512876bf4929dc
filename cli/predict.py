"""``zoo predict``: files in, one row per frame out."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from zoo.cli.output import JsonStream, Refusals, RowStream, counted, note, note_domain, progress, stdout_is_terminal
from zoo.cli.row_output import PATH_WIDTH, fate, given_paths, interrupted, shorten, sigterm_as_interrupt
from zoo.errors import DataError, UsageError
from zoo.settings import GEOMETRIES

if TYPE_CHECKING:
    from zoo.models import LoadedModel
    from zoo.prediction import Prediction

TERMINAL_COLUMNS = {"path": PATH_WIDTH, "hdu": 3, "predicted": 9, "instrument": 10, "code": 13, "set": 10}
PROBABILITY_WIDTH = 11  # of 1.23456e-05
UNLIKE_TRAINING = {"other-camera", "other-product", "out-of-range"}  # flags of frames for which a set promises nothing


class _Sink(Protocol):
    def write(self, row: dict[str, object]) -> None: ...


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows to this .csv, .jsonl or .parquet file."
)
@click.option("--force", is_flag=True, help="Replace the file of -o if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--hdu", type=click.IntRange(0), help="Classify this HDU of every file.  [default: its science frames]")
@click.option("--plane", type=click.IntRange(0), help="Classify this plane of every file, for cubes; from 0.")
@click.option("--geometry", type=click.Choice(GEOMETRIES), help="Frames of other sizes than in training.  [default: as trained]")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--allow-bad", type=click.IntRange(0), default=0, show_default=True, help="Exit 0 with up to this many refused rows.")
@click.option("--allow-product", is_flag=True, help="Also classify products that the run was not trained on.")
@click.option("--abstain", type=float, metavar="LEVEL", help="Give the set of classes that holds the true one this often, as 0.95.")
@click.option("--prior", metavar="SHARES", help="How common the classes are where the files come from, as galaxy=0.95,NSC=0.05.")
@click.option(
    "--flag", "flags", multiple=True, metavar="NAME=NUMBER", help="Another threshold of a flag, as low-signal=3; may be repeated."
)
def predict(
    run: str,
    paths: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    hdu: int | None,
    plane: int | None,
    geometry: str | None,
    batch_size: int | None,
    workers: int,
    device: str,
    precision: str,
    allow_bad: int,
    allow_product: bool,
    abstain: float | None,
    prior: str | None,
    flags: tuple[str, ...],
) -> None:
    """Classify FITS files: class and probability of every frame.

    RUN is a run directory, its model directory, or "latest". PATH is a FITS file, a folder (searched with its sub-folders), a pattern such
    as "night1/*_raw.fits", or - for a list of them on standard input, one per line.

    Every input gives at least one row, in order. A file that cannot be used has status "refused" and a code that says why; the others are
    classified all the same, and the exit code is 3. A file given with -o appears when it is complete; --force replaces one that is there.
    A frame of another size than in training is averaged in blocks and padded (resize), cut and padded (crop), padded if smaller (pad), or
    refused (refuse); it is never stretched.

    The column "flags" says what to know before believing a row: low-signal, saturated, mostly-invalid, size-adapted, other-product,
    other-camera, out-of-range. With --abstain the column "set" has the classes that the frame may be of, several where that is not decided.

    \b
      zoo predict runs/latest night1/ -o night1.csv
      zoo predict runs/latest night1/ --abstain 0.95 --prior galaxy=0.95,NSC=0.05
      find /data -name "*_flt.fits" | zoo predict runs/latest - --allow-product --json
    """
    from zoo import prediction
    from zoo.calibration import parse_prior
    from zoo.models import load

    if output is not None:
        prediction.check_output(output, force=force)
    thresholds = _thresholds(flags)
    loaded = load(run)
    shares = None if prior is None else parse_prior(prior, loaded.labels)
    prediction.check_inputs(path for path in paths if path != "-")
    tally = _Tally()
    rows = prediction.predict(
        loaded,
        given_paths(paths),
        hdu=hdu,
        plane=plane,
        geometry=geometry,
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        allow_product=allow_product,
        abstain=abstain,
        prior=shares,
        thresholds=thresholds,
        on_other=tally.add_other,
        notify=note,
        release=True,
    )
    domain = str(loaded.card["domain"])
    note(f"{loaded.name} from {loaded.path}: classes {', '.join(loaded.labels)}")
    note_domain(domain, data="other")
    facts = {"run": loaded.path, "model": loaded.name, "labels": loaded.labels, "domain": domain}
    facts["geometry"] = geometry or loaded.card.get("geometry", "resize")
    facts |= {"temperature": loaded.temperature, "abstain": abstain, "prior": shares}
    _note_model(loaded, abstain, shares)
    file = None if output is None else prediction.RowFile(output, loaded.labels, force=force)
    try:
        with sigterm_as_interrupt(), contextlib.ExitStack() as stack:
            sinks: list[_Sink] = [] if file is None else [stack.enter_context(file)]
            document = None
            if as_json:
                document = stack.enter_context(JsonStream(**facts))
                sinks.append(document)
            elif file is None:
                sinks.append(_Table(list(prediction.columns(loaded.labels)), loaded.labels, sets=abstain is not None))
            shown = not stdout_is_terminal() or (file is not None and not as_json)  # a bar between the rows would spoil them
            advance = stack.enter_context(progress("classifying")) if shown else lambda _count: None
            for row in rows:
                values = row.row(loaded.labels)
                for sink in sinks:
                    sink.write(values)
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
    _report(tally, loaded, output, allow_bad)


def _thresholds(given: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=NUMBER`` of every ``--flag``."""
    thresholds = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            thresholds[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"--flag: got {text!r}, expected NAME=NUMBER, such as low-signal=3") from None
    return thresholds


def _note_model(loaded: LoadedModel, abstain: float | None, prior: Mapping[str, float] | None) -> None:
    """Say what probabilities, sets and flags rest on, and what is missing."""
    calibration = loaded.calibration
    if calibration is None:
        note(f"probabilities are not calibrated: 'zoo calibrate {loaded.run or loaded.path}' does it")
    elif abstain is not None:
        kept = "each class" if calibration.by_class(abstain) else "the classes together"
        note(f"sets of level {abstain:g}, for {kept}, from {calibration.n_targets} targets ({calibration.data}, split {calibration.split})")
        if prior is not None and not calibration.by_class(abstain):
            note("--prior changes probabilities and classes; the sets hold for the class shares of the calibration targets")
    if loaded.range is None:
        note("flags: what the training frames looked like is not known, so no frame is called other-camera or out-of-range")


class _Tally:
    """Counts of what the rows say."""

    def __init__(self) -> None:
        self.rows = self.adapted = self.others = 0
        self.labels: Counter[str] = Counter()
        self.refused = Refusals()
        self.products: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.sets: Counter[str] = Counter()
        self.flagged = self.opposed = self.doubtful = 0

    def add(self, row: Prediction) -> None:
        self.rows += 1
        if row.status == "ok":
            self.labels[row.predicted] += 1
            self.products[row.product] += 1
            self.adapted += row.adapted
            self.flags.update(row.flags)
            self.flagged += bool(row.flags)
            self.sets["|".join(row.classes)] += 1
            self.opposed += len(row.classes) == 1 and row.classes[0] != row.predicted
            self.doubtful += len(row.classes) == 1 and bool(UNLIKE_TRAINING & set(row.flags))
        else:
            self.refused.add(row.path, row.code, row.message)

    def add_other(self, _file: Path) -> None:
        """Count a file of a folder that is passed over."""
        self.others += 1

    def summary(self) -> dict[str, object]:
        refused = dict(self.refused.counts.most_common())
        return {
            "rows": self.rows,
            "classes": dict(self.labels),
            "refused": refused,
            "products": dict(self.products),
            "adapted": self.adapted,
            "flagged": self.flagged,
            "flags": dict(self.flags.most_common()),
            "sets": {name: count for name, count in self.sets.items() if name},
        }


class _Table:
    """Rows on stdout: all columns as TSV, the main ones on a terminal."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str], *, sets: bool) -> None:
        self._terminal = stdout_is_terminal()
        kept = ["path", "hdu", "predicted", *(f"p_{label}" for label in labels), *(("set",) if sets else ()), "instrument", "code", "flags"]
        self._names = kept if self._terminal else list(columns)
        self._stream = RowStream(self._names, [TERMINAL_COLUMNS.get(name, max(len(name), PROBABILITY_WIDTH)) for name in self._names])

    def write(self, row: dict[str, object]) -> None:
        path = shorten(str(row["path"])) if self._terminal else row["path"]
        self._stream.write([path if name == "path" else row[name] for name in self._names])


def _report(tally: _Tally, loaded: LoadedModel, output: Path | None, allow_bad: int) -> None:
    """Say on stderr what came out, and raise DataError where more was refused than is allowed."""
    from zoo.evaluation.inference import list_other_products

    refused = tally.refused.counts.total()
    parts = [f"{name} {count}" for name, count in tally.labels.items()] + ([f"refused {refused}"] if refused else [])
    note(f"{counted(tally.rows, 'row')}{f' in {output}' if output else ''}: {', '.join(parts) or 'none'}")
    if tally.adapted:
        size = loaded.card.get("frame_size")
        trained_on = f" ({size[0]}x{size[1]})" if size else ""
        frames = f"{counted(tally.adapted, 'frame')} {'is' if tally.adapted == 1 else 'are'}"
        note(f"{frames} not of the size of the training{trained_on}: averaged, cut or padded (column 'adapted')")
    trained = loaded.card["products"]
    if others := list_other_products(tally.products, trained):
        note(f"--allow-product: {others} frames; the run was trained on {', '.join(trained)}")
    if tally.flagged:
        words = ", ".join(f"{name} {count}" for name, count in tally.flags.most_common())
        note(f"{counted(tally.flagged, 'frame')} flagged (column 'flags'): {words}")
    undecided = sum(count for name, count in tally.sets.items() if "|" in name)
    if total := sum(count for name, count in tally.sets.items() if name):
        others = "; the others may be of several classes" if undecided else ""
        note(f"{total - undecided} of {counted(total, 'frame')} decided (column 'set'){others}")
    if tally.doubtful:
        words = " or ".join(sorted(UNLIKE_TRAINING))
        note(f"{tally.doubtful} of those decided {'is' if tally.doubtful == 1 else 'are'} {words}: sets promise nothing there")
    if tally.opposed:
        note(f"{tally.opposed} decided for another class than 'predicted': sets do not follow --prior, nor the larger probability")
    if tally.others:
        note(f"{counted(tally.others, 'other file')} in the folders {'was' if tally.others == 1 else 'were'} not looked at")
    tally.refused.explain()
    if refused > len(tally.refused.counts):
        note("refused: the column 'message' of -o, --json and TSV has the reason of each")
    if not tally.rows:
        raise DataError("standard input named no file, expected one path per line")
    if refused > allow_bad:
        raise DataError(
            f"{refused} of {counted(tally.rows, 'row')} {'was' if refused == 1 else 'were'} refused ({tally.refused}); "
            "the results of the others are complete; "
            f"--allow-bad {refused} accepts this"
        )
