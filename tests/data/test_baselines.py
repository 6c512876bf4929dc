"""The baselines: each sees what it should and nothing else, its features mean what they say, and it survives JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.data import Baselines, DataSet, Manifest, Row, fit_baselines
from zoo.data.baselines import NAMES
from zoo.data.features import NUMBERS, STATISTICS, measure, pixel_statistics, sky_and_noise
from zoo.errors import DataError, FrameError
from zoo.frames import Frame

NOISE, SKY = 4.0, 100.0


def noise(seed: int, height: int = 64, width: int = 128) -> Tensor:
    return SKY + NOISE * torch.randn(height, width, generator=torch.Generator().manual_seed(seed))


def stars(seed: int, count: int, height: int = 64, width: int = 128) -> Tensor:
    image = noise(seed, height, width)
    random = torch.Generator().manual_seed(seed + 10_000)
    y = torch.randint(4, height - 4, (count,), generator=random)
    x = torch.randint(4, width - 4, (count,), generator=random)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            image[y + dy, x + dx] += 400.0 / (1 + 2 * (dy * dy + dx * dx))
    return image


def blob(seed: int, radius: float = 12.0, height: int = 64, width: int = 128) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) - height / 2 + 0.5, torch.arange(width) - width / 2 + 0.5, indexing="ij")
    return noise(seed, height, width) + 300 * torch.exp(-0.5 * (x * x + y * y) / radius**2)


def statistics(image: Tensor) -> dict[str, float]:
    return dict(zip(STATISTICS, pixel_statistics(image, *sky_and_noise(image)).tolist(), strict=True))


def sky(kind: str, frames: int = 40) -> DataSet:
    """Frames whose class shows in the pixels (``pixels``), the filter (``filter``) or nowhere (``none``)."""
    rows = []
    for i in range(frames):
        label = ("galaxy", "NSC")[i % 2]
        shown = ("F606W", "F814W")[i % 2 if kind == "filter" else (i // 2) % 2]
        rows.append(
            Row(path=str(i), hdu=1, label=label, target=f"{label}{i // 4}", filter=shown, instrument="ACS/WFC", exptime=100.0, ra=10.0)
        )

    def opener(row: Row) -> Frame:
        seed = int(row.path)
        image = stars(seed, 30) if kind == "pixels" and seed % 2 else blob(seed) if kind == "pixels" else noise(seed)
        return Frame(image[None], None)

    return DataSet("sky", Manifest(tuple(rows), Path()), [], open=opener)


def test_sky_and_noise_ignore_light_and_nan() -> None:
    image = stars(1, 40, 256, 256)
    image[:20] = math.nan
    level, spread = sky_and_noise(image)
    assert level == pytest.approx(SKY, abs=0.1)
    assert spread == pytest.approx(NOISE, rel=0.02)
    assert all(math.isnan(value) for value in sky_and_noise(torch.full((8, 8), math.nan)))


def test_statistics_order_known_scenes() -> None:
    empty, clustered, galaxy = (statistics(image) for image in (noise(0), stars(0, 60), blob(0)))
    assert empty["sky"] == pytest.approx(math.asinh(SKY), abs=0.01)
    assert empty["noise"] == pytest.approx(math.log10(NOISE), abs=0.02)
    assert 10 ** clustered["star_count"] - 1 == pytest.approx(60 * 1e6 / (64 * 128), rel=0.15)
    assert galaxy["star_count"] < clustered["star_count"]
    assert clustered["gini"] > empty["gini"]
    assert galaxy["filled_fraction"] > clustered["filled_fraction"] > empty["filled_fraction"]
    assert galaxy["asymmetry"] < clustered["asymmetry"]
    assert galaxy["clumpiness"] < clustered["clumpiness"]
    assert clustered["skewness"] > empty["skewness"]


def test_statistics_gini_has_its_closed_form() -> None:
    # Half of the 2 x 2 blocks hold all light: G = (n / 2) / (n - 1).
    image = torch.zeros(16, 16)
    image[:, 8:] = 7.0
    assert dict(zip(STATISTICS, pixel_statistics(image, 0.0, 1.0), strict=True))["gini"] == pytest.approx(32 / 63)


def test_statistics_concentration_of_a_gaussian() -> None:
    # r_q = sigma sqrt(-2 ln(1 - q)), so C = 2.5 log10(ln 5 / ln 1.25), whatever the width.
    image = blob(0, 14.0, 256, 256) - noise(0, 256, 256)
    measured = dict(zip(STATISTICS, pixel_statistics(image, 0.0, 0.001), strict=True))
    assert measured["concentration"] == pytest.approx(2.5 * math.log10(math.log(5) / math.log(1.25)), abs=0.1)
    assert measured["asymmetry"] < 1e-3


@pytest.mark.parametrize("image", [torch.full((32, 32), math.nan), torch.zeros(32, 32), torch.zeros(2, 2), torch.full((32, 32), -5.0)])
def test_statistics_of_empty_frames_are_nan_not_errors(image: Tensor) -> None:
    values = pixel_statistics(image, *sky_and_noise(image))
    assert values.shape == (len(STATISTICS),)
    assert not np.isinf(values).any()
    assert np.isnan(values).any()


def test_measure_sees_bias_exposure_time_and_position() -> None:
    data = sky("none", 2)
    features = measure(data, [replace(data.manifest.rows[0], ra=90.0, dec=-30.0)])
    numbers = dict(zip(NUMBERS, features.numbers[0], strict=True))
    assert numbers["log10_exptime"] == 2
    assert (numbers["dec"], numbers["sin_ra"]) == (-30, 1)
    assert math.isnan(numbers["bias"])
    assert features.categories[0] == ("ACS/WFC", "", "F606W", "", "1", "64x128")
    assert features.thumbnails.shape == (1, 256)


def test_measure_reduces_large_frames() -> None:
    image = torch.nn.functional.interpolate(blob(0)[None, None], scale_factor=12)[0]
    data = DataSet("sky", sky("none", 2).manifest, [], open=lambda row: Frame(image, None))
    whole = statistics(torch.nn.functional.avg_pool2d(image, 2)[0])
    np.testing.assert_allclose(measure(data, data.select("all")).statistics[0], list(whole.values()))


@pytest.mark.parametrize(
    ("kind", "able", "unable"),
    [
        ("pixels", {"thumbnail", "statistics"}, {"metadata"}),
        ("filter", {"metadata"}, {"thumbnail", "statistics"}),
        ("none", set(), set(NAMES)),
    ],
)
def test_baselines_see_what_they_should(kind: str, able: set[str], unable: set[str]) -> None:
    data = sky(kind)
    rows = data.select("all")
    scores = fit_baselines(data, rows[:24]).score(data, rows[24:])
    assert all(scores[name]["accuracy"] >= 0.9 for name in able)
    assert all(scores[name]["accuracy"] <= 0.75 for name in unable)


def test_baselines_score_counts_each_class_alike() -> None:
    data = sky("filter")
    rows = data.select("all")
    fitted = fit_baselines(data, rows[:24])
    wrong = replace(rows[24], filter=rows[25].filter)
    score = fitted.score(data, [wrong, *rows[25::2]])["metadata"]
    assert score["balanced_accuracy"] == 0.5
    assert score["accuracy"] == pytest.approx(8 / 9)
    only = fitted.score(data, [rows[24]])["metadata"]
    assert only == {"accuracy": 1.0, "balanced_accuracy": 1.0}


def test_baselines_take_unknown_categories_as_none() -> None:
    data = sky("filter")
    fitted = fit_baselines(data, data.select("all")[:24])
    chance = fitted.predict(data, [replace(data.manifest.rows[0], filter="F999X", exptime=math.nan)])["metadata"]
    assert 0.2 < chance[0, 0] < 0.8


def test_baselines_do_not_depend_on_threads_and_survive_json() -> None:
    data = sky("pixels", 16)
    one, other = (fit_baselines(data, data.select("all"), workers=workers) for workers in (1, 3))
    assert one.to_dict() == other.to_dict()
    again = Baselines.from_dict(json.loads(json.dumps(one.to_dict())))
    for name, chance in one.predict(data, data.select("all")).items():
        np.testing.assert_array_equal(again.predict(data, data.select("all"))[name], chance)


def test_baselines_refuse_foreign_json() -> None:
    data = sky("none", 8)
    stored = fit_baselines(data, data.select("all")).to_dict()
    with pytest.raises(DataError, match="schema 99, expected 1"):
        Baselines.from_dict({**stored, "schema": 99})
    with pytest.raises(DataError, match="incomplete baselines"):
        Baselines.from_dict({**stored, "models": {}})


def test_baselines_name_a_frame_that_cannot_be_read() -> None:
    def opener(row: Row) -> Frame:
        raise FrameError("truncated", path=row.path, got="1 byte", expected="2")

    data = DataSet("sky", Manifest((Row(path="x.fits", label="NSC", target="M5"),), Path("/d")), [], open=opener)
    with pytest.raises(DataError, match=r"/d/x\.fits: cannot be measured: .*truncated"):
        fit_baselines(data, data.select("all"))
    with pytest.raises(DataError, match="got no frames to measure"):
        fit_baselines(data, ())
    with pytest.raises(DataError, match="got label 'star'"):
        fit_baselines(data, [Row(label="star")])


def test_baselines_report_progress() -> None:
    data = sky("none", 8)
    steps: list[int] = []
    fit_baselines(data, data.select("all"), progress=steps.append)
    assert steps == [1] * 8
