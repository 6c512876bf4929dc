"""How every plot of zoo looks, and how it becomes SVG or PNG. Needs matplotlib, which is imported when something is drawn.

Every colour has a name and a value for light and for dark paper. Plots are drawn once, in the light ones; where an SVG becomes part of an
HTML page, the values are replaced by CSS variables of these names, so that one drawing serves both themes. The hues of the series stay
apart for the common forms of colour blindness (after Okabe & Ito 2008), all of them reach a contrast of 4.5 with their paper, and a series
has a marker of its own too.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zoo.errors import UsageError

HASH_SALT = "zoo"  # names of the elements are drawn from it, so that the same data give the same file
DPI = 200  # of PNG

COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#16181d"),
    "ink": ("#1c2027", "#e9e7e2"),
    "muted": ("#5a6270", "#a4acb8"),
    "grid": ("#e4e6ea", "#2c3038"),
    "axis": ("#9aa1ad", "#626a77"),
    "series-1": ("#0b62a4", "#74baf3"),
    "series-2": ("#b8480c", "#f49c62"),
    "series-3": ("#0b7655", "#4cc9a0"),
    "series-4": ("#97397c", "#e69acd"),
    "series-5": ("#7a5c00", "#d8b548"),
    "series-6": ("#5a52b3", "#b6b0f8"),
    "series-7": ("#3f6b7d", "#93c3d6"),
    "series-8": ("#8c3038", "#f0959b"),
}
"""Name -> hexadecimal value on light and on dark paper."""

SERIES = tuple(name for name in COLOURS if name.startswith("series-"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}


def colour(name: str) -> str:
    """Return the value of a colour on light paper."""
    return COLOURS[name][0]


def series(index: int) -> tuple[str, str]:
    """Return colour and marker of the series of this index; from the ninth on the colours return with other markers."""
    return colour(SERIES[index % len(SERIES)]), MARKERS[(index + index // len(SERIES)) % len(MARKERS)]


def check_matplotlib(what: str) -> None:
    """Raise before any work is done where nothing can be drawn. Raises: UsageError: matplotlib is not there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"{what} needs matplotlib; run pip install 'celestial-zoo[report]', or pip install '.[report]' in its sources")


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw and save in the style of zoo inside this block; the settings of matplotlib are as before after it."""
    from matplotlib import rc_context

    grey = {"color": colour("muted")}
    with rc_context(
        {
            "svg.hashsalt": HASH_SALT,
            "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
            "font.family": ["DejaVu Sans"],  # comes with matplotlib, so widths are the same everywhere
            "font.size": 9.0,
            "text.color": colour("ink"),
            "text.parse_math": False,  # names of runs and files may hold dollar signs
            "figure.facecolor": colour("paper"),
            "figure.constrained_layout.use": True,
            "axes.facecolor": "none",
            "axes.edgecolor": colour("axis"),
            "axes.linewidth": 0.8,
            "axes.labelcolor": colour("muted"),
            "axes.labelsize": 9.0,
            "axes.titlesize": 9.5,
            "axes.titlelocation": "left",
            "axes.titlecolor": colour("ink"),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.unicode_minus": True,
            "axes.prop_cycle": _cycle(),
            "grid.color": colour("grid"),
            "grid.linewidth": 0.8,
            "xtick.color": grey["color"],
            "ytick.color": grey["color"],
            "xtick.major.size": 3.0,
            "ytick.major.size": 3.0,
            "lines.linewidth": 1.6,
            "lines.markersize": 4.5,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
        }
    ):
        yield


def new_figure(width: float, height: float) -> Any:
    """Return an empty ``matplotlib.figure.Figure`` of this size in inches that belongs to no window; call it inside `plot_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_svg(figure: Any) -> str:
    """Return a drawing as SVG on light paper; the same drawing gives the same text. Call it inside `plot_style`."""
    return _save(figure, format="svg", metadata={"Date": None, "Creator": None}).decode("utf-8")


def to_png(figure: Any) -> bytes:
    """Return a drawing as PNG on light paper. Call it inside `plot_style`."""
    return _save(figure, format="png", dpi=DPI, metadata={"Software": None})


def to_inline(svg: str, prefix: str) -> str:
    """Return what `to_svg` gave as an element of an HTML page: colours by CSS variables, names that no other drawing has.

    Args:
        svg: the text. prefix: of the ``id`` of every element that is referred to; the others lose theirs.
    """
    body = re.sub(r"<metadata>.*?</metadata>\s*|<style .*?</style>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in referred else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), body)
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box is not None, "matplotlib gives every SVG a viewBox"
    width = float(box[1].split()[2])
    opening = f'<svg viewBox="{box[1]}" style="--width: {width:g}pt" aria-hidden="true" focusable="false">'
    return re.sub(r"<svg [^>]*>", opening, body, count=1).strip()


def _cycle() -> Any:
    from cycler import cycler

    return cycler(color=[colour(name) for name in SERIES])


def _save(figure: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, **options)
    return stream.getvalue()
