"""Writes the tables of recorded figures into the documents, between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.

What stands there is replaced by what ``benchmarks/results`` holds, so that no figure is copied by hand.
Run: ``python benchmarks/tables.py`` after a benchmark was recorded; with ``--check`` it writes nothing, and fails where a document is old.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import storage

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = ("README.md", "docs/ops.md", "docs/memory.md", "docs/estimate.md")
MIB = 1 << 20

BLURS = {"plain": "blur", "nan": "over NaN", "multirate": "two rates", "sigmas": "one sigma per frame, mean"}

_MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Record = Mapping[str, Any]
Load = Callable[[str], Record]


def say_time(seconds: float) -> str:
    """Milliseconds with three digits, without a unit; from 10 s on in seconds."""
    ms = seconds * 1e3
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


def say_cost(record: Record) -> str:
    """``3.1 (2.0)``: milliseconds, and copies of a frame."""
    return f"{say_time(record['time_s'])} ({record['copies']:.1f})"


def say_error(share: float) -> str:
    """``+2.7%``; ``0.0%`` has no sign."""
    return f"{share:+.1%}" if abs(share) >= 0.0005 else "0.0%"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [_line(header), f"|{'---|' * len(header)}", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def say_origin(script: str, record: Record) -> str:
    """How and where a result was recorded."""
    facts = record["metadata"]
    simd = {"avx512": "AVX-512", "avx2": "AVX2"}.get(str(facts.get("simd")), str(facts.get("simd")))
    words = [f"{facts['processor']} with {simd}", f"torch {facts['torch'].partition('+')[0]}"]
    if facts.get("clock") == "cpu":
        words.append("processor time instead of wall time")
    words.append(f"load average before {facts['load_average_before']:.1f}")
    return f"`python benchmarks/{script}.py`: {', '.join(words)}."


def beside_rivals(records: Sequence[Record], name: Callable[[Record], str], own: Callable[[str], bool]) -> list[str]:
    """One row per work: zoo by threads, its target, and the best time of every rival, the fastest first.

    Args:
        records: of one or more numbers of threads. name: of the work of a record. own: whether a library is zoo itself.
    """
    threads = sorted({record["threads"] for record in records if own(record["library"])})
    rows = []
    for work in dict.fromkeys(map(name, records)):
        mine = {record["threads"]: record for record in records if name(record) == work and own(record["library"])}
        others: dict[str, Record] = {}
        for record in records:
            library = library_of(record)
            if name(record) == work and not own(library) and record["time_s"] < others.get(library, {"time_s": float("inf")})["time_s"]:
                others[library] = record
        ranked = sorted(others.items(), key=lambda item: item[1]["time_s"])
        aims = [(record["target_copies"], n, record["copies"]) for n, record in sorted(mine.items()) if record.get("target_copies")]
        target = ", ".join(f"{most:g} with {n}: {'met' if copies <= most else 'missed'}" for most, n, copies in aims)
        best = min(record["time_s"] for record in mine.values()) if mine else float("inf")
        cells = []
        for library, record in ranked:
            bold = "**" if record["time_s"] < best and not library.startswith("zoo") else ""
            cells.append(f"{bold}{library} {say_cost(record)}{bold}")
        rows.append([work, *(say_cost(mine[n]) if n in mine else "" for n in threads), target, ", ".join(cells)])
    heads = [f"zoo, {n} thread{'s' * (n > 1)}: ms (mc)" for n in threads]
    return markdown(["work", *heads, "target, mc", "others: ms (mc); **bold** where faster"], rows)


def library_of(record: Record) -> str:
    """The name of a library, without the workers that were best for it."""
    return re.sub(r" \(\d workers\)", "", record["library"])


def threads_of(record: Record, result: Record) -> int:
    """How many threads a result had; where it does not say, those of the run."""
    given = record.get("threads") or result["metadata"]["threads"]
    return int(given if isinstance(given, int) else given[0])


def normalize_table(load: Load) -> list[str]:
    result = load("normalize")
    records = [{**record, "threads": threads_of(record, result)} for record in result["results"]]
    records = [record for record in records if not record["work"].startswith("FITS file") and not record["library"].startswith("zoo,")]
    return [*beside_rivals(records, lambda r: str(r["work"]), lambda library: library == "zoo"), "", say_origin("bench_normalize", result)]


def blur_name(record: Record) -> str:
    if record["case"] == "psf":
        return f"PSF {record['psf_px']}x{record['psf_px']}"
    return f"{BLURS.get(record['case'], record['case'])}, sigma {record['sigma_px']:g}"


def blur_table(load: Load) -> list[str]:
    result = load("blur")
    records = [{**record, "threads": threads_of(record, result)} for record in result["results"]]
    lines = beside_rivals(records, blur_name, lambda library: library in ("zoo", "zoo multirate"))
    return [*lines, "", say_origin("bench_blur", result)]


def fits_table(load: Load) -> list[str]:
    result = load("fits")
    records = result["results"]
    threads = sorted({record["threads"] for record in records})
    rows = []
    for reader in dict.fromkeys(record["reader"] for record in records):
        cells = [reader]
        for pixels in dict.fromkeys(record["pixels"] for record in records):
            found = {r["threads"]: r for r in records if r["reader"] == reader and r["pixels"] == pixels}
            cells += [f"{say_cost(found[n])}, {found[n]['of_floor']:.2f}" for n in threads]
        rows.append(cells)
    heads = [f"{pixels}, {n} thread{'s' * (n > 1)}" for pixels in dict.fromkeys(r["pixels"] for r in records) for n in threads]
    note = "Each cell: ms (mc), and the time as a multiple of that of the first row; the goal is 1.3."
    return [*markdown(["reader", *heads], rows), "", note, say_origin("bench_fits", result)]


def hrcn_table(load: Load) -> list[str]:
    result = load("hrcn")
    found = {record["case"]: record for record in result["results"]}
    rows = []
    for job, title, peak in (("train", "training step", "peak_rss_bytes"), ("infer", "inference", "peak_above_loaded_bytes")):
        plain = found[f"{job}-plain"]
        for case in ("plain", "fp32", "bf16"):
            if record := found.get(f"{job}-{case}"):
                cells = []
                for field, text in (
                    ("time_s", f"{record['time_s']:.2f} s"),
                    ("cpu_s", f"{record['cpu_s']:.1f} s"),
                    (peak, f"{record[peak] / MIB:,.0f} MiB"),
                ):
                    cells += [text, "" if case == "plain" else f"{record[field] / plain[field]:.2f}"]
                rows.append([f"{title}, {case}", *cells])
    heads = ["case", "time", "of plain", "CPU time", "of plain", "peak memory", "of plain"]
    return [*markdown(heads, rows), "", say_origin("bench_hrcn", result)]


def estimate_table(load: Load) -> list[str]:
    result = load("estimate")
    rows = []
    for record in result["results"]:
        step = ", ".join([record["mode"], *record.get("switches", ())])
        resident = f"{record['resident_bytes'] / MIB:,.1f} | {say_error(record['errors']['resident'])}"
        allocated = f"{record['allocated_bytes'] / MIB:,.1f} | {say_error(record['errors']['allocated'])}"
        name = record["model"].partition("[")[0]
        frame = "x".join(map(str, record["shape"][1:]))
        rows.append([name, frame, step, record["precision"], f"{record['peak_bytes'] / MIB:,.1f}", allocated, resident])
    heads = ["model", "frame", "step", "", "estimate MiB", "allocated MiB", "error", "resident MiB", "error"]
    words = []
    for field in ("allocated", "resident"):
        errors = [abs(record["errors"][field]) for record in result["results"]]
        words.append(f"{field}: median error {statistics.median(errors):.1%}, worst {max(errors):.1%}")
    return [*markdown(heads, rows), "", f"Over these {len(rows)} cases, {'; '.join(words)}.", say_origin("bench_estimate", result)]


def readme_table(load: Load) -> list[str]:
    """The figures that a visitor wants first, each with the most threads that were measured."""
    rows = []
    for name, works in (
        ("normalize", ("int16 -> percentiles (1, 99) + asinh", "int16 -> z-scale + asinh", "float32 with NaN -> sigma clip + asinh")),
        ("blur", ("blur, sigma 1", "blur, sigma 4", "blur, sigma 16", "over NaN, sigma 1")),
    ):
        result = load(name)
        for work in works:
            records = [r for r in result["results"] if (r["work"] if name == "normalize" else blur_name(r)) == work]
            mine = max((r for r in records if r["library"] == "zoo"), key=lambda r: threads_of(r, result), default=None)
            if mine is None:
                continue
            rivals = [r for r in records if r["library"].startswith(("astropy", "scipy", "torch", "opencv", "OpenCV"))]
            text = ", ".join(f"{library_of(r)} {say_time(r['time_s'])} ms" for r in sorted(rivals, key=lambda r: r["time_s"]))
            own = f"{say_time(mine['time_s'])} ms, {mine['copies']:.1f} mc, {threads_of(mine, result)} threads"
            rows.append([work, own.replace("1 threads", "1 thread"), text, f"`bench_{name}.py`"])
    hrcn = {record["case"]: record for record in load("hrcn")["results"]}
    for case, title in (("infer-fp32", "inference, fp32"), ("infer-bf16", "inference, bf16"), ("train-bf16", "training step, bf16")):
        record, plain = hrcn[case], hrcn[f"{case.partition('-')[0]}-plain"]
        rows.append([f"hrcn, {title}", f"{record['time_s']:.2f} s", f"plain PyTorch module {plain['time_s']:.2f} s", "`bench_hrcn.py`"])
    return markdown(["work", "zoo", "others", "script"], rows)


TABLES: dict[str, Callable[[Load], list[str]]] = {
    "normalize": normalize_table,
    "blur": blur_table,
    "fits": fits_table,
    "hrcn": hrcn_table,
    "estimate": estimate_table,
    "readme": readme_table,
}


def read_result(name: str) -> Record:
    """What ``results/NAME.json`` holds."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def renew(text: str, load: Load = read_result) -> str:
    """Return a document with its tables as the results have them.

    Raises:
        ValueError: a marker names a table that there is not, or a table does not end.
    """
    if text.count("<!-- table: ") != len(_MARKED.findall(text)):
        raise ValueError("a marker '<!-- table: NAME -->' has no '<!-- end of table -->' on a line after it")

    def table(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"got a marker for table {found[2]!r}, expected one of {', '.join(TABLES)}")
        return found[1] + "\n".join(TABLES[found[2]](load)) + "\n" + found[3]

    return _MARKED.sub(table, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is older than the results")
    options = parser.parse_args()
    old = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        new = renew(text)
        if new != text:
            old.append(name)
            if not options.check:
                storage.write_text(ROOT / name, new)
    print(f"{'older than the results' if options.check else 'renewed'}: {', '.join(old) or 'none'}")
    if options.check and old:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
