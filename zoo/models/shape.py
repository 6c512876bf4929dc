"""The one check of an image's shape that every model of the zoo makes in its forward."""

from __future__ import annotations

from torch import Tensor

from zoo.errors import InputShapeError


def check_input_shape(image: Tensor, expected: tuple[int, int, int]) -> Tensor:
    """Return ``image`` itself when it is a batch of the shape that a model was built for.

    A fixed-size head would otherwise accept wrong sizes silently: flattening to a fixed width cuts one large frame into several rows of
    logits, and a transposed frame has the right number of pixels. Only shapes are read, so nothing waits for a device.

    To keep a model traceable by ``torch.fx``, import this name into the model's module and call ``torch.fx.wrap("check_input_shape")``
    there, at top level; use the returned value, so that the check is no dead code of the traced graph.

    Args:
        image: ``(N, C, H, W)``, any dtype and device.
        expected: the ``(C, H, W)`` that the model was built for.

    Returns: ``image``, not copied.

    Raises:
        InputShapeError: the shape differs; says so when height and width are swapped or the batch axis is missing.
    """
    got = tuple(image.shape)
    if len(got) == 4 and got[1:] == expected:
        return image
    channels, height, width = expected
    if len(got) == 4 and got[1:] == (channels, width, height):
        remedy = "height and width are swapped; call image.transpose(2, 3)"
    elif got == expected:
        remedy = "the batch axis is missing; call image.unsqueeze(0)"
    else:
        remedy = "preprocess with the model's own pipeline, or build a model of this size with create_model(..., input_shape=...)"
    raise InputShapeError(f"image has shape {got}, expected (N, {channels}, {height}, {width}); {remedy}")
