"""The sections on how good the model is: scores, what each class was called, ranking curves, baselines, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.evaluation.titles import LOSSES, SCORES
from zoo.intervals import Interval
from zoo.reporting import plots
from zoo.reporting.blocks import Block, Cell, Figure, Figures, Section, Table, Text, Value, counted, read_interval, say_share, share
from zoo.reporting.plots import Curve, Dot
from zoo.reporting.source import Source
from zoo.reporting.words import evaluate_command

Floats = NDArray[np.float64]

_OF_POSITIVE = ("precision", "recall", "f1", "roc_auc", "average_precision")


def scores_section(source: Source) -> Section:
    """Every score with its interval, and those of each class."""
    facts = source.facts
    metrics = facts["metrics"]
    best = shortcut_scores(source)
    dots: list[Dot] = []
    rows: list[list[Value]] = []
    for name, title in SCORES.items():
        score = source.interval(name) or Interval(_number(metrics[name]), math.nan, math.nan, 0, "not stored")
        title = f"{title} of {source.positive}" if len(source.labels) == 2 and name in _OF_POSITIVE else title
        dots.append(Dot(title, score, f"{score.estimate:.3f}", best.get(name, math.nan)))
        rows.append([title, score, best.get(name), score.reason])
    table = Table("Scores, 95 % intervals by target", ["score", "value", "best shortcut", "note"], rows, name="scores")
    low = plots.reach(dots)[0]
    figure = Figure(
        "scores",
        "Scores with 95 % intervals",
        f"Dot plot of {len(dots)} scores with intervals by target; accuracy {say_share(metrics['accuracy'])}.",
        lambda: plots.draw_dots(
            dots, xlabel="score", limits=(min(0.5, low) - 0.02, 1.0), percent=False, beside="best shortcut" if best else ""
        ),
        caption="Bars are 95 % intervals by target. Dotted: the exact lower bound where the method gives no interval.",
        table=table,
    )
    losses = Table("Probabilities; less is better", ["score", "value"], [[title, _number(metrics[name])] for name, title in LOSSES.items()])
    classes = []
    for label, own in metrics["per_class"].items():
        recall = source.interval(f"recall:{label}")
        numbers = [int(own["frames"]), int(own["targets"]), _number(own["precision"]), recall or _number(own["recall"]), _number(own["f1"])]
        classes.append([label, *numbers])
    per_class = Table("Each class", ["class", "frames", "targets", "precision", "recall", "F1"], classes)
    rules, notes = _baselines(source)
    return Section("scores", "Scores", [Figures([figure, rules], [per_class, losses]), *notes], lead=_interval_words(source))


def calls_section(source: Source) -> Section:
    """What each class was called, how well the probabilities rank, and whether one of 80 % means that 80 % are right."""
    metrics, labels = source.facts["metrics"], source.labels
    counts = metrics["confusion"]
    wrong = [
        f"{counts[i][j]} of {sum(counts[i])} frames of {labels[i]} are called {labels[j]}"
        for i in range(len(labels))
        for j in range(len(labels))
        if i != j
    ]
    heads = ["true class", *(f"called {label}" for label in labels)]
    confusion = Figure(
        "confusion",
        "Confusion matrix",
        f"Confusion matrix: {'; '.join(wrong)}.",
        lambda: plots.draw_confusion(counts, labels),
        caption="Frames, and their share of the true class.",
        table=Table(
            "Confusion matrix, frames", heads, [[label, *row] for label, row in zip(labels, counts, strict=True)], name="confusion"
        ),
    )
    reliability, words = _reliability(source)
    return Section("calls", "Calls and probabilities", [Figures([confusion, *ranking_figures([source]), *reliability]), words])


def ranking_figures(sources: Sequence[Source]) -> list[Figure]:
    """ROC and precision against recall, one line per model, or per class where one model knows more than two."""
    roc: list[Curve] = []
    precision: list[Curve] = []
    rows: list[list[Value]] = []
    common = 0.0
    several = len(sources) > 1
    for source in sources:
        names = source.labels if len(source.labels) > 2 and not several else [source.positive]
        for name in names:
            index = len(roc)
            positive, chances = _scores_of(source, name)
            if not 0 < positive.sum() < positive.size:
                continue
            area, average = (_number(source.facts["metrics"]["per_class"][name][key]) for key in ("roc_auc", "average_precision"))
            who = source.title if several else name
            roc.append(Curve(f"{who} {area:.3f}", *roc_curve(positive, chances), series=index))
            precision.append(Curve(f"{who} {average:.3f}", *precision_curve(positive, chances), series=index, steps=True))
            common = float(positive.mean())
            rows.append([who, name, area, average, common])
    if not rows:
        return []
    columns = ["line", "class", "ROC-AUC", "average precision", "share of frames"]
    table = Table("Area under the curves", columns, rows, name="ranking")
    areas = "; ".join(curve.name for curve in roc)
    return [
        Figure(
            "roc",
            "ROC curve",
            f"ROC curve; area {areas}.",
            lambda: plots.draw_curves(roc, xlabel="false positive rate", ylabel="true positive rate", diagonal=True),
            caption="With the area below each line. Dashed: guessing.",
            table=table,
        ),
        Figure(
            "precision-recall",
            "Precision against recall",
            f"Precision against recall; average precision {'; '.join(curve.name for curve in precision)}.",
            lambda: plots.draw_curves(
                precision, xlabel="recall", ylabel="precision", level=(common, "") if len(rows) == 1 else None, legend="lower left"
            ),
            caption="With the average precision of each line." + (" Dashed: guessing." if len(rows) == 1 else ""),
        ),
    ]


def roc_curve(positive: ArrayLike, scores: ArrayLike) -> tuple[list[float], list[float]]:
    """Return false and true positive rate at every threshold, from (0, 0) to (1, 1); equal scores are one threshold.

    Args:
        positive: ``(N,)`` bool, some of each. scores: ``(N,)``, larger for what is more likely positive.
    """
    hits, others = _above_thresholds(positive, scores)
    return [0.0, *(others / others[-1]).tolist()], [0.0, *(hits / hits[-1]).tolist()]


def precision_curve(positive: ArrayLike, scores: ArrayLike) -> tuple[list[float], list[float]]:
    """Return recall and precision at every threshold, the highest first; the precision of a recall holds down to the one before.

    Args: as `roc_curve`.
    """
    hits, others = _above_thresholds(positive, scores)
    precision = hits / (hits + others)
    return [0.0, *(hits / hits[-1]).tolist()], [float(precision[0]), *precision.tolist()]


def _baselines(source: Source) -> tuple[Figure, list[Block]]:
    """The model beside what sees no pixel and what needs no network, on the same frames: a figure, its table and notes."""
    facts = source.facts
    metrics = facts["metrics"]
    accuracy = source.interval("accuracy")
    assert accuracy is not None, "every evaluation stores the interval of its accuracy"
    lines: list[tuple[str, Interval, float, Interval | None, str]] = [
        (str(facts["model"]), accuracy, _number(metrics["balanced_accuracy"]), None, "")
    ]
    for one in facts["baselines"]:
        gain = read_interval(one.get("gain"))
        lines.append((f"baseline {one['name']}", _interval(one["interval"]), _number(one["balanced_accuracy"]), gain, ""))
    for one in facts["shortcuts"]:
        gain = read_interval(one["gain"])
        lines.append((f"shortcut {one['name']}", _interval(one["accuracy"]), _number(one["balanced_accuracy"]), gain, str(one["rule"])))
    majority = _number(metrics["majority_share"])
    rows = [
        [name, share(score), Cell(balanced, percent=True), Cell(gain.estimate, gain, percent=True) if gain else None, rule]
        for name, score, balanced, gain, rule in lines
    ]
    rows.append(["largest class always", Cell(majority, percent=True), None, None, ""])
    columns = ["on the same frames", "accuracy", "balanced", "gain of the model", "what it says"]
    table = Table("Simpler rules on the same frames", columns, rows, name="baselines")
    dots = [Dot(name, score, f"{100 * score.estimate:.1f} %", series=int(i > 0) * 6) for i, (name, score, *_) in enumerate(lines)]
    low = min(majority, plots.reach(dots)[0])
    figure = Figure(
        "baselines",
        "Beside simpler rules",
        f"Dot plot: the model {say_share(accuracy.estimate)}; "
        + "; ".join(f"{d.label} {say_share(d.score.estimate)}" for d in dots[1:])
        + ".",
        lambda: plots.draw_dots(dots, xlabel="accuracy", limits=(low - 0.04, 1.0), reference=(majority, "largest class always")),
        caption="A shortcut sees columns of the list and no pixel; a baseline is a linear model without a network.",
    )
    notes = [note for note in facts["notes"] if "baseline" in note]
    return figure, [table, *(Text(note) for note in notes)]


def _reliability(source: Source) -> tuple[list[Figure], Text]:
    """The reliability diagram and what is to be said of it, or the command that makes it."""
    found = source.facts.get("calibration")
    if not found or not found.get("bins"):
        return [], Text("This evaluation was stored without its reliability. This command stores it:", evaluate_command(source))
    bins = found["bins"]
    gaps = [read_interval(one.get("interval")) for one in bins]
    rows = [
        [f"{one['lower']:.2f} to {one['upper']:.2f}", one["count"], _number(one["confidence"]), gap or _number(one["accuracy"])]
        for one, gap in zip(bins, gaps, strict=True)
        if one["count"]
    ]
    table = Table("Reliability", ["probability", "frames", "mean probability", "share that is right"], rows, name="reliability")
    error = _number(source.facts["metrics"]["calibration_error"])
    figure = Figure(
        "reliability",
        "Reliability diagram",
        f"Reliability diagram of {len(rows)} bins; expected calibration error {error:.3f}.",
        lambda: plots.draw_reliability(bins, gaps),
        caption="Points on the dashed line mean what they say; below it the model is too sure. Bars: 95 % intervals by target.",
        table=table,
    )
    return [figure], Text(_temperature_words(found, error))


def shortcut_scores(source: Source) -> dict[str, float]:
    """What the best column alone reaches, by the name of the score."""
    if not source.facts["shortcuts"]:
        return {}
    best = source.facts["shortcuts"][0]
    return {
        "accuracy": _number(best["accuracy"]["estimate"]),
        "balanced_accuracy": _number(best["balanced_accuracy"]),
        "macro_target_accuracy": _number(best["macro_target_accuracy"]["estimate"]),
    }


def _above_thresholds(positive: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Count positives and others at or above each distinct score, from the highest."""
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    truth, values = truth[order], values[order]
    last = np.append(np.flatnonzero(np.diff(values)), values.size - 1)
    hits = np.cumsum(truth)[last].astype(np.float64)
    return hits, last + 1.0 - hits


