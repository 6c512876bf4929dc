"""The plugin contract: six hooks, each called once per plugin when the registry is first used.

Every hook receives a ``register`` callable, so that the registry keeps the owner of each name, and finds clashes. ``build`` is a **lazy
reference** ``"package.module:callable"`` (preferred: listing then imports nothing of it) or a callable. A hook registers and returns; it
must build nothing, import nothing heavy, and write nothing.

A plugin module may set ``zoo_api = 1``, the version of this contract that it was written for.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

API_VERSION = 1

hookspec = pluggy.HookspecMarker("zoo")
hookimpl = pluggy.HookimplMarker("zoo")

Register = Callable[..., None]


@hookspec
def register_models(register: Register) -> None:
    """Add architectures.

    :param register: ``register(name, build, *, input_shape, summary="", reference="", licence="", options={}, weights={}, family="",
        parameters=0)``.
        ``build(*, num_classes, in_channels, input_shape, **options)`` returns an ``nn.Module`` that maps ``(N, in_channels, H, W)`` to
        logits ``(N, num_classes)``. ``input_shape`` is the ``(C, H, W)`` it was designed for. ``options`` maps names to ``zoo.Option``.
        ``weights`` maps names to ``{"url", "sha256", "licence", "trained_on"}``. ``family`` (by default the name) and ``parameters``, the
        number of them for one channel, two classes and the default options, are shown by ``zoo models list``, which builds nothing.
    """


@hookspec
def register_steps(register: Register) -> None:
    """Add preprocessing steps.

    :param register: ``register(name, build, *, scope, summary="", reference="", licence="", options={})``. ``scope`` is ``"frame"`` or
        ``"batch"``; ``build(**options)`` returns a step as ``zoo.steps.Step`` describes it.
    """


@hookspec
def register_datasets(register: Register) -> None:
    """Add data sets that can be named with ``--data``.

    :param register: ``register(name, build, *, summary="", reference="", licence="", options={}, scene=None)``. ``build(root, **options)``
        returns a ``zoo.data.DataSet``: manifest rows with splits, and the default pipeline. ``root`` is a folder, or None for the cache. A
        builder with a parameter ``progress`` gets a callable ``progress(ready, total)`` to call while it makes or fetches files, or None.
        ``scene``, for simulated files, is a callable or a reference to one: ``scene(info)`` gets the ``zoo.frames.FrameInfo`` of a frame
        and returns the ``zoo.frames.Observation`` behind it, or None for a file that it did not make.
    """


@hookspec
def register_losses(register: Register) -> None:
    """Add losses for ``zoo train --loss``.

    :param register: ``register(name, build, *, summary="", reference="", licence="", options={})``. ``build(*, class_weights, **options)``
        returns a callable from float logits ``(N, K)`` and int64 labels ``(N,)`` to a scalar tensor; ``class_weights`` is ``(K,)`` or None.
    """


@hookspec
def register_loggers(register: Register) -> None:
    """Add loggers for ``zoo train --logger``.

    :param register: ``register(name, build, *, summary="", reference="", licence="", options={})``. ``build(run_dir, **options)`` returns
        an object with ``log(record)``, called with each line of ``metrics.jsonl`` as a mapping, and ``close()``. When a run is resumed,
        the lines before its checkpoint come again: through ``replay(record)`` if the object has it, else through ``log``.
    """


@hookspec
def register_commands(register: Register) -> None:
    """Add commands to the ``zoo`` command line.

    :param register: ``register(name, build, *, help)``, with ``build`` a reference to a ``click.Command``; only ``help`` is needed for
        ``zoo --help``, which imports nothing of the command.
    """
