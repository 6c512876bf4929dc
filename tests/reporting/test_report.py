"""The report as a document: whole, deterministic, accessible, and what stands in it."""

from __future__ import annotations

import itertools
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import zoo
from zoo import storage
from zoo.errors import DataError, StorageError, UsageError
from zoo.evaluation import Evaluation
from zoo.intervals import Interval
from zoo.reporting import Cell, Table, write_report

VOID = {"meta", "link", "img", "br", "hr", "input", "use", "path", "rect"}


class Document(HTMLParser):
    """Elements in order with their attributes, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or self.get_starttag_text() is None:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def report_of(tmp_path: Path, *evaluations: Path | None, **options: object) -> str:
    write_report(tmp_path / "out.html", [path for path in evaluations if path], **options)  # type: ignore[arg-type]
    return (tmp_path / "out.html").read_text()


@pytest.fixture(scope="module")
def page(full: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report_of(tmp_path_factory.mktemp("page"), full, command="zoo evaluate half --report out.html")


@pytest.fixture(scope="module")
def comparison(evaluated: list[Evaluation], tmp_path_factory: pytest.TempPathFactory) -> str:
    return report_of(tmp_path_factory.mktemp("page"), *(result.path for result in evaluated))


def test_the_same_run_gives_the_same_bytes(page: str, full: Path, tmp_path: Path) -> None:
    assert report_of(tmp_path, full, command="zoo evaluate half --report out.html") == page


@pytest.mark.parametrize("kind", ["page", "comparison"])
def test_document_is_well_formed_and_accessible(kind: str, request: pytest.FixtureRequest) -> None:
    document = Document(request.getfixturevalue(kind))
    assert document.open == []
    names = [attributes["id"] for _, attributes in document.elements if attributes.get("id")]
    assert len(names) == len(set(names))
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for tag in ("header", "nav", "main", "footer", "title"):
        assert len(document.all(tag)) == 1, tag
    assert document.all("html")[0]["lang"] == "en"
    assert len(document.all("caption")) == len(document.all("table"))
    assert all(head.get("scope") in ("col", "row") for head in document.all("th"))
    assert all(image.get("alt") is not None for image in document.all("img"))
    drawings = [attributes for attributes in document.all("div") if attributes.get("class") == "drawing"]
    assert len(drawings) == len(document.all("svg")) >= 4
    assert all(attributes["role"] == "img" and len(attributes["aria-label"] or "") > 20 for attributes in drawings)
    targets = {link["href"][1:] for link in document.all("a") if (link["href"] or "").startswith("#")}
    assert targets <= set(names)


@pytest.mark.parametrize("kind", ["page", "comparison"])
def test_document_refers_to_nothing_outside(kind: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(kind)
    for tag, attributes in Document(text).elements:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(text.encode()) < 5_000_000


def test_every_colour_of_a_drawing_follows_the_theme(page: str) -> None:
    drawings = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert "var(--series-1)" in drawings[0]
    assert not [found for drawing in drawings for found in re.findall(r"#[0-9a-f]{6}\b", drawing)]


def test_summary_says_accuracy_interval_gain_and_cautions(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page[page.index("<h1>") : page.index('id="scores"')])).replace("\u202f", " ")
    assert "level calls 11 of 14 frames right, 78.6 %. For new targets drawn like these 14 it lies between" in text
    assert "Always saying the largest class is right for 50.0 %" in text
    assert "Simulated sky" in text
    assert "Fewer than 8 targets: galaxy 7, NSC 7" in text


def test_everything_that_the_run_holds_is_shown(page: str) -> None:
    text = page.replace("\u202f", " ")
    for words in (
        "Confusion matrix", "ROC curve", "Precision against recall", "Psf in words", "Blur in words",
        "a bare operation on the pixels", "rebin in words: applies to none of these frames", "By target", "By exposure time",
        "What goes together with errors", "The worst errors", "Right frames beside them", "a note on the errors",
        "the sky is simulated", "parameters", "rows, SHA-256", "zoo evaluate half --report out.html", "limits=manual", "CSST",
    ):  # fmt: skip
        assert words in text, words


def test_names_of_the_data_cannot_become_markup(page: str) -> None:
    assert "galaxy&lt;0&gt;" in page
    assert "galaxy<0>" not in page


def test_what_is_missing_is_one_line_with_a_command(evaluated: list[Evaluation], tmp_path: Path) -> None:
    text = report_of(tmp_path, evaluated[0].path)
    assert f"zoo evaluate {evaluated[0].run} --data list.csv --robustness</code>" in text
    assert f"zoo evaluate {evaluated[0].run} --data list.csv --explain</code>" in text


def test_frames_of_one_class_have_a_report_without_what_they_do_not_define(evaluated: list[Evaluation], tmp_path: Path) -> None:
    rows = (evaluated[0].run / "manifest.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join([rows[0], *(row for row in rows if "galaxy" in row)]) + "\n")
    text = report_of(tmp_path, zoo.evaluate(evaluated[0].run, tmp_path / "one.csv", interval="frame").path)
    assert 'id="f-confusion"' in text
    assert 'id="f-roc"' not in text
    assert "Intervals are by frame, which are far too narrow for new targets" in text


def test_comparison_has_ranking_pairs_and_all_curves(comparison: str) -> None:
    text = re.sub(r"<[^>]+>", " ", comparison).replace("\u202f", " ")
    assert "more and half cannot be told apart: +21.4 points, 95 % interval" in re.sub(r"\s+", " ", text)
    assert "1 (tie)" in text
    (roc,) = re.findall(r'id="f-roc".*?</figure>', comparison, re.DOTALL)
    assert "more 1.000" in roc
    assert "half" in roc
    assert "var(--series-2)" in roc


def test_tables_of_the_caller_come_first(full: Path, tmp_path: Path) -> None:
    given = Table("Table 1 & more", ["set", "accuracy"], [["LCID", Cell(0.8909, Interval(0.8909, 0.8, 0.95, 21), "abc123", percent=True)]])
    text = report_of(tmp_path, full, tables=[given], title="A <title>").replace("\u202f", " ")
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert text.index("Table 1 &amp; more") < text.index('<section id="scores"')
    assert "89.1 %" in text
    assert "80.0 to 95.0 %" in text
    assert "abc123" in text


def test_a_changed_file_is_refused(full: Path, tmp_path: Path) -> None:
    shutil.copytree(full.parent.parent, tmp_path / "run")
    changed = tmp_path / "run" / "evaluations" / full.name
    (changed / "frames.csv").write_text((changed / "frames.csv").read_text() + "\n")
    with pytest.raises(StorageError, match="was changed or damaged"):
        write_report(tmp_path / "out.html", [changed])


def test_other_weights_than_those_evaluated_are_said(full: Path, tmp_path: Path) -> None:
    shutil.copytree(full.parent.parent, tmp_path / "run")
    card = tmp_path / "run" / "model" / "card.json"
    card.write_text(card.read_text() + "\n")
    storage.seal_directory(card.parent)
    assert "The run has other weights now" in report_of(tmp_path, tmp_path / "run" / "evaluations" / full.name)


@pytest.mark.parametrize(
    ("name", "words"), [("out.pdf", "expected .html"), ("there.html", "is there already"), ("folder.html", "got a folder")]
)
def test_report_that_cannot_be_written_is_refused_first(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match=words):
        zoo.reporting.check_report(tmp_path / name)
    zoo.reporting.check_report(tmp_path / "there.html", force=True)


@pytest.mark.parametrize("absent", ["matplotlib", "jinja2"])
def test_missing_extra_is_named(absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == absent else real(name, package))
    with pytest.raises(UsageError, match=rf"needs {absent}; run pip install 'celestial-zoo\[report\]'"):
        zoo.reporting.check_report(tmp_path / "out.html")


def test_no_evaluation_and_other_frames_are_refused(evaluated: list[Evaluation], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got no evaluation"):
        write_report(tmp_path / "out.html", [])
    with pytest.raises(StorageError, match=r"expected a folder below evaluations/"):
        write_report(tmp_path / "out.html", [tmp_path])
    first = evaluated[0].path
    assert first is not None
    other = zoo.evaluate(evaluated[1].run, split="train").path
    assert other is not None
    with pytest.raises(DataError, match=r"no evaluation of the same frames|no frame was scored"):
        write_report(tmp_path / "out.html", [first, other])
    assert not (tmp_path / "out.html").exists()
