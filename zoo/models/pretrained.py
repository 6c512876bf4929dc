"""Weights from elsewhere as a starting point: found, verified, fitted to the model, with an account of every tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urldefrag

import torch
from torch import Tensor, nn

from zoo import storage
from zoo.download import download
from zoo.entries import Entry
from zoo.errors import PluginError, UnknownNameError, UsageError, WeightsError
from zoo.models.directory import WEIGHTS_NAME, resolve_run
from zoo.models.weights import StateFile, read_state
from zoo.registry import get_registry

CACHE_FOLDER = "weights"
_SHOWN = 6  # names in one line of a summary or of an error


@dataclass(frozen=True)
class PretrainedReport:
    """What became of every tensor of the model and of the file.

    Attributes:
        source: what was asked for.
        sha256: hash of the file of weights, in full.
        licence: of registered weights; empty where it is not known.
        trained_on: of registered weights and of runs; empty where it is not known.
        loaded: names in the model that hold the file's values, the adapted ones too.
        adapted: names of the loaded tensors that were changed to fit, and how.
        replaced: names of the head, which keep their initial values because the number of classes differs.
        unused: names in the file that the model does not have.
        missing: names in the model that the file does not have; they keep their initial values.
        notes: what else there is to know, one line each.
    """

    source: str
    sha256: str
    licence: str
    trained_on: str
    loaded: tuple[str, ...]
    adapted: dict[str, str]
    replaced: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line on the origin, one on the tensors, one for each note."""
        facts = [f"SHA-256 {self.sha256[:12]}"]
        facts += [f"trained on {self.trained_on}"] if self.trained_on else []
        facts += [f"licence: {self.licence}"] if self.licence else []
        counts = [f"{len(self.loaded)} tensors loaded"]
        counts += [f"{name} {how}" for name, how in self.adapted.items()]
        for names, words in (
            (self.replaced, "of the head kept as initialised (other number of classes)"),
            (self.missing, "not in the file, kept as initialised"),
            (self.unused, "of the file not used"),
        ):
            if names:
                counts.append(f"{len(names)} {words}: {_shorten(names)}")
        return "\n".join([f"pretrained {self.source}: {', '.join(facts)}", "; ".join(counts), *self.notes])


def load_pretrained(
    model: nn.Module, source: str | os.PathLike[str], *, entry: Entry | str, progress: Callable[[int, int], None] | None = None
) -> PretrainedReport:
    """Load weights into a model, fitting the first convolution and leaving out a head for another number of classes.

    The first convolution is fitted to the model's channels such that a frame with equal channels gives the same output as before: its
    weights are summed over the file's channels (red, green and blue become one) and shared among the model's. A head (the last layer) of
    another number of classes keeps its initial values. Every other difference of shape is an error, and the model is then unchanged.

    Args:
        model: changed in place; its dtype and device stay.
        source: the name of weights that the architecture registers; ``http(s)://...``, with ``#sha256=...`` to verify it; or a path to
            ``.safetensors``, ``.pth`` or ``.pt``, to a run or to a model directory. A registered name comes before a file of that name.
        entry: the architecture, whose registered weights ``source`` may name: its name, or its entry in the registry.
        progress: called with the bytes fetched and expected (0: unknown) while something is fetched.

    Returns: what became of each tensor.

    Raises:
        UnknownNameError: the source is none of these, or there is no such architecture. NetworkError: it cannot be fetched.
        StorageError: its hash differs from the expected one, or it cannot be read. WeightsError: it is no file of weights, or it does not
            fit the model.

    Example: >>> load_pretrained(model, "imagenet1k-v1", entry="resnet18").summary()
    """
    found = _find(os.fspath(source), get_registry().get("models", entry) if isinstance(entry, str) else entry, progress)
    return _fit(model, read_state(found.path), found)


@dataclass(frozen=True)
class _Found:
    source: str
    path: Path
    sha256: str
    licence: str = ""
    trained_on: str = ""
    notes: tuple[str, ...] = ()


