"""Freezing the first part of a network for fine-tuning: its parameters get no gradient, its BatchNorm and dropout stay in eval mode."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from zoo.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class Frozen:
    """What `freeze_until` froze. It holds names only, so it serves every copy of the model.

    Attributes:
        modules: names of the frozen modules, each with all that is inside it.
        parameters: names of the frozen parameters.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]

    def train(self, model: nn.Module) -> None:
        """Switch ``model`` to training mode and its frozen modules to eval mode; to be called instead of ``model.train()``.

        In eval mode a frozen BatchNorm normalises by the statistics that came with its weights and does not change them.

        Args:
            model: the model that was frozen, a copy of it, or `DistributedDataParallel` around it.
        """
        model.train()
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        for name in self.modules:
            inner.get_submodule(name).eval()


def freeze_until(model: nn.Module, layer: str) -> Frozen:
    """Freeze everything up to and including ``layer``, in the order in which the modules were defined.

    In all networks of zoo that is the order of the forward pass. Parameters that a module holds beside its children come before them. The
    frozen parameters get ``requires_grad=False`` and the frozen modules go to eval mode; use `Frozen.train` for each later epoch.

    Args:
        model: changed in place.
        layer: name of a module, as in the state dict without the last part: ``features.10``, ``layer2``, ``features.block3``.

    Raises:
        UnknownNameError: there is no such module; suggests the nearest and lists the top level. UsageError: nothing would be left to train,
            or nothing would be frozen.
    """
    known = [name for name, _ in model.named_modules() if name]
    if layer not in known:
        top = ", ".join(name for name, _ in model.named_children())
        nested = next((f"; a dot leads inside, as in {name!r}" for name in known if "." in name), "")
        raise UnknownNameError("layer", layer, known, remedy=f"The layers at the top level are: {top}{nested}.")
    modules, direct = _before(model, layer)
    inside = tuple(f"{name}." for name in modules)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    frozen = tuple(name for name in trained if name in direct or name.startswith(inside))
    if not frozen:
        raise UsageError(f"freezing until {layer!r} freezes no parameter: the first one is {trained[0] if trained else 'absent'}")
    if len(frozen) == len(trained):
        last = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))][-1]
        raise UsageError(f"freezing until {layer!r} leaves nothing to train; name a layer before the head {last!r}")
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    for name in modules:
        model.get_submodule(name).eval()
    return Frozen(tuple(modules), frozen)


def _before(model: nn.Module, layer: str) -> tuple[list[str], set[str]]:
    """Return the outermost modules up to ``layer``, and the parameters that stand beside them in the modules around ``layer``."""
    modules: list[str] = []
    direct: set[str] = set()
    parent, prefix = model, ""
    for part in layer.split("."):
        direct |= {prefix + name for name, _ in parent.named_parameters(recurse=False)}
        for name, child in parent.named_children():
            if name == part:
                parent, prefix = child, f"{prefix}{name}."
                break
            modules.append(prefix + name)
    return [*modules, layer], direct