def _scores_of(source: Source, label: str) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each scored frame is of a class, and its probability."""
    frames = source.scored
    return np.array([frame["label"] == label for frame in frames]), np.array([float(frame[f"p_{label}"]) for frame in frames])


def _interval_words(source: Source) -> str:
    """What an interval is, and how often it holds in simulation, where that was stored."""
    accuracy = source.interval("accuracy")
    if accuracy is not None and accuracy.method == "frame":
        said = "Intervals are by frame, which are far too narrow for new targets"
    else:
        said = f"Intervals are by target, not by frame ({source.facts['method']})"
    coverage = source.facts.get("coverage")
    if isinstance(coverage, dict) and coverage.get("simulated") is not None:
        said += f": nominal {100 * float(coverage.get('nominal', 0.95)):.0f} %, {100 * float(coverage['simulated']):.1f} % in simulation"
        said += f" ({coverage['of']})" if coverage.get("of") else ""
    return f"{said}."


def _temperature_words(found: dict[str, object], error: float) -> str:
    said = f"The expected calibration error is {error:.3f}."
    temperature, targets = found.get("temperature"), found.get("fitted_targets")
    if not isinstance(temperature, int | float):
        return said
    if not targets:
        return f"{said} The model has no temperature that was fitted to its validation frames."
    fitted = f", fitted on {counted(targets, 'target')}" if isinstance(targets, int) else ""
    before, after = found.get("calibration_error_before"), found.get("calibration_error_after")
    change = f" Without it the error is {before:.3f}." if isinstance(before, float) and before != after else ""
    return f"{said} Temperature {temperature:.3g}{fitted}.{change}"


def _interval(facts: dict[str, object]) -> Interval:
    interval = read_interval(facts)
    assert interval is not None, "an accuracy is stored with its interval"
    return interval


def _number(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]