def _find(source: str, entry: Entry, progress: Callable[[int, int], None] | None) -> _Found:
    weights = entry.metadata.get("weights", {})
    cache = storage.cache_root() / CACHE_FOLDER
    if source in weights:
        facts = weights[source]
        absent = [key for key in ("url", "sha256") if not facts.get(key)]
        if absent:
            raise PluginError(f"{entry.owner}:{entry.name}: the weights {source!r} were registered without {' and '.join(absent)}")
        file = download(facts["url"], cache, sha256=facts["sha256"], progress=progress)
        return _Found(source, file.path, file.sha256, facts.get("licence", ""), facts.get("trained_on", ""))
    if source.startswith(("http://", "https://")):
        url, fragment = urldefrag(source)
        expected = fragment.removeprefix("sha256=")
        if fragment and (not expected or expected == fragment):
            raise UsageError(f"{source}: got '#{fragment}' behind the URL, expected '#sha256=' and at least 8 digits, or nothing")
        file = download(url, cache, sha256=expected, progress=progress)
        unverified = f"not verified: no hash was given; to pin this file write {url}#sha256={file.sha256}"
        return _Found(source, file.path, file.sha256, notes=() if expected else (unverified,))
    path = Path(source)
    if path.is_dir() or source == "latest":
        return _find_run(source)
    if path.is_file():
        return _Found(source, path, storage.sha256(path))
    known = f"{entry.name} has the weights: {', '.join(weights)}." if weights else f"No weights are registered for {entry.name}."
    raise UnknownNameError("weights", source, weights, remedy=f"{known} A path to a file or a run, or a URL, is accepted as well.")


def _find_run(source: str) -> _Found:
    folder = resolve_run(source)
    storage.verify_directory(folder)
    card = storage.read_json(folder / "card.json")
    notes = (f"from {card['model']['label']}, classes {', '.join(card['labels'])}",)
    return _Found(
        source,
        folder / WEIGHTS_NAME,
        storage.sha256(folder / WEIGHTS_NAME),
        trained_on=f"frames of the domain {card['domain']}",
        notes=notes,
    )


@dataclass
class _Match:
    """What becomes of the names that model and file share."""

    ready: dict[str, Tensor] = field(default_factory=dict)
    adapted: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _match(model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> _Match:
    match = _Match()
    first, head = _first_convolution(model), _head(model)
    for name, mine in own.items():
        other = given.get(name)
        if other is None:
            continue
        if mine.is_floating_point() != other.is_floating_point():
            match.wrong.append(f"{name}: file {other.dtype}, model {mine.dtype}")
        elif mine.shape == other.shape:
            match.ready[name] = other
        elif name == first and other.dim() == 4 and (mine.shape[0], *mine.shape[2:]) == (other.shape[0], *other.shape[2:]):
            channels = mine.shape[1]
            match.ready[name] = other.to(mine.dtype).sum(1, keepdim=True).expand_as(mine) / channels
            match.adapted[name] = f"summed over {other.shape[1]} channels" + (f" and shared by {channels}" if channels > 1 else "")
        elif name in head and mine.shape[1:] == other.shape[1:]:
            match.replaced.append(name)
        else:
            match.wrong.append(f"{name}: file {_size(other)}, model {_size(mine)}")
    return match


def _fit(model: nn.Module, file: StateFile, found: _Found) -> PretrainedReport:
    own = model.state_dict()
    file = file.without_prefixes(own)
    given = file.state
    match = _match(model, own, given)
    if match.wrong:
        more = f", and {len(match.wrong) - _SHOWN} more" if len(match.wrong) > _SHOWN else ""
        shown = "; ".join(match.wrong[:_SHOWN])
        raise WeightsError(f"{found.source}: does not fit the model: {shown}{more}; is it of another architecture?")
    if not match.ready:
        raise WeightsError(
            f"{found.source}: none of its names is in the model; it has {_shorten(tuple(given))}; the model has {_shorten(tuple(own))}"
        )
    bad = tuple(name for name, tensor in match.ready.items() if not bool(torch.isfinite(tensor).all()))
    if bad:
        raise WeightsError(f"{found.source}: holds NaN or infinity in {_shorten(bad)}; it comes from a training that failed")
    with torch.no_grad():
        for name, tensor in match.ready.items():
            own[name].copy_(tensor)  # the state dict shares its memory with the model
    return PretrainedReport(
        source=found.source,
        sha256=found.sha256,
        licence=found.licence,
        trained_on=found.trained_on,
        loaded=tuple(match.ready),
        adapted=match.adapted,
        replaced=tuple(match.replaced),
        unused=tuple(name for name in given if name not in own),
        missing=tuple(name for name in own if name not in given),
        notes=(*found.notes, *file.notes),
    )


def _first_convolution(model: nn.Module) -> str:
    """Return the name of the weight that sees the frame's channels; empty where the first layer is of another kind."""
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            return f"{name}.weight".lstrip(".") if isinstance(module, nn.Conv2d) and module.groups == 1 else ""
    return ""


def _head(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters of the last layer."""
    holders = [(name, module) for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    name, module = holders[-1] if holders else ("", model)
    return tuple(f"{name}.{parameter}".lstrip(".") for parameter, _ in module.named_parameters(recurse=False))


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
