"""Lists from the archive: what is asked, what is kept, and what happens when the archive answers badly."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from click.testing import CliRunner, Result

import zoo
from zoo.cli.data import data
from zoo.data import DataSet, Manifest, Row
from zoo.data.archive import mast
from zoo.data.archive.building import Built, build
from zoo.data.archive.mast import Archive, Exposure
from zoo.data.archive.matching import match
from zoo.data.archive.targets import SHIPPED, Target, read_targets, separations
from zoo.errors import DataError, NetworkError, UsageError
from zoo.transfer import Clock

TARGETS = "name,class,ra,dec,diameter_arcmin\n" + "".join(
    f"{label[0].upper()}{number},{label},{10 * number + 5 * (label == 'NSC')},{20 + number},6\n"
    for label in ("galaxy", "NSC")
    for number in range(4)
)


class Silent(Clock):
    """A clock that only notes the waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


class Observations:
    """Answers in the shape of astroquery.mast.Observations: galaxies mostly with WFC3/UVIS, clusters with ACS/WFC, and some of both."""

    def __init__(self, edit: Callable[[Table], Any] = lambda table: table) -> None:
        self.edit = edit
        self.asked: list[dict[str, Any]] = []

    def query_criteria(self, **criteria: Any) -> Table:
        self.asked.append(criteria)
        ra, dec = float(criteria["coordinates"].ra.deg), float(criteria["coordinates"].dec.deg)
        number, cluster = int(ra // 10), ra % 10 == 5
        rng = np.random.default_rng(int(ra))
        rows = []
        for place in range(30):
            acs = place < (20 if cluster else 10)
            name = f"{'j' if acs else 'i'}{'cg'[not cluster]}{number:02d}{place % 3:02d}{chr(97 + place % 26)}{chr(97 + place // 26)}q"
            rows.append(
                (
                    "HST",
                    name,
                    "ACS/WFC" if acs else "WFC3/UVIS",
                    f"CLEAR1L;{('F606W', 'F814W')[place % 2]}" if acs else ("F606W", "F275W")[place % 2],
                    float(rng.choice([30.0, 350.0, 400.0, 1200.0])),
                    ra + 0.002 * (place % 5),
                    dec,
                    str(9000 + number),
                    str(10_000 + 100 * int(ra) + place),
                    "PUBLIC",
                    "image",
                )
            )
        columns = "obs_collection obs_id instrument_name filters t_exptime s_ra s_dec proposal_id obsid dataRights dataproduct_type"
        table = Table(rows=rows, names=columns.split(), masked=True)
        for name in ("obs_id", "instrument_name", "filters", "dataRights"):
            table[name] = table[name].astype("U40")
        return self.edit(table)

    def get_product_list(self, obsids: list[str]) -> Table:
        names = [f"jmem0{place}{letter}{suffix}" for place in (1, 2) for letter, suffix in (("aaq", "_raw.fits"), ("aaq", "_flt.fits"))]
        rows = [(one, name) for one in obsids for name in (*names, "jc0001010_drz.fits")]
        return Table(rows=rows, names=["parent_obsid", "productFilename"])


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    path = tmp_path / "targets.csv"
    path.write_text(TARGETS)
    return path


def built(targets: Path, observations: Observations | None = None, **arguments: Any) -> Built:
    return build(targets, archive=Archive(observations or Observations(), clock=Silent()), **arguments)


def test_what_is_kept_is_alike_in_both_classes(targets: Path) -> None:
    before = [(target, exposure) for target in read_targets(targets) for exposure in Archive(Observations()).find(target).exposures]
    list_of = built(targets)
    rows = list_of.manifest.rows
    assert len(rows) > 40
    for name in ("instrument", "filter"):
        assert Counter((row.label, getattr(row, name)) for row in rows if row.label == "galaxy") == Counter(
            ("galaxy", getattr(row, name)) for row in rows if row.label == "NSC"
        )
    assert {row.hdu for row in rows} == {1, 4}
    assert {row.filter for row in rows} == {"F275W", "F606W", "F814W"}  # CLEAR1L is no filter
    labels = {(target.name, exposure.rootname): target.label for target, exposure in before}
    assert all(labels[row.target, row.rootname] == row.label for row in rows)
    assert list_of.found == {"galaxy": 120, "NSC": 120}
    kept, left = len(rows) // 2, sum(list_of.dropped.values())
    assert kept + left == 240
    data_set = DataSet("built", list_of.manifest, [])
    best = zoo.audit(data_set, pixels=False).shortcuts
    assert max(one.inside.estimate for one in best if one.name in ("instrument", "filter")) == 0.5


def test_the_same_seed_keeps_the_same_exposures(targets: Path) -> None:
    first, again, other = (built(targets, per_target=5, seed=seed).manifest.rows for seed in (1, 1, 2))
    assert first == again
    assert {row.rootname for row in first} != {row.rootname for row in other}
    assert max(Counter(row.target for row in first).values()) <= 10


def test_sets_are_as_many_as_can_be_and_within_the_caliper() -> None:
    times = {"galaxy": [10.0, 14.0, 100.0, 300.0], "NSC": [15.0, 20.0, 90.0, 1000.0]}
    candidates = [
        (Target(f"{label}{place}", label, 0.0, 0.0, 1.0), Exposure(f"j{label[0]}{place}", "ACS/WFC", "F606W", time, 0.0, 0.0, ""))
        for label, several in times.items()
        for place, time in enumerate(several)
    ]
    pairs = match(candidates, caliper=1.5)
    assert sorted(exposure.exptime for _, exposure in pairs.kept) == [10.0, 14.0, 15.0, 20.0, 90.0, 100.0]
    assert pairs.dropped == {"no partner of another class within a factor of 1.5 in exposure time": 2}
    assert len(match(candidates, by=["instrument"]).kept) == 8
    with pytest.raises(UsageError, match="matched by instrument, filter, exptime, got gain"):
        match(candidates, by=["gain"])


def test_rows_that_say_too_little_are_counted(targets: Path) -> None:
    def spoil(table: Table) -> Table:
        table["t_exptime"] = MaskedColumn(table["t_exptime"], mask=[True] + [False] * (len(table) - 1))
        table["dataRights"][1] = "RESTRICT"
        table["obs_id"][2] = "hst_9000_01_acs_wfc_f606w_jcg0"
        table["filters"][3] = "CLEAR1L;CLEAR2L"
        table["instrument_name"][4] = "ACS/HRC"
        return table

    dropped = built(targets, Observations(spoil)).dropped
    assert {key: dropped[key] for key in ("incomplete", "not public", "no exposure of its own", "another instrument")} == {
        "incomplete": 16,
        "not public": 8,
        "no exposure of its own": 8,
        "another instrument": 8,
    }


def test_associations_become_their_exposures() -> None:
    def join(table: Table) -> Table:
        table["obs_id"][0] = "jc0001010"
        return table[:1]

    (first, second) = Archive(Observations(join)).find(Target("C0", "NSC", 5.0, 20.0, 6.0)).exposures
    (whole,) = Archive(Observations(lambda table: table[:1])).find(Target("C0", "NSC", 5.0, 20.0, 6.0)).exposures
    assert (first.rootname, second.rootname) == ("jmem01aaq", "jmem02aaq")
    assert first.exptime == whole.exptime / 2
    assert first.filter == "F606W"


def test_exposures_near_avoided_lists_and_two_targets_are_left_out(targets: Path, tmp_path: Path) -> None:
    avoided = tmp_path / "test.csv"
    Manifest((Row("x.fits", 1, "galaxy", "X", ra=10.2, dec=21.0),), tmp_path).write_csv(avoided)
    without = built(targets, exclude=[avoided])
    assert "G1" not in {row.target for row in without.manifest.rows}
    assert without.dropped["of a list to be avoided, or within half a degree of it"] == 30
    targets.write_text(TARGETS + "G9,galaxy,0.05,20,6\n")
    assert built(targets).dropped["near two targets"] == 30  # found twice, and counted once


def test_a_failing_archive_is_asked_again_and_then_reported(targets: Path) -> None:
    clock = Silent()
    calls: list[float] = []

    class Failing(Observations):
        def query_criteria(self, **criteria: Any) -> Table:
            calls.append(round(float(criteria["coordinates"].ra.deg), 6))
            if calls[-1] == 0.0 or (calls[-1] == 10.0 and calls.count(10.0) < 3):
                raise ConnectionError("reset by peer")
            return super().query_criteria(**criteria)

    result = build(targets, archive=Archive(Failing(), clock=clock))
    assert set(result.failed) == {"G0"}
    assert "MAST: G0: exposures: ConnectionError: reset by peer" in result.failed["G0"]
    assert result.exit_code == 7
    assert clock.waits == [2.0, 4.0, 8.0, 2.0, 4.0]
    with pytest.raises(NetworkError, match="reset by peer"):
        build(targets, archive=Archive(_always(ConnectionError("reset by peer")), clock=Silent()))


def _always(error: Exception) -> Any:
    class Broken:
        def query_criteria(self, **_: Any) -> Table:
            raise error

    return Broken()


def test_silence_and_answers_without_columns_are_failures(targets: Path) -> None:
    class Slow:
        def query_criteria(self, **_: Any) -> None:
            time.sleep(5)

    with pytest.raises(NetworkError, match=r"no answer within 0\.01 s"):
        Archive(Slow(), timeout=0.01, clock=Silent()).find(read_targets(targets)[0])
    lacking = Archive(Observations(lambda table: table["obs_id", "filters"]), clock=Silent())
    with pytest.raises(NetworkError, match=r"columns obs_id, filters; expected also obsid, instrument_name"):
        lacking.find(read_targets(targets)[0])
    nothing = Archive(Observations(lambda table: Table()), clock=Silent())
    assert nothing.find(read_targets(targets)[0]).exposures == ()
    with pytest.raises(DataError, match=r"matched in every class \(the archive has none"):
        build(targets, archive=nothing)


def invoke(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> Result:
    monkeypatch.setattr(mast, "_astroquery", Observations)
    return CliRunner().invoke(data, ["build", *map(str, words)])


def test_command_writes_a_list_that_fetch_takes_and_prints_its_audit(
    targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    result = invoke(monkeypatch, "--targets", targets, "-o", out)
    assert result.exit_code == 0, result.output
    assert "instrument\tfilter\tgalaxy found\tNSC found\tgalaxy kept\tNSC kept" in result.stdout
    assert "# shortcuts" in result.stdout
    assert "# offsets from the targets" in result.stdout
    assert "left out: " in result.stderr
    manifest = Manifest.read_csv(out)
    assert all(math.isfinite(row.exptime) and row.visit == row.rootname[:6] for row in manifest)
    assert isinstance(invoke(monkeypatch, "--targets", targets, "-o", out).exception, UsageError)
    dry = invoke(monkeypatch, "--targets", targets, "--dry-run", "--json", "--match", "instrument")
    document = json.loads(dry.stdout)
    assert document["metadata"]["match"] == ["instrument"]
    assert document["results"]["found"] == {"galaxy": 120, "NSC": 120}
    assert len(document["results"]["frames"]) >= len(manifest)
    assert isinstance(invoke(monkeypatch, "--targets", targets).exception, UsageError)


def test_without_astroquery_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "astroquery.mast", None)
    with pytest.raises(UsageError, match=r"celestial-zoo\[mast\]"):
        Archive().find(read_targets()[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\n", "expected also ra, dec, diameter_arcmin"),
        (TARGETS.replace(",20,", ",200,", 1), "line 2: got dec '200'"),
        (TARGETS + "g 0,galaxy,80,0,1\n", "got g 0 again"),
        (TARGETS + "N,NSC,0.01,20,6\n", "0.6 arcmin apart"),
        ("name,class,ra,dec,diameter_arcmin\nA,galaxy,1,1,1\n", "at least two classes"),
    ],
)
def test_faulty_targets_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_targets(tmp_path / "t.csv")


def test_the_targets_of_zoo_are_enough_and_apart() -> None:
    shipped = read_targets()
    counts = Counter(target.label for target in shipped)
    assert counts["galaxy"] >= 40
    assert counts["NSC"] >= 25
    assert all(target.source and target.diameter > 0 for target in shipped)
    for place, target in enumerate(shipped):
        assert separations(list(shipped[:place]), target.ra, target.dec).min(initial=999.0) > 12  # no exposure shows two of them
    assert SHIPPED.read_text().count("\n") == len(shipped) + 1


def test_the_targets_of_zoo_are_not_those_of_the_published_lists(real_data: Path) -> None:
    shipped = list(read_targets())
    names = {zoo.data.groups.same_target(target.name) for target in shipped}
    for name in ("LCID_test.csv", "blurry_validation.csv"):
        for row in Manifest.read_csv(real_data / "lcid" / name, find=False):
            assert separations(shipped, row.ra, row.dec).min() > 30.0, row.name
            assert zoo.data.groups.same_target(row.target) not in names
