"""Answers of the image classifier as lines of text, for people and for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from mappool_assets.lib.image_classifier import ClassifiedImage

MAP, NOT_A_MAP = "map", "not a map"
COLUMNS = tuple(field.name for field in dataclasses.fields(ClassifiedImage))


def text_line(image: ClassifiedImage) -> str:
    """Return the answer or the reason why there is none, the score, and the source, in columns.

    What cannot be printed in a source, such as a line break or what moves a terminal's cursor, is escaped.

    >>> text_line(ClassifiedImage("scans/a.png", True, 1.25))
    'map                   1.250  scans/a.png'
    """
    answer = image.error or (MAP if image.is_map else NOT_A_MAP)
    score = "" if image.score is None else f"{image.score:.3f}"
    source = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in image.source)
    return f"{answer:<18} {score:>8}  {source}"


def json_line(image: ClassifiedImage) -> str:
    """Return a JSON object with the fields of :class:`ClassifiedImage`, in ASCII."""
    return json.dumps(dataclasses.asdict(image))


def csv_line(image: ClassifiedImage) -> str:
    """Return the fields as CSV under :data:`COLUMNS`: true, false or empty; what has no UTF-8 is escaped."""
    fields = dataclasses.asdict(image) | {"is_map": "" if image.is_map is None else str(image.is_map).lower()}
    fields["source"] = image.source.encode("utf-8", "backslashreplace").decode()
    buffer = io.StringIO()
    csv.DictWriter(buffer, COLUMNS, lineterminator="").writerow(fields)
    return buffer.getvalue()


FORMS: dict[str, tuple[str | None, Callable[[ClassifiedImage], str]]] = {
    "text": (None, text_line),
    "csv": (",".join(COLUMNS), csv_line),
    "json": (None, json_line),
}


class Tally:
    """Counts answers as they pass.

    Attributes
    ----------
    maps, others : int
        Images that are maps, and that are not.
    errors : Counter of str
        Images that could not be read, by reason.
    """

    def __init__(self) -> None:
        self.maps = self.others = 0
        self.errors: Counter[str] = Counter()

    def lines(self, images: Iterable[ClassifiedImage], form: str) -> Iterator[str]:
        """Yield the lines of a form (``text``, ``csv`` or ``json``), each as soon as its image comes."""
        head, line = FORMS[form]
        if head is not None:
            yield head
        for image in images:
            if image.error is not None:
                self.errors[image.error] += 1
            elif image.is_map:
                self.maps += 1
            else:
                self.others += 1
            yield line(image)

    def summary(self) -> str:
        """Return the counts in one line, which add up."""
        failed = self.errors.total()
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.errors.items()))
        return (
            f"{self.maps + self.others + failed:,} images: {self.maps:,} maps, {self.others:,} not maps, "
            f"{failed:,} not read{f' ({reasons})' if failed else ''}"
        )
