"""What pyproject.toml cannot say: the package map, and the CMake build of csrc/ into the extension ``zoo._native``.

Environment variables of the build:
    ZOO_BUILD_EXT: ``auto`` (default: a failed build installs pure Python and says why), ``1`` (it is an error), ``0`` (no build).
    ZOO_CUDA: ``auto`` (default: the CUDA kernels when there is an nvcc that works), ``1`` (required), ``0`` (left out).
    ZOO_CUDA_ARCHS: compute capabilities such as ``75,90``; the newest is also kept as PTX.
    ZOO_WERROR: ``1`` turns compiler warnings into errors.
    ZOO_BUILD_JOBS: parallel compilations; default: the processors this process may use.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
# Read by zoo.ops.native when the extension is absent, because pip hides what a successful installation prints.
FAILURE_NOTE = "_native_failure.txt"


def setting(name: str, choices: tuple[str, ...]) -> str:
    """Value of an environment variable; the first choice is the default."""
    value = os.environ.get(name, "") or choices[0]
    if value not in choices:
        raise SystemExit(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def tool(name: str) -> str:
    """Path of cmake or ninja: the Python package of the build requirements first, then PATH."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:
        folder = getattr(importlib.import_module(name), "CMAKE_BIN_DIR" if name == "cmake" else "BIN_DIR", "")
        packaged = Path(folder) / name
        if folder and packaged.exists():
            return str(packaged)
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        raise CompileError(f"{name} was not found; install it (pip install {name}) or set ZOO_BUILD_EXT=0")
    return found


class CMakeBuild(build_ext):
    """Builds every extension with CMake and Ninja in a folder that later builds reuse."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        note = target.parent / FAILURE_NOTE
        note.unlink(missing_ok=True)
        if self.inplace_folder() is not None:
            (self.inplace_folder() / FAILURE_NOTE).unlink(missing_ok=True)
        try:
            self.compile(target)
        except CompileError as error:
            if not ext.optional:
                raise
            self.report_failure(note, str(error))

    def inplace_folder(self) -> Path | None:
        """The source folder that an editable installation imports from."""
        return ROOT / "zoo" if self.editable_mode or self.inplace else None

    def report_failure(self, note: Path, cause: str) -> None:
        """Tell the user, now and later, that the installation goes on without compiled kernels."""
        text = f"The extension zoo._native was not built; zoo runs on slower PyTorch code.\n{cause}\n"
        print(f"\n{'!' * 78}\n{text}Set ZOO_BUILD_EXT=1 to make this an error.\n{'!' * 78}\n", file=sys.stderr, flush=True)
        folders = [note.parent]
        inplace = self.inplace_folder()
        if inplace is not None:
            folders.append(inplace)
            for stale in inplace.glob("_native.*.so"):
                stale.unlink()
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FAILURE_NOTE).write_text(text, encoding="utf-8")

    def compile(self, target: Path) -> None:
        build = ROOT / "build" / f"native-{sysconfig.get_platform()}-{sysconfig.get_config_var('SOABI')}"
        build.mkdir(parents=True, exist_ok=True)
        cuda = setting("ZOO_CUDA", ("auto", "0", "1"))
        with (build / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two installations at once would corrupt Ninja's log
            try:
                self.run_cmake(build, cuda)
            except CompileError as error:
                if cuda != "auto":
                    raise
                print(f"\nzoo: building with CUDA failed, trying without it\n{error}\n", file=sys.stderr, flush=True)
                self.run_cmake(build, "0")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a running process may have the old one mapped
            shutil.copy2(build / "_native.so", target)

    def run_cmake(self, build: Path, cuda: str) -> None:
        """Configure and compile; raise CompileError with the last lines of the failing command."""
        import pybind11

        cmake = tool("cmake")
        cached = build / "CMakeCache.txt"
        if cached.exists() and f"ZOO_CUDA:STRING={cuda}\n" not in cached.read_text(encoding="utf-8"):
            cached.unlink()  # whether CUDA is a language cannot change within a configured folder
        configure = [cmake, "-S", str(ROOT / "csrc"), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", f"-DPython_EXECUTABLE={sys.executable}",
                     f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DZOO_CUDA:STRING={cuda}",
                     f"-DZOO_CUDA_ARCHS={os.environ.get('ZOO_CUDA_ARCHS', '')}",
                     f"-DZOO_WERROR={setting('ZOO_WERROR', ('0', '1'))}"]  # fmt: skip
        jobs = os.environ.get("ZOO_BUILD_JOBS") or str(len(os.sched_getaffinity(0)))
        for command in (configure, [cmake, "--build", str(build), "--parallel", jobs]):
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            print(result.stdout, flush=True)
            if result.returncode != 0:
                tail = "\n".join(result.stdout.splitlines()[-40:])
                raise CompileError(f"'{' '.join(command)}' failed with exit status {result.returncode}:\n{tail}")


build_choice = setting("ZOO_BUILD_EXT", ("auto", "1", "0"))
setup(
    packages=[
        *find_packages(".", include=["zoo", "zoo.*"], exclude=["zoo.cli", "zoo.cli.*", "zoo.plugins", "zoo.plugins.*"]),
        *(f"zoo.{name}" for folder in ("cli", "plugins") for name in (folder, *(f"{folder}.{sub}" for sub in find_packages(folder)))),
    ],
    package_dir={"zoo": "zoo", "zoo.cli": "cli", "zoo.plugins": "plugins"},
    package_data={
        "zoo": ["py.typed", "*.pyi", FAILURE_NOTE],
        "zoo.data.archive": ["targets.csv"],
        "zoo.intervals": ["coverage.json"],
        "zoo.reporting": ["template/*"],
        "zoo.scaffold": ["template/**"],
    },
    ext_modules=[] if build_choice == "0" else [Extension("zoo._native", sources=[], optional=build_choice == "auto")],
    cmdclass={"build_ext": CMakeBuild},
)
