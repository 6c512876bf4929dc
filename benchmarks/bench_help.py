"""How long `zoo --help` and shell completion take beside a bare interpreter, and what they import.

Each round starts `python -c pass`, `zoo --help`, `zoo train --help` and a completion, one after the other, in a new process each; so a load
that comes and goes falls on all of them. Run: ``python benchmarks/bench_help.py [--repeats N] [--out FILE]``; prints and writes JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

from zoo import storage

LIMIT_S = 0.150
HEAVY = ("torch", "numpy", "astropy", "scipy", "rich")


def commands() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name -> the words of the command and the variables that it needs besides those of this process."""
    zoo = str(Path(sys.executable).with_name("zoo"))
    return {
        "python -c pass": ([sys.executable, "-c", "pass"], {}),
        "zoo --help": ([zoo, "--help"], {}),
        "zoo train --help": ([zoo, "train", "--help"], {}),
        "completion of 'zoo '": ([zoo], {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo ", "COMP_CWORD": "1"}),
    }


def run(words: list[str], variables: dict[str, str], folder: str) -> float:
    """Wall time of one process in an empty folder, in seconds."""
    start = time.perf_counter()
    subprocess.run(words, cwd=folder, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def imported(words: list[str], variables: dict[str, str], folder: str) -> tuple[int, list[str]]:
    """How many modules a command imports, and which of the heavy packages are among them."""
    flags = [sys.executable, "-X", "importtime", *words] if words[0] != sys.executable else [*words[:1], "-X", "importtime", *words[1:]]
    done = subprocess.run(flags, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return len(names), [name for name in HEAVY if name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=61)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "help.json")
    arguments = parser.parse_args()
    metadata = measure.circumstances(python=sys.version.split()[0], limit_s=LIMIT_S)
    held = commands()
    times: dict[str, list[float]] = {name: [] for name in held}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for words, variables in held.values():  # once unmeasured: compiles what has no .pyc yet, and fills the page cache
            run(words, variables, folder)
        for _ in range(arguments.repeats):
            for name, (words, variables) in held.items():
                times[name].append(run(words, variables, folder))
        for name, (words, variables) in held.items():
            above = [own - bare for own, bare in zip(times[name], times["python -c pass"], strict=True)]
            lower, median, upper = statistics.quantiles(times[name], n=4)
            modules, heavy = imported(words, variables, folder)
            results.append(
                {
                    "command": name,
                    "time_s": median,
                    "iqr_s": upper - lower,
                    "above_bare_s": statistics.median(above),
                    "repeats": arguments.repeats,
                    "modules": modules,
                    "heavy": heavy,
                }
            )
            print(f"{name:22s} {median * 1e3:6.1f} ms  {statistics.median(above) * 1e3:+6.1f} ms above bare  {modules} modules", *heavy)
    storage.write_json(arguments.out, {"schema": 1, "metadata": metadata, "results": results})
    slow = [result["command"] for result in results if result["above_bare_s"] > LIMIT_S]
    sys.exit(f"more than {LIMIT_S * 1e3:.0f} ms above a bare interpreter: {', '.join(slow)}" if slow else 0)


if __name__ == "__main__":
    main()
