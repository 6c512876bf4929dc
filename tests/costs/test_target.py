"""How a model is named, and how sizes, times and counts read."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.costs.target import parse_shape, parse_target
from zoo.costs.text import say_bytes, say_count, say_seconds
from zoo.errors import UnknownNameError, UsageError
from zoo.registry import get_registry


def test_name_with_options() -> None:
    target = parse_target("hrcn[padding=same]", get_registry())
    assert (target.name, dict(target.options), target.text, target.run) == ("hrcn", {"padding": "same"}, "hrcn[padding=same]", "")
    assert parse_target("zoo:hrcn", get_registry(), {"padding": "same"}).text == "hrcn[padding=same]"
    assert parse_target("hrcn[padding=valid]", get_registry()).text == "hrcn"  # the default is not worth naming


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ("hrnc", {}, UnknownNameError, "did you mean 'hrcn'"),
        ("hrcn[pading=same]", {}, UnknownNameError, "padding"),
        ("hrcn[padding=wide]", {}, UsageError, "must be one of"),
        ("hrcn[padding]", {}, UsageError, "KEY=VALUE"),
        ("hrcn[padding=same", {}, UsageError, "NAME\\[KEY=VALUE"),
        ("hrcn[padding=same]", {"padding": "valid"}, UsageError, "given twice"),
        ("runs/none", {}, UsageError, "no such run"),
    ],
)
def test_bad_names_are_refused(text: str, options: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_target(text, get_registry(), options)


def test_folders_are_runs_unless_a_model_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "hrcn"):
        (tmp_path / name).mkdir()
    assert parse_target("mine", get_registry()).run == "mine"
    assert parse_target("hrcn", get_registry()).run == ""
    assert parse_target("./hrcn", get_registry()).run == "./hrcn"
    assert parse_target("latest", get_registry()).run == "latest"
    with pytest.raises(UsageError, match="has its options already"):
        parse_target("mine", get_registry(), {"padding": "same"})


def test_shapes() -> None:
    assert parse_shape("3x64x128") == (3, 64, 128)
    assert parse_shape("2048X4096") == (1, 2048, 4096)
    for text in ("", "64", "1x2x3x4", "0x64x64", "1x64x", "1x-64x64", "axb"):
        with pytest.raises(UsageError, match="1x2048x4096"):
            parse_shape(text)


def test_numbers_read_with_three_digits() -> None:
    assert [say_bytes(size) for size in (0, 512, 1536, 388_220_008, 5_473_000_000, 1.5e13)] == [
        "0.000 B", "512 B", "1.50 KiB", "370 MiB", "5.10 GiB", "13970 GiB",
    ]  # fmt: skip
    assert [say_seconds(time) for time in (85.04, 5.707, 0.0123, 0.00085)] == ["85.0 s", "5.71 s", "12.3 ms", "850 us"]
    assert [say_count(count) for count in (512, 97_048_130, 177_944_134_784, 3.252e12)] == ["512", "97.0 M", "178 G", "3.25 T"]
