"""``zoo.data.fetch`` against both archives on this machine: whole files under their names, or nothing that looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_archives import LINES, NAMES, Archives, FastClock, exposure, get, manifest_of, names, serve_archives, statuses

from zoo.data import FetchPlan, Manifest, fetch, open_data
from zoo.data.archive import fetching as module
from zoo.errors import HttpStatusError, NetworkError, UsageError
from zoo.transfer import Patience

A, B, C = NAMES


@pytest.fixture
def archives() -> Iterator[Archives]:
    with serve_archives() as running:
        running.add(*NAMES)
        yield running


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


def test_every_exposure_is_fetched_once_and_checked(archives: Archives, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = get(archives, manifest_of(tmp_path / "list.csv", *LINES), tmp_path / "hst", progress=lambda *counts: seen.append(counts))
    assert statuses(report) == {A: "fetched", B: "fetched"}
    assert {file.place for file in report.files} == {"S3"}
    assert names(tmp_path / "hst") == [f"{B}_raw.fits", f"{A}_raw.fits", "manifest.csv"]
    for name in (A, B):
        assert (tmp_path / "hst" / f"{name}_raw.fits").read_bytes() == exposure(name)
    assert sorted(archives.s3.requests) == sorted((archives.s3_path(name), "") for name in (A, B))
    assert archives.mast.requests == []
    assert seen[-1] == (2, len(exposure(A)) + len(exposure(B)))
    assert (report.exit_code, report.summary()) == (0, f"2 files: 2 fetched ({(len(exposure(A)) + len(exposure(B))) / 1000:.1f} kB)")
    assert all(agent.startswith("celestial-zoo/") for agent in archives.s3.agents)


@pytest.mark.parametrize("options", [{"product": "jpg"}, {"connections": 0}, {"connections": 17}, {"s3_url": "", "mast_url": ""}])
def test_bad_arguments_are_refused(archives: Archives, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        get(archives, A, tmp_path / "hst", **options)
    with pytest.raises(UsageError, match="expected http"):
        get(archives, A, tmp_path / "hst", s3_url="s3://stpubdata")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="got a file, expected a folder"):
        get(archives, A, tmp_path / "file")


def test_mast_has_what_s3_has_not(archives: Archives, tmp_path: Path) -> None:
    archives.add("j8bt05nkq", s3=False)
    report = get(archives, ["j8bt05nkq", A], tmp_path)
    assert [(file.status, file.place) for file in report.files] == [("fetched", "MAST"), ("fetched", "S3")]
    assert archives.mast.requests == [(archives.mast_path("j8bt05nkq"), "")]


def test_archives_come_from_the_environment_and_may_be_left_out(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_S3_URL", "")
    monkeypatch.setenv("ZOO_MAST_URL", archives.mast.url)
    report = fetch(A, tmp_path, clock=FastClock())
    assert [(file.status, file.place) for file in report.files] == [("fetched", "MAST")]
    assert archives.s3.requests == archives.s3.heads == []


def test_other_copy_is_taken_only_where_no_archive_has_the_asked_one(archives: Archives, tmp_path: Path) -> None:
    archives.add("j9cm04c3s")
    report = get(archives, manifest_of(tmp_path / "list.csv", "M5,ACS/WFC,j9cm04c3q,F606W,1,2,1,NSC"), tmp_path / "hst")
    assert statuses(report) == {"j9cm04c3q": "fetched"}
    assert report.files[0].path.name == "j9cm04c3s_raw.fits"
    assert report.notes == ("took the other copy (suffix q or s) of 1 exposures: j9cm04c3q",)
    assert [path for path, _ in archives.s3.requests] == [archives.s3_path("j9cm04c3q"), archives.s3_path("j9cm04c3s")]
    assert [path for path, _ in archives.mast.requests] == [archives.mast_path("j9cm04c3q")]
    assert [row.path for row in open_data(tmp_path / "hst", labels=["NSC"], split=False).select("all")] == ["j9cm04c3s_raw.fits"]
    assert statuses(get(archives, "j9cm04c3q", tmp_path / "hst")) == {"j9cm04c3q": "kept"}


def test_both_copies_asked_for_are_two_exposures(archives: Archives, tmp_path: Path) -> None:
    archives.add("j9cm04c3s")
    for _ in range(2):
        assert statuses(get(archives, ["j9cm04c3q", "j9cm04c3s"], tmp_path))["j9cm04c3q"] == "absent"
    assert names(tmp_path) == ["j9cm04c3s_raw.fits"]


@pytest.mark.parametrize("status", [403, 404])
def test_exposure_in_no_archive_is_reported_and_the_rest_fetched(archives: Archives, tmp_path: Path, status: int) -> None:
    if status == 403:  # S3 answers so where listing is not allowed
        archives.s3.refusals[archives.s3_path("j8bt05nzq")] = [403]
    report = get(archives, ["j8bt05nzq", A], tmp_path)
    assert statuses(report) == {"j8bt05nzq": "absent", A: "fetched"}
    assert report.files[0].reason == (f"S3 answered {status}, MAST answered 404; as j8bt05nzs: S3 answered 404, MAST answered 404")
    assert (report.exit_code, [file.rootname for file in report.unavailable]) == (3, ["j8bt05nzq"])
    assert report.summary() == f"2 files: 1 fetched ({len(exposure(A)) / 1000:.1f} kB), 1 in no archive"


def test_busy_archive_is_waited_for(archives: Archives, tmp_path: Path, clock: FastClock) -> None:
    archives.s3.refusals[archives.s3_path(A)] = [429, 503]
    archives.s3.retry_after = "30"
    report = get(archives, A, tmp_path, clock=clock)
    assert statuses(report) == {A: "fetched"}
    assert sum(clock.waits) >= 60
    assert archives.mast.requests == []


def test_archive_that_stays_busy_is_replaced_by_the_other(archives: Archives, tmp_path: Path) -> None:
    archives.s3.refusals = {archives.s3_path(name): [503] * 99 for name in NAMES}
    report = get(archives, NAMES, tmp_path, connections=1)
    assert [(file.status, file.place) for file in report.files] == [("fetched", "MAST")] * 3
    archives.add("j8bt05nkq", "j8bt05nlq", "j8bt05nmq", "j8bt05nnq", mast=False)
    archives.s3.refusals = {path: [503] * 99 for path in archives.s3.files}
    report = get(archives, ["j8bt05nkq", "j8bt05nlq", "j8bt05nmq", "j8bt05nnq"], tmp_path, connections=1)
    assert set(statuses(report).values()) == {"failed"}
    assert report.exit_code == 7
    assert "not fetched in 3 attempts: the server answered 503" in report.files[0].reason
    assert "not asked again, 3 requests in a row failed" in report.files[3].reason
    assert len([path for path, _ in archives.s3.requests if "nnq" in path]) == 0
    assert names(tmp_path) == sorted(f"{name}_raw.fits" for name in NAMES)


def test_silent_archive_is_given_up(archives: Archives, tmp_path: Path) -> None:
    archives.s3.slow[archives.s3_path(A)] = 3.0
    archives.s3.head = False
    report = get(archives, A, tmp_path, patience=Patience(attempts=1, timeout_s=0.5))
    assert [(file.status, file.place) for file in report.files] == [("fetched", "MAST")]


def test_no_network_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="refused"):
        fetch(
            A, tmp_path / "hst", s3_url="http://127.0.0.1:9", mast_url="http://127.0.0.1:9", clock=FastClock(), confirm=lambda plan: False
        )
    assert not (tmp_path / "hst").exists()


def corrupt(kind: str) -> bytes:
    body = exposure(A)
    return {
        "page": b"<!DOCTYPE html><html>Sign in</html>",
        "other": exposure(B),
        "short": body[:-2880],
        "half": body[: len(body) // 2],
        "no-extensions": exposure(A, extensions=9),
        "long": body + bytes(2880),
        "empty": b"",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("page", "not-fits: got a file that starts with b'<!DOCTYPE'"),
        ("other", f"other-exposure: got ROOTNAME = '{B}', expected '{A}'"),
        ("short", "truncated: got 5 extensions, expected NEXTEND = 6"),
        ("half", "truncated: got"),
        ("no-extensions", "truncated: got 6 extensions, expected NEXTEND = 9"),
        ("long", "too-long: got 34,560 bytes, expected 31,680 by its headers"),
        ("empty", "empty: got 0 bytes"),
    ],
)
@pytest.mark.parametrize("mast", [True, False], ids=["mast-has-it", "mast-has-not"])
def test_what_is_not_the_whole_file_is_not_named(archives: Archives, tmp_path: Path, kind: str, words: str, mast: bool) -> None:
    archives.s3.files[archives.s3_path(A)] = corrupt(kind)
    archives.s3.lengths[archives.s3_path(A)] = None  # else only the length would be looked at
    if not mast:
        del archives.mast.files[archives.mast_path(A)]
    report = get(archives, A, tmp_path)
    if mast:
        assert [(file.status, file.place) for file in report.files] == [("fetched", "MAST")]
        assert (tmp_path / f"{A}_raw.fits").read_bytes() == exposure(A)
    else:
        assert (statuses(report), report.exit_code) == ({A: "refused"}, 3)
        assert words in report.files[0].reason
        assert names(tmp_path) == []


@pytest.mark.parametrize("difference", [2880, -2880])
def test_length_that_the_server_says_wrongly_leads_to_no_file(archives: Archives, tmp_path: Path, difference: int) -> None:
    archives.s3.lengths[archives.s3_path(A)] = len(exposure(A)) + difference
    archives.s3.tags = False
    del archives.mast.files[archives.mast_path(A)]
    report = get(archives, A, tmp_path)
    assert statuses(report) == {A: "failed" if difference > 0 else "refused"}
    assert f"{A}_raw.fits" not in names(tmp_path)


def test_files_that_are_there_are_checked_and_kept(archives: Archives, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f"{A}_raw.fits").write_bytes(exposure(A))
    (tmp_path / f"{B}_raw.fits").write_bytes(exposure(B)[:-1])
    plans: list[FetchPlan] = []
    source = manifest_of(tmp_path / "list.csv", *LINES)
    report = get(archives, source, tmp_path, confirm=lambda plan: not plans.append(plan))
    assert statuses(report) == {A: "kept", B: "fetched"}
    assert plans[0].pending[0].reason.startswith(f"replaces {B}_raw.fits: truncated: got")
    assert [path for path, _ in archives.s3.requests] == [archives.s3_path(B)]
    assert (tmp_path / f"{B}_raw.fits").read_bytes() == exposure(B)
    assert Manifest.read_csv(tmp_path / "manifest.csv").rows[0].path == f"sub/{A}_raw.fits"
    archives.s3.requests.clear()
    asked: list[FetchPlan] = []
    assert statuses(get(archives, source, tmp_path, confirm=lambda plan: bool(asked.append(plan)))) == {A: "kept", B: "kept"}
    assert archives.s3.requests == asked == []


def test_server_that_denies_heads_is_asked_all_the_same(archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(url: str, *, host: object) -> int:
        raise HttpStatusError("no", status=404)

    monkeypatch.setattr(module, "ask_size", deny)
    plans: list[FetchPlan] = []
    assert statuses(get(archives, A, tmp_path, confirm=lambda plan: not plans.append(plan))) == {A: "fetched"}
    assert len(plans[0].doubtful) == 1


def test_plan_knows_sizes_and_declining_leaves_nothing(archives: Archives, tmp_path: Path) -> None:
    plans: list[FetchPlan] = []
    report = get(archives, [A, "j8bt05nzq"], tmp_path / "hst", confirm=lambda plan: bool(plans.append(plan)))
    plan = plans[0]
    assert (plan.bytes, plan.exact) == (len(exposure(A)), False)
    assert plan.summary() == f"2 files to fetch into {tmp_path / 'hst'}, about 31.7 kB; 1 of them perhaps in no archive"
    assert [(file.rootname, file.reason.partition(";")[0]) for file in plan.doubtful] == [
        ("j8bt05nzq", "S3 answered 404, MAST answered 404")
    ]
    assert statuses(report) == {A: "pending", "j8bt05nzq": "pending"}
    get(archives, A, tmp_path / "hst", confirm=lambda plan: bool(plans.append(plan)))
    assert plans[1].summary() == f"1 file to fetch into {tmp_path / 'hst'}, 31.7 kB"
    assert archives.s3.requests == archives.mast.requests == []
    assert not (tmp_path / "hst").exists()


@pytest.mark.parametrize(("head", "bytes_", "words"), [(True, 3 * 31680, "about 95.0 kB"), (False, 104_350_000, "about 104.3 MB")])
def test_sizes_not_asked_for_are_estimates(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bool, bytes_: int, words: str
) -> None:
    monkeypatch.setattr(module, "ASKED", 2)
    archives.s3.head = head
    plans: list[FetchPlan] = []
    get(archives, [A, B, C], tmp_path, confirm=lambda plan: bool(plans.append(plan)))
    assert len(archives.s3.heads) == 2
    assert (plans[0].bytes, plans[0].exact) == (bytes_, False)
    assert words in plans[0].summary()
