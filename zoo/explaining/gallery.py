"""The gallery: which frames it shows, and their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zoo.explaining.cam import CamMap, GradCam
from zoo.explaining.pictures import FRAME_WIDTH, MOST_BYTES, NEAREST_WIDTH, Box, block_mean, box_around, encode, overlay, scale_for, stretch
from zoo.explaining.result import Entry, FrameFacts, Image

OF_ONE_TARGET = 2


def choose_worst(frames: Sequence[FrameFacts], count: int) -> list[int]:
    """Return the places of the wrong frames of largest loss: the worst of every target first, and a second one where there is room.

    Frames of one target share their subject, and twelve pictures of it would say no more than two.
    """
    order = sorted((place for place, frame in enumerate(frames) if frame.wrong), key=lambda place: (-frames[place].loss, place))
    shown = Counter[str]()
    rank = {}
    for place in order:
        rank[place] = shown[frames[place].target]
        shown[frames[place].target] += 1
    chosen = sorted((place for place in order if rank[place] < OF_ONE_TARGET), key=lambda place: rank[place])[:count]
    return sorted(chosen, key=lambda place: (-frames[place].loss, place))


def choose_right(frames: Sequence[FrameFacts], labels: Sequence[str]) -> list[int]:
    """Return the places of the right frames of smallest loss, one of each class that has any."""
    best = []
    for label in labels:
        right = [place for place, frame in enumerate(frames) if frame.label == label and not frame.wrong]
        best += [min(right, key=lambda place: frames[place].loss)] if right else []
    return best


@dataclass(frozen=True)
class Painter:
    """Makes the entries of a gallery.

    Attributes:
        frames: all of them. labels: class names by index.
        read: gives the ``(1, 1, H, W)`` that the model takes of a frame, by its place.
        cam: computes the maps; ``None`` where the network has none.
        why: why there is none.
    """

    frames: Sequence[FrameFacts]
    labels: Sequence[str]
    read: Callable[[int], Tensor]
    cam: GradCam | None
    why: str

    def paint(self, place: int, number: int) -> tuple[Entry, dict[str, bytes]]:
        """Return an entry and its pictures by file name.

        Args:
            place: of the frame. number: of the entry, from 1, which its files are named after.
        """
        facts = self.frames[place]
        image = self.read(place)
        pixels = image[0, 0].numpy()
        cam = None if self.cam is None else self.cam(image, self.labels.index(facts.predicted))
        peak = None if cam is None else cam.peak
        box = None if peak is None else box_around(peak, pixels.shape)
        nearest = None if facts.nearest_other is None else self.frames[facts.nearest_other]
        kind = "wrong" if facts.wrong else "right"
        album = _Album(f"{kind}-{number:02d}")
        verdict = f"{'wrongly' if facts.wrong else 'rightly'} called {facts.predicted} with probability {facts.probability:.3f}"
        told = f"{facts.name}: {_of(facts)}, {verdict}"
        self._paint_frame(album, pixels, cam, box, told, facts)
        if facts.nearest_other is not None and nearest is not None:
            scale = scale_for((pixels.shape[0], pixels.shape[1]), NEAREST_WIDTH)
            other = stretch(block_mean(self.read(facts.nearest_other)[0, 0].numpy(), scale))
            alt = f"The frame of another class that the network finds most like {facts.name}: {_of(nearest)}, {nearest.name}."
            album.add("nearest", other, alt, scale)
        shared = ("path", "hdu", "plane", "target", "label", "predicted", "probability", "loss")
        measured = ("signal_to_noise", "filled", "offset_arcmin", "ratio")
        entry = Entry(
            kind=kind,
            frame=place,
            **{name: getattr(facts, name) for name in (*shared, *measured)},
            nearest="" if nearest is None else nearest.name,
            nearest_target="" if nearest is None else nearest.target,
            peak=peak,
            box=box,
            note=self.why or ("" if peak is not None else f"no place in the frame speaks for {facts.predicted}"),
            images=tuple(album.images),
        )
        return entry, album.pictures

    def _paint_frame(
        self, album: _Album, pixels: NDArray[np.float32], cam: CamMap | None, box: Box | None, told: str, facts: FrameFacts
    ) -> None:
        """The whole frame, the same with its map, and the cut-out."""
        scale = scale_for((pixels.shape[0], pixels.shape[1]), FRAME_WIDTH)
        grey = stretch(block_mean(pixels, scale))
        album.add("frame", grey, f"The whole frame {told}.", scale)
        if cam is None or box is None:
            return
        top, left, height, width = box
        where = f"The network's evidence for {facts.predicted} is strongest {_place_in_words(box, cam.size)}, where the white box is."
        album.add("gradcam", overlay(grey, cam, scale, box), f"Grad-CAM of {told}. {where}", scale)
        spot = f"rows {top} to {top + height - 1} and columns {left} to {left + width - 1}"
        cut = stretch(pixels)[top : top + height, left : left + width]
        album.add("cutout", cut, f"Cut-out, {spot} of what the network takes, pixel by pixel, of {told}.", 1)


class _Album:
    """The pictures of one entry."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.images: list[Image] = []
        self.pictures: dict[str, bytes] = {}

    def add(self, kind: str, picture: NDArray[np.uint8], alt: str, scale: int) -> None:
        """Encode a picture and note what it is."""
        file = f"{self._name}-{kind}.jpg"
        self.pictures[file] = encode(picture, MOST_BYTES[kind])
        self.images.append(Image(file, kind, alt, picture.shape[1], picture.shape[0], scale))


def _of(facts: FrameFacts) -> str:
    """What a frame shows."""
    return f"{facts.label}{f' {facts.target}' if facts.target else ''}"


def _place_in_words(box: Box, size: tuple[int, int]) -> str:
    """Which third of the frame the middle of a box lies in; rows are counted from the top, as pictures are shown."""
    down, across = ((start + length / 2) / side for start, length, side in zip(box[:2], box[2:], size, strict=True))
    vertical = ("at the top", "in the middle", "at the bottom")[min(int(3 * down), 2)]
    horizontal = ("left", "centre", "right")[min(int(3 * across), 2)]
    return vertical if horizontal == "centre" else f"{vertical} {horizontal}"
