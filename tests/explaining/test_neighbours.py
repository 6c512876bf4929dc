"""Nearest frames in feature space, of another class and of the same one, against all pairs by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.explaining.neighbours import FeatureTap, find_neighbours, mean_features
from zoo.explaining.structure import follow, last_layer


def test_neighbours_by_hand() -> None:
    features = np.array([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [10.0, 5.0], [0.1, 5.0]])  # the second feature is constant
    found = find_neighbours(features, ["a", "a", "b", "b", "a"], ["T1", "T2", "T3", "T4", "T1"])
    assert found.other.tolist() == [2, 2, 1, 1, 2]
    assert found.same.tolist() == [1, 4, 3, 2, 1]  # 4 is nearer to 0 but of its own target
    spread = features[:, 0].std()
    np.testing.assert_allclose(found.to_other, np.array([3, 2, 2, 9, 2.9]) / spread)
    np.testing.assert_allclose(found.ratio, [3 / 1, 2 / 0.9, 2 / 7, 9 / 7, 2.9 / 0.9])


def test_neighbours_equal_all_pairs_whatever_the_scale_of_the_features() -> None:
    random = np.random.default_rng(3)
    features = (random.normal(size=(600, 7)) * 10.0 ** random.integers(-4, 5, 7) + 100).astype(np.float32)  # two blocks
    labels, targets = random.choice(list("ab"), 600), random.choice([f"T{number}" for number in range(9)], 600)
    found = find_neighbours(features, labels.tolist(), targets.tolist())
    scaled = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)) / features.astype(np.float64).std(axis=0)
    for place in (0, 17, 511, 512, 599):
        distances = np.sqrt(((scaled - scaled[place]) ** 2).mean(axis=1))
        distances[targets == targets[place]] = np.inf
        for got, far, allowed in (
            (found.other, found.to_other, labels != labels[place]),
            (found.same, found.to_same, labels == labels[place]),
        ):
            masked = np.where(allowed, distances, np.inf)
            assert got[place] == masked.argmin()
            assert far[place] == pytest.approx(masked.min(), rel=1e-9)


def test_frames_without_a_neighbour_have_none() -> None:
    features = np.array([[0.0], [1.0], [np.nan], [4.0]])
    found = find_neighbours(features, ["a", "a", "b", "a"], ["T1", "T1", "T2", "T3"])
    assert found.other.tolist() == [-1] * 4  # the only frame of the other class has no features
    assert found.same.tolist() == [3, 3, -1, 1]
    assert np.isnan(found.ratio).all()
    nothing = find_neighbours(np.zeros((3, 0)), ["a", "b", "a"], ["1", "2", "3"])
    assert nothing.same.tolist() == [-1] * 3


def test_tap_takes_what_the_last_layer_takes_and_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 5), nn.Tanh(), nn.Linear(5, 2)).eval()
    layer = last_layer(follow(model, (1, 8, 8)))
    assert layer is not None
    frames = torch.rand(5, 1, 8, 8)
    with FeatureTap(model, layer) as tap, torch.inference_mode():
        model(frames[:3])
        model(frames[3:])
    with torch.no_grad():
        model(frames)  # outside the block: not taken
        np.testing.assert_allclose(tap.features(), model[:5](frames).numpy(), rtol=1e-6, atol=1e-7)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_tap_takes_the_last_call_of_a_layer_that_is_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(4, 4)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.mix(torch.relu(self.mix(image.flatten(1))))
            return logits

    model, frames = Twice().eval(), torch.rand(3, 1, 2, 2)
    layer = last_layer(follow(model, (1, 2, 2)))
    assert layer is not None
    assert layer.call == 1
    with FeatureTap(model, layer) as tap, torch.no_grad():
        model(frames)
        np.testing.assert_allclose(tap.features(), torch.relu(model.mix(frames.flatten(1))).numpy(), rtol=1e-6)


def test_features_of_maps_and_of_tokens_are_means_over_positions() -> None:
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    torch.testing.assert_close(mean_features(maps, linear=False), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(mean_features(maps, linear=True), maps.mean(dim=(1, 2)))
