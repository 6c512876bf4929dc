"""Class shares: what is read, refused and made of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.calibration import apply_prior, check_prior, parse_prior
from zoo.errors import UsageError

LABELS = ("galaxy", "NSC")


def test_shares_are_read_in_any_order_and_case() -> None:
    assert parse_prior("nsc=0.05, galaxy=0.95", LABELS) == {"galaxy": 0.95, "NSC": 0.05}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("galaxy=0.5,star=0.5", "got class 'star', expected a share of each of galaxy, NSC"),
        ("galaxy", "got 'galaxy'"),
        ("galaxy=1", "no share of NSC"),
        ("galaxy=0.5,NSC=half", "expected a number"),
        ("galaxy=0.5,NSC=0.4", "add up to 0.9"),
        ("galaxy=1.5,NSC=-0.5", "NSC=-0.5, expected a share above 0"),
        ("galaxy=1,NSC=0", "a share above 0"),
        ("galaxy=nan,NSC=0.5", "a share above 0"),
        ("galaxy=0.5,galaxy=0.5", "given twice"),
    ],
)
def test_other_texts_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prior(text, LABELS)
    with pytest.raises(UsageError, match="a share of star"):
        check_prior({"galaxy": 0.5, "NSC": 0.3, "star": 0.2}, LABELS)


def test_probabilities_follow_bayes() -> None:
    found = apply_prior([[0.5, 0.5], [0.9, 0.1]], [0.95, 0.05], [0.5, 0.5])
    assert found == pytest.approx(np.array([[0.95, 0.05], [0.855 / 0.86, 0.005 / 0.86]]))
    assert apply_prior([0.3, 0.7], [0.2, 0.8], [0.2, 0.8]) == pytest.approx([0.3, 0.7])


def test_the_posterior_of_gaussians_at_other_shares_is_the_true_one() -> None:
    x = np.linspace(-3, 3, 13)
    likelihood = np.exp(-0.5 * (x[:, None] - [-1.0, 1.0]) ** 2)

    def posterior(shares: list[float]) -> np.ndarray:
        joint = likelihood * shares
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    assert apply_prior(posterior([0.6, 0.4]), [0.1, 0.9], [0.6, 0.4]) == pytest.approx(posterior([0.1, 0.9]))
