"""An example plugin: the architecture ``tinynet`` and the step ``destripe``. Importing it loads neither torch nor the network."""

import zoo

zoo_api = 1


@zoo.hookimpl
def register_models(register):
    register(
        "tinynet",
        "zoo_tinynet.net:build",
        input_shape=(1, 2048, 4096),
        summary="three strided convolutions and a linear head",
        reference="https://example.org/tinynet",
        licence="BSD-3-Clause",
        options={"width": zoo.Option(int, 16, "channels of the first layer")},
    )


@zoo.hookimpl
def register_steps(register):
    register(
        "destripe",
        "zoo_tinynet.destripe:Destripe",
        scope="frame",
        summary="subtract the median of each row",
        licence="BSD-3-Clause",
    )
