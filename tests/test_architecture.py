"""Dependencies point one way: cli -> zoo <- plugins; inside zoo a file imports only from the layers below its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A file imports from its own layer (its own folder) and from earlier ones.
LAYERS = (
    "lazy", "stopwatch", "errors", "settings", "storage", "plotting", "transfer", "download", "hookspecs", "entries", "sources", "registry",
    "origin", "ops", "frames", "steps", "data", "intervals", "calibration", "auditing", "models", "costs", "training", "evaluation",
    "prediction", "robustness", "explaining", "profiling", "reporting", "reproduction", "testing", "scaffold", "doctor",
)  # fmt: skip

# Modules of zoo whose names a plugin may use: what `import zoo` offers, documented in docs/api.md and docs/plugins.md.
PUBLIC_MODULES = {"zoo", "zoo.data", "zoo.errors", "zoo.frames", "zoo.models", "zoo.ops", "zoo.steps", "zoo.storage", "zoo.testing"}

LONGEST = 400


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.relative_to(ROOT / folder).parts[0] not in ("cli", "plugins"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, those inside functions too; ``from zoo import data`` counts as ``zoo.data``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "zoo":
                for alias in node.names:
                    yield node.lineno, f"zoo.{alias.name}"
            else:
                yield node.lineno, node.module


def layer(module: str) -> str:
    return module.split(".")[1]


def test_every_module_of_zoo_has_a_layer() -> None:
    names = {path.stem if path.is_file() else path.name for path in (ROOT / "zoo").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names - {"__init__", "__main__", "__pycache__", "cli", "plugins"} == set(LAYERS)


@pytest.mark.parametrize("path", [p for p in sources("zoo") if p.parent != ROOT / "zoo" or p.stem not in ("__init__", "__main__")], ids=str)
def test_zoo_imports_only_from_layers_below(path: Path) -> None:
    own = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
    for line, module in imports(path):
        if not module.startswith("zoo.") or module == "zoo._native":
            continue
        assert layer(module) not in ("cli", "plugins"), f"{path}:{line} imports {module}"
        assert LAYERS.index(layer(module)) <= LAYERS.index(own), f"{path}:{line}: {own} imports {module}, a layer above it"


@pytest.mark.parametrize("path", sources("plugins"), ids=str)
def test_plugins_import_only_public_names(path: Path) -> None:
    package = path.relative_to(ROOT).parts[1]
    for line, module in imports(path):
        if module == "zoo" or not module.startswith("zoo."):
            continue
        own = module.startswith(f"zoo.plugins.{package}")
        name_of_zoo = layer(module) in dir(__import__("zoo"))
        assert own or module in PUBLIC_MODULES or (module.count(".") == 1 and name_of_zoo), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("folder", ["zoo", "plugins", "tests", "benchmarks"])
def test_nothing_but_tests_imports_the_command_line(folder: str) -> None:
    for path in sources(folder):
        if folder == "tests" or path == ROOT / "zoo" / "__main__.py":
            continue
        assert not [module for _, module in imports(path) if module.startswith("zoo.cli")], path


@pytest.mark.parametrize("path", sorted((ROOT / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_import_nothing_heavy_when_they_are_imported(path: Path) -> None:
    executed = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)]
    top = ast.Module(executed, [])
    heavy = {"torch", "numpy", "scipy", "astropy", "rich", "safetensors"}
    for node in ast.walk(top):
        if isinstance(node, ast.Import):
            assert not heavy & {alias.name.split(".")[0] for alias in node.names}, f"{path}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.module.split(".")[0] not in heavy, f"{path}:{node.lineno}"


@pytest.mark.parametrize("folder", ["zoo", "cli", "plugins", "csrc", "tests", "benchmarks"])
def test_no_source_file_is_too_long(folder: str) -> None:
    suffixes = {".py", ".cpp", ".hpp", ".cu"}
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*") if path.suffix in suffixes}
    too_long = {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > LONGEST}
    assert not too_long
