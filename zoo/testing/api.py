"""The functions for tests of plugins: each runs the checks that fit and raises at the first fault."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from zoo.errors import CheckFailedError
from zoo.registry import get_registry
from zoo.steps import Step
from zoo.testing.check import run_checks
from zoo.testing.step_checks import StepSubject
from zoo.testing.subject import ModelSubject
from zoo.testing.targets import ENTRY_CHECKS, examine, examine_entry, find_target


def check_model(
    name: str,
    *,
    options: Mapping[str, object] | None = None,
    input_shape: tuple[int, int, int] = (1, 64, 128),
    num_classes: int = 2,
) -> nn.Module:
    """Check that a registered architecture keeps the contract of ``register_models``; ``zoo plugins check --list`` names the checks.

    Args:
        name: registered name. options: as ``--model-option`` gives them. An architecture that refuses ``input_shape`` and names options
            with which it takes it is built with those.
        input_shape: ``(C, H, W)``, small enough for a test and large enough for the network.
        num_classes: how many logits to ask for.
    Returns: the model, in eval mode.
    Raises:
        CheckFailedError: with what was got and how to mend it.
        UnknownNameError, UsageError, PluginError: the name or an option is unknown, or the builder cannot be imported.
    """
    entry = get_registry().get("models", name)
    entry.load()
    subject: ModelSubject = ModelSubject.of(entry, options, sizes=(input_shape[1:],), in_channels=input_shape[0], num_classes=num_classes)
    for result in run_checks(ENTRY_CHECKS["models"], subject, label=f"{subject.label} at {'x'.join(map(str, input_shape))}"):
        result.raise_if_failed()
    return subject.model


def check_step(name: str, *, options: Mapping[str, object] | None = None, shape: tuple[int, int] = (64, 128)) -> Step:
    """Check that a registered step keeps the contract of ``register_steps``; ``zoo plugins check --list`` names the checks.

    Args:
        name: registered name. options: as ``--step name:key=value`` gives them. shape: (height, width) of the test frame.
    Returns: the step.
    Raises: CheckFailedError: with what was got and how to mend it. UnknownNameError, UsageError, PluginError.
    """
    entry = get_registry().get("steps", name)
    entry.load()
    subject: StepSubject = StepSubject.of(entry, options, sizes=(shape,))
    for result in run_checks(ENTRY_CHECKS["steps"], subject, label=subject.label):
        result.raise_if_failed()
    return subject.step


def check_loss(name: str, *, options: Mapping[str, object] | None = None) -> None:
    """Check that a registered loss keeps the contract of ``register_losses``. Raises: as `check_step`."""
    _check("losses", name, options)


def check_logger(name: str, *, options: Mapping[str, object] | None = None) -> None:
    """Check that a registered logger keeps the contract of ``register_loggers``. Raises: as `check_step`."""
    _check("loggers", name, options)


def check_dataset(name: str, root: str | os.PathLike[str], *, options: Mapping[str, object] | None = None) -> None:
    """Build a registered data set and check that it keeps the contract of ``register_datasets``.

    Args:
        name: registered name. root: the folder that it is built in. options: as ``--data-option`` gives them; choose a small one.
    Raises: as `check_step`.
    """
    _check("datasets", name, options, root=Path(root))


def check_command(name: str) -> None:
    """Check that a registered command keeps the contract of ``register_commands``. Raises: as `check_step`."""
    _check("commands", name, None)


def _check(kind: str, name: str, options: Mapping[str, object] | None, **arguments: Any) -> None:
    entry = get_registry().get(kind, name)
    entry.load()
    for result in examine_entry(entry, options, **arguments):
        result.raise_if_failed()


def check_plugin(name: str) -> None:
    """Check a plugin as a whole and every name that it registers, as ``zoo plugins check NAME`` does.

    Args:
        name: of the plugin (its entry point), of its distribution, or the path of its file or folder.
    Raises: CheckFailedError: lists every fault with its remedy. UnknownNameError, PluginError: there is no such plugin.
    """
    results = list(examine(find_target(name, get_registry())))
    faults = [f"{result.subject}: {result.got}; {result.remedy} [{result.check}]" for result in results if result.status == "failed"]
    if faults:
        raise CheckFailedError(f"{len(faults)} of {len(results)} checks failed:\n" + "\n".join(faults))
