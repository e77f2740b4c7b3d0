"""Rows as a source has them to rows as the lake has them: cleaned, in range, wanted; every other one is counted.

The checks come in this order, and a row counts for the first that it fails: numbers, ranges, the filter, then id and
name. What the filter leaves out is therefore not cleaned, which is most of the work on a large file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.places.country_names import COUNTRY_NAMES
from mappool_assets.lib.places.place import (
    ALTERNATES,
    EXAMPLES,
    PLACE_SCHEMA,
    RawPlaces,
    RowCounts,
    alternates_column,
    flat_alternates,
)
from mappool_assets.lib.places.place_filter import Mask, PlaceFilter

LONGEST_NAME = 300  # characters; CLIP reads 77 tokens, which are about as many
LONGEST_ID = 500  # characters; Linked Places use addresses
MOST_PEOPLE = 1e11  # what is larger is no population

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WHITE = r"[\pZ\p{Cc}]+"  # space of any script, tabs, line ends, control characters
_TEXTS = tuple(f.name for f in PLACE_SCHEMA if f.type == pa.string())


def checked_places(raw: RawPlaces, place_filter: PlaceFilter, counts: RowCounts) -> pa.Table:
    """Return the rows that are places and wanted, in their order.

    Texts get Unicode's composed form (NFC), control characters and runs of white space become one space, and an empty
    text is null. A negative population is null (Natural Earth writes -99 where it does not know).

    Parameters
    ----------
    raw : RawPlaces
    place_filter : PlaceFilter
    counts : RowCounts
        Gets all rows, and the dropped ones by reason.

    Returns
    -------
    pyarrow.Table of ``PLACE_SCHEMA``
    """
    rows = len(raw["name"])
    counts.rows_in += rows
    texts = {name: _strings(raw.get(name), rows) for name in _TEXTS}
    sieve = _Sieve(texts["place_id"], texts["name"], counts)
    numbers = _checked_numbers(raw, rows, sieve)
    texts["country"], texts["country_name"] = _countries(texts["country"], texts["country_name"])
    for reason, is_refused in place_filter.refusals(texts, numbers):
        sieve.drop(reason, is_refused)

    left = np.flatnonzero(sieve.is_kept)
    cleaned = {name: clean(column.take(left)) for name, column in texts.items()}
    name_sieve = _Sieve(cleaned["place_id"], cleaned["name"], counts)
    name_sieve.drop("no_place_id", _is_null(cleaned["place_id"]))
    name_sieve.drop("place_id_too_long", _length(cleaned["place_id"]) > LONGEST_ID)
    name_sieve.drop("no_name", _is_null(cleaned["name"]))
    name_sieve.drop("name_too_long", _length(cleaned["name"]) > LONGEST_NAME)
    columns = {
        **cleaned,
        "alternates": _clean_alternates(raw.get("alternates"), left),
        **{name: pa.array(column[left], from_pandas=True) for name, column in numbers.items()},
    }
    columns["population"] = columns["population"].cast(pa.int64())
    table = pa.table([columns[name] for name in PLACE_SCHEMA.names], names=PLACE_SCHEMA.names)
    return table.filter(pa.array(name_sieve.is_kept)).cast(PLACE_SCHEMA)


class _Sieve:
    """Rows that are kept so far."""

    def __init__(self, ids: pa.Array, names: pa.Array, counts: RowCounts) -> None:
        self.is_kept = np.ones(len(ids), bool)
        self._ids, self._names, self._counts = ids, names, counts

    def drop(self, reason: str, mask: Mask) -> None:
        dropped = np.flatnonzero(self.is_kept & mask)
        if dropped.size:
            self.is_kept[dropped] = False
            self._counts.drop(reason, (self._example(row) for row in dropped[:EXAMPLES]), dropped.size)

    def _example(self, row: int) -> str:
        found = self._ids[row].as_py() or self._names[row].as_py() or "without a name"
        return found[:80]


# -- numbers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Numbers:
    values: NDArray[np.float64]  # NaN where there is none
    is_unreadable: Mask


def _checked_numbers(raw: RawPlaces, rows: int, sieve: _Sieve) -> dict[str, NDArray[np.float64]]:
    found = {name: _numbers(raw.get(name), rows) for name in ("latitude", "longitude", "population")}
    for name, numbers in found.items():
        sieve.drop(f"{name}_not_a_number", numbers.is_unreadable)
    latitude, longitude, people = (numbers.values for numbers in found.values())
    sieve.drop("latitude_out_of_range", np.abs(latitude) > 90)
    sieve.drop("longitude_out_of_range", np.abs(longitude) > 180)
    sieve.drop("latitude_missing", np.isnan(latitude) & ~np.isnan(longitude))
    sieve.drop("longitude_missing", ~np.isnan(latitude) & np.isnan(longitude))
    sieve.drop("population_out_of_range", people > MOST_PEOPLE)
    population = np.where((people >= 0) & (people <= MOST_PEOPLE), np.floor(people), np.nan)
    return {"latitude": latitude, "longitude": longitude, "population": population}


def _numbers(column: pa.Array | None, rows: int) -> _Numbers:
    if column is None:
        return _Numbers(np.full(rows, np.nan), np.zeros(rows, bool))
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        is_given = pc.fill_null(pc.not_equal(column, ""), False)
        column = pc.if_else(is_given, column, None)
        try:
            parsed = column.cast(pa.float64())
        except pa.ArrowInvalid:  # some of them are none, or are written as Arrow does not read them
            readable = pc.match_substring_regex(column, _NUMBER)
            parsed = pc.if_else(readable, pc.replace_substring_regex(column, r"^\+", ""), None).cast(pa.float64())
    else:
        is_given, parsed = column.is_valid(), column.cast(pa.float64(), safe=False)
    values = parsed.to_numpy(zero_copy_only=False).astype(np.float64)
    is_number = np.isfinite(values)
    is_unreadable = is_given.to_numpy(zero_copy_only=False) & ~is_number
    return _Numbers(np.where(is_number, values, np.nan), is_unreadable)


# -- texts ----------------------------------------------------------------------------------------------------


def clean(texts: pa.Array) -> pa.Array:
    """Return texts in NFC, each run of white space or control characters as one space; null where nothing is left."""
    spaced = pc.replace_substring_regex(pc.utf8_normalize(texts, form="NFC"), _WHITE, " ")
    trimmed = pc.utf8_trim_whitespace(spaced)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _strings(column: pa.Array | None, rows: int) -> pa.Array:
    return pa.nulls(rows, pa.string()) if column is None else column.cast(pa.string())


def _countries(country: pa.Array, country_name: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return code and name; each is the other where the source has only one and the code is not known."""
    country, country_name = (_null_if_empty(column) for column in (country, country_name))
    codes, names = pa.array(list(COUNTRY_NAMES)), pa.array(list(COUNTRY_NAMES.values()))
    known = names.take(pc.index_in(pc.utf8_upper(country), value_set=codes))
    return pc.coalesce(country, country_name), pc.coalesce(country_name, known, country)


def _null_if_empty(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _clean_alternates(column: pa.Array | None, rows: NDArray[np.int64]) -> pa.Array:
    if column is None:
        return pa.array([[]] * len(rows), ALTERNATES)
    row_of, names, kinds = flat_alternates(column.take(rows))
    names = clean(names)
    names = pc.if_else(pc.less_equal(pc.utf8_length(names), LONGEST_NAME), names, None)
    return alternates_column(len(rows), row_of, names, kinds)


def _is_null(texts: pa.Array) -> Mask:
    return texts.is_null().to_numpy(zero_copy_only=False)


def _length(texts: pa.Array) -> NDArray[np.int64]:
    return pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
