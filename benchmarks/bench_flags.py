"""How often the flags of `zoo predict` are raised: on ordinary frames of new targets, as false alarms, and on frames of other kinds.

The range of the training frames and all thresholds are those that a run on the simulated sky gets. Ordinary: its test split. Others,
rendered here with the cameras and exposure times of further targets: sky without any source, darks, fields of unrelated stars; the shifted
sky; and, for a range learned from one camera, the test frames of the other one. With ``ZOO_REAL_DATA`` also real FITS files, most of them
of other telescopes: they say how far from the simulated sky real images lie, and not how often a run on real data would flag them.
Run: ``python benchmarks/bench_flags.py [--targets N] [--out FILE]``; writes JSON. The first time it renders the simulated sky.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import circumstances
from numpy.typing import NDArray

from zoo import storage
from zoo.calibration import FLAGS, FlagRules, FrameRange, fit_range, judge
from zoo.data import open_data
from zoo.data.condition import Condition, measure_condition
from zoo.errors import FrameError
from zoo.frames import Encoding, Frame, FrameInfo, Layout, acs_wfc, read_frames
from zoo.plugins.simulated.detector import expose
from zoo.plugins.simulated.files import chip_of, light_on, noise_of
from zoo.plugins.simulated.recipe import Recipe
from zoo.plugins.simulated.scene import REGIMES, Scene, compose
from zoo.plugins.simulated.sources import Sources

CAMERAS = ("ACS/WFC", "WFC3/UVIS")
STARS = 4000  # over a square of 260 arcsec, which holds the field of both cameras


@dataclass(frozen=True)
class Seen:
    """A frame that was looked at."""

    target: str
    instrument: str
    condition: Condition


def simulated(name: str, split: str) -> list[Seen]:
    """The condition of the frames of a registered set."""
    data = open_data(name)
    return [Seen(row.target, row.instrument, measure_condition(data.open(row))) for row in data.select(split)]


def bare(scene: Scene, *, stars: np.random.Generator | None = None) -> Scene:
    """A scene without its target: nothing but sky, or unrelated stars all over it."""
    nothing = np.zeros(0, np.float32)
    sources = Sources(nothing, nothing, nothing, nothing)
    if stars is not None:
        u, v = stars.uniform(-130, 130, (2, STARS)).astype(np.float32)
        flux, colour = np.exp(stars.normal(1.5, 2.0, STARS)), stars.normal(0, 0.5, STARS).clip(-1, 1)
        sources = Sources(u, v, flux.astype(np.float32), colour.astype(np.float32))
    return replace(scene, glow=(), sources=sources, veil=None, small=np.zeros((6, 0), np.float32))


def others(targets: int, seed: int) -> dict[str, list[Seen]]:
    """Empty sky, star fields and darks as two cameras take them, from raw frames at a quarter of the size."""
    recipe = Recipe(seed, 0, 0, targets, 1, "standard", 4)
    found: dict[str, list[Seen]] = {"empty sky": [], "star field": [], "dark": []}
    for exposure in recipe.plan():
        target = exposure.target
        scene = compose(recipe.entropy, target.index, target.kind, REGIMES["standard"])
        fields = {"empty sky": bare(scene), "star field": bare(scene, stars=np.random.default_rng(target.index))}
        for number in (1, 2):
            chip = chip_of(exposure, number, recipe.scale)
            lights = {name: light_on(exposure, chip, field, recipe.scale) for name, field in fields.items()}
            lights["dark"] = np.zeros_like(lights["empty sky"])
            for name, light in lights.items():
                raw = expose(noise_of(recipe.entropy, exposure, chip), light, chip)
                found[name].append(Seen(target.name, chip.layout.instrument, measure_condition(as_frame(raw, chip.layout))))
    return found


def as_frame(raw: NDArray[np.uint16], layout: Layout) -> Frame:
    """A raw chip as its file would give it."""
    stored = (raw ^ 0x8000).astype(">u2").view(np.uint8).reshape(raw.shape[0], -1)
    info = FrameInfo(instrument=layout.instrument, product="raw")
    return Frame(torch.from_numpy(stored), Encoding(16, 1, 32768), info, layout=layout, saturation=layout.saturation())


def real(folder: Path) -> Iterator[tuple[str, Seen]]:
    """The real FITS files, each with what it is: its camera, or that of another telescope."""
    for path in sorted((folder / "real").rglob("*.fits*")):
        with suppress(FrameError):
            for frame in read_frames(path):
                instrument = frame.info.instrument
                kind = instrument if instrument in (*CAMERAS, "ACS/HRC") else "another telescope or camera"
                yield f"real, {kind}, {frame.info.product}", Seen(path.name, instrument, measure_condition(frame))


def learn(seen: Sequence[Seen]) -> FrameRange:
    """The range that a run on these frames gets."""
    found = fit_range([each.condition for each in seen], [each.target for each in seen], [each.instrument for each in seen])
    assert found is not None
    return found


def count(seen: Sequence[Seen], frame_range: FrameRange) -> dict[str, Any]:
    """Shares of the frames with each flag, by the image and the headers."""
    flags = [judge(each.condition, FlagRules(), frame_range, instrument=each.instrument) for each in seen]
    counts = Counter(word for words in flags for word in words)
    image = [set(words) - {"other-camera"} for words in flags]
    return {
        "n_frames": len(seen),
        "n_targets": len({each.target for each in seen}),
        "shares": {word: counts[word] / len(seen) for word in FLAGS if word not in ("size-adapted", "other-product")},
        "any": sum(map(bool, flags)) / len(seen),
        "any_of_the_image": sum(map(bool, image)) / len(seen),
    }


def cost(repeats: int = 15) -> dict[str, float]:
    """Processor time of one condition and its flags of a raw frame of 2048x4096, one thread."""
    layout = acs_wfc(2)
    raw = np.random.default_rng(0).normal(2100, 12, layout.shape).astype(np.uint16)
    frame, call = as_frame(raw, layout), measure_condition
    call(frame)
    times = [_seconds(lambda: call(frame)) for _ in range(repeats)]
    return {"condition_s": statistics.median(times), "repeats": repeats}


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=14, help="targets per class of empty sky, star fields and darks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "flags.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = circumstances()
    train = simulated("simulated", "train")
    kinds = {
        "ordinary, test split": simulated("simulated", "test"),
        "shifted sky": simulated("simulated:shifted", "test"),
        **others(arguments.targets, seed=1000),
    }
    frame_range = learn(train)
    results = [{"kind": name, "range": "both cameras", **count(seen, frame_range)} for name, seen in kinds.items()]
    for camera in CAMERAS:
        own = learn([each for each in train if each.instrument == camera])
        for name, wanted in (("ordinary, same camera", True), ("ordinary, other camera", False)):
            frames = [each for each in kinds["ordinary, test split"] if (each.instrument == camera) == wanted]
            results.append({"kind": name, "range": camera, **count(frames, own)})
    if folder := os.environ.get("ZOO_REAL_DATA"):
        groups: dict[str, list[Seen]] = {}
        for kind, each in real(Path(folder)):
            groups.setdefault(kind, []).append(each)
        results += [{"kind": kind, "range": "both cameras", **count(seen, frame_range)} for kind, seen in sorted(groups.items())]
    words = [word for word in FLAGS if word not in ("size-adapted", "other-product")]
    print("\t".join(["kind", "range learned from", "frames", "targets", *words, "any of the image"]))
    for row in results:
        shares = [f"{row['shares'][word]:.3f}" for word in words]
        print(
            "\t".join([row["kind"], row["range"], str(row["n_frames"]), str(row["n_targets"]), *shares, f"{row['any_of_the_image']:.3f}"])
        )
    speed = cost()
    print(f"condition of a raw frame of 2048x4096: {1e3 * speed['condition_s']:.1f} ms of processor time, one thread")
    learned = {"threshold": frame_range.threshold, "rate": frame_range.rate, "n_targets": frame_range.n_targets}
    storage.write_json(arguments.out, {"schema": 1, "metadata": {**about, "range": learned, "cost": speed}, "results": results})


if __name__ == "__main__":
    main()
