"""zoo-newnet: a plugin of celestial-zoo. Importing it loads neither torch nor what it registers."""

from collections.abc import Callable

import zoo

zoo_api = 1

LICENCE = "BSD-3-Clause"


@zoo.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(
        "newnet",
        "zoo_newnet.net:build",
        input_shape=(1, 2048, 4096),
        summary="four strided convolutions, averaged over the frame",
        reference="unpublished",
        licence=LICENCE,
        options={"width": zoo.Option(int, 16, "channels of the first layer")},
    )


@zoo.hookimpl
def register_steps(register: Callable[..., None]) -> None:
    register(
        "newnet-sky",
        "zoo_newnet.step:SubtractSky",
        scope="frame",
        summary="subtract the sky, taken as a quantile of the frame",
        licence=LICENCE,
        options={"quantile": zoo.Option(float, 0.5, "between 0 and 1; 0.5 is the median")},
    )


@zoo.hookimpl
def register_datasets(register: Callable[..., None]) -> None:
    register(
        "newnet-data",
        "zoo_newnet.dataset:build",
        summary="blobs and points, drawn when they are read",
        licence=LICENCE,
        options={"targets": zoo.Option(int, 12, "per class"), "size": zoo.Option(int, 64, "height in pixels; the width is twice that")},
    )


@zoo.hookimpl
def register_losses(register: Callable[..., None]) -> None:
    register(
        "newnet-loss",
        "zoo_newnet.loss:build",
        summary="cross-entropy of logits that are divided by a temperature",
        licence=LICENCE,
        options={"temperature": zoo.Option(float, 2.0, "above 1 for softer classes")},
    )


@zoo.hookimpl
def register_loggers(register: Callable[..., None]) -> None:
    register("newnet-lines", "zoo_newnet.logger:Lines", summary="one readable line an epoch, in epochs.txt", licence=LICENCE)


@zoo.hookimpl
def register_commands(register: Callable[..., None]) -> None:
    register("newnet", "zoo_newnet.command:newnet", help="Print height and width of FITS images.", licence=LICENCE)
