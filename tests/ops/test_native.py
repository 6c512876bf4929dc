"""The compiled kernels as a whole: presence, absence, instruction sets, threads and forks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.ops.native import backend, native

ROOT = Path(__file__).resolve().parent.parent.parent
needs_extension = pytest.mark.skipif(native() is None, reason="zoo._native is not built")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter; a hang is a failure."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@needs_extension
def test_backend_describes_the_extension() -> None:
    facts = backend()
    assert facts["extension"] is not None
    assert Path(facts["extension"]).name.startswith("_native")
    assert facts["simd"] in ("plain", "avx2", "avx512")
    assert facts["cuda_compiled"] == bool(facts["cuda_archs"])


@needs_extension
def test_stub_names_what_the_extension_has() -> None:
    tree = ast.parse((ROOT / "zoo" / "_native.pyi").read_text(encoding="utf-8"))
    declared = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    present = {name for name in dir(native()) if not name.startswith("_")}
    assert present <= declared
    assert all("cuda" in name for name in declared - present)  # left out by ZOO_CUDA=0


@needs_extension
def test_backend_reports_no_device_when_none_is_visible() -> None:
    result = run_python("from zoo.ops.native import backend; print(backend()['cuda_devices'])", CUDA_VISIBLE_DEVICES="")
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


WITHOUT_EXTENSION = "import sys; sys.modules['zoo._native'] = None\n"


def test_ops_work_without_the_extension() -> None:
    result = run_python(
        WITHOUT_EXTENSION + "import torch; from zoo.ops import blur; from zoo.ops.native import backend\n"
        "assert backend()['extension'] is None and 'ZOO_BUILD_EXT=1' in backend()['reason'], backend()\n"
        "print(blur(torch.ones(5, 5), 1.0).sum().item())",
        ZOO_REQUIRE_EXT="0",
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(25.0)


def test_missing_extension_is_an_error_where_it_is_required() -> None:
    code = WITHOUT_EXTENSION + "import torch; from zoo.ops import blur; blur(torch.ones(5, 5), 1.0)"
    result = run_python(code, ZOO_REQUIRE_EXT="1")
    assert result.returncode == 1
    assert "PluginError: ZOO_REQUIRE_EXT=1, but there are no compiled kernels" in result.stderr


@pytest.mark.parametrize(("name", "value"), [("ZOO_SIMD", "sse"), ("ZOO_REQUIRE_EXT", "yes")])
def test_native_refuses_settings_that_it_does_not_know(name: str, value: str) -> None:
    result = run_python("from zoo.ops.native import native; native()", **{name: value})
    assert f"SettingsError: {name} must be one of" in result.stderr


@needs_extension
@pytest.mark.parametrize("level", ["plain", "avx2", "avx512"])
def test_kernels_are_right_with_every_instruction_set(level: str) -> None:
    chosen = run_python("from zoo.ops.native import backend; print(backend()['simd'])", ZOO_SIMD=level).stdout.strip()
    if chosen != level:
        pytest.skip(f"this processor has no {level}")
    tests = [str(path) for path in sorted((ROOT / "tests" / "ops").glob("test_*.py")) if path.name != Path(__file__).name]
    chosen_tests = "(scipy or astropy or numpy or short_floats or match_the_strips) and not reference"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen_tests, *tests],
        env={**os.environ, "ZOO_SIMD": level}, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]


@needs_extension
def test_kernels_return_in_a_forked_child_of_a_threaded_parent() -> None:
    result = run_python(
        "import os, torch\n"
        "from zoo.ops import blur\n"
        "from zoo.ops.native import native\n"
        "torch.set_num_threads(2)\n"
        "image = torch.rand(300, 3000)\n"
        "expected = blur(image, 2.0)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    same = blur(image, 2.0).numpy().tobytes() == expected.numpy().tobytes()\n"  # torch.equal itself would hang here
        "    os._exit(0 if same and native().usable_threads(4) == 1 else 3)\n"
        "assert native().usable_threads(4) == 4\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


@needs_extension
def test_kernels_leave_the_interpreter_to_other_threads() -> None:
    result = run_python(
        "import threading, torch\n"
        "from zoo.ops import blur\n"
        "torch.set_num_threads(1)\n"
        "image, turns, done = torch.rand(2000, 2000), 0, threading.Event()\n"
        "worker = threading.Thread(target=lambda: (blur(image, 60.0), done.set()))\n"
        "worker.start()\n"
        "while not done.wait(0.001): turns += 1\n"
        "print(turns > 3)"
    )
    assert result.stdout == "True\n", result.stderr
