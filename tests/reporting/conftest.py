"""Two evaluated runs on 16 tiny frames, one of them with everything that a run can hold beside an evaluation."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo import storage
from zoo.evaluation import Evaluation
from zoo.explaining.result import Entry, Explanation, FrameFacts, Image
from zoo.explaining.tables import tabulate_errors
from zoo.intervals import Interval
from zoo.robustness.result import Crossing, Curve, LeftOut, Point, Robustness

PICTURE_SIZE = (96, 48)


@pytest.fixture(scope="module", autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> list[Evaluation]:
    """Runs with thresholds 0.5 and 0.65; of 8 targets a class 3 galaxies lie at 0.6, and one target of each class was trained on."""
    folder = tmp_path_factory.mktemp("runs")
    lines = ["path,hdu,label,target,split,instrument,filter,exptime"]
    for label in ("galaxy", "NSC"):
        for number in range(8):
            level = 0.8 if label == "NSC" else 0.6 if number < 3 else 0.3 + 0.01 * number
            path = write_frame(folder / "frames" / f"{label}{number}.fits", level)
            split = "train" if number == 7 else "test"
            lines.append(f"{path},0,{label},{label}<{number}>,{split},ACS/WFC,F{600 + number % 2}W,{100 * (number + 1)}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    found = []
    with tiny_registry():
        for name, threshold in (("half", 0.5), ("more", 0.65)):
            steps = ("overscan", f"normalize:limits=manual,lower=0,upper={2 * threshold},stretch=linear")
            run = make_run(folder / name, steps=steps, domain="simulated", config='[data]\nsource = "/gone/list.csv"\n')
            (run / "manifest.csv").write_text((folder / "list.csv").read_text())
            found.append(zoo.evaluate(run, split="test"))
    return found


@pytest.fixture(scope="session")
def full(evaluated: list[Evaluation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of a copy of the first run that also holds robustness and an explanation."""
    result = evaluated[0]
    assert result.path is not None
    run = tmp_path_factory.mktemp("full") / "half"
    shutil.copytree(result.run, run)
    for name, filename, facts, files in (
        ("robustness", "robustness.json", _robustness(result).to_dict(), {}),
        ("explanations", "explanation.json", _explanation(result).to_dict(), _explanation(result).pictures),
    ):
        with storage.sealed_directory(run / name / result.path.name) as new:
            storage.write_json(new / filename, {"schema": 1, "zoo": zoo.__version__, **facts})
            storage.write_text(new / "frames.csv", _explanation(result).frames_csv() if name == "explanations" else "")
            for file, data in files.items():
                storage.write_bytes(new / file, data)
    return run / "evaluations" / result.path.name


def _robustness(result: Evaluation) -> Robustness:
    def curve(axis: str, levels: tuple[float, ...], *, physical: bool = True, **marks: float) -> Curve:
        points = []
        for place, level in enumerate(levels):
            accuracy = Interval(0.8 - 0.1 * place, 0.6 - 0.1 * place, 0.9 - 0.1 * place, 14)
            drop = Interval(0.1 * place, 0.05 * place, 0.15 * place, 14, "" if place else "every target has the same score")
            points.append(Point(level, accuracy, drop, 14, 14, 10 * bool(place), place, 0.7))
        return Curve(axis, f"{axis} in words", "arcsec", axis, physical, tuple(points), Crossing(levels[0] * 1.5 or 0.2, 0.1, None), marks)

    nowhere = replace(curve("rebin", (1.0,)), points=(), left_out=(LeftOut("a.fits", 0, None, "no-scale", "its scale is not known"),))
    curves = (
        curve("psf", (0.0, 0.1, 0.2), CSST=0.15),
        curve("exposure", (1.0, 0.1, 0.01)),
        curve("blur", (0.0, 2.0), physical=False),
        nowhere,
    )
    same = {name: getattr(result, name) for name in ("run", "model", "domain", "data", "split", "data_domain", "labels", "seen")}
    evaluation = result.path.name if result.path else ""
    more = {"n_frames": 14, "n_available": 14, "seed": 0, "precision": "fp32", "geometry": "resize", "device": "cpu", "passes": 9}
    return Robustness(**same, **more, evaluation=evaluation, time_s=1.0, curves=curves, notes=("the sky is simulated",))


def _explanation(result: Evaluation) -> Explanation:
    frames = tuple(
        FrameFacts(
            frame.path, frame.hdu, frame.plane, frame.target, frame.label, frame.predicted, max(frame.probabilities), 1.0 + place,
            5.0 + place, 0.1, float("nan"), None, float("nan"), None, float("nan"), float("nan"),
        )
        for place, frame in enumerate(result.frames)
    )  # fmt: skip
    entries = []
    pictures = {}
    for kind, place in (("wrong", 0), ("right", 5)):
        frame = frames[place]
        image = Image(f"{kind}.png", "frame", f"A {kind} frame", *PICTURE_SIZE, 1)
        pictures[image.file] = _png(place)
        told = {name: getattr(frame, name) for name in Entry.__dataclass_fields__ if hasattr(frame, name)}
        entries.append(
            Entry(**told, kind=kind, frame=place, nearest="", nearest_target="", peak=None, box=None, note="no map", images=(image,))
        )
    return Explanation(
        result.run, result.model, result.data, result.split, result.domain, result.labels, 1.0, "the logits", "", tabulate_errors(frames),
        tuple(entries), frames, ("a note on the errors",), pictures,
    )  # fmt: skip


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, PICTURE_SIZE[::-1], dtype=np.uint8)
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
