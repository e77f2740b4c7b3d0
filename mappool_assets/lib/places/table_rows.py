"""Tables with named columns, in any of the forms in which people keep places: CSV, TSV, JSON lines, GeoJSON, parquet.

Whatever the form, columns are chosen by name and yielded under the names of a place's fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from mappool_assets.lib.places.delimited import BadHeader, read_header, read_rows
from mappool_assets.lib.places.json_rows import read_features, read_lines
from mappool_assets.lib.places.place import RawPlaces, RowCounts
from mappool_assets.lib.places.source_files import SourceFiles, file_name, unusable
from mappool_assets.lib.places.wanted_columns import MissingColumn, WantedColumns

DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
FEATURES = (".geojson", ".json", ".jsonld")
PARQUET = (".parquet", ".geoparquet")
SUFFIXES = (*DELIMITED, *JSON_LINES, *FEATURES, *PARQUET)
BATCH_ROWS = 16_384


def table_rows(
    files: SourceFiles,
    address: str,
    wanted: WantedColumns,
    counts: RowCounts,
    *,
    rule: str,
    suffixes: Sequence[str] = SUFFIXES,
    delimiter: str | None = None,
) -> Iterator[RawPlaces]:
    """Yield the wanted columns of a table, by field; its form follows from the end of its name.

    Parameters
    ----------
    files : SourceFiles
    address : str
        ``.zip`` where the table is its only member of such a form.
    wanted : WantedColumns
        Fields that are not required and whose columns are not there are left out.
    counts : RowCounts
        Gets rows that are no rows.
    rule : str
        What the table should be, for errors.
    suffixes : sequence of str
        Which ends of names are understood; a name with another end is taken for the first.
    delimiter : str, optional
        Of text; by default a comma in ``.csv``, else a tab.

    Raises
    ------
    MissingInput
        There is no such file.
    BadSetting
        It is no such table, or lacks a column.
    """
    if file_name(address).lower().endswith(PARQUET) and not set(suffixes).isdisjoint(PARQUET):
        yield from _of_parquet(files, address, wanted, rule)
        return
    with files.text(address, rule, suffixes) as (stream, name):
        suffix = next((end for end in suffixes if name.lower().endswith(end)), suffixes[0])
        try:
            if suffix in JSON_LINES:
                yield from read_lines(stream, wanted, counts, where=name)
            elif suffix in FEATURES:
                yield from read_features(stream, wanted, counts, where=name)
            else:
                mark = delimiter or DELIMITED[suffix]
                is_quoted = mark != "\t"  # TSV has no quotes: a name may begin with one
                header = read_header(stream, mark, is_quoted=is_quoted)
                chosen = wanted.among(header)
                wanted.check(chosen, header)
                yield from read_rows(
                    stream, header, chosen, counts, where=name, delimiter=mark, is_quoted=is_quoted, has_header=True
                )
        except (BadHeader, MissingColumn) as error:
            raise unusable(address, rule, str(error)) from error


def _of_parquet(files: SourceFiles, address: str, wanted: WantedColumns, rule: str) -> Iterator[RawPlaces]:
    with files.parquet(address, rule) as file:
        names = file.schema_arrow.names
        chosen = wanted.among(names)
        try:
            wanted.check(chosen, names)
        except MissingColumn as error:
            raise unusable(address, rule, str(error)) from error
        for batch in file.iter_batches(BATCH_ROWS, columns=sorted(set(chosen.values()))):
            yield {field: _plain(batch[column]) for field, column in chosen.items()}


def _plain(column: pa.Array) -> pa.Array:
    """Return numbers as they are, everything else as text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return column if is_number else column.cast(pa.string())
