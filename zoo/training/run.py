"""The run directory: its name, its records, and what is known of the machine that wrote it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo import storage
from zoo.errors import StorageError, UsageError
from zoo.models.directory import MODEL_FOLDER, RUNS_FOLDER, find_run
from zoo.ops.native import backend
from zoo.origin import describe_origin, find_origin
from zoo.registry import get_registry
from zoo.training.config import TrainConfig
from zoo.training.metrics import parse_logger

CONFIG_NAME = "config.toml"
ENVIRONMENT_NAME = "environment.json"
MANIFEST_NAME = "manifest.csv"
BASELINES_NAME = "baselines.json"
PACKAGES = ("torch", "numpy", "scipy", "astropy", "safetensors")


@dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        path: the directory.
        label: the model's name with its options, such as ``hrcn[padding=same]``.
        pretrained: ``source``, ``sha256``, ``licence`` and ``trained_on`` of the weights that it began with; empty for new ones.
        summary: of a finished run: ``train`` and ``val`` scores, steps, time; empty before.
    """

    path: Path
    label: str = ""
    pretrained: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The model directory."""
        return self.path / MODEL_FOLDER

    @property
    def last(self) -> Path:
        """The checkpoint from which ``--resume`` goes on."""
        return self.path / "checkpoints" / "last"

    @property
    def best(self) -> Path:
        """The weights of the epoch with the lowest validation loss, as a model directory."""
        return self.path / "checkpoints" / "best"


def create_run(config: TrainConfig, *, model: str, data: str) -> Path:
    """Make the directory of a new run.

    Args:
        config: ``output.path`` names it, else it is the next free ``runs/<model>-<data>-NNN``; ``output.force`` replaces a run.
        model, data: names for the directory.

    Raises:
        UsageError: as `check_place`. StorageError: it cannot be made.
    """
    with _naming_the_place(config):
        return _make_run(config, model=model, data=data)


def check_place(config: TrainConfig) -> None:
    """Raise where a new run cannot go to ``output.path``; asked before any work is done, and again when the run directory is made.

    Raises:
        UsageError: something is there already that is not an empty folder, or with ``force`` is no run. StorageError: it cannot be read.
    """
    path = config.output.path
    with _naming_the_place(config):
        if path is None or not path.exists():
            return
        if not path.is_dir():
            raise UsageError(f"{path}: got a file, expected the name of a run directory")
        if not any(path.iterdir()):
            return
    if not (path / CONFIG_NAME).is_file():
        raise UsageError(f"{path}: got a folder that is not empty and no run, expected a new name; choose another with -o")
    if not config.output.force:
        raise UsageError(f"{path}: a run is here already; continue it with --resume {path}, replace it with --force, or choose another -o")


@contextmanager
def _naming_the_place(config: TrainConfig) -> Iterator[None]:
    """Turn an error of the file system into one that says which place is meant."""
    try:
        yield
    except OSError as err:
        if isinstance(err, StorageError):
            raise
        place = config.output.path or RUNS_FOLDER
        raise StorageError(f"{place}: cannot be made: {err.strerror or err}; choose another place with --output") from err


def _make_run(config: TrainConfig, *, model: str, data: str) -> Path:
    """The directory of a new run; errors of the file system pass through."""
    path = config.output.path
    if path is None:
        stem = re.sub(r"[^A-Za-z0-9._]+", "-", f"{model}-{data}").strip("-.")
        folder = Path(RUNS_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(found[1]) for entry in folder.iterdir() if (found := re.fullmatch(re.escape(stem) + r"-(\d{3,})", entry.name))]
        number = max(taken, default=0) + 1
        while True:
            path = folder / f"{stem}-{number:03d}"
            try:
                path.mkdir()  # fails where another process was faster
                break
            except FileExistsError:
                number += 1
    else:
        check_place(config)
        if path.is_dir() and any(path.iterdir()):
            shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    _link_latest(path)
    return path


def open_run(run: str | os.PathLike[str]) -> Path:
    """Return the directory of a run that can be resumed; ``"latest"`` means ``runs/latest``.

    Raises:
        StorageError: it is absent or no run. PluginError: it uses a name of a plugin that is not loaded; says how to have it again.
    """
    path = find_run(run)
    if path.name == MODEL_FOLDER and (path.parent / CONFIG_NAME).is_file():
        path = path.parent
    if not (path / CONFIG_NAME).is_file():
        raise StorageError(f"{path}: got a folder without {CONFIG_NAME}, expected a run that 'zoo train' began")
    if (path / ENVIRONMENT_NAME).is_file():
        for origin in storage.read_json(path / ENVIRONMENT_NAME).get("names", ()):
            find_origin(origin["kind"], origin, where=path)
    return path


def find_run_of_job(config: TrainConfig, job: str) -> str:
    """Return the run that this job of a launcher began, as text, or nothing where it had not come so far.

    What it left of a run that it had hardly begun is removed, for it could neither be resumed nor begun again.

    Args:
        config: ``output.path`` says where to look, else it is among ``runs/*``.
        job: `zoo.training.launch.Launch.job`.
    """
    if not job:
        return ""
    places = [config.output.path] if config.output.path else sorted(Path(RUNS_FOLDER).glob("*-[0-9][0-9][0-9]*"), reverse=True)
    for path in places:
        if (path / ENVIRONMENT_NAME).is_file() and storage.read_json(path / ENVIRONMENT_NAME).get("job") == job:
            if all((path / name).is_file() for name in (CONFIG_NAME, MANIFEST_NAME)):
                return str(path)
            shutil.rmtree(path)
    return ""


def write_environment(
    path: Path, config: TrainConfig, facts: Mapping[str, Any], *, pretrained: Mapping[str, Any] | None = None, job: str = ""
) -> None:
    """Write ``environment.json``: versions, commit, machine, seed, command, origin of every name, and what became of pretrained weights.

    Args:
        job: of the launcher that started this process; a restart finds the run by it.
    """
    versions = {name: _version(name) for name in PACKAGES}
    storage.write_json(
        path / ENVIRONMENT_NAME,
        {
            "schema": 1,
            "zoo": zoo.__version__,
            "commit": source_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": versions,
            "machine": dict(facts),
            "seed": config.train.seed,
            "command": sys.argv,
            "names": _origins(config),
            "pretrained": pretrained,
            "job": job,
        },
    )


def _origins(config: TrainConfig) -> list[dict[str, str]]:
    """Kind and origin of every registered name that a run uses."""
    registry = get_registry()
    names = [("models", config.model.name), ("losses", config.train.loss), *(("steps", str(step["step"])) for step in config.pipeline)]
    names += [("loggers", parse_logger(spec)[0]) for spec in config.output.loggers]
    if str(config.data.source) in registry.names("datasets"):
        names.append(("datasets", str(config.data.source)))
    return [{"kind": kind, **describe_origin(registry.get(kind, name))} for kind, name in names]


def machine_facts(device: torch.device, precision: str, processes: int = 1) -> dict[str, Any]:
    """Return what the last bits of a training depend on besides the configuration."""
    facts: dict[str, Any] = {"torch": torch.__version__, "device": device.type, "precision": precision, "threads": torch.get_num_threads()}
    facts["processes"] = processes
    facts["cpu"] = torch.backends.cpu.get_cpu_capability()
    facts["kernels"] = backend()["simd"] or "torch"
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def _link_latest(path: Path) -> None:
    """Point ``runs/latest`` to a run inside ``runs``; runs elsewhere are found by their path alone."""
    folder = Path(RUNS_FOLDER)
    if path.resolve().parent != folder.resolve():
        return
    link = folder / "latest"
    if link.exists() and not link.is_symlink():
        raise StorageError(f"{link}: got a folder, expected the link that zoo keeps there; rename it")
    temporary = folder / f"{storage.TEMPORARY_PREFIX}latest-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.name)
    temporary.replace(link)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def source_commit() -> str | None:
    """Return the commit of the source tree that zoo runs from, if it is one."""
    root = Path(zoo.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
