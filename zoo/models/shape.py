"""The checks of shapes that every model of the zoo makes: of a frame's size when it is built, of a batch in its forward."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from zoo.errors import InputShapeError


def check_input_shape(image: Tensor, expected: tuple[int, int, int]) -> Tensor:
    """Return ``image`` itself when it is a batch of the shape that a model was built for.

    A fixed-size head would otherwise accept wrong sizes silently: flattening to a fixed width cuts one large frame into several rows of
    logits, and a transposed frame has the right number of pixels. Only shapes are read, so nothing waits for a device.

    Under ``torch.fx`` the check becomes a node of the traced graph; use the returned value, so that it is no dead code there.

    Args:
        image: ``(N, C, H, W)``, any dtype and device.
        expected: the ``(C, H, W)`` that the model was built for.

    Returns: ``image``, not copied.

    Raises:
        InputShapeError: the shape differs; says so when height and width are swapped or the batch axis is missing.
    """
    if isinstance(cast(object, image), fx.Proxy):
        return cast(fx.Proxy, image).tracer.create_proxy("call_function", check_input_shape, (image, expected), {})  # type: ignore[return-value]
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


def check_build_shape(
    name: str, in_channels: int, input_shape: tuple[int, int, int], *, minimum: tuple[int, int] = (1, 1)
) -> tuple[int, int, int]:
    """Return ``input_shape`` when a model can be built for it; to be called in ``build``.

    Args:
        name: of the architecture, for the message.
        in_channels: channels of the image.
        input_shape: ``(C, H, W)`` of one frame.
        minimum: the smallest height and width that the layers leave something of.

    Raises:
        InputShapeError: the channels disagree, or the frame is too small.
    """
    channels, height, width = input_shape
    if channels != in_channels:
        raise InputShapeError(f"input_shape {input_shape} has {channels} channels, but in_channels is {in_channels}")
    if height < minimum[0] or width < minimum[1]:
        raise InputShapeError(f"{name} got frames of {height}x{width}, expected at least {minimum[0]}x{minimum[1]} (height x width)")
    return channels, height, width
