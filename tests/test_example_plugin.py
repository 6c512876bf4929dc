"""The example plugin as a user meets it: installed by pip into a fresh environment beside plugins that are broken in every way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

EXAMPLE = Path(__file__).parent / "example_plugin"

# Each value is the source of one plugin, and the words its cause must hold.
BROKEN = {
    "broken_import": ("import no_such_module", "No module named 'no_such_module'"),
    "broken_hook": (
        "import zoo\n@zoo.hookimpl\ndef register_models(register):\n    raise RuntimeError('no stars')",
        "RuntimeError: no stars",
    ),
    "broken_spelling": ("import zoo\n@zoo.hookimpl\ndef register_modles(register): pass", "did you mean 'register_models'"),
    "broken_api": ("import zoo\nzoo_api = 99\n@zoo.hookimpl\ndef register_models(register): pass", "plugin API 99"),
    "broken_clash": (
        "import zoo\n@zoo.hookimpl\ndef register_models(register):\n    register('tinynet', 'a:b', input_shape=(1, 8, 8))",
        "registered by 'broken_clash' and 'tinynet'",
    ),
}
CLASHING = "tinynet"  # entry points load in the order of their names, so this one comes second


class Environment:
    """A fresh virtual environment that sees this one's packages (torch among them) and has its own site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.site = next((folder / "lib").glob("python*/site-packages"))
        outer = sysconfig.get_paths()["purelib"]
        (self.site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")

    def run(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        variables = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_PLUGINS")}
        variables.update(ZOO_CACHE=str(self.folder / "cache"), OMP_NUM_THREADS="1")
        done = subprocess.run([str(self.python), *words], cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"{words} returned {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def zoo(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "zoo", *words, expect=expect)

    def add_plugin(self, name: str, source: str) -> None:
        """What an installer leaves behind: a module, and metadata with its entry point."""
        (self.site / f"{name}.py").write_text(source)
        metadata = self.site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[zoo]\n{name} = {name}\n")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("fresh") / "venv")
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--python", str(environment.python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", str(source)], check=True)
    return environment


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 64x128 float FITS: a wide blob is a galaxy, a handful of points is an NSC."""
    folder = tmp_path_factory.mktemp("sky")
    generator = np.random.default_rng(5)
    y, x = np.mgrid[:64, :128]
    for label in ("galaxy", "NSC"):
        (folder / label).mkdir()
        for target in range(6):
            for exposure in range(2):
                image = generator.normal(100, 5, (64, 128))
                if label == "galaxy":
                    image += 200 * np.exp(-(((y - 32) / 9) ** 2) - ((x - 64) / 18) ** 2)
                else:
                    image[generator.integers(4, 60, 40), generator.integers(4, 124, 40)] += 300
                name = f"{label}{target}_{exposure}.fits"
                fits.PrimaryHDU(image.astype(">f4")).writeto(folder / label / name)
    return folder


def test_example_plugin_passes_its_own_tests(environment: Environment) -> None:
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "test_tinynet.py"), "--rootdir", str(EXAMPLE))
    assert "2 passed" in done.stdout


def test_example_plugin_passes_every_check(environment: Environment) -> None:
    done = environment.zoo("plugins", "check", "zoo-tinynet", "--json")
    results = json.loads(done.stdout)["results"]
    assert {result["subject"] for result in results} == {"plugin 'tinynet'", "model 'tinynet'", "step 'destripe'"}
    assert [result["check"] for result in results if result["status"] != "passed"] == ["plugin-commands-light", "step-options"]


def test_example_plugin_is_listed_with_its_distribution(environment: Environment) -> None:
    rows = json.loads(environment.zoo("plugins", "--json").stdout)["results"]
    example = next(row for row in rows if row["plugin"] == "tinynet")
    assert example["status"] == "loaded"
    assert example["distribution"] == "zoo-tinynet 0.1"
    assert example["registers"] == "tinynet, destripe"


def test_example_plugin_trains_evaluates_and_predicts(environment: Environment, sky: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    steps = ["--step", "destripe", "--step", "resize:height=64,width=128", "--step", "pad:height=64,width=128", "--step", "normalize"]
    words = [
        "--model",
        "tinynet",
        "--model-option",
        "width=8",
        "--data",
        str(sky),
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--output",
        str(run),
    ]
    environment.zoo("train", *words, *steps)
    card = json.loads((run / "model" / "card.json").read_text())
    assert card["model"]["name"] == "tinynet"
    assert card["model"]["distribution"] == "zoo-tinynet"
    assert card["model"]["options"] == {"width": 8}
    assert [step["step"] for step in card["pipeline"]] == ["destripe", "resize", "pad", "normalize"]
    evaluation = json.loads(environment.zoo("evaluate", str(run), "--json").stdout)
    assert 0 <= evaluation["results"]["metrics"]["accuracy"] <= 1
    rows = json.loads(environment.zoo("predict", str(run), str(sky / "galaxy"), "--json").stdout)["results"]
    assert len(rows) == 12
    assert all(row["status"] == "ok" and row["predicted"] in ("galaxy", "NSC") for row in rows)
    without = environment.zoo("--safe", "predict", str(run), str(sky / "galaxy"), expect=6)
    assert "from distribution zoo-tinynet 0.1, which is not loaded; run 'pip install " in without.stderr
    origin = card["model"]["install"].removeprefix("pip install ")
    assert Path(origin).name == "example"  # the folder that pip was given: no index has this distribution
    resumed = environment.zoo("--safe", "train", "--resume", str(run), expect=6)
    assert f"run 'pip install {origin}'" in resumed.stderr


def test_broken_plugins_leave_every_other_command_working(environment: Environment) -> None:
    for name, (source, _) in BROKEN.items():
        environment.add_plugin(name, source)
    for words in (["--help"], ["models", "list"], ["steps", "list"], ["data", "list"], ["doctor"]):
        done = environment.zoo(*words)
        assert done.stdout
    rows = json.loads(environment.zoo("plugins", "--json").stdout)["results"]
    causes = {row["plugin"]: row["cause"] for row in rows if row["status"] in ("failed", "clash")}
    listing = environment.zoo("models", "list")
    for name, (_, words_of_cause) in BROKEN.items():
        plugin = CLASHING if name == "broken_clash" else name
        assert words_of_cause in causes[plugin]
        assert f"plugin {plugin!r}" in listing.stderr
    # Both holders of the clashing name can still be reached.
    assert {"broken_clash:tinynet", "tinynet:tinynet"} <= {line.split("\t")[0] for line in listing.stdout.splitlines()}
