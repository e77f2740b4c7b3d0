"""Metadata as people read it in the UI: counts and rates, schemas, links, plots."""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return an Arrow schema as Dagster shows it."""
    return dg.TableSchema(
        [
            dg.TableColumn(field.name, str(field.type), constraints=dg.TableColumnConstraints(field.nullable))
            for field in schema
        ]
    )


def row_counts(rows_in: int, rows_kept: int, rows_dropped: Mapping[str, int]) -> dict[str, dg.MetadataValue]:
    """Return where rows went: in, kept, share kept, dropped by reason."""
    return {
        "rows_in": dg.MetadataValue.int(rows_in),
        "rows_kept": dg.MetadataValue.int(rows_kept),
        "kept_percent": dg.MetadataValue.float(round(100 * rows_kept / rows_in, 4) if rows_in else 0.0),
        "rows_dropped": dg.MetadataValue.md(counts_table("reason", "rows", rows_dropped)),
        **{f"dropped_{reason}": dg.MetadataValue.int(rows) for reason, rows in rows_dropped.items()},
    }


def counts_table(of: str, what: str, counts: Mapping[str, int]) -> str:
    """Return a markdown table of counts, most first; ``of`` and ``what`` are its headings."""
    if not counts:
        return "none"
    lines = [f"| {name} | {count:,} |" for name, count in sorted(counts.items(), key=lambda each: -each[1])]
    return "\n".join([f"| {of} | {what} |", "| --- | ---: |", *lines])


def sample(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Return rows as a table, which shows strangers' words as they are; markdown would obey them."""
    records = [dg.TableRecord(dict(row)) for row in rows]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("none")


def table_metadata(lake: Lake, table: str) -> dict[str, Any]:
    """Return what there is to say of an unpartitioned table: row counts, file, size, columns."""
    made = lake.provenance(table)
    assert made is not None
    with lake.open_table(table) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    return {
        **row_counts(made.rows_in, made.rows_kept, made.rows_dropped),
        **file_metadata(lake, lake.table_path(table)),
        "dagster/row_count": rows,
        "dagster/column_schema": column_schema(schema),
    }


def file_metadata(lake: Lake, path: str) -> dict[str, dg.MetadataValue]:
    """Return where a file of the lake lies and how large it is."""
    url = lake.url(path)
    return {
        "dagster/uri": dg.MetadataValue.url(Path(url).as_uri() if lake.is_local else url),
        "bytes": dg.MetadataValue.int(lake.size_bytes(path)),
    }


def previous_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
    """Return the metadata of the latest materialisation; empty where there is none.

    What was measured then, such as seconds, stays in sight where nothing had to be done again.
    """
    wanted = dg.AssetRecordsFilter(key, asset_partitions=[partition] if partition else None)
    records = instance.fetch_materializations(wanted, limit=1).records
    materialization = records[0].asset_materialization if records else None
    return dict(materialization.metadata) if materialization else {}


def image(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """Return a picture that the UI shows inline."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def data_version(made: Provenance) -> dg.DataVersion:
    """Return the version of a table: the fingerprint of what made it."""
    return dg.DataVersion(made.fingerprint)


def log_steps(context: dg.AssetExecutionContext) -> Callable[[str, int, int | None], None]:
    """Return a progress function for a run of several steps, each told by its name."""
    steps: dict[str, Callable[[int, int | None], None]] = {}

    def progress(step: str, done: int, total: int | None) -> None:
        steps.setdefault(step, log_progress(context, step))(done, total)

    return progress


def log_progress(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, things: str, every_seconds: float = 10.0
) -> Callable[[int, int | None], None]:
    """Return a progress function that logs a live count with an estimate of what is left, now and then."""
    began = time.perf_counter()
    last = began

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last < every_seconds and done != total:
            return
        last = now
        left = f", about {(now - began) / done * (total - done):.0f} s left" if total and 0 < done < total else ""
        context.log.info(f"{done:,}{f' of {total:,}' if total else ''} {things}{left}")

    return progress
