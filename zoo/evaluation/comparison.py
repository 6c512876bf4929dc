"""`compare`: which of several runs is the best on the same frames, and whether that can be told from their evaluations.

Nothing is run: the runs hold the outcome of every frame. The statistics are those of `zoo.evaluation.paired`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from zoo.errors import UsageError
from zoo.evaluation.breakdown import name_few
from zoo.evaluation.choice import align, choose
from zoo.evaluation.paired import difference_interval, mcnemar_p, sign_flip_p, smallest_p, target_sums
from zoo.evaluation.result import Evaluation
from zoo.evaluation.stored import Measured, from_evaluation, read_evaluations
from zoo.intervals import DEFAULT, LEVEL, Coverage, Interval, accuracy_interval, check_request, holm, simulated_coverage

ALPHA = 1.0 - LEVEL


@dataclass(frozen=True)
class Pair:
    """Two runs on the same frames.

    Attributes:
        first, second: their names, the one of higher accuracy first.
        difference: accuracy of the first minus that of the second, with its interval by target.
        p_value: of the hypothesis that they are alike, by sign flips of whole targets.
        p_adjusted: the same, for all pairs of the comparison together (Holm).
        p_smallest: what ``p_value`` would be if the first were ahead on every target on which they differ.
        only_first, only_second: frames that only one of them calls right.
        mcnemar_p: McNemar's test of those two counts, which takes every frame for itself.
        distinct: whether the two can be told apart: ``p_adjusted`` is below 5 %.
    """

    first: str
    second: str
    difference: Interval
    p_value: float
    p_adjusted: float
    p_smallest: float
    only_first: int
    only_second: int
    mcnemar_p: float
    distinct: bool


@dataclass(frozen=True)
class Standing:
    """One run in the ranking.

    Attributes:
        rank: 1 + the number of runs that are more accurate and can be told apart from it.
        name: of its folder, or as it was given where two runs have the same. run, path: its folder, and that of the evaluation.
        model, domain, precision, parameters, time_s: as stored; ``time_s`` is of the evaluation, in seconds.
        accuracy: with its interval by target.
        behind: accuracy of the first run minus its own, with its interval; ``None`` for the first run itself.
        p_adjusted: of the hypothesis that it is as good as the first run; ``None`` for that one.
        seen: targets among those compared that this run was trained or validated on.
    """

    rank: int
    name: str
    run: Path
    path: Path | None
    model: str
    domain: str
    precision: str
    parameters: int | None
    time_s: float | None
    accuracy: Interval
    behind: Interval | None
    p_adjusted: float | None
    seen: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The outcome of `zoo.compare`.

    Attributes:
        data, split, data_domain: the frames, as the first run's evaluation names them.
        n_frames, n_targets: on which every run was scored.
        n_left_out: frames that not every run was scored on; 0 unless ``common`` was asked for.
        standings: the runs, the most accurate first.
        pairs: every two of them, in the order of the standings.
        verdict: one sentence.
        notes: what a reader should know, one line each.
        coverage: how often intervals like that of the first run's accuracy held the truth in simulation.
    """

    data: str
    split: str
    data_domain: str
    n_frames: int
    n_targets: int
    n_left_out: int
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    verdict: str
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None


def compare(
    runs: Sequence[str | os.PathLike[str] | Evaluation],
    *,
    data: str | None = None,
    split: str | None = None,
    common: bool = False,
    interval: str = DEFAULT,
) -> Comparison:
    """Compare runs on frames that each of them was evaluated on; nothing is evaluated.

    Args:
        runs: at least two; each is a run, its model directory, ``"latest"``, a folder below its ``evaluations/``, or what `zoo.evaluate`
            returned. One that is given again, through a link for instance, counts once; ``notes`` says so.
        data, split: take only evaluations of data and splits of these names; needed where the runs share several.
        common: compare on the frames that every run was scored on, where these are not the same.
        interval: method of the intervals of the accuracies, one of `zoo.intervals.METHODS`; differences have the jackknife's.

    Raises:
        UsageError: fewer than two different runs, they share several lists of frames, or the method is unknown.
        StorageError: there is no such run, or a file was changed.
        DataError: the runs hold no evaluation of the same frames, were scored on different ones, or disagree about a frame's label.

    Example: >>> zoo.compare(["runs/a", "runs/b"]).verdict
    """
    check_request(LEVEL, interval)
    if len(runs) < 2:
        raise UsageError(f"got {len(runs)} run, expected at least two to compare")
    held = [[from_evaluation(run)] if isinstance(run, Evaluation) else read_evaluations(run) for run in runs]
    names = [str(run.run if isinstance(run, Evaluation) else run) for run in runs]
    kept, repeated = _drop_repeated(names, [_identity(run, one) for run, one in zip(runs, held, strict=True)])
    chosen, notes = choose([names[i] for i in kept], [held[i] for i in kept], data=data, split=split, common=common)
    keys, n_left_out = align(chosen, common=common)
    return _rank(_titles(chosen), chosen, keys, n_left_out, [*repeated, *notes], interval)


def _identity(run: object, held: Sequence[Measured]) -> object:
    """What two names of one run have in common: the stored evaluations; the object where nothing is stored."""
    return frozenset(measured.path.resolve() for measured in held if measured.path is not None) or id(run)


