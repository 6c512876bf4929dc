"""Flags of a frame: what a reader of its class should know before believing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zoo.calibration.frame_range import FrameRange
from zoo.data.condition import Condition
from zoo.errors import UsageError

FLAGS = ("low-signal", "saturated", "mostly-invalid", "size-adapted", "other-product", "other-camera", "out-of-range")
"""Every word of a flag, in the order in which they are named."""


@dataclass(frozen=True)
class FlagRules:
    """From where a frame is flagged.

    Attributes:
        low_signal: `Condition.signal_to_noise` below this; noise alone gives 1.8.
        saturated: `Condition.saturated`, a share, above this.
        mostly_invalid: `Condition.valid`, a share, below this.
        out_of_range: `FrameRange.distance` above this; ``None`` for the threshold of the model's own range.
    """

    low_signal: float = 5.0
    saturated: float = 0.01
    mostly_invalid: float = 0.5
    out_of_range: float | None = None

    @classmethod
    def parse(cls, given: Mapping[str, float]) -> FlagRules:
        """Return the rules with other thresholds, ``{"low-signal": 3}``. Raises: UsageError: no flag with a threshold, or below 0."""
        known = {name.replace("_", "-"): name for name in cls.__dataclass_fields__}
        for name, value in given.items():
            if name not in known:
                raise UsageError(f"got a threshold for {name!r}, expected one of {', '.join(known)}")
            if not value >= 0:
                raise UsageError(f"the threshold of {name} must be a number >= 0, got {value}")
            if name in ("saturated", "mostly-invalid") and value > 1:
                raise UsageError(f"the threshold of {name} is a share of the pixels and must be at most 1, got {value:g}")
        return replace(cls(), **{known[name]: value for name, value in given.items()})


def judge(
    condition: Condition,
    rules: FlagRules,
    frame_range: FrameRange | None,
    *,
    adapted: bool = False,
    other_product: bool = False,
    instrument: str = "",
) -> tuple[str, ...]:
    """Return the flags of a frame, in the order of `FLAGS`. A number that is not known raises none.

    Args:
        condition: of the frame. rules: thresholds.
        frame_range: of the model's training frames; ``None`` where it is not known: then neither camera nor image can be out of range.
        adapted: the frame is not of the size of the training. other_product: nor of its products.
        instrument: of the frame; empty where unknown.
    """
    other_camera = out_of_range = False
    if frame_range is not None:
        other_camera = bool(frame_range.instruments and instrument) and instrument not in frame_range.instruments
        limit = frame_range.threshold if rules.out_of_range is None else rules.out_of_range
        out_of_range = frame_range.distance(condition) > limit
    raised = {
        "low-signal": condition.signal_to_noise < rules.low_signal,
        "saturated": condition.saturated > rules.saturated,
        "mostly-invalid": condition.valid < rules.mostly_invalid,
        "size-adapted": adapted,
        "other-product": other_product,
        "other-camera": other_camera,
        "out-of-range": out_of_range,
    }
    return tuple(name for name in FLAGS if raised[name])
