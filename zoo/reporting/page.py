"""A page as HTML: the template, its style and its script in one text, with every figure drawn into it."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import zoo
from zoo.plotting import COLOURS, plot_style, to_inline, to_svg
from zoo.reporting.blocks import Figure, Page

_FOLDER = "template"
_PERCENT = re.compile(r"(?<=\d) ?%")


def render(page: Page) -> str:
    """Return the page as one HTML document that loads nothing; the same page gives the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("zoo.reporting", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_set_percent,
    )
    environment.filters["slug"] = slug

    def drawing(figure: Figure) -> Markup:
        with plot_style():
            return Markup(to_inline(to_svg(figure.draw()), slug(figure.name)))

    script = _part("report.js")
    return environment.get_template("report.html").render(
        page=page,
        version=zoo.__version__,
        colours=COLOURS,
        style=Markup(_part("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        drawing=drawing,
    )


def _set_percent(value: object) -> object:
    """Keep a percent sign with its number; text that was marked as safe or escaped before stays as it is."""
    return _PERCENT.sub("\N{NARROW NO-BREAK SPACE}%", value) if type(value) is str else value


def slug(name: str) -> str:
    """Return a name that may be the ``id`` of an element."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _part(name: str) -> str:
    return (resources.files("zoo.reporting") / _FOLDER / name).read_text(encoding="utf-8")
