"""Tables of text with a separator, read by Arrow in blocks."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from mappool_assets.lib.places.place import RawPlaces, RowCounts
from mappool_assets.lib.places.source_files import BUFFER_BYTES

LONGEST_HEADER = 2**20


class BadHeader(ValueError):
    """The first line names no columns; caught where the file's address is known."""


def read_header(stream: BinaryIO, delimiter: str, *, is_quoted: bool) -> list[str]:
    """Read the first line of a stream; return the names of the columns.

    Raises
    ------
    BadHeader
        There is no first line, it or a name is too long, or a name is there twice.
    UnicodeError
        It is not UTF-8.
    """
    line = stream.readline(LONGEST_HEADER).decode("utf-8-sig").rstrip("\r\n")
    try:
        names = next(csv.reader([line], delimiter=delimiter), []) if is_quoted else line.split(delimiter)
    except csv.Error as error:  # a name of more than 131,072 characters
        raise BadHeader(f"a header that is none: {error}") from error
    names = [name.strip() for name in names]
    if not line.strip() or len(line) >= LONGEST_HEADER - 4:
        raise BadHeader("no line with the names of columns")
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise BadHeader(f"the column {twice[0]!r} twice")
    return [name or f"\0{position}" for position, name in enumerate(names)]


def read_rows(
    stream: BinaryIO,
    names: Sequence[str],
    columns: Mapping[str, str],
    counts: RowCounts,
    *,
    where: str,
    delimiter: str,
    is_quoted: bool = False,
    has_header: bool = False,
) -> Iterator[RawPlaces]:
    """Yield the columns that are wanted, some thousand rows at a time, all as texts.

    Parameters
    ----------
    stream : binary stream
        Positioned at the first row; UTF-8, with or without a byte order mark.
    names : sequence of str
        All columns of the file. A row with another number of fields is dropped (``fields_18``); an empty line is none.
    columns : mapping of str to str
        Names of columns by the field they are wanted as.
    counts : RowCounts
        Gets what is dropped; the rows that are yielded are counted by :func:`checked_places`.
    where : str
        Named in examples, with the row's number, empty lines not counted.
    delimiter : str
    is_quoted : bool
        Whether ``"…"`` may hold separators and line ends (CSV) or is text like any other (GeoNames).
    has_header : bool
        Whether the stream began with a header, which counts as line 1.

    Raises
    ------
    pyarrow.ArrowInvalid
        Not UTF-8, or a line longer than a block (4 MiB).
    """
    if not stream.peek(1):  # type: ignore[attr-defined]
        return

    def drop(row: pa.csv.InvalidRow) -> str:
        counts.drop_fields(row.actual_columns, f"{where}, line {row.number + has_header}")
        return "skip"

    reader = pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(column_names=list(names), block_size=BUFFER_BYTES, use_threads=False),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if is_quoted else False,
            newlines_in_values=is_quoted,
            invalid_row_handler=drop,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns.values(), pa.string()), include_columns=sorted(set(columns.values()))
        ),
    )
    for batch in reader:
        yield {field: batch[column] for field, column in columns.items()}
