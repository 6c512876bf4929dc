"""What an audit found, and which of it is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zoo.auditing.balance import Balance
from zoo.auditing.centres import Offset
from zoo.auditing.leaks import Leak, Leakage
from zoo.auditing.shortcuts import TOGETHER, Shortcut
from zoo.data.manifest import summarise

FEW_TARGETS = 5.0

_NOUNS = {
    "file": ("file", "files"),
    "frame": ("frame", "frames"),
    "exposure": ("exposure", "exposures"),
    "chip pair": ("pair of chips", "pairs of chips"),
    "visit": ("visit", "visits"),
    "target": ("target", "targets"),
    "sky": ("pair of targets on the same sky", "pairs of targets on the same sky"),
    "pixels": ("frame of equal pixels", "frames of equal pixels"),
    "near pixels": ("frame of nearly equal pixels", "frames of nearly equal pixels"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know.

    Attributes:
        level: ``alarm`` for what is wrong, ``remark`` for what is worth knowing.
        kind: ``leak``, ``conflict``, ``shortcut``, ``files``, ``offset`` or ``balance``.
        text: one sentence.
    """

    level: Literal["alarm", "remark"]
    kind: str
    text: str


@dataclass(frozen=True)
class Audit:
    """The audit of one or more lists.

    Attributes:
        lists: their names. n_frames, n_targets: of all of them.
        findings: alarms first.
        leakage: what parts share. shortcuts: every rule tried. offsets: of the targets whose centre is known. balance: of every class.
        pixels_read: how many frames were read; 0 where none was there or none was wanted.
        refused: frames that could not be read, and why.
        domain: ``simulated`` or ``files``. notes: how the lists were read.
    """

    lists: tuple[str, ...]
    n_frames: int
    n_targets: int
    findings: tuple[Finding, ...]
    leakage: Leakage
    shortcuts: tuple[Shortcut, ...]
    offsets: tuple[Offset, ...]
    balance: tuple[Balance, ...]
    pixels_read: int
    refused: tuple[str, ...]
    domain: str
    notes: tuple[str, ...]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """What is wrong; empty for data without a fault."""
        return tuple(finding for finding in self.findings if finding.level == "alarm")

    def best_shortcut(self, name: str | None = None) -> Shortcut | None:
        """The rule with the highest held-out accuracy on a list, the first by default; ``None`` where none was tried."""
        tried = [one for one in self.shortcuts if one.list == (name or self.lists[0]) and not one.baseline]
        return max(tried, key=lambda one: one.outside.estimate, default=None)


def find_findings(
    leakage: Leakage,
    shortcuts: Sequence[Shortcut],
    offsets: Sequence[Offset],
    balance: Sequence[Balance],
    refused: Sequence[str],
) -> tuple[Finding, ...]:
    """Say what follows from the parts of an audit, alarms first."""
    found = [
        *_leaks(leakage),
        *_shortcuts(shortcuts),
        *_files(balance, refused),
        *_offsets(offsets),
        *_balance(balance),
    ]
    return tuple(sorted(found, key=lambda finding: finding.level != "alarm"))


def _leaks(leakage: Leakage) -> Iterator[Finding]:
    for (first, second), pair in itertools.groupby(leakage.leaks, key=lambda leak: (leak.first, leak.second)):
        shared = [leak for leak in pair if leak.shared]
        if shared:
            said = ", ".join(f"{leak.shared} {_NOUNS[leak.relation][leak.shared > 1]}" for leak in shared)
            yield Finding("alarm", "leak", f"{first} and {second} share {said}; {_example(shared)}")
    for conflict in leakage.conflicts:
        text = f"{conflict.part}: {conflict.count} {conflict.kind} ({conflict.frames} frames): {_listed(conflict.examples, conflict.count)}"
        yield Finding("alarm", "conflict", text)
    if leakage.possible_sky:
        text = f"{leakage.possible_sky} pairs of targets may share sky, depending on how the chips are turned"
        yield Finding("remark", "leak", text)


def _example(shared: Sequence[Leak]) -> str:
    closest = shared[0]
    return f"{closest.relation}: {_listed(closest.examples, closest.shared)}"


def _listed(examples: Sequence[str], count: int) -> str:
    more = count - len(examples)
    return ", ".join(examples) + (f" and {more} more" if more > 0 else "")


def _shortcuts(shortcuts: Sequence[Shortcut]) -> Iterator[Finding]:
    for name, group in itertools.groupby((one for one in shortcuts if not one.baseline), key=lambda one: one.list):
        tried = list(group)
        for one in tried:
            if one.alarm:
                yield Finding("alarm", "shortcut", f"{name}: {_said(one)}; p = {one.p_adjusted:.2g} after Holm")
        best = max((one for one in tried if one.name != TOGETHER), key=lambda one: one.outside.estimate)
        if not best.alarm and best.outside.estimate > best.majority:
            doubt = f"{best.outside.n_targets} targets do not tell this from chance (p = {best.p_adjusted:.2g} after Holm)"
            yield Finding("remark", "shortcut", f"{name}: {_said(best)}; {doubt}")


def _said(one: Shortcut) -> str:
    sees = one.name if one.name == TOGETHER else f"{one.name} alone"
    return (
        f"{sees} is right for {one.outside.estimate:.2%} of the frames of targets it was not learned from "
        f"({one.inside.estimate:.2%} in sample), the most frequent class for {one.majority:.2%}"
    )


def _files(balance: Sequence[Balance], refused: Sequence[str]) -> Iterator[Finding]:
    for name, group in itertools.groupby(balance, key=lambda one: one.list):
        classes = list(group)
        missing = sum(one.missing or 0 for one in classes)
        frames = sum(one.frames for one in classes)
        if missing == frames:
            yield Finding("remark", "files", f"{name}: no file is there, so nothing was told from pixels; --root says where they are")
        elif missing:
            yield Finding("alarm", "files", f"{name}: the files of {missing} of {frames} frames are missing")
    if refused:
        yield Finding("alarm", "files", f"{len(refused)} frame{'s' if len(refused) > 1 else ''} cannot be read: {summarise(refused, 2)}")


def _offsets(offsets: Sequence[Offset]) -> Iterator[Finding]:
    for name, group in itertools.groupby(offsets, key=lambda one: one.list):
        known = [one for one in group if one.known]
        missing, frames = sum(one.missing for one in known), sum(one.frames for one in known)
        if missing:
            worst = [f"{one.target} {one.missing}" for one in sorted(known, key=lambda one: -one.missing) if one.missing]
            yield Finding(
                "remark", "offset", f"{name}: {missing} of {frames} frames ({missing / frames:.1%}) miss their target: {summarise(worst)}"
            )


def _balance(balance: Sequence[Balance]) -> Iterator[Finding]:
    for one in balance:
        if one.effective_targets < FEW_TARGETS:
            size = f"{one.targets} target{'s' if one.targets > 1 else ''}"
            largest = f"{one.largest} alone has {one.largest_share:.0%} of the frames"
            yield Finding("remark", "balance", f"{one.list}: class {one.label} counts as {one.effective_targets:.1f} of {size}; {largest}")
