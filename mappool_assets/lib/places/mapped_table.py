"""A table of one's own, CSV or JSON lines, with a declared mapping of its columns to a place's fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.places.place import (
    ALTERNATE,
    ALTERNATES,
    FIELDS,
    HISTORIC,
    NAME,
    RawPlaces,
    RowCounts,
    alternates_column,
    flat_alternates,
    listed_names,
)
from mappool_assets.lib.places.source_files import SourceFiles
from mappool_assets.lib.places.table_rows import DELIMITED, JSON_LINES, table_rows
from mappool_assets.lib.places.wanted_columns import WantedColumns

ID = "id"
LISTS = {"alternates": ALTERNATE, "historic": HISTORIC}  # kinds of names by field
MAPPED_FIELDS = (ID, NAME, *LISTS, *(field for field in FIELDS[3:] if field != "country_name"))
DELIMITER = "delimiter"
SUFFIXES = {"csv": tuple(DELIMITED), "jsonl": JSON_LINES}
SEPARATOR = ";"  # between the names of a list, as in Linked Places' TSV

RULE = f"a table, UTF-8, whose columns have the names {', '.join(MAPPED_FIELDS)} or are mapped to them"


def mapped_table(
    files: SourceFiles, address: str, kind: str, options: Mapping[str, str], counts: RowCounts
) -> Iterator[RawPlaces]:
    """Yield the rows of a table.

    Parameters
    ----------
    files : SourceFiles
    address : str
    kind : str
        ``csv`` or ``jsonl``; stands before the ids.
    options : mapping of str to str
        Columns by field (``MAPPED_FIELDS``); such a column must be there. For the other fields, columns of the field's
        own name are taken where they are there; ``name`` must be. Lists of names are separated by semicolons. A row
        without id gets the hash of its texts. ``delimiter`` separates columns of text; by default a comma in ``.csv``,
        else a tab.
    counts : RowCounts
    """
    mapping = {field: column for field, column in options.items() if field != DELIMITER}
    names = {field: (mapping.get(field, field),) for field in MAPPED_FIELDS}
    wanted = WantedColumns(names, required=frozenset({NAME, *mapping}))
    rows_of_table = table_rows(
        files, address, wanted, counts, rule=RULE, suffixes=SUFFIXES[kind], delimiter=options.get(DELIMITER)
    )
    for raw in rows_of_table:
        places = {field: column.cast(pa.string()) for field, column in raw.items()}
        lists = {name_kind: places.pop(field, None) for field, name_kind in LISTS.items()}
        rows = len(places[NAME])
        own_ids = prefixed(places.pop(ID, pa.nulls(rows, pa.string())), f"{kind}:")
        places["place_id"] = with_content_ids(own_ids, places, f"{kind}:")
        places["alternates"] = joined_lists(rows, lists)
        yield places


def prefixed(ids: pa.Array, prefix: str) -> pa.Array:
    """Return ids with their source in front; an empty one is none."""
    texts = pc.utf8_trim_whitespace(ids.cast(pa.string()))
    return pc.if_else(pc.equal(texts, ""), None, pc.binary_join_element_wise(prefix, texts, ""))


def with_content_ids(ids: pa.Array, texts: RawPlaces, prefix: str) -> pa.Array:
    """Return ids, those that are null replaced by 16 hex digits of the hash of the row's texts by field."""
    missing = np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))
    rows = pa.table(dict(texts)).take(missing).to_pylist()
    hashed = pa.array([prefix + content_hash({k: v for k, v in row.items() if v}) for row in rows], pa.string())
    return pc.replace_with_mask(ids, ids.is_null(), hashed)


def content_hash(content: object) -> str:
    """Return 16 hex digits of the hash of something that JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def joined_lists(rows: int, lists: Mapping[str, pa.Array | None]) -> pa.Array:
    """Return names by their kind, each a column of texts with semicolons, as one column of lists."""
    given = [
        flat_alternates(listed_names(column, SEPARATOR, kind)) for kind, column in lists.items() if column is not None
    ]
    if not given:
        return pa.array([[]] * rows, ALTERNATES)
    row_of, names, kinds = zip(*given, strict=True)
    return alternates_column(rows, np.concatenate(row_of), pa.concat_arrays(names), pa.concat_arrays(kinds))
