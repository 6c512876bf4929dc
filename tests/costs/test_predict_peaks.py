"""Peaks of steps that were not made, and settings that make one fit."""

from __future__ import annotations

import pytest

import zoo
from zoo.costs import Settings, find_settings, predict_peaks
from zoo.costs.fitting import Fitting
from zoo.errors import UsageError, ZooError

SHAPE = (1, 64, 128)
MIB = 1 << 20


def test_peaks_are_those_that_the_recording_gives() -> None:
    asked = [Settings(2, "fp32", "sgd"), Settings(2, "bf16", "adamw", ema=True), Settings(1, "fp32", "sgd", accumulate=2)]
    peaks = predict_peaks("resnet18", asked, input_shape=SHAPE, num_classes=5, device="cpu", threads=1)
    assert [peak.total for peak in peaks] == [sum(peak.parts.values()) for peak in peaks]
    model = zoo.create_model("resnet18", input_shape=SHAPE, num_classes=5)
    fitting = Fitting(model, SHAPE, training=True)
    assert [peak.parts["weights"] for peak in peaks] == [fitting.peak(each).parts["weights"] for each in asked]
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert peaks[2].parts["gradients"] == peaks[0].parts["weights"] - buffers  # all are there from the pass before


def test_frozen_layers_cost_less() -> None:
    asked = [Settings(1, "fp32", "sgd")]
    (whole,), (half,) = (predict_peaks("alexnet", asked, input_shape=SHAPE, freeze_until=layer) for layer in (None, "features.10"))
    assert half.parts["optimizer"] < whole.parts["optimizer"]
    assert half.total < whole.total


def test_settings_that_fit_are_found_and_their_peak_is_told() -> None:
    asked = Settings(4, "fp32", "sgd")
    (peak,) = predict_peaks("resnet18", [asked], input_shape=SHAPE)
    assert find_settings("resnet18", asked, peak.total, input_shape=SHAPE) == (asked, peak)
    found = find_settings("resnet18", asked, peak.total - 1, input_shape=SHAPE)
    assert found is not None
    assert found[0] != asked
    assert found[1].total < peak.total
    assert find_settings("resnet18", asked, MIB, input_shape=SHAPE) is None
    everything = ("precision", "batch", "stream", "checkpoint", "optimizer", "ema")
    assert find_settings("resnet18", asked, peak.total - 1, input_shape=SHAPE, fixed=everything) is None
    kept = find_settings("resnet18", asked, peak.total - 1, input_shape=SHAPE, fixed=("stream", "precision"))
    assert kept is not None
    assert (kept[0].stream, kept[0].precision) == (asked.stream, asked.precision)


@pytest.mark.parametrize(
    ("settings", "words"),
    [(Settings(0), "batch and accumulate must be >= 1"), (Settings(1, "fp16"), "precision must be one of"),
     (Settings(1, "fp32", "adam"), "optimizer must be one of")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: Settings, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        predict_peaks("resnet18", [settings])


def test_model_that_cannot_be_built_is_an_error_with_its_exit_code() -> None:
    with pytest.raises(ZooError, match="hrcn: its memory could not be computed") as caught:
        predict_peaks("hrcn", [Settings()], input_shape=SHAPE)
    assert caught.value.exit_code == 2
