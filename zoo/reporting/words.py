"""What a page says first: the outcome in sentences, what a reader must keep in mind, and commands that make what is missing."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.intervals import Interval
from zoo.reporting.blocks import KeyFigure, counted, read_interval, say_ends, say_number, say_share
from zoo.reporting.source import Source

_BASELINES = {"thumbnail": "thumbnails", "statistics": "pixel statistics"}
_LISTED = 6

SIMULATED = (
    "Simulated sky: the model was trained on the simulator and these frames come from it. The figures hold for the simulator only; nothing "
    "here says how the model does on frames of Hubble or CSST."
)
SIMULATED_MODEL = "The model was trained on the simulator only; figures on other frames say how far that carries."
SIMULATED_FRAMES = "These frames come from the simulator; the figures hold for it only, and no published figure stands beside them."


@dataclass(frozen=True)
class Rival:
    """What the model must beat: a rule or a baseline on the same frames, with the gain of the model over it."""

    name: str
    words: str
    accuracy: float
    gain: Interval


def summarise(source: Source) -> list[str]:
    """Say what was evaluated on what, how well it did, and what simpler rules reach, in sentences."""
    facts = source.facts
    metrics = facts["metrics"]
    accuracy = source.interval("accuracy")
    assert accuracy is not None, "every evaluation stores the interval of its accuracy"
    right = sum(metrics["confusion"][i][i] for i in range(len(source.labels)))
    called = f"{facts['model']} calls {right} of {counted(metrics['n_frames'], 'frame')} right, {say_share(accuracy.estimate)}."
    said = [f"{called} {_range_words(accuracy, metrics['n_targets'])}"]
    rivals = find_rivals(source)
    majority = f"Always saying the largest class is right for {say_share(float(metrics['majority_share']))}"
    if not rivals:
        return [*said, f"{majority}; no baseline or shortcut was stored beside it."]
    best = best_rival(source)
    assert best is not None, "there are rivals"
    others = [f"{rival.words} for {say_share(rival.accuracy)}" for rival in rivals]
    said.append(f"{'; '.join([majority, *others])}. {_gain_words(best)}")
    return said


def find_rivals(source: Source) -> list[Rival]:
    """The best shortcut and the best baseline, where there are any, with the gain over each."""
    facts = source.facts
    accuracy = float(facts["metrics"]["accuracy"])
    rivals = []
    if facts["shortcuts"]:
        best = max(facts["shortcuts"], key=lambda one: one["accuracy"]["estimate"])
        gain = read_interval(best["gain"])
        assert gain is not None, "a shortcut is stored with its gain"
        sees = best["name"] if str(best["name"]).startswith("all ") else f"the {best['name']} alone"
        rivals.append(Rival(str(best["name"]), f"{sees}, without a pixel,", best["accuracy"]["estimate"], gain))
    if facts["baselines"]:
        best = max(facts["baselines"], key=lambda one: one["accuracy"])
        gain = read_interval(best.get("gain"))
        gain = gain or Interval(accuracy - best["accuracy"], math.nan, math.nan, 0, "not stored")
        rivals.append(
            Rival(str(best["name"]), f"a linear model of the {_BASELINES.get(best['name'], best['name'])}", best["accuracy"], gain)
        )
    return rivals


def best_rival(source: Source) -> Rival | None:
    """The best of all that needs no network, the largest class among them; ``None`` where nothing was stored beside the model."""
    stored = source.facts.get("gain")
    gain = read_interval(stored["difference"]) if stored else None
    if stored and gain is not None:
        return Rival(str(stored["over"]), str(stored["over"]), float(stored["accuracy"]), gain)
    return max(find_rivals(source), key=lambda rival: rival.accuracy, default=None)


def key_figures(source: Source) -> list[KeyFigure]:
    """The numbers at the top of an evaluation."""
    names = {"accuracy": "Accuracy", "macro_target_accuracy": "Accuracy per target"}
    keys = []
    for name, label in names.items():
        score = source.interval(name)
        if score is not None:
            keys.append(KeyFigure(label, say_share(score.estimate), _ends(score)))
    area = source.interval("roc_auc")
    if area is not None:
        keys.append(KeyFigure("ROC-AUC", say_number(area.estimate), _ends(area, percent=False)))
    best = best_rival(source)
    if best is not None:
        ends = "" if best.gain.reason else f": {say_points(best.gain.lower)} to {say_points(best.gain.upper)}"
        keys.append(KeyFigure("Points over the best simple rule", say_points(best.gain.estimate), f"{best.name}{ends}"))
    return keys


def cautions(source: Source) -> list[str]:
    """What a reader must keep in mind, the gravest first."""
    return list(_cautions(source))


def domain_words(domain: str, data_domain: str) -> str:
    """What figures are worth where a simulator is involved; empty where none is."""
    if domain == data_domain == "simulated":
        return SIMULATED
    if domain == "simulated":
        return SIMULATED_MODEL
    return SIMULATED_FRAMES if data_domain == "simulated" else ""


def evaluate_command(source: Source, *options: str) -> str:
    """The command line that evaluates the same again with further options."""
    facts = source.facts
    own = source.settings().get("data", {}).get("source")
    data = [] if facts["data"] == own else ["--data", str(facts["data"])]
    split = [] if facts["split"] == "test" else ["--split", str(facts["split"])]
    return shlex.join(["zoo", "evaluate", str(facts["run"]), *data, *split, *options])


def say_points(value: float) -> str:
    """A difference of shares in percentage points."""
    return say_share(value, signed=True).removesuffix("%").rstrip()


def _range_words(accuracy: Interval, n_targets: int) -> str:
    if not accuracy.reason:
        return f"For new targets drawn like these {n_targets} it lies between {_between(accuracy)} (95 % interval {by_words(accuracy)})."
    exact = "" if math.isnan(accuracy.floor) else f", at least {say_share(accuracy.floor)} by the exact bound"
    return f"There is no interval for new targets: {accuracy.reason}{exact} ({counted(n_targets, 'target')})."


def by_words(interval: Interval) -> str:
    """What was taken as sampled: "by target", or "by frame"."""
    return "by frame" if interval.method == "frame" else "by target"


def _between(interval: Interval) -> str:
    return f"{say_share(interval.lower)} and {say_share(interval.upper)}"


def _gain_words(best: Rival) -> str:
    ahead = say_points(abs(best.gain.estimate)).removeprefix("+")
    ends = "" if best.gain.reason else f" (95 % interval {say_points(best.gain.lower)} to {say_points(best.gain.upper)})"
    if best.gain.estimate <= 0:
        return f"The model does not beat the best of them: it is {ahead} points behind{ends}."
    if not best.gain.reason and best.gain.lower <= 0:
        return f"Over the best of them the model gains {ahead} points{ends}, which {_few(best.gain)} cannot tell from nothing."
    return f"Over the best of them the model gains {ahead} points{ends}."


def _few(interval: Interval) -> str:
    return counted(interval.n_targets, "target")


def _ends(interval: Interval, *, percent: bool = True) -> str:
    return say_ends(interval, percent=percent)


def _cautions(source: Source) -> Iterator[str]:
    facts = source.facts
    metrics = facts["metrics"]
    if source.changed:
        yield "The run has other weights now than those that were evaluated."
    if facts["seen"]:
        seen = counted(len(facts["seen"]), "target")
        new = read_interval(facts.get("accuracy_new"))
        rest = f"on the {new.n_targets} new ones the accuracy is {say_share(new.estimate)} ({say_ends(new)})" if new else "none is new"
        yield f"Not a test: {seen} of {metrics['n_targets']} were used in training or validation; {rest}."
    if words := domain_words(str(facts["domain"]), str(facts["data_domain"])):
        yield words
    yield from _refused(facts)
    rival = best_rival(source)
    if rival is not None and rival.gain.estimate <= 0:
        yield f"A rule without a network does as well ({rival.name}): the network may have learned the camera, not the sky."
    elif rival is not None and not rival.gain.reason and rival.gain.lower <= 0:
        yield f"The gain over the best simple rule ({rival.name}) cannot be told from nothing: its interval holds 0."
    flags = Counter(flag for frame in source.frames for flag in frame.get("flags", "").split())
    if flags:
        flagged = sum(bool(frame.get("flags")) for frame in source.frames)
        listed = ", ".join(f"{flag} {count}" for flag, count in flags.most_common(_LISTED))
        yield f"{counted(flagged, 'frame')} {'is' if flagged == 1 else 'are'} flagged as unusual ({listed})."
    adapted = sum(frame["adapted"] == "True" for frame in source.frames)
    if adapted:
        were = "was" if adapted == 1 else "were"
        yield f"{counted(adapted, 'frame')} had another size than in training and {were} averaged, cut or padded."
    yield from (f"{note[:1].upper()}{note[1:]}." for note in facts["notes"])


def _refused(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts["refused"]:
        return
    codes = Counter(str(frame["code"]) for frame in facts["refused"])
    listed = ", ".join(f"{code} {count}" for code, count in codes.most_common(_LISTED))
    yield f"{len(facts['refused'])} of {counted(facts['frames'], 'frame')} could not be scored ({listed}); the figures are of the others."
