"""Prediction: one row per frame in the order of the input, whatever the inputs are, in flat memory."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from tiny_run import SHAPE, STEPS, Level, make_run, tiny_registry, two_levels, write_frame
from torch import Tensor

import zoo
from zoo.errors import DataError, MemoryLimitError, StorageError, UsageError
from zoo.evaluation.inference import Classifier, ordered
from zoo.prediction import Prediction, check_inputs, columns, expand, predict
from zoo.registry import Registry, use_registry


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_every_input_gives_one_row_in_order(run: Path, tmp_path: Path) -> None:
    dark = write_frame(tmp_path / "in" / "b_dark.fits", 0.25)
    bright = write_frame(tmp_path / "in" / "a_bright.fits", 0.75)
    bad = tmp_path / "in" / "c_bad.fits"
    bad.write_bytes(b"no FITS at all")
    gone = tmp_path / "in" / "gone.fits"
    rows = list(predict(run, [dark, bad, gone, bright, dark], batch_size=2))
    assert [row.path for row in rows] == [str(p) for p in (dark, bad, gone, bright, dark)]
    assert [row.status for row in rows] == ["ok", "refused", "refused", "ok", "ok"]
    assert [row.code for row in rows] == ["", "not-fits", "missing", "", ""]
    assert [row.predicted for row in rows] == ["galaxy", "", "", "NSC", "galaxy"]
    chance = 1 / (1 + math.exp(-2 * 8 * 0.25))
    assert rows[0].probabilities == pytest.approx({"galaxy": chance, "NSC": 1 - chance}, abs=1e-6)
    assert rows[0].probability == rows[0].probabilities["galaxy"]
    assert math.isnan(rows[1].probability)
    assert str(bad) in rows[1].message


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 1), (7, 2), (64, 4)])
def test_batches_and_threads_change_nothing(run: Path, tmp_path: Path, batch_size: int, workers: int) -> None:
    files = [write_frame(tmp_path / "in" / f"{i:02d}.fits", i / 16) for i in range(17)]
    (tmp_path / "in" / "08.fits").write_bytes(b"")
    rows = list(predict(run, files, batch_size=batch_size, workers=workers))
    assert [row.path for row in rows] == [str(file) for file in files]
    assert [row.predicted for row in rows] == ["galaxy"] * 8 + [""] + ["NSC"] * 8


def test_folders_are_searched_and_globs_expanded(run: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    names = ["a.fits", "sub/b.FIT", "sub/deep/c.fits.gz", "d.fz", "e.txt", "sub/.hidden.fits", "fits", "x[1].fits"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    found = [Path(item).relative_to(root).as_posix() for item in expand([root]) if isinstance(item, Path)]
    assert found == ["a.fits", "d.fz", "x[1].fits", "sub/b.FIT", "sub/deep/c.fits.gz"]
    assert [Path(item).name for item in expand([f"{root}/**/*.f*s"]) if isinstance(item, Path)] == ["a.fits", "x[1].fits"]
    assert list(expand([f"{root}/x[1].fits", f"{root}/[x]*"])) == [root / "x[1].fits"] * 2
    assert [Path(item).name for item in expand([f"{root}/s*"]) if isinstance(item, Path)] == ["b.FIT", "c.fits.gz"]


def test_inputs_that_mean_no_file_are_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rows = list(predict(run, [tmp_path / "empty", f"{tmp_path}/no*.fits"]))
    assert [(row.status, row.code) for row in rows] == [("refused", "no-frames")] * 2
    with pytest.raises(DataError, match=r"folder without FITS files.*\*\.fits"):
        check_inputs([tmp_path / "empty"])
    with pytest.raises(DataError, match="no file matches"):
        check_inputs([f"{tmp_path}/no*.fits"])
    check_inputs([tmp_path / "gone.fits"])


def test_two_chips_are_two_rows_and_hdu_picks_one(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "jtest01q_flt.fits"
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "ACS", "DETECTOR": "WFC", "FILTER1": "F606W", "FILTER2": "CLEAR2L", "NEXTEND": 4})
    chips = [fits.ImageHDU(two_levels(level), name="SCI") for level in (0.1, 0.9)]
    error = fits.ImageHDU(np.zeros((32, 64), dtype=np.float32), name="ERR")
    fits.HDUList([primary, chips[0], error, error.copy(), chips[1]]).writeto(path)
    rows = list(predict(run, [path], allow_product=True))
    assert [(row.hdu, row.predicted, row.product, row.instrument, row.filter) for row in rows] == [
        (1, "galaxy", "flt", "ACS/WFC", "F606W"),
        (4, "NSC", "flt", "ACS/WFC", "F606W"),
    ]
    assert [row.hdu for row in predict(run, [path], hdu=4, allow_product=True)] == [4]
    (refused,) = predict(run, [path], hdu=9)
    assert (refused.code, refused.hdu) == ("bad-hdu", 9)
    assert [row.code for row in predict(run, [path])] == ["other-product"] * 2


@pytest.mark.parametrize(("value", "code"), [(0.7, "no-contrast"), (float("nan"), "few-valid"), (0.0, "no-contrast")])
def test_frames_with_nothing_in_them_are_refused(run: Path, tmp_path: Path, value: float, code: str) -> None:
    path = tmp_path / "flat.fits"
    fits.PrimaryHDU(np.full((32, 64), value, dtype=np.float32)).writeto(path)
    (row,) = predict(run, [path])
    assert (row.status, row.code, row.predicted) == ("refused", code, "")


def test_frames_of_other_sizes_are_fitted_and_marked(run: Path, tmp_path: Path) -> None:
    sizes = {"same": (32, 64), "large": (128, 128), "small": (20, 30), "tall": (64, 16)}
    rows = [next(predict(run, [write_frame(tmp_path / f"{name}.fits", 0.75, size)])) for name, size in sizes.items()]
    assert [row.status for row in rows] == ["ok"] * 4
    assert [row.adapted for row in rows] == [False, True, True, True]
    assert [(row.height, row.width) for row in rows] == list(sizes.values())
    assert {row.predicted for row in rows} == {"NSC"}


@pytest.mark.parametrize(
    ("geometry", "codes"),
    [
        ("resize", ["", "", ""]),
        ("crop", ["", "", ""]),
        ("pad", ["", "bad-size", ""]),
        ("refuse", ["", "bad-size", "bad-size"]),
    ],
)
def test_geometry_says_what_becomes_of_other_sizes(run: Path, tmp_path: Path, geometry: str, codes: list[str]) -> None:
    sizes = {"same": (32, 64), "large": (64, 128), "small": (20, 30)}
    files = [write_frame(tmp_path / f"{name}.fits", 0.75, size) for name, size in sizes.items()]
    rows = list(predict(run, files, geometry=geometry))
    assert [row.code for row in rows] == codes
    assert [row.predicted for row in rows] == ["" if code else "NSC" for code in codes]
    assert all("--geometry resize" in row.message for row in rows if row.code)
    stored = make_run(tmp_path / "stored", geometry=geometry)
    assert list(predict(stored, files)) == rows  # a run does by default what it was trained with
    with pytest.raises(UsageError, match="geometry must be one of"):
        predict(run, files, geometry="stretch")


def test_crop_and_resize_see_other_pixels(run: Path, tmp_path: Path) -> None:
    pixels = two_levels(0.1, (96, 192))
    pixels[32:64, 64:128] = two_levels(0.9)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "bright_middle.fits")
    called = {rule: next(predict(run, [tmp_path / "bright_middle.fits"], geometry=rule)).predicted for rule in ("crop", "resize")}
    assert called == {"crop": "NSC", "resize": "galaxy"}


def test_plane_picks_from_a_cube(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.stack([two_levels(0.2), two_levels(0.8)]))]).writeto(path)
    flat = write_frame(tmp_path / "flat.fits", 0.8)
    rows = [next(predict(run, [path], plane=plane)) for plane in (0, 1)]
    assert [(row.hdu, row.plane, row.predicted) for row in rows] == [(1, 0, "galaxy"), (1, 1, "NSC")]
    (refused, without) = (next(predict(run, [path], plane=2)), next(predict(run, [path])))
    assert (refused.code, refused.plane, without.code) == ("bad-plane", 2, "not-2d")
    assert "--plane" in without.message
    (row,) = predict(run, [flat], plane=0, hdu=0)
    assert (row.predicted, row.plane) == ("NSC", None)


def test_a_step_that_fails_costs_one_row(tmp_path: Path) -> None:
    class Fragile:
        scope, unit_in, unit_out, random = "frame", "any", "same", False

        def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
            return shape

        def __call__(self, x: zoo.Frame, *, generator: object = None, out: object = None) -> zoo.Frame:
            if float(x.decode().mean()) > 0.5:
                raise RuntimeError("too bright for me")
            return x

    class Plugin:
        @zoo.hookimpl
        def register_steps(self, register: Callable[..., None]) -> None:
            register("fragile", Fragile, scope="frame")

    with tiny_registry(Plugin()):
        run = make_run(tmp_path / "run", steps=["fragile", *STEPS[1:]])
        files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.2, 0.8, 0.3)]
        rows = list(predict(run, files))
    assert [row.code for row in rows] == ["", "step-failed", ""]
    assert rows[1].message == "RuntimeError: too bright for me"


def test_a_frame_that_makes_the_model_nan_is_refused(run: Path, tmp_path: Path) -> None:
    loaded = zoo.load(run)
    loaded.model.gain.fill_(math.inf)
    files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.5, 0.2)]
    assert [row.code for row in predict(loaded, files)] == ["non-finite", "non-finite"]
    logits = Classifier(loaded)(torch.zeros(1, *SHAPE))
    assert np.isnan(logits).all()


@pytest.mark.parametrize(("batch_size", "remedy"), [(1, "--precision bf16"), (2, "a smaller --batch-size")])
def test_a_batch_that_does_not_fit_says_what_to_do(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, remedy: str
) -> None:
    def fail(_model: zoo.models.Prepared, _image: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    loaded = zoo.load(run)
    monkeypatch.setattr(zoo.models.Prepared, "forward", fail)
    files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.5, 0.2)]
    with pytest.raises(MemoryLimitError, match=f"{batch_size} frames of 32x64 do not fit into the memory of cpu; use {remedy}"):
        list(predict(loaded, files, batch_size=batch_size, device="cpu"))


class Deciding(Level):
    """Its forward depends on the number of frames, which a traced graph cannot."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if image.shape[0] > 0 else image.new_empty((0, self.num_classes))


