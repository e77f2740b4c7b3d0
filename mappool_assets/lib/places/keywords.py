"""A bare list of keywords, as LAION-geo's: one a line, with its context after tabs.

``grand central terminal<TAB>midtown east<TAB>united states``: keyword, what it lies in (admin1), country. Context and
country may be left out. Tabs and not commas, because names hold commas ("St. John's, Newfoundland"). A line that begins
with ``#`` is a comment; neither comments nor empty lines are rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

import pyarrow as pa

from mappool_assets.lib.places.mapped_table import content_hash
from mappool_assets.lib.places.place import RawPlaces, RowCounts
from mappool_assets.lib.places.source_files import SourceFiles

PREFIX = "keyword:"
RULE = "a keyword a line, UTF-8; after a tab what it lies in, after another its country"
FIELDS = ("name", "admin1", "country")
LONGEST_LINE = 2**16
BATCH_ROWS = 16_384


def keywords(files: SourceFiles, address: str, counts: RowCounts) -> Iterator[RawPlaces]:
    """Yield the keywords of a list; a line of more than three fields is dropped (``fields_4``)."""
    with files.text(address, RULE, (".txt", ".tsv", ".csv")) as (stream, name):
        rows = _rows(stream, name, counts)
        while batch := list(islice(rows, BATCH_ROWS)):
            columns = {field: [row[i] for row in batch] for i, field in enumerate(FIELDS)}
            ids = [PREFIX + content_hash(row) for row in batch]
            yield {"place_id": pa.array(ids), **{f: pa.array(c, pa.string()) for f, c in columns.items()}}


def _rows(stream: BinaryIO, name: str, counts: RowCounts) -> Iterator[list[str]]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise OSError(f"line {number} is longer than {LONGEST_LINE:,} bytes")
        text = line.decode("utf-8-sig")
        if not text.strip() or text.startswith("#"):
            continue
        fields = [" ".join(field.split()) for field in text.rstrip("\r\n").split("\t")]
        if len(fields) > len(FIELDS):
            counts.drop_fields(len(fields), f"{name}, line {number}")
        else:
            yield fields + [""] * (len(FIELDS) - len(fields))
