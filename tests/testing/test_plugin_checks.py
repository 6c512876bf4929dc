"""Each fault planted in a plugin's module is caught by the check that is there for it, and by no other."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from planted import failed

from zoo.errors import CheckFailedError, PluginError, UnknownNameError
from zoo.registry import Registry, use_registry
from zoo.testing import check_plugin, examine, find_target, list_checks
from zoo.testing.targets import check_ids

PLUGIN = {check.id for kind, check in list_checks() if kind == "plugin"}
GOOD = """import zoo

zoo_api = 1

@zoo.hookimpl
def register_losses(register):
    register("{name}", "{name}:build", summary="softmax cross-entropy", licence="MIT")

def build(*, class_weights):
    from torch import nn
    return nn.CrossEntropyLoss(class_weights)
"""
HEAD = GOOD.partition("\n")[0] + "\n"

FAULTS = {
    "imports_nothing": ("import no_such_module\n" + GOOD, {"plugin-imports"}, "No module named 'no_such_module'"),
    "future": (GOOD.replace("zoo_api = 1", "zoo_api = 99"), {"plugin-api"}, "plugin API 99"),
    "misspelt": (GOOD.replace("register_losses", "register_lossez"), {"plugin-hooks"}, "did you mean 'register_losses'"),
    "hookless": (GOOD.replace("@zoo.hookimpl", ""), {"plugin-hooks"}, "no function marked"),
    "unmarked": (GOOD + "\ndef register_steps(register):\n    pass\n", {"plugin-hooks"}, "register_steps is not marked"),
    "raising": (GOOD.replace('    register("', '    raise OSError("no sky")\n    register("'), {"plugin-registers"}, "OSError: no sky"),
    "silent_hook": (GOOD.replace('    register("', '    return\n    register("'), {"plugin-registers"}, "registers nothing"),
    "clashing": (GOOD.replace('register("{name}"', 'register("cross_entropy"'), {"plugin-names"}, "also registered by zoo"),
    "heavy": ("import numpy\n" + GOOD, {"plugin-light"}, "it imports numpy"),
    "printing": (GOOD + "\nprint('hello')\n", {"plugin-silent"}, "it prints 'hello'"),
    "writing": (GOOD + "\nopen('note.txt', 'w').close()\n", {"plugin-clean"}, "wrote note.txt"),
    "moving": (GOOD + "\nimport os\nos.chdir('/')\n", {"plugin-clean"}, "the working directory"),
    "environing": (GOOD + "\nimport os\nos.environ['OMP_NUM_THREADS'] = '7'\n", {"plugin-clean"}, "os.environ: OMP_NUM_THREADS"),
    "seeding": (GOOD + "\nimport random\nrandom.seed(0)\n", {"plugin-clean"}, "the seed of random"),
    "pathing": (GOOD + "\nimport sys\nsys.path.append('/nowhere')\n", {"plugin-clean"}, "sys.path"),
    "muting": (GOOD + "\nimport warnings\nwarnings.simplefilter('ignore')\n", {"plugin-clean"}, "warnings (all are ignored)"),
    "threading": (
        GOOD + "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(1,), daemon=True, name='own').start()\n",
        {"plugin-clean"},
        "threads",
    ),
    "starting": (GOOD + "\nimport subprocess\nsubprocess.run(['true'])\n", {"plugin-clean"}, "started true"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports or puts on the path goes away with it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source.replace("{name}", name))
    return path


def test_correct_file_passes_every_check(tmp_path: Path) -> None:
    target = find_target(str(write(tmp_path, "goodloss", GOOD)), Registry.from_plugins([]))
    results = list(examine(target))
    assert failed(results) == set()
    assert target.loaded
    assert [result.check for result in results if result.status == "skipped"] == ["plugin-commands-light", "loss-options"]


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught_by_its_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, ids, words = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with warnings.catch_warnings():
        kept = random.getstate()
        target = find_target(str(write(tmp_path, f"{name}_plugin", source)), Registry.from_plugins([]))
        random.setstate(kept)
    results = list(examine(target, only=PLUGIN))
    assert failed(results) == ids
    (fault,) = [result for result in results if result.status == "failed"]
    assert words in fault.got
    assert target.loaded is (name not in ("imports_nothing", "future", "misspelt", "hookless", "raising"))


def test_effects_of_what_a_plugin_refers_to_are_seen(tmp_path: Path) -> None:
    package = tmp_path / "zoo-lazy"
    (package / "lazy_effects").mkdir(parents=True)
    (package / "pyproject.toml").write_text("[project]\nname = 'zoo-lazy'\n[project.entry-points.zoo]\nlazy = 'lazy_effects'\n")
    (package / "lazy_effects" / "__init__.py").write_text(GOOD.replace("{name}:build", "lazy_effects.loss:build").replace("{name}", "lazy"))
    loss = "import torch\ntorch.manual_seed(3)\ntorch.set_num_threads(torch.get_num_threads() + 1)\ndef build(*, class_weights): ...\n"
    (package / "lazy_effects" / "loss.py").write_text(loss)
    results = list(examine(find_target(str(package), Registry.from_plugins([])), only=PLUGIN))
    assert failed(results) == {"plugin-clean"}
    (fault,) = [result for result in results if result.status == "failed"]
    assert "torch.set_num_threads" in fault.got
    assert "the seed of torch" in fault.got


def test_commands_that_import_torch_are_caught(tmp_path: Path) -> None:
    package = tmp_path / "zoo-heavy"
    (package / "heavy_command").mkdir(parents=True)
    (package / "pyproject.toml").write_text("[project]\nname = 'zoo-heavy'\n[project.entry-points.zoo]\nheavy = 'heavy_command'\n")
    hook = "import zoo\n@zoo.hookimpl\ndef register_commands(register):\n    register('heavy', 'heavy_command.app:run', help='Run.')\n"
    (package / "heavy_command" / "__init__.py").write_text(hook)
    (package / "heavy_command" / "app.py").write_text("import click, numpy\n@click.command()\ndef run():\n    '''Run.'''\n")
    results = list(examine(find_target(str(package), Registry.from_plugins([])), only=PLUGIN))
    assert failed(results) == {"plugin-commands-light"}


def test_process_that_ends_at_import_is_a_fault_and_not_the_end(tmp_path: Path) -> None:
    source = GOOD + "\nimport os, sys\nif 'zoo.testing.probe' in sys.argv[0].replace('/', '.'):\n    os._exit(3)\n"
    results = list(examine(find_target(str(write(tmp_path, "ending", source)), Registry.from_plugins([])), only=PLUGIN))
    assert failed(results) == {"plugin-light", "plugin-silent", "plugin-clean"}
    assert any("ended the process with status 3" in result.got for result in results)


def test_builtin_plugin_passes() -> None:
    target = find_target("builtin", Registry.from_plugins([]))
    assert [plugin.name for plugin in target.plugins] == ["zoo"]
    assert {entry.name for entry in target.entries} >= {"hrcn", "normalize", "simulated", "cross_entropy", "csv"}
    assert failed(list(examine(target, only=PLUGIN))) == set()


def test_target_is_found_by_plugin_distribution_name_and_path(tmp_path: Path) -> None:
    path = write(tmp_path, "named_plugin", GOOD)
    registry = Registry.load(entry_points=False, files=[path])
    assert [plugin.name for plugin in find_target("named_plugin", registry).plugins] == ["named_plugin"]
    target = find_target("normalize", registry)
    assert (target.plugins, [entry.name for entry in target.entries]) == ((), ["normalize"])
    assert [entry.owner for entry in find_target("zoo:hrcn", registry).entries] == ["zoo"]
    with pytest.raises(UnknownNameError, match="unknown plugin or name 'hrnc'; did you mean 'hrcn'"):
        find_target("hrnc", registry)
    with pytest.raises(PluginError, match="no such file"):
        find_target("./none.py", registry)
    with pytest.raises(PluginError, match=r"without pyproject.toml"):
        find_target(str(tmp_path), registry)


def test_checks_are_chosen_by_id_or_beginning() -> None:
    assert check_ids([]) is None
    assert check_ids(["model-nan"]) == {"model-nan"}
    assert check_ids(["loss", "plugin-api"]) >= {"loss-scalar", "loss-order", "plugin-api"}
    with pytest.raises(UnknownNameError, match="unknown check 'model-nam'; did you mean 'model-nan'"):
        check_ids(["model-nam"])


def test_every_check_says_what_holds_and_how_to_mend_it() -> None:
    checks = [check for _, check in list_checks()]
    assert len({check.id for check in checks}) == len(checks) >= 60
    for check in checks:
        assert check.holds.endswith(".")
        assert check.remedy
        assert not check.after or check.after in {other.id for other in checks}


def test_check_plugin_lists_every_fault(tmp_path: Path) -> None:
    path = write(tmp_path, "two_faults", GOOD.replace('licence="MIT"', 'licence=""') + "\nprint('hello')\n")
    with use_registry(Registry.from_plugins([])), pytest.raises(CheckFailedError) as caught:
        check_plugin(str(path))
    assert "2 of " in str(caught.value)
    assert "it prints 'hello'" in str(caught.value)
    assert "[entry-licence]" in str(caught.value)