class DecidingPlugin:
    """Registers `Deciding` in the place of `Level`."""

    @zoo.hookimpl
    def register_models(self, register: Callable[..., None]) -> None:
        register("level", lambda *, num_classes, in_channels, input_shape: Deciding(num_classes, input_shape), input_shape=SHAPE)


def test_a_model_that_runs_as_it_is_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    frame = write_frame(tmp_path / "a.fits", 0.9)
    with use_registry(Registry.from_plugins([DecidingPlugin()])):
        run = make_run(tmp_path / "run")
        (row,) = predict(run, [frame], notify=told.append)
        with pytest.warns(UserWarning, match="level runs as it is, .* cannot be traced"):
            assert list(predict(run, [frame])) == [row]
    assert row.predicted == "NSC"
    assert len(told) == 1
    assert told[0].startswith("level runs as it is, slower and in more memory than it could: it cannot be traced: TraceError")


def test_any_number_of_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", labels=("galaxy", "NSC", "star"))
    (row,) = predict(run, [write_frame(tmp_path / "a.fits", 0.9)])
    assert row.predicted == "NSC"
    assert sum(row.probabilities.values()) == pytest.approx(1.0)
    assert [name for name in columns(("galaxy", "NSC", "star")) if name.startswith("p_")] == ["p_galaxy", "p_NSC", "p_star"]


