"""The studentised bootstrap of whole targets on the logit scale (Efron & Tibshirani 1993, ch. 12; Davison & Hinkley 1997, ch. 5).

Targets are drawn with replacement, 1999 times. Each resample gives ``t = (logit(p*) - logit(p)) / error*``, with the standard error of a
ratio by linearisation, and the quantiles of those t take the place of Student's. The seed is fixed: the same frames, the same interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.intervals.interval import Interval, no_interval

Floats = NDArray[np.float64]

RESAMPLES = 1999
SEED = 0


def bootstrap_interval(hits: Floats, counts: Floats, level: float) -> Interval:
    """Return the interval of ``hits.sum() / counts.sum()``.

    A resample in which every frame is right, or every frame wrong, counts as infinitely far away; where those reach into the tail that is
    cut off, that end is not known and there is no interval.

    Args:
        hits, counts: ``(G,)``, of each target. level: nominal coverage, in (0, 1).
    """
    size, estimate = hits.size, float(hits.sum() / counts.sum())
    if size < 2 or estimate in (0.0, 1.0):
        return no_interval(estimate, size, "fewer than 2 targets" if size < 2 else f"the score is {estimate:.0f}", method="bootstrap")
    from scipy.special import expit, logit

    drawn = np.random.default_rng(SEED).multinomial(size, np.full(size, 1.0 / size), RESAMPLES).astype(np.float64)
    scores = np.minimum(drawn @ hits / (drawn @ counts), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (logit(scores) - logit(estimate)) / _error(drawn, hits, counts, scores)
    beyond = (scores == 0.0) | (scores == 1.0)
    away[beyond] = np.where(scores[beyond] == 1.0, np.inf, -np.inf)
    away[np.isnan(away)] = 0.0  # as far from the score as its targets, which do not differ, from each other: not at all
    error = float(_error(np.ones((1, size)), hits, counts, np.array([estimate]))[0])
    if not error > 1e-12:
        return no_interval(estimate, size, "every target has the same score, so the variance is 0", method="bootstrap")
    low, high = np.quantile(away, [(1.0 - level) / 2, (1.0 + level) / 2], method="higher").tolist()
    if not np.isfinite([low, high]).all():
        return no_interval(estimate, size, f"too many resamples of the targets score {'1' if high == np.inf else '0'}", method="bootstrap")
    centre = float(logit(estimate))
    return Interval(estimate, float(expit(centre - high * error)), float(expit(centre - low * error)), size, method="bootstrap")


def _error(drawn: Floats, hits: Floats, counts: Floats, scores: Floats) -> Floats:
    """Return ``(B,)``, the standard error of the logit of each resample's score; ``drawn``: ``(B, G)``, how often each target is in it."""
    squares = drawn @ (hits * hits) - 2 * scores * (drawn @ (hits * counts)) + scores**2 * (drawn @ (counts * counts))
    squares[squares <= 1e-12 * (drawn @ (hits * hits))] = 0.0  # what rounding leaves where all have the same score
    variance = squares / (drawn @ counts) ** 2 * hits.size / (hits.size - 1)
    return np.asarray(np.sqrt(variance) / (scores * (1.0 - scores)), dtype=np.float64)
