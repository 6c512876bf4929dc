"""docs/prediction.md: its Python runs, and its table has every column, code and type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_run import make_run, tiny_registry, write_frame

from zoo.cli.predict import predict
from zoo.prediction import FORMATS, columns
from zoo.settings import GEOMETRIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "prediction.md").read_text()


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


def test_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "latest")
    for number, level in enumerate((0.2, 0.8, 0.9)):
        write_frame(tmp_path / "night1" / f"{number}.fits", level)
    (tmp_path / "night1" / "bad.fits").write_bytes(b"no")
    assert CliRunner().invoke(predict, ["runs/latest", "night1/", "-o", "night1.parquet", "--allow-bad", "1"]).exception is None
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert names["clusters"].num_rows == 2  # type: ignore[attr-defined]  # a pyarrow table
    assert names["failed"].to_pylist() == [{"code": "not-fits", "path_count": 1}]  # type: ignore[attr-defined]
    assert parquet.read_table("cropped.parquet").num_rows == 4


def test_every_column_has_its_type() -> None:
    kinds = {str: "text", int: "integer", float: "number", bool: "true or false"}
    told = {}
    for cells in re.findall(r"^\| (`.*?) \| (\w[\w ]*) \| ", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1])
    assert {name: kinds[kind] for name, kind in columns(("galaxy", "NSC")).items()} == {
        name: told[name] for name in columns(("galaxy", "NSC"))
    }


def test_every_rule_format_and_code_is_there() -> None:
    codes = ("other-product", "bad-size", "no-contrast", "step-failed", "non-finite", "no-frames")
    for word in (*GEOMETRIES, *FORMATS, *codes):
        assert f"| `{word}`" in PAGE, word
