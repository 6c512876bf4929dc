"""Other class shares than in training: what a frame is, given how common each class is where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.errors import UsageError

_TOLERANCE = 1e-6


def parse_prior(text: str, labels: Sequence[str]) -> dict[str, float]:
    """Read ``galaxy=0.95,NSC=0.05``: every class of the run once, in any case and order, shares from above 0 that add up to 1.

    Raises:
        UsageError: a class is unknown, missing or given twice, a share is no number above 0, or they do not add up to 1.
    """
    known = {label.casefold(): label for label in labels}
    example = ",".join(f"{label}={1 / len(labels):.3g}" for label in labels)
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        label = known.get(name.casefold())
        if not equals or label is None:
            what = f"class {name!r}" if equals else repr(part.strip())
            raise UsageError(f"--prior: got {what}, expected a share of each of {', '.join(labels)}, such as {example}")
        if label in shares:
            raise UsageError(f"--prior: {label} is given twice")
        try:
            shares[label] = float(number)
        except ValueError:
            raise UsageError(f"--prior: got {label}={number!r}, expected a number") from None
    check_prior(shares, labels)
    return {label: shares[label] for label in labels}


def check_prior(prior: Mapping[str, float], labels: Sequence[str]) -> None:
    """Raise UsageError unless ``prior`` has a share above 0 of each class, and they add up to 1."""
    missing, unknown = [label for label in labels if label not in prior], [name for name in prior if name not in labels]
    if missing or unknown:
        told = f"no share of {', '.join(missing)}" if missing else f"a share of {', '.join(unknown)}"
        raise UsageError(f"--prior: got {told}, expected one of each of {', '.join(labels)}")
    for label, share in prior.items():
        if not (math.isfinite(share) and share > 0):
            raise UsageError(f"--prior: got {label}={share:g}, expected a share above 0; a class that cannot occur needs another model")
    total = sum(prior.values())
    if abs(total - 1) > _TOLERANCE:
        raise UsageError(f"--prior: the shares add up to {total:.6g}, expected 1")


def apply_prior(probabilities: ArrayLike, prior: ArrayLike, trained: ArrayLike) -> NDArray[np.float64]:
    """Return the probabilities where the classes are as common as ``prior`` says.

    ``p' = p * prior / trained``, scaled to add up to 1 (Saerens, Latinne & Decaestecker 2002, equation 2.4): right where the frames of a
    class look alike there and in training, and only the shares differ.

    Args:
        probabilities: ``(..., K)``. prior, trained: ``(K,)``, shares above 0.
    """
    weighted = np.asarray(probabilities, dtype=np.float64) * (np.asarray(prior, dtype=np.float64) / np.asarray(trained, dtype=np.float64))
    return np.asarray(weighted / weighted.sum(axis=-1, keepdims=True))
