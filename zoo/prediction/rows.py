"""One row of a prediction, its columns and their types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Prediction:
    """What became of one frame, or of one input that was refused.

    Attributes:
        path, hdu, plane: the file, the index of its HDU, and the plane of a cube; ``hdu`` is ``None`` where a whole file was refused,
            ``plane`` where the image has two axes.
        status: ``ok`` or ``refused``.
        code: why it was refused: a code of `zoo.frames.gate`, or ``other-product`` (see ``allow_product``), ``no-contrast`` (all
            pixels are equal or without a value), ``bad-size`` (the geometry does not bring it to the model's input shape), ``step-failed``
            (a step raised), ``non-finite`` (the model gave NaN), ``no-frames`` (a folder without FITS files, or a pattern that matches
            nothing). Empty when ``ok``.
        predicted: the class of highest probability, also where ``classes`` has several; empty when refused. The true class of a
            labelled frame is called ``label``.
        probabilities: class -> probability in [0, 1]; empty when refused.
        rootname, instrument, filter, product: from the headers; empty where unknown.
        height, width: of the frame after its bias columns are cut off, pixels; 0 where unknown.
        adapted: whether the frame is not of the size that the run was trained on, so that it was averaged, cut or padded to fit.
        message: for a refused input, what was got and what to do.
        classes: the classes that the frame may be of, where a level was asked for; several where it is not decided. Else empty.
        flags: what to know before believing the class, words of `zoo.calibration.FLAGS`.
    """

    path: str
    hdu: int | None = None
    plane: int | None = None
    status: str = "ok"
    code: str = ""
    predicted: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    rootname: str = ""
    instrument: str = ""
    filter: str = ""
    product: str = ""
    height: int = 0
    width: int = 0
    adapted: bool = False
    message: str = ""
    classes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """The probability of ``predicted``; NaN when refused."""
        return self.probabilities.get(self.predicted, float("nan"))

    def row(self, labels: Sequence[str]) -> dict[str, object]:
        """Return the columns of `columns`, in that order; what is not known is ``None``."""
        chances = {f"p_{name}": self.probabilities.get(name) for name in labels}
        ok = self.status == "ok"
        return {
            "path": self.path,
            "hdu": self.hdu,
            "plane": self.plane,
            "status": self.status,
            "code": self.code or None,
            "predicted": self.predicted or None,
            "probability": self.probability if ok else None,
            **chances,
            "rootname": self.rootname or None,
            "instrument": self.instrument or None,
            "filter": self.filter or None,
            "product": self.product or None,
            "height": self.height or None,
            "width": self.width or None,
            "adapted": self.adapted if ok else None,
            "message": self.message or None,
            "set": "|".join(self.classes) or None,
            "flags": "|".join(self.flags) or None,
        }


def columns(labels: Sequence[str]) -> dict[str, type]:
    """Return the columns of predictions of these classes in order, with the type of their values, which may also be ``None``.

    Only ``path`` and ``status`` are never ``None``.
    """
    types: dict[str, type] = {"hdu": int, "plane": int, "probability": float, "height": int, "width": int, "adapted": bool}
    types |= {f"p_{name}": float for name in labels}
    return {name: types.get(name, str) for name in Prediction("").row(labels)}
