"""Models by name, from the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.entries import Entry, describe_options
from zoo.errors import InputShapeError, PluginError, UsageError
from zoo.registry import get_registry
from zoo.settings import add_options

if TYPE_CHECKING:
    from torch import nn


def list_models() -> list[str]:
    """Return the names that `create_model` accepts, sorted; imports neither torch nor any model."""
    return get_registry().names("models")


def create_model(
    name: str,
    *,
    num_classes: int = 2,
    in_channels: int = 1,
    input_shape: tuple[int, int, int] | None = None,
    **options: object,
) -> nn.Module:
    """Build a freshly initialised model, in training mode, with float32 parameters on the current default device.

    The weights come from torch's global generator: ``torch.manual_seed`` before the call makes them repeatable. Inside
    ``with torch.device("meta"):`` nothing is allocated.

    Args:
        name: a name of `list_models`, or ``owner:name``.
        num_classes: number of logits.
        in_channels: channels of a frame.
        input_shape: ``(C, H, W)`` of a frame after preprocessing; by default the height and width that the architecture was made for.
        **options: options of this architecture, as ``zoo models show NAME`` lists them.

    Returns: a module that maps ``(N, in_channels, H, W)`` float to logits ``(N, num_classes)`` and refuses frames of other shapes.

    Raises:
        UnknownNameError: no such model or option. UsageError: a bad value. InputShapeError: the architecture does not take this shape.
        PluginError: the plugin's code cannot be imported, or returned something that is no module.

    Example: >>> zoo.create_model("hrcn", input_shape=(1, 256, 512), padding="same")
    """
    entry = get_registry().get("models", name)
    return build_model(entry, entry.parse_options(options), num_classes=num_classes, in_channels=in_channels, input_shape=input_shape)


def build_model(
    entry: Entry,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
    input_shape: tuple[int, int, int] | None,
) -> nn.Module:
    """Build the model of a registry entry from options that are parsed already; arguments and errors as in `create_model`."""
    shape = (in_channels, *entry.metadata["input_shape"][1:]) if input_shape is None else tuple(input_shape)
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"num_classes and in_channels must be >= 1, got {num_classes} and {in_channels}")
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InputShapeError(f"input_shape must be three positive integers (channels, height, width), got {input_shape!r}")
    if shape[0] != in_channels:
        raise InputShapeError(f"input_shape {shape} has {shape[0]} channels, but in_channels is {in_channels}")
    from torch import nn

    model = entry.load()(num_classes=num_classes, in_channels=in_channels, input_shape=shape, **options)
    if not isinstance(model, nn.Module):
        raise PluginError(f"{entry.owner}:{entry.name}: build returned {type(model).__name__}, expected a torch.nn.Module")
    return model


def build_shell(
    entry: Entry,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
    input_shape: tuple[int, int, int] | None,
) -> nn.Module:
    """Build as `build_model`, without memory for the weights (meta device) where the architecture allows that."""
    import torch

    arguments: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "input_shape": input_shape}
    try:
        with torch.device("meta"):
            return build_model(entry, options, **arguments)
    except RuntimeError:  # an initialisation that reads its own values
        return build_model(entry, options, **arguments)


def describe_model(name: str, *, options: Mapping[str, object] | None = None, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the facts of one architecture for two classes and one channel: origin, parameters, MACs of one frame, options, weights.

    Args:
        name: a name of `list_models`, which may have options with it, as ``hrcn[padding=same]``.
        options: further model options; the rest have their defaults.
        size: ``(H, W)`` of a frame; by default what the architecture was made for.

    Raises:
        UnknownNameError, UsageError, InputShapeError, PluginError: as `create_model`.
    """
    from zoo.models.macs import count_buffers, count_macs, count_parameters

    name, given = add_options(name, options or {})
    entry = get_registry().get("models", name)
    parsed = entry.parse_options(given)
    shape = (1, *(size or entry.metadata["input_shape"][1:]))
    model = build_shell(entry, parsed, num_classes=2, in_channels=1, input_shape=shape)
    return {
        "name": entry.label(parsed),
        "family": entry.metadata["family"],
        "owner": entry.owner,
        "distribution": entry.distribution,
        "version": entry.version,
        "summary": entry.summary,
        "reference": entry.reference,
        "licence": entry.licence,
        "input": "x".join(map(str, shape)),
        "parameters": count_parameters(model),
        "buffers": count_buffers(model),
        "macs": count_macs(model, shape),
        "options": describe_options(entry),
        "weights": describe_weights(entry),
    }


def describe_weights(entry: Entry) -> list[dict[str, str]]:
    """Return the registered weights of an architecture as plain rows: name, origin, hash (or its first digits), data, licence."""
    return [
        {"weights": name} | {key: str(facts.get(key, "")) for key in ("trained_on", "licence", "url", "sha256")}
        for name, facts in entry.metadata["weights"].items()
    ]
