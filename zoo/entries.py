"""What a plugin registers: a name, a lazy reference to what builds it, its options, and plain metadata."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import PluginError, UnknownNameError, UsageError, ZooError

KINDS = ("models", "steps", "datasets", "losses", "loggers", "commands")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*(:[A-Za-z0-9][A-Za-z0-9_.+-]*)?\Z")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Option:
    """One option of a registered name, as ``--model-option width=64`` or ``--step normalize:lower=1`` sets it.

    Attributes:
        type: ``int``, ``float``, ``str`` or ``bool``.
        default: used where nothing is said; must be of ``type``.
        help: one line, with the unit.
        choices: the values allowed, or ``None`` for any.
    """

    type: type
    default: Any
    help: str = ""
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.type not in (int, float, str, bool):
            raise TypeError(f"the type of an option must be int, float, str or bool, got {self.type!r}")

    def fits(self, value: object) -> bool:
        """Whether a value is of the type as it stands: an ``int`` is a ``float`` too, a ``bool`` is nothing but a ``bool``."""
        if isinstance(value, bool):
            return self.type is bool
        return isinstance(value, (int, float) if self.type is float else self.type)

    def parse(self, value: object, *, name: str) -> Any:
        """Coerce text from a command line, or check a value from Python or TOML.

        Raises: UsageError: it is not of the type, or not among the choices.
        """
        parsed = self._coerce(value, name)
        if self.choices is not None and parsed not in self.choices:
            raise UsageError(f"{name} must be one of {', '.join(map(str, self.choices))}; got {value!r}")
        return parsed

    def _coerce(self, value: object, name: str) -> Any:
        problem = UsageError(f"{name} must be {self.type.__name__}, got {value!r}")
        if self.type is bool:
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
                return value.lower() in _TRUE
            raise problem
        if self.type is str:
            if isinstance(value, str):
                return value
            raise problem
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise problem
        if self.type is int and isinstance(value, float):
            if not value.is_integer():
                raise problem
            return int(value)
        try:
            return self.type(value)
        except ValueError:
            raise problem from None


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        kind: one of ``KINDS``.
        owner: the plugin that registered it (``zoo`` for built-ins).
        build: a callable, or a reference ``"package.module:callable"`` that :meth:`load` imports.
        options: what ``build`` accepts besides the arguments of its kind.
        metadata: what only one kind has: ``input_shape``, ``weights``, ``family`` and ``parameters`` of models, ``scope`` of steps.
    """

    kind: str
    name: str
    owner: str
    build: str | Callable[..., Any]
    summary: str = ""
    reference: str = ""
    licence: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    distribution: str = ""
    version: str = ""

    def load(self) -> Callable[..., Any]:
        """Import the callable.

        Raises: PluginError: the module or the name in it does not exist, or importing it fails. A ZooError of the module passes through.
        """
        if callable(self.build):
            return self.build
        module_name, _, path = self.build.partition(":")
        try:
            target: Any = importlib.import_module(module_name)
            for part in path.split("."):
                target = getattr(target, part)
        except ZooError:  # a plugin that knows what is missing, and says what to do
            raise
        except Exception as error:
            raise PluginError(f"{self.owner}:{self.name}: cannot load {self.build!r}: {type(error).__name__}: {error}") from error
        if not callable(target):
            raise PluginError(f"{self.owner}:{self.name}: {self.build!r} is {type(target).__name__}, expected a callable")
        return target  # type: ignore[no-any-return]

    def parse_options(self, values: Mapping[str, object]) -> dict[str, Any]:
        """All options with their values: the given ones coerced and checked, the defaults for the rest.

        Raises: UsageError: a value does not fit. UnknownNameError: there is no such option (the message suggests the nearest).
        """
        for key in values:
            if key not in self.options:
                known = f"{self.name} has: {', '.join(self.options)}." if self.options else f"{self.name} has no options."
                raise UnknownNameError("option", key, self.options, remedy=known)
        return {
            key: option.parse(values[key], name=f"{self.name}: option {key}") if key in values else option.default
            for key, option in self.options.items()
        }

    def label(self, values: Mapping[str, object]) -> str:
        """The name with the options that differ from their defaults, as ``hrcn[padding=same]``."""
        changed = [f"{key}={values[key]}" for key, option in self.options.items() if key in values and values[key] != option.default]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name


