"""``zoo data fetch``: what it asks, prints and returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_archives import Archives, FastClock, exposure, serve_archives

from zoo.cli import data_fetch
from zoo.cli.data import data
from zoo.data.archive import fetching
from zoo.errors import UsageError

A, B, ABSENT = "j8bt05njq", "iddt11fxq", "j8bt05nzq"


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archives]:
    monkeypatch.setattr(fetching, "Clock", FastClock)
    with serve_archives() as running:
        running.add(A, B)
        monkeypatch.setenv("ZOO_S3_URL", running.s3.url)
        monkeypatch.setenv("ZOO_MAST_URL", running.mast.url)
        yield running


def invoke(*words: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(data, ["fetch", *(str(word) for word in words)], input=answer, catch_exceptions=False)


def table(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_table_holds_what_could_not_be_had(archives: Archives, tmp_path: Path) -> None:
    result = invoke(A, ABSENT, "--to", tmp_path, "--yes")
    assert result.exit_code == 3
    head, row = table(result)
    assert head == ["rootname", "file", "status", "bytes", "place", "reason"]
    assert row[:5] == [ABSENT, str(tmp_path / f"{ABSENT}_raw.fits"), "absent", "", ""]
    assert row[5] == "S3 answered 404, MAST answered 404; as j8bt05nzs: S3 answered 404, MAST answered 404"
    assert result.stderr.splitlines() == [
        "looking at what is there, and asking the archives for sizes",
        f"{ABSENT}: {row[5]}",
        f"2 files to fetch into {tmp_path}, about 31.7 kB; 1 of them perhaps in no archive",
        "2 files: 1 fetched (31.7 kB), 1 in no archive",
    ]
    assert (tmp_path / f"{A}_raw.fits").read_bytes() == exposure(A)


def test_all_there_is_zero_and_an_empty_table(archives: Archives, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"rootname,hdu,label,target\n{A},1,galaxy,M51\n")
    for status in ("1 fetched (31.7 kB)", "1 kept"):
        result = invoke(tmp_path / "list.csv", "--to", tmp_path / "hst", "--yes")
        assert (result.exit_code, len(table(result))) == (0, 1)
        assert result.stderr.splitlines()[-2:] == [f"1 file: {status}", f"wrote {tmp_path / 'hst' / 'manifest.csv'}"]


def test_network_failure_is_seven(archives: Archives, tmp_path: Path) -> None:
    for site in (archives.s3, archives.mast):
        site.refusals = {path: [500] * 99 for path in site.files}
    result = invoke(A, "--to", tmp_path, "--yes")
    assert result.exit_code == 7
    assert table(result)[1][2] == "failed"


def test_without_a_terminal_it_wants_yes(archives: Archives, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pass --yes to fetch without asking, or --dry-run"):
        invoke(A, "--to", tmp_path)
    assert archives.s3.heads == []


@pytest.mark.parametrize(("answer", "status"), [("y\n", "fetched"), ("n\n", "pending"), ("\n", "pending")])
def test_terminal_is_asked(archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: str) -> None:
    monkeypatch.setattr(data_fetch, "_can_ask", lambda: True)
    result = invoke(A, "--to", tmp_path / "hst", "--json", answer=answer)
    assert result.exit_code == 0
    assert f"1 file to fetch into {tmp_path / 'hst'}, 31.7 kB\nFetch? [y/N]:" in result.stderr
    assert json.loads(result.stdout)["metadata"]["counts"] == {status: 1}
    assert (tmp_path / "hst").exists() is (status == "fetched")


def test_dry_run_lists_what_would_be_fetched(archives: Archives, tmp_path: Path) -> None:
    (tmp_path / f"{B}_raw.fits").write_bytes(exposure(B)[:-1])
    result = invoke(A, ABSENT, B, "--to", tmp_path, "--dry-run")
    assert result.exit_code == 0
    assert [row[2:5] for row in table(result)[1:]] == [["pending", "31680", "S3"], ["pending", "", ""], ["pending", "31680", "S3"]]
    assert f"replaces {B}_raw.fits: truncated" in result.stderr
    assert archives.s3.requests == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{B}_raw.fits"]


def test_dry_run_marks_sizes_that_are_not_known(archives: Archives, tmp_path: Path) -> None:
    archives.s3.head = False
    assert table(invoke(A, "--to", tmp_path, "--dry-run"))[1][3] == "~34350000"


def test_json_holds_every_file(archives: Archives, tmp_path: Path) -> None:
    result = invoke(A, ABSENT, "--to", tmp_path, "--yes", "--json", "--product", "raw", "--connections", "1")
    document = json.loads(result.stdout)
    assert (document["schema"], document["metadata"]["counts"]) == (1, {"fetched": 1, "absent": 1})
    assert document["metadata"]["product"] == "raw"
    first = document["results"][0]
    assert first == {
        "rootname": A,
        "path": str(tmp_path / f"{A}_raw.fits"),
        "status": "fetched",
        "bytes": len(exposure(A)),
        "exact": True,
        "place": "S3",
        "reason": "",
    }


def test_urls_on_the_command_line_come_first(archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_S3_URL", "http://127.0.0.1:9")
    result = invoke(A, "--to", tmp_path, "--yes", "--s3-url", archives.s3.url, "--mast-url", "")
    assert result.exit_code == 0
    assert archives.mast.heads == archives.mast.requests == []
