"""Which stored evaluations of several runs belong together, and on which frames they can be compared."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from zoo.errors import DataError, UsageError
from zoo.evaluation.stored import FrameKey, Measured


def choose(
    names: Sequence[str], held: Sequence[Sequence[Measured]], *, data: str | None, split: str | None, common: bool
) -> tuple[list[Measured], list[str]]:
    """Return one evaluation of each run, all of the same list of frames where there is one, and what a reader should know.

    Args:
        names: the runs as the user named them. held: the evaluations of each, the newest first.
        data, split: names that the evaluations must have; ``None`` for any.
        common: also take evaluations of data of the same name whose frames differ.

    Raises:
        DataError: the runs hold no such evaluations. UsageError: they share several lists of frames.
    """
    fitting = [_fitting(name, one, data, split) for name, one in zip(names, held, strict=True)]
    lists = [{frozenset(measured.outcomes) for measured in one} for one in fitting]
    shared = set.intersection(*lists)
    if len(shared) == 1:
        (frames,) = shared
        return _pick(names, [[measured for measured in one if measured.outcomes.keys() == frames] for one in fitting])
    if shared:
        sources = sorted({measured.source for measured in fitting[0] if frozenset(measured.outcomes) in shared})
        raise UsageError(
            f"the runs share several evaluations: {'; '.join(sources)}; choose with --data and --split, or name folders below evaluations/"
        )
    sources_of = [{measured.source for measured in one} for one in fitting]
    same_name = set.intersection(*sources_of)
    if len(same_name) == 1:
        (source,) = same_name
        return _pick(names, [[measured for measured in one if measured.source == source] for one in fitting])
    if common and all(len(one) == 1 for one in fitting):
        return _pick(names, fitting)
    raise _nothing_shared(names, fitting)


def align(chosen: Sequence[Measured], *, common: bool) -> tuple[list[FrameKey], int]:
    """Return the frames to compare on, sorted, and how many others some of the runs were scored on.

    Raises:
        DataError: the runs were scored on different frames and ``common`` is false; there are no common ones; or two runs disagree about
            what a frame shows.
    """
    everywhere = frozenset.intersection(*(measured.scored for measured in chosen))
    anywhere = frozenset.union(*(measured.scored for measured in chosen))
    first = chosen[0]
    if not everywhere:
        lists = "; ".join(f"{measured.given} on {len(measured.scored)} of {measured.source}" for measured in chosen)
        raise DataError(f"no frame was scored by each of these runs: {lists}; evaluate them on one list of frames")
    if anywhere != everywhere and not common:
        raise DataError(
            f"the runs were scored on different frames: {len(everywhere)} are common, {len(anywhere - everywhere)} are not "
            f"({'; '.join(_lacking(measured, anywhere) for measured in chosen if measured.scored != anywhere)}); "
            "--common compares on the common ones"
        )
    keys = sorted(everywhere)
    for measured in chosen[1:]:
        for key in keys:
            one, other = first.outcomes[key], measured.outcomes[key]
            if one.label != other.label:
                raise DataError(
                    f"{key[0]}, HDU {key[1]}: is {one.label!r} for {first.given} and {other.label!r} for {measured.given}; "
                    "evaluate both on the same list"
                )
    return keys, len(anywhere - everywhere)


def _lacking(measured: Measured, anywhere: frozenset[FrameKey]) -> str:
    """Say how many frames one run was not scored on, and why, as far as it is known."""
    missing = anywhere - measured.scored
    codes = Counter(measured.outcomes[key].code if key in measured.outcomes else "not in its list" for key in missing)
    return f"{measured.given} lacks {len(missing)}: {', '.join(f'{code} {count}' for code, count in codes.most_common())}"


def _fitting(name: str, held: Sequence[Measured], data: str | None, split: str | None) -> list[Measured]:
    """Return the evaluations of one run that may be used; raise where there are none."""
    named = [measured for measured in held if data in (None, measured.data) and split in (None, measured.split)]
    current = [measured for measured in named if measured.current]
    if current:
        return current
    command = f"zoo evaluate {shlex.quote(name)}{f' --data {shlex.quote(data)}' if data else ''}{f' --split {split}' if split else ''}"
    wanted = " of " + ", ".join(filter(None, [data, f"split {split}" if split else ""])) if data or split else ""
    if named:
        raise DataError(f"{name}: its stored evaluations{wanted} are of other weights than its model has now; run '{command}'")
    have = f"; it has {_sources(held)}" if held else ""
    raise DataError(f"{name}: got no stored evaluation{wanted}, expected one{have}; run '{command}'")


def _nothing_shared(names: Sequence[str], fitting: Sequence[Sequence[Measured]]) -> DataError:
    """Name the evaluation that most runs have, and the commands that the others need."""
    votes = Counter(source for one in fitting for source in {measured.source for measured in one})
    wanted = max((measured for one in fitting for measured in one), key=lambda measured: votes[measured.source])
    lacking = [name for name, one in zip(names, fitting, strict=True) if wanted.source not in {measured.source for measured in one}]
    if not lacking:  # all have several of the same names, and of each with other frames
        return DataError(f"the runs hold no evaluation of the same frames; each has {_sources(fitting[0])}; choose with --data and --split")
    have = "; ".join(f"{name} has {_sources(one)}" for name, one in zip(names, fitting, strict=True))
    commands = "; ".join(f"zoo evaluate {shlex.quote(name)} --data {shlex.quote(wanted.data)} --split {wanted.split}" for name in lacking)
    return DataError(f"the runs hold no evaluation of the same frames: {have}; run '{commands}'")


def _sources(held: Sequence[Measured]) -> str:
    return "; ".join(dict.fromkeys(f"{measured.source} ({len(measured.outcomes)} frames)" for measured in held))


def _pick(names: Sequence[str], fitting: Sequence[Sequence[Measured]]) -> tuple[list[Measured], list[str]]:
    """Take one evaluation of each run: in fp32 where there is one, and the newest of those."""
    chosen = [min(one, key=lambda measured: measured.precision not in ("", "fp32")) for one in fitting]
    notes = [
        f"{name} holds {len(one)} evaluations of {best.source}; this is {best.path}"
        for name, one, best in zip(names, fitting, chosen, strict=True)
        if len(one) > 1
    ]
    if len({best.precision for best in chosen}) > 1:
        notes.append(f"evaluated in different arithmetic: {_each(names, [best.precision for best in chosen])}")
    if len({frozenset(best.labels) for best in chosen}) > 1:
        notes.append(f"the runs know different classes: {_each(names, [', '.join(best.labels) for best in chosen])}")
    return chosen, notes


def _each(names: Sequence[str], facts: Sequence[str]) -> str:
    return "; ".join(f"{name} {fact}" for name, fact in zip(names, facts, strict=True))
