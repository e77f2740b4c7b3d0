"""Rows of JSON: one object a line, or the features of a GeoJSON-like collection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from mappool_assets.lib.places.place import RawPlaces, RowCounts
from mappool_assets.lib.places.wanted_columns import WantedColumns

LONGEST_LINE = 2**20
MOST_BYTES = 2**29  # of a collection, which is read whole: Natural Earth's largest has a tenth of it
BATCH_ROWS = 16_384
MOST_KEY_SETS = 1000
LIST_SEPARATOR = ";"  # lists of names become one text

Row = dict[str, Any]


def read_lines(stream: BinaryIO, wanted: WantedColumns, counts: RowCounts, *, where: str) -> Iterator[RawPlaces]:
    """Yield the chosen keys of JSON lines, as texts; a line that is no object is dropped (``not_json``).

    Raises
    ------
    OSError
        A line is longer than 1 MiB.
    """
    return _columns(_objects(stream, counts, where), wanted, counts, where)


def read_features(stream: BinaryIO, wanted: WantedColumns, counts: RowCounts, *, where: str) -> Iterator[RawPlaces]:
    """Yield the chosen properties of a feature collection, as texts.

    A point's coordinates are the keys ``geometry.longitude`` and ``geometry.latitude``.

    Raises
    ------
    OSError
        It is no feature collection, or larger than 512 MiB.
    """
    numbered = enumerate(load_features(stream), start=1)
    return _columns(_properties(numbered, counts, where), wanted, counts, where)


def load_features(stream: BinaryIO) -> list[Any]:
    """Return the features of a collection; raises as :func:`read_features` does."""
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise OSError(f"more than {MOST_BYTES:,} bytes of JSON in one piece")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise OSError(f"no JSON: {error}") from error
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise OSError("no list of features")
    return features


def point_of(geometry: Any) -> tuple[float, float] | None:
    """Return longitude and latitude of a GeoJSON point, or of the first in a collection; None for anything else.

    A number that no float holds is infinite, and so out of range.
    """
    if not isinstance(geometry, dict):
        return None
    collection = geometry.get("geometries")
    for part in collection if isinstance(collection, list) and collection else [geometry]:
        coordinates = part.get("coordinates") if isinstance(part, dict) and part.get("type") == "Point" else None
        if isinstance(coordinates, list) and [type(c) in (int, float) for c in coordinates[:2]] == [True, True]:
            longitude, latitude = (float(c) if abs(c) < 1e9 else float("inf") for c in coordinates[:2])
            return longitude, latitude
    return None


def _objects(stream: BinaryIO, counts: RowCounts, where: str) -> Iterator[tuple[int, Row]]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise OSError(f"line {number} is longer than {LONGEST_LINE:,} bytes")
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            _drop(counts, "not_json", where, number)


def _properties(features: Iterable[tuple[int, Any]], counts: RowCounts, where: str) -> Iterator[tuple[int, Row]]:
    for number, feature in features:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(properties, dict):
            _drop(counts, "not_a_feature", where, number)
            continue
        point = point_of(feature.get("geometry"))
        at = {} if point is None else {"geometry.longitude": point[0], "geometry.latitude": point[1]}
        yield number, {**properties, **at}


def _columns(
    rows: Iterator[tuple[int, Row]], wanted: WantedColumns, counts: RowCounts, where: str
) -> Iterator[RawPlaces]:
    """Yield rows as columns of text; rows need not have the same keys."""
    chosen_of: dict[tuple[str, ...], dict[str, str]] = {}  # rows mostly have the same few sets of keys
    found: set[str] = set()
    while batch := list(islice(rows, BATCH_ROWS)):
        columns: dict[str, list[str | None]] = {field: [] for field in wanted.names}
        for number, row in batch:
            keys = tuple(row)
            if keys not in chosen_of:
                chosen_of = {} if len(chosen_of) >= MOST_KEY_SETS else chosen_of
                chosen_of[keys] = wanted.among(keys)
                found.update(chosen_of[keys])
            chosen = chosen_of[keys]
            try:
                texts = [_text(row[chosen[field]]) if field in chosen else None for field in columns]
            except ValueError:  # an object where a text should be, or half a surrogate pair
                _drop(counts, "not_a_text", where, number)
                continue
            for column, text in zip(columns.values(), texts, strict=True):
                column.append(text)
        yield {field: pa.array(column, pa.string()) for field, column in columns.items()}
    wanted.check(found, set().union(*chosen_of))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return LIST_SEPARATOR.join(filter(None, map(_text, value)))
    if isinstance(value, dict):
        raise ValueError("an object")
    text = value if isinstance(value, str) else repr(value)
    text.encode()
    return text


def _drop(counts: RowCounts, reason: str, where: str, number: int) -> None:
    counts.rows_in += 1
    counts.drop(reason, [f"{where}, row {number}"])
