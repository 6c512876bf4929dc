"""The losses against hand calculation and torch: cross-entropy with smoothed labels, focal loss, class weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import UsageError
from zoo.registry import Registry

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0])
WEIGHTS = torch.tensor([1.0, 3.0], dtype=torch.float64)


def build(name: str, weights: Tensor | None = None, **options: float) -> Callable[[Tensor, Tensor], Tensor]:
    loss: Callable[[Tensor, Tensor], Tensor] = Registry.from_plugins([]).build("losses", name, options=options, class_weights=weights)
    return loss


def probabilities() -> list[float]:
    """Of the true class of each frame, by hand."""
    return [1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(0.5))]


def test_cross_entropy_is_the_mean_negative_log_probability() -> None:
    assert build("cross_entropy")(LOGITS, LABELS).item() == pytest.approx(-sum(map(math.log, probabilities())) / 3, rel=1e-12)


def test_cross_entropy_divides_by_the_sum_of_weights() -> None:
    by_hand = sum(-w * math.log(p) for w, p in zip((1, 3, 1), probabilities(), strict=True)) / 5
    assert build("cross_entropy", WEIGHTS)(LOGITS, LABELS).item() == pytest.approx(by_hand, rel=1e-12)


def test_cross_entropy_spreads_smoothed_labels_over_all_classes() -> None:
    """A share of 0.1 gives the true class 0.95 and the other one 0.05."""
    by_hand = sum(-0.95 * math.log(p) - 0.05 * math.log(1 - p) for p in probabilities()) / 3
    assert build("cross_entropy", label_smoothing=0.1)(LOGITS, LABELS).item() == pytest.approx(by_hand, rel=1e-12)


def test_cross_entropy_weighs_smoothed_labels_by_class() -> None:
    pairs = [(1 - p, p) if label else (p, 1 - p) for p, label in zip(probabilities(), LABELS.tolist(), strict=True)]
    by_hand = 0.0
    for (first, second), label in zip(pairs, LABELS.tolist(), strict=True):
        share = (0.05, 0.95) if label else (0.95, 0.05)
        by_hand -= 1.0 * share[0] * math.log(first) + 3.0 * share[1] * math.log(second)
    loss = build("cross_entropy", WEIGHTS, label_smoothing=0.1)(LOGITS, LABELS)
    assert loss.item() == pytest.approx(by_hand / 5, rel=1e-12)
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, LABELS, weight=WEIGHTS, label_smoothing=0.1))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_is_the_formula_of_the_paper(gamma: float) -> None:
    terms = [-((1 - p) ** gamma) * math.log(p) for p in probabilities()]
    assert build("focal", gamma=gamma)(LOGITS, LABELS).item() == pytest.approx(sum(terms) / 3, rel=1e-12)
    weighted = (terms[0] + 3 * terms[1] + terms[2]) / 5
    assert build("focal", WEIGHTS, gamma=gamma)(LOGITS, LABELS).item() == pytest.approx(weighted, rel=1e-12)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.2, 3.0])], ids=["plain", "weighted"])
def test_focal_without_gamma_is_cross_entropy(weights: Tensor | None) -> None:
    logits, labels = (torch.randn(7, 3) * 5).requires_grad_(), torch.tensor([0, 1, 2, 1, 0, 2, 2])
    twin = logits.detach().clone().requires_grad_()
    focal, plain = build("focal", weights, gamma=0.0)(logits, labels), F.cross_entropy(twin, labels, weight=weights)
    torch.testing.assert_close(focal, plain)
    focal.backward()
    plain.backward()
    torch.testing.assert_close(logits.grad, twin.grad)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_the_gradient_of_the_formula_and_stays_finite(gamma: float) -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda x: build("focal", gamma=gamma)(x, labels), (logits,))
    sure = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)  # right and wrong beyond float32's reach
    loss = build("focal", gamma=gamma)(sure, torch.tensor([0, 0]))
    loss.backward()
    assert sure.grad is not None
    assert loss.item() == pytest.approx(200.0)
    assert sure.grad[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(sure.grad).all()


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_losses_pass_nan_on(name: str) -> None:
    assert math.isnan(build(name)(torch.tensor([[float("nan"), 0.0], [1.0, 0.0]]), torch.tensor([0, 1])).item())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}, "label_smoothing must be >= 0 and < 1, got 1.0"),
        ("cross_entropy", {"label_smoothing": -0.1}, "label_smoothing must be"),
        ("focal", {"gamma": -1.0}, "gamma must be >= 0, got -1.0"),
        ("focal", {"gamma": float("inf")}, "gamma must be"),
    ],
)
def test_losses_refuse_options_out_of_range(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, **options)
