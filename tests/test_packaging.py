"""What the sdist and the wheel hold, and what an installation without a compiler does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import zoo

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCES = (".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*.so")


def build(kind: str, source: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build an sdist or a wheel with the build requirements that are installed."""
    options = ["--no-isolation", "--skip-dependency-check", f"--{kind}", "--outdir", str(folder)]
    command = [sys.executable, "-m", "build", *options, str(source)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False)


def source_files(folder: Path) -> set[str]:
    """Paths of the files below a folder, relative to its parent; links to other folders are not followed."""
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, so that a build writes nothing into the real one."""
    copy = tmp_path_factory.mktemp("source") / "zoo"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    return copy


@pytest.fixture(scope="module")
def unpacked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    result = build("sdist", source, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (root,) = (folder / "unpacked").iterdir()
    return root


@pytest.fixture(scope="module")
def pure_wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel without the extension, built from the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    result = build("wheel", unpacked, folder, ZOO_BUILD_EXT="0")
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_sdist_holds_everything_needed_to_build_and_test(source: Path, unpacked: Path) -> None:
    for folder in ("zoo", "cli", "plugins", "tests"):
        links = {"zoo/cli", "zoo/plugins"}
        expected = {path for path in source_files(source / folder) if not path.startswith(tuple(f"{link}/" for link in links))}
        missing = sorted(path for path in expected if not (unpacked / path).is_file())
        assert not missing
    for path in (source / "csrc").iterdir():
        assert (unpacked / "csrc" / path.name).is_file()
    for folder in (".ci", "benchmarks", "docs"):
        for path in (source / folder).rglob("*"):
            assert (unpacked / path.relative_to(source)).exists(), path
    for path in source.iterdir():
        assert (unpacked / path.name).exists() or path.name == ".gitignore", path
    assert (unpacked / "zoo" / "py.typed").is_file()


def test_sdist_holds_no_file_twice_and_no_build_product(unpacked: Path) -> None:
    assert not (unpacked / "zoo" / "cli").exists()
    assert not (unpacked / "zoo" / "plugins").exists()
    assert not [path for path in unpacked.rglob("*") if path.suffix in (".so", ".pyc") or path.name == "_native_failure.txt"]


def test_wheel_holds_the_package_zoo_and_nothing_else(source: Path, pure_wheel: Path) -> None:
    with zipfile.ZipFile(pure_wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    (information,) = top - {"zoo"}
    assert information.endswith(".dist-info")
    expected = source_files(source / "zoo") | {f"zoo/{path}" for folder in ("cli", "plugins") for path in source_files(source / folder)}
    assert {name for name in names if name.startswith("zoo/")} == expected
    assert "zoo/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_wheel_without_the_extension_fits_every_platform(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")


def test_wheel_declares_the_extras_and_the_version(pure_wheel: Path) -> None:
    with zipfile.ZipFile(pure_wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == zoo.__version__
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(extras) >= {"mast", "parquet", "tensorboard", "test"}


def test_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == f"arXiv:{project['urls']['Paper'].rpartition('/')[2]}"


def test_every_test_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {line.split(">=")[0] for lines in (project["dependencies"], *extras.values()) for line in lines}
    pinned = {line.split("==")[0].replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {name for name in wanted if not name.startswith("celestial-zoo[")} <= pinned


def test_commit_hooks_run_the_tools_of_the_makefile_and_download_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in hooks[0]["hooks"]:
        tool, *words = hook["entry"].removeprefix(".venv/bin/").split()
        assert hook["language"] == "system"
        assert f"$(BIN)/{tool} {words[0]}" in makefile, hook["entry"]


def test_installed_wheel_is_one_package(pure_wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    with zipfile.ZipFile(pure_wheel) as archive:
        archive.extractall(target)
    code = "import zoo, zoo.cli, zoo.plugins; print(zoo.__file__, zoo.cli.__file__, zoo.plugins.__file__, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    packages = [Path(line).parent for line in result.stdout.splitlines()]
    assert packages == [target / "zoo", target / "zoo" / "cli", target / "zoo" / "plugins"]


def test_failed_build_installs_pure_python_and_says_why(unpacked: Path, tmp_path: Path) -> None:
    result = build("wheel", unpacked, tmp_path, ZOO_BUILD_EXT="auto", ZOO_CUDA="0", CXX="/bin/false")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The extension zoo._native was not built" in result.stdout + result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "/bin/false" in archive.read("zoo/_native_failure.txt").decode()
        assert not [name for name in archive.namelist() if name.endswith(".so")]


def test_failed_build_is_an_error_where_the_extension_is_required(unpacked: Path, tmp_path: Path) -> None:
    result = build("wheel", unpacked, tmp_path, ZOO_BUILD_EXT="1", ZOO_CUDA="0", CXX="/bin/false")
    assert result.returncode != 0
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.parametrize(("name", "value"), [("ZOO_BUILD_EXT", "yes"), ("ZOO_CUDA", "on"), ("ZOO_WERROR", "2")])
def test_build_refuses_settings_that_it_does_not_know(unpacked: Path, tmp_path: Path, name: str, value: str) -> None:
    result = build("wheel", unpacked, tmp_path, **{"ZOO_BUILD_EXT": "1", name: value})
    assert result.returncode != 0
    assert f"{name} must be one of" in result.stdout + result.stderr
