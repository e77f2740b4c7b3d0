"""What a place is, as a row and as an object, and the count of rows that are none."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NAME, ALTERNATE, HISTORIC = NAME_KINDS = ("name", "alternate", "historic")

ALTERNATES = pa.list_(pa.struct([("name", pa.string()), ("kind", pa.string())]))
PLACE_SCHEMA = pa.schema(
    [
        pa.field("place_id", pa.string(), False),
        pa.field("name", pa.string(), False),
        pa.field("alternates", ALTERNATES, False),
        pa.field("admin1", pa.string()),
        pa.field("admin2", pa.string()),
        pa.field("country", pa.string()),
        pa.field("country_name", pa.string()),
        pa.field("feature_class", pa.string()),
        pa.field("feature_code", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("population", pa.int64()),
    ]
)
FIELDS = tuple(PLACE_SCHEMA.names)

# What a reader yields: columns of equal length by field name, as the source has them; those it lacks are left out.
# Texts and numbers may be strings, ``alternates`` are of the type ``ALTERNATES``.
RawPlaces = Mapping[str, pa.Array]

EXAMPLES = 3  # rows named for each reason: enough to find the fault, few enough for a footer


@dataclass(frozen=True, slots=True)
class Place:
    """A place, as one row of ``geo_subset/places`` says it.

    Attributes
    ----------
    place_id : str
        Unique, with its source in front: ``geonames:2643743``, ``keyword:0f3c…``.
    name : str
    alternates : tuple of (str, str)
        Further names, each with ``alternate`` or ``historic``.
    admin1, admin2 : str, optional
        Names of the first and second level that the place lies in.
    country : str, optional
        ISO 3166-1 alpha-2 code, or as the source has it.
    country_name : str, optional
        What prompts say for it.
    feature_class, feature_code : str, optional
        In the source's own words: ``P`` and ``PPLC``, ``museum``.
    latitude, longitude : float, optional
        Degrees, -90 to 90 and -180 to 180; both or none.
    population : int, optional
        0 is what GeoNames writes where it does not know.
    """

    place_id: str
    name: str
    alternates: tuple[tuple[str, str], ...] = ()
    admin1: str | None = None
    admin2: str | None = None
    country: str | None = None
    country_name: str | None = None
    feature_class: str | None = None
    feature_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    population: int | None = None


def places_of(rows: pa.Table, batch_rows: int = 8192) -> Iterator[Place]:
    """Yield the rows of ``PLACE_SCHEMA`` as objects, some at a time."""
    for batch in rows.to_batches(batch_rows):
        columns = batch.to_pydict()
        columns["alternates"] = [tuple((n["name"], n["kind"]) for n in names) for names in columns["alternates"]]
        yield from (Place(*row) for row in zip(*(columns[name] for name in FIELDS), strict=True))


@dataclass
class RowCounts:
    """Rows read, and those dropped by reason.

    Attributes
    ----------
    rows_in : int
    dropped : Counter
        Rows by reason.
    examples : dict of str to list of str
        For each reason the first few rows, by their place or their number in the file.
    """

    rows_in: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, examples: Iterable[str], count: int = 1) -> None:
        """Count rows as dropped."""
        self.dropped[reason] += count
        known = self.examples.setdefault(reason, [])
        known += islice(examples, EXAMPLES - len(known))

    def drop_fields(self, found: int, example: str) -> None:
        """Count a row with a wrong number of fields, which does not come any further."""
        self.rows_in += 1
        self.drop(f"fields_{found}" if found < 100 else "fields_100_or_more", [example])

    def add(self, other: RowCounts) -> None:
        """Take over another count."""
        self.rows_in += other.rows_in
        for reason, count in other.dropped.items():
            self.drop(reason, other.examples[reason], count)

    def __str__(self) -> str:
        reasons = ", ".join(
            f"{count:,} {reason} ({', '.join(self.examples[reason])})" for reason, count in sorted(self.dropped.items())
        )
        return f"{self.rows_in:,} rows: {reasons}" if reasons else f"{self.rows_in:,} rows"


def alternates_column(rows: int, row_of: NDArray[np.int64], names: pa.Array, kinds: pa.Array) -> pa.Array:
    """Return names as lists, one for each row; null names are left out.

    Parameters
    ----------
    rows : int
    row_of : int64 array of shape (n,), 0 to rows - 1
        Whose each name is; names of a row stay in the order given.
    names, kinds : string arrays of length n
    """
    is_named = names.is_valid().to_numpy(zero_copy_only=False)
    order = np.flatnonzero(is_named)[np.argsort(row_of[is_named], kind="stable")]
    counts = np.bincount(row_of[order], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    named = pa.StructArray.from_arrays([names.take(order), kinds.take(order)], fields=list(ALTERNATES.value_type))
    return pa.ListArray.from_arrays(offsets, named, type=ALTERNATES)


def listed_names(texts: pa.Array, separator: str, kind: str) -> pa.Array:
    """Return lists of names of one kind, given as texts with a separator (null: no names)."""
    split = pc.split_pattern(pc.fill_null(texts, ""), separator)
    row_of = pc.list_parent_indices(split).to_numpy().astype(np.int64)
    names = split.flatten()
    return alternates_column(len(texts), row_of, names, pa.repeat(kind, len(names)))


def flat_alternates(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array, pa.Array]:
    """Return whose each name is, the names and their kinds: what :func:`alternates_column` takes."""
    row_of = pc.list_parent_indices(column).to_numpy()
    named = column.flatten()
    return row_of, named.field("name"), named.field("kind")
