"""Which rows of a table a filter chooses; safe to take from anybody.

A filter's text is parsed to a tree of allow-listed columns and typed values
(:mod:`mappool_assets.lib.retrieval.filter_language`), and the tree is evaluated by Arrow's functions on the columns
that it names: nothing of the text is ever run. Patterns are matched in time linear in the text (RE2).

A comparison with a value that is missing is neither true nor false, as in SQL; chosen is what is true. Texts are
compared code point by code point. A number is compared in the column's own type: ``map_score = 0.35`` finds the float32
nearest to 0.35.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadFilter
from mappool_assets.lib.retrieval.filter_language import COLUMNS, TEXT, WHOLE_NUMBER, parse
from mappool_assets.lib.retrieval.filter_tree import Comparison, IsNull, Junction, Membership, Node, Not, Pattern

ROWS_AT_A_TIME = 65_536  # of the columns named: some 20 MB with url and text

DERIVED_FROM = {"domain": "url"}  # columns that no table has, and what they follow from
# As in sql/reports/domains.sql: the host in lower case, without user, port and leading "www."; "" where there is none.
_HOST = r"^[a-z][a-z0-9+.-]*://(?:[^/?#\\]*@)?(?:www\.)?(?P<host>\[[^\]/?#\\]*\]|[^/?#:\\]*)"

_COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_MATCH = {
    "like": pc.match_like,
    "ilike": functools.partial(pc.match_like, ignore_case=True),
    "contains": pc.match_substring,
    "icontains": functools.partial(pc.match_substring, ignore_case=True),
}


@dataclass(frozen=True)
class RowFilter:
    """A parsed filter.

    Attributes
    ----------
    tree : Node
        Its ``str`` is the filter in one fixed form, for comparison and provenance.
    """

    tree: Node

    @classmethod
    def parse(cls, text: str) -> RowFilter:
        """Return the filter that a text says; :class:`BadFilter` where it says none."""
        return cls(parse(text))

    def __str__(self) -> str:
        return str(self.tree)

    @property
    def columns(self) -> list[str]:
        """The columns of a table that it reads, sorted."""
        return sorted({DERIVED_FROM.get(column, column) for column in self.tree.columns})

    def mask(self, rows: pa.Table | pa.RecordBatch) -> NDArray[np.bool_]:
        """Return which rows it chooses.

        Raises
        ------
        BadFilter
            A column is not there, or has another type than the filters' language knows.
        """
        columns = {name: _column(rows, name) for name in self.tree.columns}
        return pc.fill_null(_evaluate(self.tree, columns), False).to_numpy(zero_copy_only=False)

    def mask_of_file(self, file: pq.ParquetFile) -> NDArray[np.bool_]:
        """Return which rows of a parquet file it chooses, reading the columns it names in batches."""
        self.mask(file.schema_arrow.empty_table())
        batches = file.iter_batches(ROWS_AT_A_TIME, columns=self.columns)
        return np.concatenate([np.empty(0, bool), *(self.mask(batch) for batch in batches)])


def _column(rows: pa.Table | pa.RecordBatch, name: str) -> pa.Array | pa.ChunkedArray:
    stored = DERIVED_FROM.get(name, name)
    kind = COLUMNS[name]
    found = rows.schema.field(stored).type if stored in rows.schema.names else None
    if found is None or not _has_kind(found, kind):
        raise BadFilter(
            "The filter names a column that cannot be compared",
            where=f"column {stored}",
            rule=f"a column of the rows that holds {kind}",
            got="no such column" if found is None else str(found),
            action="Leave the column out of the filter.",
        )
    column = rows.column(stored)
    return _hosts(column) if name == "domain" else column


def _has_kind(found: pa.DataType, kind: str) -> bool:
    if kind == TEXT:
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return pa.types.is_integer(found) if kind == WHOLE_NUMBER else pa.types.is_floating(found)


def _hosts(urls: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    found = pc.struct_field(pc.extract_regex(pc.utf8_lower(urls), _HOST), "host")
    return pc.if_else(pc.is_valid(urls), pc.fill_null(pc.utf8_rtrim(found, "."), ""), None)


def _evaluate(node: Node, columns: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
    """Return true, false or null for each row."""
    match node:
        case Junction(word, parts):
            join = pc.and_kleene if word == "and" else pc.or_kleene
            return functools.reduce(join, (_evaluate(part, columns) for part in parts))
        case Not(part):
            return pc.invert(_evaluate(part, columns))
        case IsNull(name):
            return pc.is_null(columns[name])
        case Comparison(name, operator, value):
            return _COMPARE[operator](columns[name], pa.scalar(value, columns[name].type))
        case Pattern(name, matcher, text):
            return _MATCH[matcher](columns[name], text)
        case Membership(name, values):
            is_in = pc.is_in(columns[name], value_set=pa.array(values, columns[name].type))
            return pc.if_else(pc.is_valid(columns[name]), is_in, None)
    raise AssertionError(node)
