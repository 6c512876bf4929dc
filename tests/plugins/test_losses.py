"""The loss that training uses by default."""

from __future__ import annotations

import pytest
import torch

from zoo.registry import Registry


def test_cross_entropy_is_the_mean_negative_log_probability() -> None:
    loss = Registry.from_plugins([]).build("losses", "cross_entropy", class_weights=None)
    logits, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    expected = -logits.softmax(1)[torch.arange(5), labels].log().mean()
    torch.testing.assert_close(loss(logits, labels), expected)


def test_cross_entropy_divides_by_the_sum_of_weights() -> None:
    weights = torch.tensor([1.0, 3.0])
    loss = Registry.from_plugins([]).build("losses", "cross_entropy", class_weights=weights)
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.5]]), torch.tensor([0, 1, 0])
    each = -logits.log_softmax(1)[torch.arange(3), labels]
    assert loss(logits, labels).item() == pytest.approx(((each * weights[labels]).sum() / weights[labels].sum()).item())
