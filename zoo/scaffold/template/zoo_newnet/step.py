"""newnet-sky: a preprocessing step to start from."""

import torch

from zoo.errors import UsageError
from zoo.frames import Frame


class SubtractSky:
    """Subtract a quantile of the frame's pixels. NaN stays NaN and does not count."""

    scope = "frame"
    unit_in = "physical"
    unit_out = "same"
    random = False

    def __init__(self, *, quantile: float = 0.5) -> None:
        if not 0 <= quantile <= 1:
            raise UsageError(f"newnet-sky: quantile must be between 0 and 1, got {quantile}")
        self.quantile = quantile

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape

    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: torch.Tensor | None = None) -> Frame:
        pixels = frame.decode()
        values = pixels[torch.isfinite(pixels)]
        if not len(values):
            return frame
        rank = 1 + int(self.quantile * (len(values) - 1))
        return frame.with_pixels(torch.sub(pixels, values.kthvalue(rank).values, out=out))
