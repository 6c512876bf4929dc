"""Where a setting comes from: command line > ``ZOO_*`` environment > configuration file > defaults of plugins and of zoo.

A configuration file is TOML; each key of its tables equals the flag of the same name. An unknown key is an error.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import SettingsError, UnknownNameError, UsageError

DEFAULT_FILE = "zoo.toml"
GEOMETRIES = ("resize", "crop", "pad", "refuse")
"""Rules for frames of other sizes; `zoo.data.geometry` says what they do."""

INTERVALS = ("jackknife", "bootstrap", "frame")
"""Methods of confidence intervals, the default first; `zoo.intervals` says how they work."""

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[kMGT]i?B)", re.IGNORECASE)
_UNITS = {"B": 1} | {f"{unit}{mark}": base**power for power, unit in enumerate("KMGT", 1) for mark, base in (("B", 1000), ("IB", 1024))}
_NAMED = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<options>[^\[\]]*)\])?")

# Variables that are no setting of a run: they steer the build, the plugins, the caches and the tests.
OTHER_VARIABLES = frozenset(
    {
        "ZOO_BUILD_EXT", "ZOO_CACHE", "ZOO_CUDA", "ZOO_CUDA_ARCHS", "ZOO_MAST_URL", "ZOO_MIN_VALID", "ZOO_PLUGINS", "ZOO_REAL_DATA",
        "ZOO_REQUIRE_CUDA", "ZOO_REQUIRE_EXT", "ZOO_S3_URL", "ZOO_SIMD", "ZOO_STRICT_PLUGINS", "ZOO_WERROR",
    }
)  # fmt: skip


def find_config(given: Path | None = None, *, folder: Path | None = None) -> Path | None:
    """The configuration file to read: the given one, else ``zoo.toml`` in ``folder`` (default: the working directory), else None.

    Raises: SettingsError: the given file does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise SettingsError(f"--config {given}: no such file; expected a TOML file with tables [model] [data] [train] [output]")
        return given
    default = (folder or Path.cwd()) / DEFAULT_FILE
    return default if default.is_file() else None


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file. Raises: SettingsError: unreadable, or not TOML (file, line and column named)."""
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def dump_toml(tables: Mapping[str, Any]) -> str:
    """TOML text of nested tables; keys whose value is None are left out, since TOML has no null."""
    import tomli_w

    text: str = tomli_w.dumps(_without_none(tables))
    return text


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value


def read_environment(known: Mapping[str, str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings from ``ZOO_<KEY>`` variables.

    Args:
        known: maps each variable name, such as ``ZOO_BATCH_SIZE``, to the dotted key it sets, such as ``train.batch_size``.
        environ: defaults to the process environment.
    Returns: dotted key -> text.
    Raises: SettingsError: a ``ZOO_*`` variable that nothing reads (the message suggests the nearest).
    """
    found: dict[str, str] = {}
    for variable, value in (os.environ if environ is None else environ).items():
        if not variable.startswith("ZOO_") or variable in OTHER_VARIABLES:
            continue
        if variable not in known:
            near = UnknownNameError("variable", variable, [*known, *OTHER_VARIABLES])
            raise SettingsError(f"{near} Unset it if it is not meant for zoo.")
        found[known[variable]] = value
    return found


def check_keys(table: Mapping[str, object], known: Iterable[str], *, where: str) -> None:
    """Raise SettingsError for the first key of ``table`` that is not ``known``, with the nearest name."""
    names = list(known)
    for key in table:
        if key not in names:
            raise SettingsError(f"{where}: {UnknownNameError('key', key, names, remedy='Known: ' + ', '.join(names) + '.')}")


def parse_assignments(words: Iterable[str]) -> dict[str, str]:
    """``("width=64", "padding=same")`` as a mapping. Raises: UsageError: no ``=``, or a key given twice."""
    parsed: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise UsageError(f"expected KEY=VALUE, got {word!r}")
        if key in parsed:
            raise UsageError(f"option {key!r} is given twice: {parsed[key]!r} and {value!r}")
        parsed[key] = value
    return parsed


def parse_named(text: str) -> tuple[str, dict[str, str]]:
    """``"hrcn[padding=same,width=64]"`` as a name and its options; a name alone has none.

    Raises: UsageError: any other form, or an option given twice.
    """
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"expected NAME or NAME[KEY=VALUE,...], got {text!r}")
    return found["name"], parse_assignments(word.strip() for word in (found["options"] or "").split(",") if word.strip())


def add_options(text: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of ``text`` (see `parse_named`) with further options. Raises: UsageError: as there, or an option in both."""
    name, given = parse_named(text)
    for key, value in options.items():
        if key in given:
            raise UsageError(f"{text}: option {key!r} is given twice: {given[key]!r} and {str(value)!r}")
    return name, {**given, **options}


def parse_bytes(text: str) -> int:
    """``"20GB"``, ``"512 MiB"`` as bytes; kB is 1000 and KiB 1024; ``0`` and ``off`` are 0. Raises: UsageError: any other form."""
    if text.strip().casefold() in ("0", "off"):
        return 0
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"a number of bytes is written with its unit, such as 20GB or 512MiB, or off; got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def parse_size(text: str) -> tuple[int, int]:
    """``"512x1024"`` as (height, width) in pixels. Raises: UsageError: any other form, or a size below 1."""
    height, separator, width = text.lower().partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"a size is HEIGHTxWIDTH in pixels, such as 2048x4096; got {text!r}")
    return int(height), int(width)
