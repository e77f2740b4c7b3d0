"""Charts as SVG that takes its colours and its font from the page, and as PNG for Dagster; same numbers, same bytes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from mappool_assets.lib.plots import BLUE, GREY, GRID, INK, ORANGE, WIDTH
from mappool_assets.lib.report_page.axes import INCHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "#FFFFFF"
# What the page calls our colours: it has others for them where the reader prefers dark.
COLOUR_NAMES = {BLUE: "blue", ORANGE: "orange", GREY: "grey", INK: "ink", GRID: "grid", PAPER: "panel"}


def as_svg(figure: Figure, name: str) -> Markup:
    """Return a chart as an ``<svg>`` element to stand in the page, without a clock or the library's name.

    Parameters
    ----------
    name : str
        Sets its ids apart from those of the page's other charts.
    """
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", transparent=True, metadata=no_metadata)
    svg = re.sub(r"^.*?(?=<svg)|<!--.*?-->|<style.*?</style>", "", content.getvalue(), flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg)  # as wide as the page has room for
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # the same in each chart of the page
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)  # the page's
    for colour, name in COLOUR_NAMES.items():
        svg = re.sub(colour, f"var(--{name})", svg, flags=re.IGNORECASE)
    return Markup("\n".join(line.rstrip() for line in svg.splitlines() if line.strip()))  # noqa: S704  no web text in it


def as_png(figure: Figure) -> bytes:
    """Return a chart as a PNG on white, as wide as Dagster's UI shows whole."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=WIDTH / INCHES[0], facecolor="white", metadata={"Software": None})
    return content.getvalue()
