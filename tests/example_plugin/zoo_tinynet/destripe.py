"""destripe: a frame step that removes the level of each row, as bias striping of ACS/WFC leaves it."""

import torch


class Destripe:
    """Subtract from each row its median, then add back the median of the frame. NaN stays NaN."""

    scope = "frame"
    unit_in = "physical"
    unit_out = "same"
    random = False

    def output_shape(self, shape):
        return shape

    def __call__(self, frame, *, generator=None, out=None):
        pixels = frame.decode()
        rows = torch.nanmedian(pixels, dim=-1, keepdim=True).values
        level = torch.nanmedian(pixels)
        flat = torch.sub(pixels, rows - level, out=out)
        return frame.with_pixels(flat)
