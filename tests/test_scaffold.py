"""A new plugin: what is written is a package that works at once; what cannot be written leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.cli import COMMANDS
from zoo.errors import StorageError, UsageError
from zoo.registry import KINDS, Registry
from zoo.scaffold import LICENCES, TEMPLATE, write_plugin
from zoo.testing import examine, find_target, list_checks

ROOT = Path(__file__).resolve().parent.parent
BUILTIN = Registry.from_plugins([])


@pytest.fixture(autouse=True)
def _clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loading a package puts on ``sys.path`` goes away with the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_package_has_an_architecture_and_a_step(tmp_path: Path) -> None:
    package = write_plugin("deepsky", tmp_path)
    assert package.distribution == "zoo-deepsky"
    assert [str(file) for file in package.files] == [
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "test_deepsky.py",
        "zoo_deepsky/__init__.py",
        "zoo_deepsky/net.py",
        "zoo_deepsky/step.py",
    ]
    text = "".join((package.folder / file).read_text() for file in package.files)
    assert "newnet" not in text.lower()
    assert "the authors of zoo-deepsky" in text
    assert package.commands[0] == f"cd {package.folder}"


def test_package_with_everything_passes_every_check(tmp_path: Path) -> None:
    package = write_plugin(
        "zoo-all-six", tmp_path, kinds=KINDS, licence="MIT", author="Caroline Herschel", taken=BUILTIN, reserved=COMMANDS
    )
    target = find_target(str(package.folder), BUILTIN)
    results = list(examine(target, build_data=True))
    assert [result for result in results if result.status != "passed"] == []
    everything = {check.id for _, check in list_checks()}
    assert {result.check for result in results} == everything
    assert {entry.name for entry in target.entries} == {"all-six", "all-six-sky", "all-six-data", "all-six-loss", "all-six-lines"}


@pytest.mark.parametrize("kind", KINDS)
def test_package_with_one_part_has_no_trace_of_the_others(kind: str, tmp_path: Path) -> None:
    package = write_plugin("lone", tmp_path, kinds=[kind])
    assert len([file for file in package.files if file.parts[0] == "zoo_lone"]) == 2
    hooks = (package.folder / "zoo_lone" / "__init__.py").read_text()
    assert hooks.count("@zoo.hookimpl") == 1
    assert f"def register_{kind}" in hooks
    assert (package.folder / "test_lone.py").read_text().count("def test_") == 2
    assert (package.folder / "README.md").read_text().count("zoo_lone/") == 2
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I", "--line-length", "140", str(package.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_package_installs_and_passes_its_own_tests(tmp_path: Path) -> None:
    """As a user does it, in an environment of its own that sees this one's packages."""
    package = write_plugin("deepsky", tmp_path, kinds=["models", "steps", "losses"])
    place = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(place)]
    subprocess.run([*pip, str(package.folder)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(place), "ZOO_PLUGINS": "deepsky", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(package.folder), "test_deepsky.py"]
    done = subprocess.run(command, cwd=package.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("name", ["", "Deep Sky", "deep_sky", "2sky", "deep--sky", "-sky", "deep/../../sky", "nébuleuse", "zoo-"])
def test_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name must be lower-case letters"):
        write_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kinds", "words"),
    [
        ("hrcn", ["models"], "the model 'hrcn' is registered by zoo"),
        ("zoo", ["losses"], "a plugin named 'zoo' is installed already"),
        ("train", ["commands"], "'zoo train' is a command of zoo itself"),
    ],
)
def test_name_that_is_taken_is_refused(name: str, kinds: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        write_plugin(name, tmp_path, kinds=kinds, taken=BUILTIN, reserved=COMMANDS)
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "zoo-deepsky").mkdir()
    with pytest.raises(UsageError, match="something is here already"):
        write_plugin("deepsky", tmp_path)
    assert list((tmp_path / "zoo-deepsky").iterdir()) == []


def test_failure_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(StorageError, match=r"zoo-deepsky: cannot be written: No space left on device; choose another place"):
        write_plugin("deepsky", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_licence_without_a_text_here_is_left_to_the_author(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="licence must be one of BSD-3-Clause"):
        write_plugin("deepsky", tmp_path, licence="Beerware")
    package = write_plugin("deepsky", tmp_path, licence="Apache-2.0")
    assert "LICENSE" not in [str(file) for file in package.files]
    project = (package.folder / "pyproject.toml").read_text()
    assert 'license = "Apache-2.0"' in project
    assert "license-files" not in project
    assert "add the text of the licence (Apache-2.0) as `LICENSE`" in (package.folder / "README.md").read_text()


def test_licences_are_spdx_identifiers() -> None:
    from packaging.licenses import canonicalize_license_expression

    assert [canonicalize_license_expression(licence) for licence in LICENCES] == list(LICENCES)


def test_licence_text_is_that_of_zoo() -> None:
    ours = (ROOT / "LICENSE").read_text().replace("the zoo developers", "the authors of zoo-newnet")
    assert (TEMPLATE / "LICENSE").read_text() == ours
