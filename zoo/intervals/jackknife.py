"""The delete-one-target jackknife on the logit scale.

With ``theta = logit(score)`` and ``theta_g`` the same without target ``g`` of G, the variance is ``(G - 1) / G * sum((theta_g - mean)**2)``
(Efron & Stein 1981; Efron & Tibshirani 1993, ch. 11), and the ends are transformed back, so that they stay in (0, 1).

Where some targets have many more frames than others, that variance rests on few of them, and Student's t with G - 1 degrees of freedom
is too narrow. The degrees are therefore those of Satterthwaite (Biometrics Bulletin 2, 110, 1946), as Bell & McCaffrey (Survey Methodology
28, 169, 2002) have them for their estimator: the variance is a quadratic form of the targets' scores, and the multiple of chi-square with
the same first two moments stands in for it, where targets scatter alike and the frames of one go together. With equal targets: G - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.intervals.interval import Interval, no_interval

Floats = NDArray[np.float64]


def without_each(hits: Floats, counts: Floats) -> Floats:
    """Return ``(G,)``: the accuracy without each target, NaN where nothing is left."""
    out = np.full(hits.size, np.nan)
    rest = counts.sum() - counts
    np.divide(hits.sum() - hits, rest, out=out, where=rest > 0)
    return out


def degrees_of_freedom(weights: Floats) -> float:
    """Return the degrees of freedom of the jackknife's variance, from 1 to G - 1.

    Args:
        weights: ``(G,)``, how much each of G >= 2 targets counts, such as its frames; > 0, of any sum.
    """
    # The deviations of the theta_g from their mean are C D (I - 1 w') y: scores y, shares w, D the diagonal of d = w / (1 - w), C takes
    # the mean off. With B = D (I - 1 w') (I - w 1') D = diag(d**2) + d v' - u d' the degrees are tr(C B)**2 / tr(C B C B).
    w = weights / weights.sum()
    d = w / (1.0 - w)
    u = w * d
    v = float(w @ w) * d - u
    square, size = d * d, weights.size
    sums = square + d * float(v.sum()) - u * float(d.sum())  # of the rows of B
    trace = float(square.sum() + d @ v - u @ d) - float(sums.sum()) / size
    norm = float(square @ square + 2 * (square @ (d * v - u * d)) + (d @ v) ** 2 - 2 * (d @ d) * (u @ v) + (d @ u) ** 2)
    return trace**2 / (norm - 2 * float(sums @ sums) / size + (float(sums.sum()) / size) ** 2)


def spread(without: Floats, weights: Floats) -> tuple[float, float]:
    """Return the standard error on the logit scale and its degrees of freedom, from the ``(G,)`` delete-one scores."""
    from scipy.special import logit

    theta, count = logit(without), without.size
    variance = (count - 1) / count * float(np.sum((theta - theta.mean()) ** 2))
    return variance**0.5, degrees_of_freedom(weights)


def logit_interval(estimate: float, without: Floats, weights: Floats, names: Sequence[str], level: float) -> Interval:
    """Turn the estimate and the delete-one estimates, ordered as ``names``, into an interval or the reason why there is none."""
    reason = why_degenerate(estimate, without, names)
    if reason:
        return no_interval(estimate, len(names), reason)
    from scipy.special import expit, logit, stdtrit

    error, degrees = spread(without, weights)
    half, centre = float(stdtrit(degrees, 0.5 + level / 2)) * error, float(logit(estimate))
    return Interval(estimate, float(expit(centre - half)), float(expit(centre + half)), len(names))


def why_degenerate(estimate: float, without: Floats, names: Sequence[str]) -> str:
    """Say why the jackknife gives no interval, or return an empty string."""
    if np.isnan(estimate):
        return "these frames do not define it"
    if len(names) < 2:
        return "fewer than 2 targets"
    if estimate in (0.0, 1.0):
        return f"the score is {estimate:.0f}"
    undefined = np.flatnonzero(np.isnan(without))
    if undefined.size:
        return f"not defined without target {names[undefined[0]]}"
    extreme = np.flatnonzero((without <= 0.0) | (without >= 1.0))
    if extreme.size:
        return f"without target {names[extreme[0]]} the score is {without[extreme[0]]:.0f}"
    if np.ptp(without) <= 1e-12:
        return "every target has the same score, so the jackknife variance is 0"
    return ""
