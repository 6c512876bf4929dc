"""The report in a real browser: no complaint, no request, both themes, a narrow screen, the keyboard, and paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_browser

from zoo.evaluation import Evaluation
from zoo.reporting import write_report

CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255; return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba("Canvas");
  };
  const low = [];
  for (const element of document.querySelectorAll("body *:not(script):not(style)")) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(rgba(element instanceof SVGElement ? style.fill : style.color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return low;
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed")
    opened = Browser(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(full: Path, evaluated: list[Evaluation], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_report(folder / "evaluation.html", [full])
    write_report(folder / "comparison.html", [result.path for result in evaluated if result.path])
    return {name: folder / f"{name}.html" for name in ("evaluation", "comparison")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["evaluation", "comparison"])
def test_page_is_quiet_readable_and_fits(kind: str, width: int, dark: bool, browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages[kind], width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CONTRAST) == []
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert browser.screenshot().startswith(b"\x89PNG")
    assert browser.complaints == []
    assert [address for address in browser.requests if not address.startswith("data:")] == [pages[kind].as_uri()]


def test_theme_can_be_chosen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["evaluation"])
    seen = []
    for _ in range(3):
        browser.evaluate("document.getElementById('theme').click()")
        said, colour = browser.evaluate("[document.getElementById('theme').textContent, getComputedStyle(document.body).backgroundColor]")
        seen.append((re.sub(r"\s+", " ", said), colour))
    light, dark = "rgb(255, 255, 255)", "rgb(22, 24, 29)"
    assert seen == [("Theme: light", light), ("Theme: dark", dark), ("Theme: as the system", light)]


def test_keyboard_skips_to_the_content_and_opens_a_picture(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["evaluation"])
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.id") == "main"
    browser.evaluate("document.querySelector('.picture').focus()")
    browser.press("Enter")
    size = browser.evaluate("(() => { const i = document.querySelector('#zoom img'); return [i.width, i.height, i.alt]; })()")
    assert browser.evaluate("document.getElementById('zoom').open")
    assert size == [96, 48, "A wrong frame"]
    browser.press("Escape")
    assert not browser.evaluate("document.getElementById('zoom').open")
    assert browser.evaluate("document.activeElement.className") == "picture"


def test_tables_sort_by_number(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["evaluation"])
    values = """(() => {
      const table = document.querySelector("[aria-labelledby='t-by-target'] table");
      const column = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === "accuracy");
      table.tHead.rows[0].cells[column].querySelector("button").click();
      return [table.tHead.rows[0].cells[column].ariaSort, [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.order))];
    })()"""
    order, numbers = browser.evaluate(values)
    assert (order, numbers) == ("ascending", sorted(numbers))
    order, numbers = browser.evaluate(values)
    assert (order, numbers) == ("descending", sorted(numbers, reverse=True))
    assert len(set(numbers)) > 1


def test_page_prints(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["evaluation"], dark=True)
    data = browser.print_to_pdf()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 3