def test_row_has_every_column_and_null_for_the_unknown() -> None:
    row = Prediction("a.fits", status="refused", code="missing", message="m").row(("galaxy", "NSC"))
    assert list(row) == list(columns(("galaxy", "NSC")))
    assert {name for name, value in row.items() if value is not None} == {"path", "status", "code", "message"}


def test_bad_arguments_are_refused(run: Path, tmp_path: Path) -> None:
    for arguments in ({"batch_size": 0}, {"workers": -1}, {"precision": "fp8"}, {"device": "abacus"}, {"device": "cuda:99"}):
        with pytest.raises(UsageError):
            predict(run, [], **arguments)
    with pytest.raises(StorageError, match="no such run"):
        predict(tmp_path / "no-run", [])


@pytest.mark.parametrize(("shape", "expected"), [((1, 2048, 4096), 1), ((1, 256, 512), 8), ((1, 32, 64), 16)])
def test_a_pass_holds_about_a_million_pixels(tmp_path: Path, shape: tuple[int, int, int], expected: int) -> None:
    classifier = Classifier(zoo.load(make_run(tmp_path / "run", shape=shape)))
    assert classifier.batch_size(None) == expected
    assert classifier.batch_size(3) == 3


def test_every_device_gives_the_same_classes(run: Path, tmp_path: Path, device: torch.device) -> None:
    files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.2, 0.8)]
    assert [row.predicted for row in predict(run, files, device=str(device))] == ["galaxy", "NSC"]