def make_register(kind: str, *, owner: str, distribution: str, version: str, stage: list[Entry]) -> Callable[..., None]:
    """The ``register`` callable that the hook ``register_<kind>`` of one plugin receives; entries go to ``stage``."""

    def register(
        name: str,
        build: str | Callable[..., Any],
        *,
        summary: str = "",
        reference: str = "",
        licence: str = "",
        options: Mapping[str, Option] | None = None,
        **metadata: Any,
    ) -> None:
        if not isinstance(name, str) or not _NAME.match(name):
            raise PluginError(f"register_{kind}: a name is letters, digits and _ . + -, got {name!r}")
        if not callable(build) and not (isinstance(build, str) and _REFERENCE.match(build)):
            raise PluginError(f"register_{kind}: {name!r} needs 'package.module:callable' or a callable, got {build!r}")
        for key, option in (options or {}).items():
            if not isinstance(option, Option):
                raise PluginError(f"register_{kind}: option {key!r} of {name!r} must be a zoo.Option, got {type(option).__name__}")
            if not option.fits(option.default):
                got = f"{option.default!r}, which is {type(option.default).__name__}"
                raise PluginError(f"register_{kind}: {name!r}: the default of option {key} must be {option.type.__name__}, got {got}")
            option.parse(option.default, name=f"register_{kind}: {name!r}: the default of option {key}")
        checked = _check_metadata(kind, name, metadata)
        entry = Entry(kind, name, owner, build, summary, reference, licence, dict(options or {}), checked, distribution, version)
        stage.append(entry)

    return register


# The keywords that only one kind of hook accepts.
_METADATA = {
    "models": {"input_shape", "weights", "family", "parameters"},
    "steps": {"scope"},
    "datasets": {"scene"},
    "commands": {"help"},
}


def _check_metadata(kind: str, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what the hook does not know, and return the rest."""
    expected = _METADATA.get(kind, set())
    unknown = set(metadata) - expected
    if unknown:
        raise PluginError(f"register_{kind}: {name!r} has unknown keywords {sorted(unknown)}, expected {sorted(expected) or 'none'}")
    if kind == "models":
        shape = metadata.get("input_shape")
        if not (isinstance(shape, (tuple, list)) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
            raise PluginError(f"register_models: {name!r} needs input_shape=(channels, height, width), got {shape!r}")
        parameters = metadata.get("parameters", 0)
        if not isinstance(parameters, int) or parameters < 0:
            raise PluginError(f"register_models: parameters of {name!r} must be their number, or left out; got {parameters!r}")
        return {
            "input_shape": tuple(shape),
            "weights": dict(metadata.get("weights") or {}),
            "family": str(metadata.get("family") or name),
            "parameters": parameters,
        }
    if kind == "steps" and metadata.get("scope") not in ("frame", "batch"):
        raise PluginError(f"register_steps: {name!r} needs scope='frame' or scope='batch', got {metadata.get('scope')!r}")
    scene = metadata.get("scene")
    if kind == "datasets" and scene is not None and not (callable(scene) or (isinstance(scene, str) and _REFERENCE.match(scene))):
        raise PluginError(f"register_datasets: scene of {name!r} must be 'package.module:callable' or a callable, got {scene!r}")
    if kind == "commands" and not metadata.get("help"):
        raise PluginError(f"register_commands: {name!r} needs help='one line'")
    return metadata


def describe_options(entry: Entry) -> list[dict[str, object]]:
    """The options of an entry as plain rows: name, type, default, choices, help."""
    return [
        {
            "option": name,
            "type": option.type.__name__,
            "default": option.default,
            "choices": ", ".join(map(str, option.choices or ())),
            "help": option.help,
        }
        for name, option in entry.options.items()
    ]
