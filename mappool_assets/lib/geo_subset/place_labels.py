"""Whether returned images show their place, as somebody said who looked at them."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.evaluation import wilson_interval
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.page import NO_NUMBER, Section, Table, percent

COLUMNS = ("uid", "label")
RIGHT, WRONG = ("1", "true", "yes"), ("0", "false", "no")
MOST_PLACES = 20  # of a table; the others share a row
WORST_NOTE = "The places whose interval ends lowest."


def read_labels(content: bytes, where: str) -> dict[str, bool]:
    """Return by uid whether an image shows the place that it was returned for.

    Parameters
    ----------
    content : bytes
        CSV in UTF-8 with the columns ``uid`` and ``label``: 1, true or yes; 0, false or no. Other columns are not read.

    Raises
    ------
    BadSetting
        It is no such file, or says two things of an image.
    """
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise _unreadable(where, f"columns {', '.join(COLUMNS)}", f"columns {', '.join(rows.fieldnames or ())}")
        labels: dict[str, bool] = {}
        for row in rows:
            uid, label = (row["uid"] or "").strip(), (row["label"] or "").strip().lower()
            if not uid or label not in (*RIGHT, *WRONG):
                raise _unreadable(f"{where}, line {rows.line_num}", "a uid and yes or no", f"{uid!r}, {label!r}")
            if labels.setdefault(uid, label in RIGHT) != (label in RIGHT):
                raise _unreadable(f"{where}, line {rows.line_num}", "one label of an image", f"another one of {uid}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(where, "CSV in UTF-8", str(error)) from error
    return labels


@dataclass(frozen=True)
class Precision:
    """How many of some labelled images show their place.

    Attributes
    ----------
    by_place : list of tuple
        Place, right ones and labelled ones; the most labelled first.
    unknown : int
        Labels of images that were not returned.
    """

    by_place: list[tuple[str, int, int]]
    unknown: int

    @classmethod
    def of(cls, lake: Lake, labels: Mapping[str, bool]) -> Precision:
        """Ask the lake which places the labelled images were returned for."""
        rows = sql_files.run(lake, "reports/place_of_images", uids=sorted(labels)).to_pylist()
        found: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for row in rows:
            found[row["place_id"], row["place"]].append(labels[row["uid"]])
        places = [(place_id, place, sum(said), len(said)) for (place_id, place), said in found.items()]
        places.sort(key=lambda place: (-place[3], place[0]))
        unknown = len(labels.keys() - {row["uid"] for row in rows})
        return cls([place[1:] for place in places], unknown)

    @property
    def right(self) -> int:
        """Labelled images that show their place."""
        return sum(right for _, right, _ in self.by_place)

    @property
    def labelled(self) -> int:
        """Returned images that have a label."""
        return sum(labelled for _, _, labelled in self.by_place)

    @property
    def share(self) -> float | None:
        """The precision, 0 to 1; None without labels."""
        return self.right / self.labelled if self.labelled else None


def precision_section(precision: Precision | None) -> Section:
    """Tell how many of the labelled images show their place, in all and by place."""
    title = "How many images show their place"
    if precision is None or not precision.labelled:
        missing = "Give a file of labels (uid, label) to see this."
        if precision is not None:
            missing = f"No label is of an image that was returned; there are {precision.unknown:,}."
        return Section("precision", title, missing=missing)
    places = precision.by_place
    most, rest = places[:MOST_PLACES], places[MOST_PLACES:]
    if rest:
        others = (f"{len(rest):,} other places", sum(row[1] for row in rest), sum(row[2] for row in rest))
        most = [*most, others]
    unknown = f" Labels of images that were not returned: {precision.unknown:,}." if precision.unknown else ""
    return Section(
        "precision",
        title,
        (
            _table(
                "Precision by place",
                most,
                "Wilson's intervals; they hold where the labelled images were drawn by lot among the returned."
                + unknown,
            ),
            *([_table("Places of which the least can be right", _worst(places), WORST_NOTE)] if rest else []),
        ),
        f"{precision.right:,} of {precision.labelled:,} labelled images show their place: "
        f"{percent(precision.right / precision.labelled)}, 95 % interval "
        f"{interval(precision.right, precision.labelled)} %.",
    )


def _worst(places: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return sorted(places, key=lambda place: wilson_interval(place[1], place[2])[1])[:MOST_PLACES]


def _table(caption: str, places: list[tuple[str, int, int]], note: str) -> Table:
    columns = {"place": "web", "labelled": "count", "precision": "share", "95 % interval, in %": "text"}
    rows = [(place, labelled, right / labelled, interval(right, labelled)) for place, right, labelled in places]
    return Table(caption, columns, rows, note=note)


def interval(right: int, labelled: int) -> str:
    """Return Wilson's 95 % interval in percent, without the sign.

    >>> interval(9, 10)
    '59.6 – 98.2'
    """
    if not labelled:
        return NO_NUMBER
    low, high = wilson_interval(right, labelled)
    return f"{100 * low:.1f} – {100 * high:.1f}"


def _unreadable(where: str, rule: str, got: str) -> BadSetting:
    return BadSetting(
        "Labels cannot be read",
        where=where,
        rule=rule,
        got=got,
        action="Correct the file: a header uid,label, then a line an image.",
    )