def test_bf16_gives_the_same_classes(run: Path, tmp_path: Path) -> None:
    files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.2, 0.8)]
    assert [row.predicted for row in predict(run, files, precision="bf16")] == ["galaxy", "NSC"]


def test_endless_inputs_are_read_only_as_needed(run: Path, tmp_path: Path) -> None:
    file = write_frame(tmp_path / "a.fits", 0.2)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield file

    rows = list(itertools.islice(predict(run, endless(), batch_size=4, workers=2), 100))
    assert len(rows) == 100
    assert taken <= 100 + 4 + 3 + 1


def test_ordered_holds_no_more_than_asked() -> None:
    started = []
    results = ordered(range(100), lambda n: started.append(n) or n, workers=3, ahead=4)  # type: ignore[func-returns-value]
    assert next(results) == 0
    assert len(started) <= 5
    assert list(results) == list(range(1, 100))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_flat_over_ten_thousand_files(tmp_path: Path, torch_threads: Callable[[int], None]) -> None:
    torch_threads(1)  # frames this small gain nothing from more, and wait for each other on a busy machine
    run = make_run(tmp_path / "run", shape=(1, 64, 128))
    files = [write_frame(tmp_path / "in" / f"{i}.fits", i / 32, (64, 128)) for i in range(32)]
    files[5].write_bytes(b"not FITS")
    early, peak, maps, count = 0, 0, 0, 0
    for row in predict(run, itertools.islice(itertools.cycle(files), 10_000), batch_size=8):
        count += 1
        assert row.status == ("refused" if row.path == str(files[5]) else "ok")
        if count == 1000:
            early = _resident_bytes()
        if count % 500 == 0 and count > 1000:
            peak = max(peak, _resident_bytes())
            maps = max(maps, Path("/proc/self/maps").read_text().count(str(tmp_path)))
    assert count == 10_000
    assert peak - early <= 8 << 20  # a leak of one 32 KiB frame per row would be 280 MiB
    assert maps <= 3  # the frames that the readers hold


def test_genuine_hst_raws_give_one_row_each(tmp_path: Path, real_data: Path) -> None:
    run = make_run(tmp_path / "run", shape=(1, 256, 512), products=("raw",), steps=["overscan", "resize:factor=2", "normalize"])
    rows = list(predict(run, [str(real_data / "real" / "nsc" / "*raw.fits")]))
    assert len(rows) == 3
    for row in rows:
        assert (row.status, row.product, row.instrument) == ("ok", "raw", "ACS/HRC")
        assert (row.height, row.width, row.adapted) == (1024, 1024, True)
        assert sum(row.probabilities.values()) == pytest.approx(1.0)
