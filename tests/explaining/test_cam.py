"""Grad-CAM: the textbook result, in the right place of a rectangular frame, in the memory of an inference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_nets import PlantedPlugin, Residual
from tiny_run import make_run, tiny_registry
from torch import Tensor, nn

import zoo
from zoo.errors import UsageError
from zoo.explaining import CamMap, GradCam
from zoo.explaining.fields import Axis, Field
from zoo.models import LoadedModel
from zoo.models.streaming import stream_stem

SIZE = (64, 192)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry(PlantedPlugin()):
        yield


def _loaded(folder: Path, name: str) -> LoadedModel:
    return zoo.load(make_run(folder, model_name=name, shape=(1, *SIZE)))


def _residual(folder: Path) -> LoadedModel:
    return LoadedModel(**{**vars(_loaded(folder, "bright")), "model": Residual().eval()})


def _spot(row: float, column: float, radius: float = 5) -> Tensor:
    """A black frame with a bright disc."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    return (((y - row) ** 2 + (x - column) ** 2) < radius**2).float()[None, None]


def _textbook(model: nn.Module, layer: str, image: Tensor, index: int) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2, with gradients through the whole network; the score is that of two classes."""
    held: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda module, args: held.append(args[0]))
    logits = model(image)[0]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[index] - logits[1 - index], held[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * held[0]).sum(dim=1))[0].detach().numpy()


@pytest.mark.parametrize("place", [(24.5, 164.5), (37, 25), (31, 95)], ids=["upper-right", "lower-left", "middle"])
def test_peak_is_where_the_evidence_is(tmp_path: Path, place: tuple[float, float]) -> None:
    loaded = _loaded(tmp_path, "bright")
    cam = GradCam(loaded)(_spot(*place), 1)
    assert cam.values.shape == (4, 36)
    assert cam.size == SIZE
    assert cam.peak == pytest.approx(place, abs=2)  # half a step


def test_class_without_evidence_has_no_peak(tmp_path: Path) -> None:
    cam = GradCam(_loaded(tmp_path, "bright"))(_spot(31, 95), 0)  # what is bright speaks against galaxy
    assert not cam.values.any()
    assert cam.peak is None
    dark = GradCam(_loaded(tmp_path / "other", "bright"))(torch.zeros(1, 1, *SIZE), 1)
    assert dark.peak is None


def test_equals_the_textbook_for_a_network_with_shortcuts(tmp_path: Path) -> None:
    loaded = _residual(tmp_path)
    image = torch.rand(1, 1, *SIZE)
    wanted = [_textbook(loaded.model, "average", image, index) for index in (0, 1)]
    assert any(values.any() for values in wanted)
    for index in (0, 1):
        np.testing.assert_allclose(GradCam(loaded)(image, index).values, wanted[index], rtol=1e-4, atol=1e-7)


def test_score_is_the_log_odds(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, "bright")
    image = _spot(31, 95, 12)
    with torch.no_grad():
        logits = loaded.model(image)[0].double()
    assert GradCam(loaded)(image, 1).score == pytest.approx(float(logits[1] - logits[0]), rel=1e-5)


def test_nothing_before_the_map_is_kept_for_gradients(tmp_path: Path) -> None:
    loaded = _residual(tmp_path)
    cam = GradCam(loaded)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cam(torch.rand(1, 1, *SIZE), 0)
    positions = SIZE[0] * SIZE[1] // 4**2  # of the last map
    assert kept
    assert all(len(shape) < 4 or shape[2] * shape[3] <= positions for shape in kept), kept
    assert sum(len(shape) == 4 for shape in kept) <= 1, kept  # the block has maps of this size too


def test_model_stays_as_it_is_and_its_stem_is_streamed_only_where_it_may(tmp_path: Path) -> None:
    loaded = _residual(tmp_path)
    cam = GradCam(loaded)
    cam(torch.rand(1, 1, *SIZE), 0)
    assert stream_stem(cam._model, False)  # it was
    assert not stream_stem(loaded.model, False)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in loaded.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in cam._model.modules())


def test_map_is_not_streamed_away(tmp_path: Path) -> None:
    class Shallow(nn.Module):
        """Its only map of convolutions is inside what can be streamed."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.pool, self.head = nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Linear(3 * 31 * 95, 2)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.head(self.pool(self.relu(self.conv(image))).flatten(1))
            return logits

    model, image = Shallow().eval(), torch.rand(1, 1, *SIZE)
    held = _loaded(tmp_path, "bright")
    loaded = LoadedModel(**{**vars(held), "model": model})
    got = GradCam(loaded)(image, 1).values
    assert got.shape == (62, 190)
    np.testing.assert_allclose(got, _textbook(model, "pool", image, 1), rtol=1e-4, atol=1e-7)


def test_network_without_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no map of convolutions"):
        GradCam(_loaded(tmp_path, "level"))
    with pytest.raises(UsageError, match=r"expected one frame of shape \(1, 1, 64, 192\)"):
        GradCam(_loaded(tmp_path / "other", "bright"))(torch.zeros(1, 1, 192, 64), 0)


def test_map_is_linear_between_the_centres_of_its_cells() -> None:
    values = np.array([[0.0, 2.0, 4.0], [1.0, 3.0, 9.0]])
    cam = CamMap(values, Field(Axis(10, 20, 5), Axis(8, 4, 5)), (60, 40), 0.0)
    at = cam.at(np.array([10.0, 20.0, 30.0]), np.array([8.0, 11.0, 16.0]))
    np.testing.assert_allclose(at, [[0, 1.5, 4], [0.5, 2.0, 6.5], [1, 2.5, 9]])
    # Half a step outside as at the border, one step outside the half of it, two steps outside nothing.
    np.testing.assert_allclose(
        cam.at(np.array([40.0, 50.0, 70.0]), np.array([16.0, 18.0, 20.0, 24.0])), np.outer([9, 4.5, 0], [1, 1, 0.5, 0])
    )
    assert cam.peak == (30, 16)
    single = CamMap(np.array([[2.0]]), Field(Axis(3, 8, 8), Axis(3, 8, 8)), (8, 8), 0.0)
    np.testing.assert_allclose(single.at(np.array([0.0, 7.0]), np.array([4.0])), [[2.0], [2.0]])
