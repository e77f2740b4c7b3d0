"""The lake: the only module that knows where tables lie, how they are written and how SQL sees them.

A table is ``<root>/<group>/<table>/<partition>.parquet``; an unpartitioned one has the single partition ``all``.
Each file carries a :class:`Provenance` in its parquet metadata. A file is there whole or not at all: it is written
to a temporary name and renamed (folder), or put once (S3).
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake_sql import DEFAULT_LIMITS, BatchStream, SqlLimits, query_lake, stream_lake

PROVENANCE_KEY = b"mappool_assets"
WHOLE = "all"  # the partition of an unpartitioned table
SQL_BATCH_ROWS = 8192  # 1 MB of rows with an address each


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return 16 hex digits that change when, and only when, an input does (JSON, keys sorted)."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Provenance:
    """What made a file: its inputs, and where its rows went.

    Holds no clock and no duration, so that the same input gives the same bytes; run times are in Dagster's
    event log.

    Attributes
    ----------
    inputs : mapping
        Whatever decides the content: source revision and checksums, classifier id, code version, configuration.
    rows_in, rows_kept : int
        Rows read and rows kept. The file holds the kept ones; a ledger holds all (:meth:`Lake.table_writer`).
    rows_dropped : mapping of str to int
        Rows refused, by reason; ``rows_in == rows_kept + sum(rows_dropped.values())``.
    measures : mapping
        Further figures about the rows that follow from the inputs, such as a histogram.
    origin : mapping
        Where the inputs were found (address, revision), for lineage. Not part of the fingerprint: the same content at
        another address gives the same rows.
    """

    inputs: Mapping[str, Any]
    rows_in: int
    rows_kept: int
    rows_dropped: Mapping[str, int] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The hash of ``inputs``: equal fingerprints mean there is nothing to do."""
        return fingerprint(self.inputs)

    def to_json(self, *, is_ledger: bool = False) -> str:
        """Serialise, keys sorted; SQL checks learn from it whether the file is a ledger (:meth:`Lake.table_writer`)."""
        return json.dumps(
            {
                "inputs": self.inputs,
                "fingerprint": self.fingerprint,
                "rows_in": self.rows_in,
                "rows_kept": self.rows_kept,
                "rows_dropped": self.rows_dropped,
                "measures": self.measures,
                "origin": self.origin,
                **({"is_ledger": True} if is_ledger else {}),  # left out elsewhere: files made before keep their bytes
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Provenance:
        """Parse what :meth:`to_json` wrote."""
        document = json.loads(text)
        document.pop("fingerprint")
        document.pop("is_ledger", None)
        return cls(**document)


@dataclass(frozen=True)
class Lake:
    """The root of all tables.

    Parameters
    ----------
    root : str
        A folder, or ``s3://bucket/prefix`` with credentials from the usual AWS chain.
    s3_endpoint : str, optional
        Address of an S3-compatible store instead of AWS.
    """

    root: str
    s3_endpoint: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder."""
        return "://" not in self.root

    def url(self, path: str) -> str:
        """Return the full address of a path inside the lake."""
        return f"{self.root.rstrip('/')}/{path}" if not self.is_local else str(Path(self.root).absolute() / path)

    @functools.cached_property
    def filesystem(self) -> pafs.FileSystem:
        """A pyarrow filesystem rooted at the lake."""
        if self.is_local:
            return pafs.SubTreeFileSystem(str(Path(self.root).absolute()), pafs.LocalFileSystem())
        bucket, prefix = self._bucket_and_prefix()
        return pafs.SubTreeFileSystem(f"{bucket}/{prefix}".rstrip("/"), s3_filesystem(self.s3_endpoint))

    def _bucket_and_prefix(self) -> tuple[str, str]:
        match = re.fullmatch(r"s3://([^/]+)/?(.*)", self.root)
        if match is None:
            raise BadSetting(
                "The lake's address cannot be used",
                where=self.root,
                rule="a folder or s3://bucket/prefix",
                got=self.root,
                action="Set MAPPOOL_LAKE to one of these.",
            )
        return match[1], match[2].rstrip("/")

    # -- files ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """Yield a local path to write to; it becomes ``path`` whole on leaving, or vanishes on an exception."""
        if self.is_local:
            with replacing(Path(self.root) / path) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="mappool-") as folder:
            temporary = Path(folder) / Path(path).name
            yield temporary
            self._put(temporary, path)

    def _put(self, file: Path, path: str) -> None:
        # Not a pyarrow output stream: its destructor closes, and so publishes, a half-written upload.
        import boto3

        bucket, prefix = self._bucket_and_prefix()
        boto3.client("s3", endpoint_url=self.s3_endpoint).upload_file(str(file), bucket, f"{prefix}/{path}".lstrip("/"))

    def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return self.filesystem.get_file_info(path).type == pafs.FileType.File

    def size_bytes(self, path: str) -> int:
        """Return the size of a file that is there."""
        return self.filesystem.get_file_info(path).size

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(path):
            self.filesystem.delete_file(path)

    def read_bytes(self, path: str) -> bytes:
        """Return a whole file."""
        with self._open(path) as file:
            return file.read()

    def _open(self, path: str) -> pa.NativeFile:
        try:
            return self.filesystem.open_input_file(path)
        except FileNotFoundError:
            raise MissingInput(
                "A file of the lake is not there",
                where=self.url(path),
                rule="a file made by an earlier asset",
                got="nothing",
                action=f"Materialise the asset {'/'.join(path.split('/')[:2])} first.",
            ) from None

    # -- tables -----------------------------------------------------------------------------------------------

    @staticmethod
    def table_path(table: str, partition: str = WHOLE) -> str:
        """Return the path of a partition of ``group/table``."""
        return f"{table}/{partition}.parquet"

    def partitions(self, table: str) -> list[str]:
        """Return the partitions of ``group/table`` that are there, sorted."""
        found = self.filesystem.get_file_info(pafs.FileSelector(table, allow_not_found=True))
        return sorted(i.base_name.removesuffix(".parquet") for i in found if i.base_name.endswith(".parquet")
                      and not i.base_name.startswith("."))  # fmt: skip

    @contextlib.contextmanager
    def table_writer(
        self, table: str, schema: pa.Schema, partition: str = WHOLE, *, is_ledger: bool = False
    ) -> Iterator[TableWriter]:
        """Yield a :class:`TableWriter`; the table appears on leaving, provided its provenance was set.

        The file holds the rows kept; a ledger holds all rows in, the dropped ones too, each with what became of it.
        """
        with self.writing(self.table_path(table, partition)) as file, TableWriter(file, schema, is_ledger) as writer:
            yield writer

    def write_table(
        self, table: str, rows: pa.Table, provenance: Provenance, partition: str = WHOLE, *, is_ledger: bool = False
    ) -> None:
        """Write a whole table at once; ``is_ledger`` as for :meth:`table_writer`."""
        with self.table_writer(table, rows.schema, partition, is_ledger=is_ledger) as writer:
            writer.write(rows)
            writer.provenance = provenance

    def read_table(self, table: str, partition: str = WHOLE, columns: list[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns; :class:`MissingInput` where it is not there."""
        with self.open_table(table, partition) as file:
            return file.read(columns=columns)

    @contextlib.contextmanager
    def open_table(self, table: str, partition: str = WHOLE) -> Iterator[pq.ParquetFile]:
        """Yield a table as a ``pyarrow.parquet.ParquetFile``, to be read in batches."""
        with self._open(self.table_path(table, partition)) as file, pq.ParquetFile(file) as parquet:
            yield parquet

    def provenance(self, table: str, partition: str = WHOLE) -> Provenance | None:
        """Return what made a table, or None where it is not there or does not say."""
        if not self.exists(self.table_path(table, partition)):
            return None
        with self.open_table(table, partition) as file:
            recorded = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
            return Provenance.from_json(recorded) if recorded else None

    def is_made_from(self, inputs: Mapping[str, Any], table: str, partition: str = WHOLE) -> bool:
        """Tell whether a table is there and was made from exactly these inputs."""
        made = self.provenance(table, partition)
        return made is not None and made.fingerprint == fingerprint(inputs)

    # -- SQL --------------------------------------------------------------------------------------------------

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SQL statement over the views of ``sql/lake.sql``.

        Parameters
        ----------
        statement : str
            One statement, for instance the text of a file under ``sql/``.
        parameters : mapping, optional
            Bound to the statement's ``$names``.

        Raises
        ------
        MissingInput
            The statement reads a table that has not been made.
        """
        return query_lake(self.filesystem, self.root, statement, parameters or {})

    @contextlib.contextmanager
    def query_batches(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        tables: Mapping[str, BatchStream] | None = None,
        *,
        limits: SqlLimits = DEFAULT_LIMITS,
        batch_rows: int = SQL_BATCH_ROWS,
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield the rows of one SQL statement as they come: what it reads and returns may be larger than memory.

        It sees the macros of ``sql/lake.sql``, not the views: files are bound to it (:meth:`sql_file`), tables handed
        to it.

        Parameters
        ----------
        tables : mapping of str to BatchStream, optional
            By the names under which the statement reads them.
        batch_rows : int
            Most rows of a batch.

        Raises
        ------
        BadSetting
            It does not get by with its limits.
        """
        handed = (self.filesystem, statement, parameters or {}, tables or {}, limits, batch_rows)
        with stream_lake(*handed) as reader:
            yield reader

    @classmethod
    def sql_file(cls, table: str, partition: str = WHOLE) -> str:
        """Return the name by which SQL reads a partition of ``group/table``, to be bound to a statement."""
        return f"lake://{cls.table_path(table, partition)}"


class TableWriter:
    """A parquet file written in batches, with fixed settings so that the same rows give the same bytes.

    Set ``provenance`` before leaving; a table without it is an error and is not kept.
    """

    def __init__(self, file: Path, schema: pa.Schema, is_ledger: bool = False) -> None:
        self.provenance: Provenance | None = None
        self.rows_written = 0
        self._is_ledger = is_ledger
        self._parquet = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
            write_page_index=True,
            store_schema=True,
        )

    def write(self, rows: pa.Table) -> None:
        """Append rows as row groups."""
        self._parquet.write_table(rows)
        self.rows_written += rows.num_rows

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._parquet:
            if kind is None:
                made = self.provenance
                if made is None or (made.rows_in if self._is_ledger else made.rows_kept) != self.rows_written:
                    raise AssertionError(f"{self.rows_written} rows written under provenance {made}")
                provenance = made.to_json(is_ledger=self._is_ledger)
                self._parquet.add_key_value_metadata({PROVENANCE_KEY.decode(): provenance})


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on leaving it is synced and renamed, on an exception removed.

    What a killed writer of the same target left is swept first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def s3_filesystem(endpoint: str | None) -> pafs.S3FileSystem:
    """Return S3 with credentials and region from the usual AWS chain."""
    return pafs.S3FileSystem(endpoint_override=endpoint) if endpoint else pafs.S3FileSystem()
