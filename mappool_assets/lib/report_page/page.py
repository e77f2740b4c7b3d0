"""The page as data, and as HTML: every text is escaped, nothing is loaded from elsewhere, no script can run."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

MOST_CAPTION_CHARACTERS = 160  # of a picture's caption; some of the pool's run to thousands
MOST_CELL_CHARACTERS = 60  # of a stranger's text in a table
NO_NUMBER = "–"


@dataclass(frozen=True)
class Tile:
    """A number of the headline.

    Attributes
    ----------
    value, label : str
        The number, formatted, and what it counts.
    note : str
        A few words that set it in proportion, or say what has to be made first.
    """

    value: str
    label: str
    note: str = ""


class Cell(NamedTuple):
    """A value of a table as it is shown.

    Attributes
    ----------
    kind, text : str
        Its column's kind, and the value formatted.
    bar : float or None
        Length of its bar, 1 being the longest of the column.
    """

    kind: str
    text: str
    bar: float | None


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Attributes
    ----------
    caption : str
        What the rows are.
    columns : mapping of str to str
        Headings, each with what its cells are: ``text`` (ours), ``key`` (not broken), ``web`` (a stranger's text),
        ``count``, ``number``, ``share`` (0 to 1; drawn as a bar too) or ``bytes``. None is shown as a dash, a string
        as it is.
    rows : sequence of tuple
        As many values as columns.
    source : str
        The report that gives the rows, as ``mappool report`` knows it.
    note : str
        What a reader has to know.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Mapping[str, str]
    rows: Sequence[tuple[Any, ...]]
    source: str = ""
    note: str = ""

    @property
    def cells(self) -> list[tuple[Cell, ...]]:
        """The rows as they are shown."""
        columns = zip(self.columns.values(), zip(*self.rows, strict=True), strict=True) if self.rows else ()
        return list(zip(*(_column_cells(kind, values) for kind, values in columns), strict=True))


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes
    ----------
    title : str
        What it shows.
    svg : Markup
        Made by :mod:`~mappool_assets.lib.report_page.figures` of numbers and our own words alone.
    description : str
        What is to be seen, for those who do not see it.
    source, note : str
        As of a :class:`Table`.
    """

    kind: ClassVar[str] = "chart"
    title: str
    svg: Markup
    description: str
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A thumbnail.

    Attributes
    ----------
    jpeg : bytes or None
        None where the image could not be read: a cell then says so.
    width, height : int
        In pixels.
    caption : str
        The stranger's words for it.
    url : str
        Where it was found; becomes a link where it is http or https.
    label : str
        Ours, for instance its score.
    """

    jpeg: bytes | None
    width: int
    height: int
    caption: str
    url: str
    label: str = ""

    @property
    def data_uri(self) -> str:
        """The picture itself, as an address."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg or b"").decode()

    @property
    def short_caption(self) -> str:
        """The caption in one line of bounded length."""
        return one_line(self.caption, MOST_CAPTION_CHARACTERS)

    @property
    def link(self) -> str | None:
        """The address, where it is one that a reader may follow."""
        return self.url if is_web_address(self.url) else None


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, under a title."""

    kind: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    anchor, title : str
        For the contents.
    blocks : sequence
        Tables, charts and galleries.
    lead : str
        What it tells, in a sentence or two.
    missing : str
        What is not there yet and which asset makes it.
    """

    anchor: str
    title: str
    blocks: Sequence[Table | Chart | Gallery] = ()
    lead: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return the page as one file that needs no other; equal pages give equal text."""
        folder = Path(__file__).parent
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = (folder / "page.css").read_text(encoding="utf-8")
        return environment.get_template("page.html.j2").render(page=self, style=Markup(style))  # noqa: S704  our own file


def _column_cells(kind: str, values: Sequence[Any]) -> list[Cell]:
    shares = [value if kind == "share" and isinstance(value, float | int) else None for value in values]
    most = max((share for share in shares if share is not None), default=0) or 1
    return [
        Cell(kind, as_text(value, kind), None if share is None else share / most)
        for value, share in zip(values, shares, strict=True)
    ]


def one_line(text: str, most: int) -> str:
    """Return a stranger's text in one line of bounded length, without control characters.

    >>> one_line("a map\\n of\\x00everything", 12)
    'a map of ev…'
    """
    plain = " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def is_web_address(url: str) -> bool:
    """Tell whether a stranger's address may become a link: http or https, with a host, without spaces and the like.

    >>> is_web_address("https://maps.example/1.png"), is_web_address("javascript:alert(1)")
    (True, False)
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = not any(c.isspace() or unicodedata.category(c) == "Cc" for c in url)
    return is_plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def as_text(value: Any, kind: str) -> str:
    """Return the text of a table's cell.

    >>> as_text(1234567, "count"), as_text(0.00713, "share"), as_text(5_300_000, "bytes"), as_text(None, "text")
    ('1,234,567', '0.71 %', '5.3 MB', '–')
    """
    if value is None:
        return NO_NUMBER
    if isinstance(value, str):
        return one_line(value, MOST_CELL_CHARACTERS) if kind == "web" else value
    if kind == "count":
        return f"{value:,}"
    if kind == "number":
        return f"{value:g}"
    if kind == "share":
        return percent(value)
    if kind == "bytes":
        return decimal_bytes(value)
    raise ValueError(f"{value!r} cannot be shown as {kind}")


def percent(share: float) -> str:
    """Return a share in percent, at most three digits before and two behind the point.

    >>> [percent(share) for share in (0, 0.00003, 0.00713, 0.0713, 0.713, 0.9999, 1)]
    ['0 %', '< 0.01 %', '0.71 %', '7.13 %', '71.3 %', '> 99.9 %', '100 %']
    """
    if 0 < share < 0.0001:
        return "< 0.01 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{100 * share:.{2 if share < 0.09995 else 1}f} %"


def decimal_bytes(size: float) -> str:
    """Return a size with a unit of a power of 1000.

    >>> decimal_bytes(999), decimal_bytes(12_345), decimal_bytes(3.2e12)
    ('999 B', '12.3 kB', '3.2 TB')
    """
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
