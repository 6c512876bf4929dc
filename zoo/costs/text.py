"""Sizes and times as people read them."""

from __future__ import annotations


def say_bytes(size: float) -> str:
    """Return ``12.3 GiB``, ``370 MiB`` or ``1.5 KiB``: three digits."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return _three(size, unit)
        size /= 1024
    return _three(size, "GiB")


def say_seconds(seconds: float) -> str:
    """Return ``5.71 s``, ``12.3 ms`` or ``850 us``: three digits."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return _three(seconds * factor, unit)
    return _three(seconds * 1e6, "us")


def say_count(count: float) -> str:
    """Return ``97.0 M``, ``178 G`` or ``512``: three digits and a power of 1,000."""
    for unit in ("", "k", "M", "G"):
        if abs(count) < 999.5:
            return _three(count, unit) if unit else f"{count:.0f}"
        count /= 1000
    return _three(count, "T")


def _three(value: float, unit: str) -> str:
    """Three significant digits, never an exponent."""
    decimals = max(0, 3 - len(str(int(value)))) if value >= 1 else 3
    return f"{value:.{decimals}f} {unit}"
