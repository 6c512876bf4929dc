"""`stress`: rows for the user's own frames, one per frame, whatever the file is like."""

from __future__ import annotations

import math
import weakref
from pathlib import Path

import pytest
import torch
from skies import STEPS, write_sky
from tiny_run import make_run, tiny_registry

import zoo
from zoo.frames import Frame
from zoo.robustness import AXES, stress, sweep
from zoo.robustness.responses import columns


def test_each_frame_says_where_its_class_changes(run: Path, tmp_path: Path) -> None:
    faint, bright = write_sky(tmp_path / "faint.fits", 3000.0, 1), write_sky(tmp_path / "bright.fits", 6000.0, 2)
    levels = {"sky": [1000.0, 1900.0, 2100.0, 2500.0], "exposure": [0.9, 0.8]}
    one, two = stress(run, [faint, bright], axes=["sky", "exposure"], levels=levels)
    assert [(row.path, row.predicted) for row in (one, two)] == [(str(faint), "galaxy"), (str(bright), "NSC")]
    sky = one.axes["sky"]
    assert (sky.flips_at, sky.becomes, sky.predicted) == (2100.0, "NSC", ("galaxy", "galaxy", "NSC", "NSC"))
    assert sky.changed == (True,) * 4
    # Probabilities are those of the class that the frame has as it is: they fall through one half.
    assert list(sky.probability) == sorted(sky.probability, reverse=True)
    assert sky.probability[1] > 0.5 > sky.probability[2]
    assert (two.axes["sky"].flips_at, two.axes["exposure"].flips_at, two.axes["exposure"].becomes) == (None, 0.8, "galaxy")
    values = two.row(("galaxy", "NSC"), ["sky", "exposure"])
    assert (values["flip_exposure"], values["class_exposure"], values["flip_sky"], values["left_out"]) == (0.8, "galaxy", None, None)
    assert list(values) == list(columns(("galaxy", "NSC"), ["sky", "exposure"]))


def test_undegraded_rows_are_those_of_predict(run: Path, tmp_path: Path) -> None:
    paths = [write_sky(tmp_path / f"{level:g}.fits", level, 1) for level in (3000.0, 6000.0)]
    for row, expected in zip(stress(run, paths, axes=["blur"]), zoo.predict(run, paths), strict=True):
        assert (row.path, row.hdu, row.predicted, row.probabilities) == (
            expected.path,
            expected.hdu,
            expected.predicted,
            expected.probabilities,
        )


def test_bad_inputs_are_rows_and_axes_that_do_not_apply_are_named(run: Path, tmp_path: Path) -> None:
    good = write_sky(tmp_path / "good.fits", 3000.0, 1, INSTRUME="OTHER")
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    (tmp_path / "empty").mkdir()
    rows = list(stress(run, [bad, good, tmp_path / "gone.fits", tmp_path / "empty"], axes=["psf", "rebin"]))
    assert [(Path(row.path).name, row.status, row.code) for row in rows] == [
        ("bad.fits", "refused", "not-fits"),
        ("good.fits", "ok", ""),
        ("gone.fits", "refused", "missing"),
        ("empty", "refused", "no-frames"),
    ]
    psf, rebin = (rows[1].axes[name] for name in ("psf", "rebin"))
    assert (psf.code, psf.flips_at, psf.predicted, psf.levels) == ("no-scale", None, (), AXES["psf"].levels)
    assert (rebin.code, len(rebin.predicted)) == ("", 4)
    assert rows[1].row(("galaxy", "NSC"), ["psf", "rebin"])["left_out"] == "psf no-scale"


def test_other_products_and_frames_without_contrast_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "raws", steps=STEPS, products=("raw",))
    frame = write_sky(tmp_path / "frame.fits", 3000.0, 1)
    (row,) = stress(run, [frame], axes=["blur"])
    assert (row.code, row.axes) == ("other-product", {})
    (row,) = stress(run, [frame], axes=["blur"], allow_product=True)
    assert row.status == "ok"
    dark = write_sky(tmp_path / "dark.fits", 0.0, 1, BUNIT="ELECTRONS")
    steps = ("overscan", "normalize:limits=manual,lower=1e6,upper=2e6,stretch=linear")
    (row,) = stress(make_run(tmp_path / "blind", steps=steps), [dark], axes=["sky"], levels={"sky": [1e6]})
    assert row.code == "no-contrast"


class Fragile:
    """A step of a third party that fails on bright frames, and gives NaN on very bright ones."""

    scope, unit_in, unit_out, random = "frame", "any", "same", False

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape

    def __call__(self, x: Frame, *, generator: object = None, out: object = None) -> Frame:
        level = float(x.decode().mean())
        if 0.8 < level < 0.9:
            raise RuntimeError("too bright")
        return x.with_pixels(torch.full_like(x.decode(), math.nan)) if level > 0.9 else x


def test_a_level_that_fails_leaves_out_its_axis_alone(tmp_path: Path) -> None:
    class Plugin:
        @zoo.hookimpl
        def register_steps(self, register: object) -> None:
            register("fragile", Fragile, scope="frame", summary="x")  # type: ignore[operator]

    with tiny_registry(Plugin()):
        run = make_run(tmp_path / "fragile", steps=(*STEPS, "fragile"))
        frame = write_sky(tmp_path / "frame.fits", 3000.0, 1)
        levels = {"sky": [1000.0, 5500.0, 6000.0], "readnoise": [50.0]}
        (row,) = stress(run, [frame], axes=["sky", "readnoise"], levels=levels, batch_size=1)
        assert (row.status, row.axes["sky"].code, row.axes["readnoise"].code) == ("ok", "step-failed", "")
        assert row.axes["sky"].message == "RuntimeError: too bright"
        (row,) = stress(run, [frame], axes=["sky"], levels={"sky": [6500.0]})
        assert row.axes["sky"].code == "non-finite"


def test_memory_does_not_grow_with_the_inputs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[object] = weakref.WeakSet()

    class Counted(sweep._Subject[object]):
        def __init__(self, key: object, source: sweep.Source) -> None:
            super().__init__(key, source)
            alive.add(self)

    monkeypatch.setattr(sweep, "_Subject", Counted)
    frame = write_sky(tmp_path / "frame.fits", 3000.0, 1)
    most = max(len(alive) for _ in stress(run, [frame] * 20, axes=["blur"], batch_size=4, workers=2))
    assert 0 < most <= 6
