"""The way of a frame on the real path, throughput, layers and simulated files: in this process, on small frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.costs.subject import make_subject
from zoo.errors import DataError, UsageError
from zoo.profiling import PathProfile, Throughput, sampling, work
from zoo.profiling.figures import PARTS, find_knee
from zoo.profiling.samples import parse_batches
from zoo.profiling.sky import write_frames
from zoo.profiling.waterfall import Pass, measure_path, summarise
from zoo.registry import Registry

CPU = torch.device("cpu")


def tell(event: str, **facts: Any) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.models.LoadedModel]:
    """A run whose model looks at the mean level."""
    with tiny_registry():
        steps = ("overscan", "normalize:limits=manual,lower=0,upper=2000,stretch=linear")
        yield zoo.load(make_run(tmp_path_factory.mktemp("run"), steps=steps))


def test_every_part_of_the_real_path_is_seen_and_nothing_else_matters(loaded: zoo.models.LoadedModel) -> None:
    job = {"frames": "", "precision": "fp32", "budget_s": 0.5}
    path = PathProfile(**measure_path(loaded, job, CPU, lambda: None))
    assert (path.status, path.source, path.frames_per_file) == ("measured", "simulated", 1.0)
    assert set(path.parts_s) == set(PARTS)
    assert all(path.parts_s[part] > 0 for part in PARTS)
    assert path.whole_s is not None
    assert path.uncovered_s is not None
    assert sum(path.parts_s.values()) + path.uncovered_s == pytest.approx(path.whole_s)
    assert abs(len(path.samples_s) - path.watched) <= 1


def test_files_of_the_user_are_followed_and_refused_ones_left_out(loaded: zoo.models.LoadedModel, tmp_path: Path) -> None:
    write_frame(tmp_path / "good.fits", 750.0)
    (tmp_path / "bad.fits").write_bytes(b"no FITS")
    job = {"frames": str(tmp_path), "precision": "fp32", "budget_s": 0.3}
    found = measure_path(loaded, job, CPU, lambda: None)
    assert (found["source"], found["refused"]) == (str(tmp_path), 1)
    (tmp_path / "good.fits").unlink()
    with pytest.raises(DataError, match=r"none of the files could be classified: .*not-fits"):
        measure_path(loaded, job, CPU, lambda: None)


def test_figures_are_per_frame_and_add_up_over_the_middle_passes() -> None:
    def watched(whole_s: float) -> Pass:
        return Pass(whole_s, 2, {"read": 0.25 * whole_s, "model": 0.5 * whole_s}, 0.25 * whole_s)

    passes = [Pass(9.0, 2), *[watched(seconds) for seconds in (1.0, 2.0, 2.0, 100.0)], Pass(4.0, 2), Pass(6.0, 2)]
    path = summarise(passes)
    assert path.whole_s == 1.0
    assert (path.parts_s["read"], path.parts_s["model"], path.parts_s["gate"]) == (0.25, 0.5, 0.0)
    assert path.samples_s == (2.0, 3.0)  # the first pass warmed up
    assert (path.covered, path.adds_up, path.uncovered_s) == (0.75, False, 0.25)


def test_simulated_files_are_read_as_what_they_are(tmp_path: Path) -> None:
    (path,) = write_frames(tmp_path, (32, 64), 1)
    (frame,) = zoo.read_frames(path)
    pixels = fits.getdata(path)
    assert frame.shape == (1, 32, 64)
    assert np.array_equal(frame.decode()[0].numpy(), pixels)
    assert 1000 < np.median(pixels) < 1400


@pytest.mark.full_size
def test_simulated_full_frames_are_raw_chips(tmp_path: Path) -> None:
    (path,) = write_frames(tmp_path, (2048, 4096), 1)
    (frame,) = zoo.read_frames(path)
    assert (frame.info.product, frame.info.instrument, frame.raw_shape) == ("raw", "ACS/WFC", (2068, 4144))
    assert frame.layout is not None
    with fits.open(path) as file:
        file.verify("exception")


JOB: dict[str, Any] = {
    "run": "", "name": "quiet", "options": {}, "input_shape": [1, 16, 32], "batch": 2, "precision": "fp32", "threads": None,
    "device": "cpu", "plain": False, "bound_bytes": 0, "macs": 0, "limit_s": 60.0, "budget_s": 0.4, "mode": "infer",
    "modes": ["infer", "train"],
}  # fmt: skip


def test_throughput_counts_frames(odd_nets: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WINDOW_S", 0.05)
    found = work.measure_throughput(dict(JOB), tell)
    assert found["status"] == "measured"
    assert len(found["windows"]) >= 1
    assert min(found["windows"]) > 0
    assert found["peak_bytes"] <= found["host_peak_bytes"]


def test_layers_stand_in_order_with_what_they_cost(odd_nets: Registry) -> None:
    found = work.measure_layers(dict(JOB), tell)
    first, second, head, between = found["layers"]
    assert [row["name"] for row in found["layers"]] == ["first", "second", "head", ""]
    assert (first["macs"], second["macs"], head["macs"]) == (16 * 32 * 9 * 16, 16 * 32 * 9 * 16 * 16, 16 * 2)
    assert (first["output_shape"], first["output_bytes"]) == ((16, 16, 32), 4 * 16 * 16 * 32)
    assert between["saved_bytes"] == 2 * 2 * 4 * 16 * 16 * 32  # both ReLUs are functions; of both frames
    assert head["saved_bytes"] == 2 * 4 * 16
    assert all(row["time_s"] >= 0 and row["runs"] >= 1 for row in (first, second, head, between))


def test_layers_in_bf16_are_half_as_large(odd_nets: Registry) -> None:
    found = work.measure_layers({**JOB, "precision": "bf16", "modes": ["train"]}, tell)
    assert found["layers"][0]["output_bytes"] == 2 * 16 * 16 * 32
    assert "time_s" not in found["layers"][0]


def test_a_model_is_left_as_it_was_by_looking_at_its_layers(odd_nets: Registry) -> None:
    subject = make_subject(JOB, weights=True)
    subject.model.train()
    work.describe_layers(subject, JOB, saved=True)
    assert subject.model.training
    assert not any(module._forward_hooks for module in subject.model.modules())


def test_knee_is_the_smallest_batch_with_95_percent_of_the_best() -> None:
    points = [Throughput("infer", batch, windows=(rate,) * 3) for batch, rate in ((1, 50.0), (2, 94.9), (4, 95.1), (8, 100.0), (16, 90.0))]
    assert find_knee(points) == 4
    assert find_knee(points[:1]) is None


@pytest.mark.parametrize(("windows", "cut"), [((9.0,), "held 1 of the 3"), ((9.0, 10.0, 11.0), "vary by 10.0 %"), ((9.9, 10.0, 10.1), "")])
def test_windows_that_do_not_agree_are_named(windows: tuple[float, ...], cut: str) -> None:
    point = Throughput("infer", 1, windows=windows)
    assert point.frames_per_s == pytest.approx(10.0 if len(windows) > 1 else 9.0)
    assert cut in point.cut
    assert bool(point.cut) == bool(cut)


@pytest.mark.parametrize(("text", "batches"), [("1", (1,)), (8, (8,)), ("1:16", (1, 2, 4, 8, 16)), ("3:10", (3, 6, 10)), ("4:4", (4,))])
def test_batches(text: str | int, batches: tuple[int, ...]) -> None:
    assert parse_batches(text) == batches


@pytest.mark.parametrize("text", ["0", "1:", "8:1", "a", "1:2:3", "1.5"])
def test_bad_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a range such as 1:16"):
        parse_batches(text)


def test_frames_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        zoo.profile("resnet18", frames="nowhere.fits")