def _drop_repeated(names: Sequence[str], identities: Sequence[object]) -> tuple[list[int], list[str]]:
    """Return which runs to take, the first of each, and a line on the others, if there are any.

    Raises: UsageError: they are all one run.
    """
    first = [identities.index(identity) for identity in identities]
    if len(set(first)) < 2:
        raise UsageError(f"got one run {len(names)} times ({', '.join(names)}), expected at least two different runs to compare")
    again = [f"{names[i]} is {names[j]}" if names[i] != names[j] else f"{names[i]} is given again" for i, j in enumerate(first) if i != j]
    return sorted(set(first)), [f"counted once: {'; '.join(again)}"] if again else []


def _titles(chosen: Sequence[Measured]) -> list[str]:
    """Return a name for each run: of its folder, else as given, else with a number."""
    titles = [measured.run.name for measured in chosen]
    if len(set(titles)) < len(titles):
        titles = [measured.given for measured in chosen]
    return [name if titles.index(name) == i else f"{name} ({titles[: i + 1].count(name)})" for i, name in enumerate(titles)]


def _rank(
    titles: Sequence[str],
    chosen: Sequence[Measured],
    keys: Sequence[tuple[str, ...]],
    n_left_out: int,
    notes: Sequence[str],
    method: str,
) -> Comparison:
    """Test every two runs on the frames of ``keys`` and put them in order."""
    rights = [np.array([measured.outcomes[key].right for key in keys]) for measured in chosen]
    targets = [chosen[0].outcomes[key].target for key in keys]
    order = sorted(range(len(chosen)), key=lambda i: -int(rights[i].sum()))  # stable: equals keep the order in which they were given
    pairs = _test([titles[i] for i in order], [rights[i] for i in order], targets)
    best = titles[order[0]]
    to_best = {pair.second: pair for pair in pairs if pair.first == best}
    present = set(targets)
    standings = []
    for i in order:
        measured, name = chosen[i], titles[i]
        pair = to_best.get(name)
        standings.append(
            Standing(
                rank=1 + sum(pair.second == name and pair.distinct for pair in pairs),
                name=name,
                run=measured.run,
                path=measured.path,
                model=measured.model,
                domain=measured.domain,
                precision=measured.precision,
                parameters=measured.parameters,
                time_s=measured.time_s,
                accuracy=accuracy_interval(rights[i], targets, method=method),
                behind=pair.difference if pair else None,
                p_adjusted=pair.p_adjusted if pair else None,
                seen=tuple(target for target in measured.seen if target in present),
            )
        )
    first = chosen[0]
    alike = len(chosen) == 2 and all(chosen[0].outcomes[key].predicted == chosen[1].outcomes[key].predicted for key in keys)
    return Comparison(
        data=first.data,
        split=first.split,
        data_domain=first.data_domain,
        n_frames=len(keys),
        n_targets=len(present),
        n_left_out=n_left_out,
        standings=tuple(standings),
        pairs=tuple(pairs),
        verdict=_verdict_of_two(pairs[0], len(present), alike) if len(pairs) == 1 else _verdict_of_many(standings),
        notes=(*notes, *name_few([first.outcomes[key].label for key in keys], targets)),
        coverage=simulated_coverage(list(Counter(targets).values()), standings[0].accuracy.estimate, method=method),
    )


def _test(names: Sequence[str], rights: Sequence[np.ndarray], targets: Sequence[str]) -> list[Pair]:
    """Test every two runs; names and outcomes come in the order of their accuracies."""
    pairs = []
    for (first, one), (second, two) in combinations(zip(names, rights, strict=True), 2):
        sums, counts = target_sums(one, two, targets)
        p_value, only_first, only_second = sign_flip_p(sums), int((one & ~two).sum()), int((two & ~one).sum())
        pairs.append(
            Pair(
                first=first,
                second=second,
                difference=difference_interval(sums, counts),
                p_value=p_value,
                p_adjusted=p_value,
                p_smallest=smallest_p(sums),
                only_first=only_first,
                only_second=only_second,
                mcnemar_p=mcnemar_p(only_first, only_second),
                distinct=False,
            )
        )
    adjusted = holm([pair.p_value for pair in pairs])
    return [replace(pair, p_adjusted=p, distinct=p < ALPHA) for pair, p in zip(pairs, adjusted, strict=True)]


def _verdict_of_two(pair: Pair, n_targets: int, alike: bool) -> str:
    """Say in one sentence what came out of two runs."""
    one, two = pair.first, pair.second
    if pair.only_first == pair.only_second == 0:
        return (
            f"{one} and {two} {'call every frame alike' if alike else 'are right on the same frames'}: there is nothing to tell them apart."
        )
    given = pair.difference
    interval = f"95 % interval {'n/a' if given.reason else f'{given.lower:+.4f} to {given.upper:+.4f}'}"
    facts = f"{given.estimate:+.4f}, {interval}, p = {pair.p_value:.3g} over {n_targets} target{'s' if n_targets > 1 else ''}"
    if pair.distinct:
        return f"{one} is more accurate than {two}: {facts}."
    if pair.p_smallest >= ALPHA:
        return f"{one} and {two} cannot be told apart: {facts}; they differ on too few targets for p to fall below {pair.p_smallest:.3g}."
    return f"{one} and {two} cannot be told apart: {facts}."


def _verdict_of_many(standings: Sequence[Standing]) -> str:
    """Say in one sentence what came out of several runs."""
    best = standings[0].name
    others = standings[1:]
    near = [other.name for other in others if other.p_adjusted is not None and other.p_adjusted >= ALPHA]
    behind = [other.name for other in others if other.name not in near]
    if not behind:
        return f"None of the other {len(others)} runs can be told apart from {best}, which has the highest accuracy."
    if not near:
        return f"{best} is more accurate than {_and(behind)}."
    return f"{best} is more accurate than {_and(behind)}, and cannot be told apart from {_and(near)}."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
