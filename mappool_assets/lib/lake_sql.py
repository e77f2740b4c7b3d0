"""SQL over the lake, in DuckDB: the views of ``sql/lake.sql`` over a filesystem that is called ``lake://``."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from mappool_assets.lib.errors import BadSetting, MissingInput

SQL_MEMORY = "4GB"  # leaves room for the workers beside it; what does not fit is spilled
NO_FILES = "No files found"  # what DuckDB says where a table's glob matches nothing; other errors are real ones
SQL_FOLDER = next(
    folder for base in (1, 2) if (folder := Path(__file__).parents[base] / "sql").is_dir()
)  # inside an installed package, or beside it in a checkout


@dataclass(frozen=True)
class SqlLimits:
    """What a statement may use.

    Attributes
    ----------
    memory : str
        For its hash tables, sorts and buffers, such as ``"4GB"``; what does not fit is spilled to disk. The process
        takes about 260 MB more, of which 150 MB are the libraries.
    threads : int, optional
        None is one a core. Each keeps blocks of its own: with little memory, few threads spill less.
    spill : Path, optional
        A folder on a local disk for what does not fit; None is the system's for temporary files.
    """

    memory: str = SQL_MEMORY
    threads: int | None = None
    spill: Path | None = None


DEFAULT_LIMITS = SqlLimits()


class BatchStream:
    """Rows that are handed to a statement as they are made; an exception in their making ends it, and is raised.

    Parameters
    ----------
    schema : pyarrow.Schema
    batches : iterator of pyarrow.RecordBatch
        Gone through once, as far as the statement needs it.
    """

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: BaseException | None = None
        self.reader = pa.RecordBatchReader.from_batches(schema, self._told())

    def _told(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:  # DuckDB and Arrow would make a text of it
            self.error = error
            raise


def query_lake(filesystem: pafs.FileSystem, root: str, statement: str, parameters: Mapping[str, Any]) -> pa.Table:
    """Run one statement with bound parameters; see :meth:`mappool_assets.lib.lake.Lake.query`."""
    import duckdb

    with _connected(filesystem, DEFAULT_LIMITS) as connection:
        unreadable = _create_views(connection)
        try:
            return connection.sql(statement, params=dict(parameters)).to_arrow_table()
        except (duckdb.CatalogException, duckdb.IOException) as error:
            if isinstance(error, duckdb.IOException) and NO_FILES not in str(error):
                raise
            raise MissingInput(
                "SQL reads a table that is not there or cannot be read",
                where=root,
                rule="tables made by earlier assets",
                got="; ".join(str(e).splitlines()[0] for e in (error, *unreadable)),
                action="Materialise the asset of that name first; delete a file that is damaged.",
            ) from error


@contextlib.contextmanager
def stream_lake(
    filesystem: pafs.FileSystem,
    statement: str,
    parameters: Mapping[str, Any],
    tables: Mapping[str, BatchStream],
    limits: SqlLimits,
    batch_rows: int,
) -> Iterator[pa.RecordBatchReader]:
    """Run one statement whose tables and result may be larger than memory; see :meth:`Lake.query_batches`."""
    import duckdb

    with _connected(filesystem, limits) as connection:
        for definition in _definitions():
            if "CREATE MACRO" in definition:  # they open no file, as views do
                connection.execute(definition)
        for name, stream in tables.items():
            connection.register(name, stream.reader)
        try:
            yield connection.sql(statement, params=dict(parameters)).to_arrow_reader(batch_rows)
        except Exception as error:
            for stream in tables.values():
                if stream.error is not None:
                    raise stream.error from None
            if not isinstance(error, duckdb.OutOfMemoryException):
                raise
            raise BadSetting(
                "An SQL statement does not get by with the memory and disk that it may use",
                where=statement.splitlines()[0].removeprefix("--").strip(),
                rule=f"{limits.memory} of memory, and room to spill in {limits.spill or tempfile.gettempdir()}",
                got=str(error).splitlines()[0],
                action="Give it more memory or fewer threads, or make room on the disk.",
            ) from error


@contextlib.contextmanager
def _connected(filesystem: pafs.FileSystem, limits: SqlLimits) -> Iterator[Any]:
    """Yield a connection to which the lake is ``lake://``; what it spills is removed with it."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="mappool-sql-", dir=limits.spill) as spill:
        config: dict[str, Any] = {"memory_limit": limits.memory, "temp_directory": spill}
        if limits.threads is not None:
            config["threads"] = limits.threads
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_progress_bar = false")  # after 2 s it would stand among a command's output
            connection.register_filesystem(_duckdb_filesystem(filesystem))
            yield connection


def _definitions() -> list[str]:
    return (SQL_FOLDER / "lake.sql").read_text(encoding="utf-8").split(";\n")


def _create_views(connection: Any) -> list[Exception]:
    """Create the views of ``sql/lake.sql``; return why some could not be, save that their tables are not made yet."""
    import duckdb

    unreadable: list[Exception] = []
    for definition in _definitions():
        try:
            connection.execute(definition)
        except duckdb.Error as error:
            if NO_FILES not in str(error):
                unreadable.append(error)
    return unreadable


def _duckdb_filesystem(filesystem: pafs.FileSystem) -> Any:
    """Give DuckDB the lake as ``lake://``, the same way for a folder and a bucket."""
    from fsspec.implementations.arrow import ArrowFSWrapper

    class LakeFileSystem(ArrowFSWrapper):
        protocol = "lake"
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("lake://").rstrip("/")

        def _open(self, path: str, mode: str = "rb", **_: Any) -> _SharedFile:
            return _SharedFile(self.fs.open_input_file(self._strip_protocol(path)))

    return LakeFileSystem(filesystem)


class _SharedFile(io.RawIOBase):
    """A file with a position for each thread.

    DuckDB shares one handle between its threads and calls ``seek`` and then ``read``: with one position, two threads
    get each other's bytes.
    """

    def __init__(self, file: pa.NativeFile) -> None:
        self._file, self._size = file, file.size()
        self._of_thread = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return getattr(self._of_thread, "position", 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._of_thread.position = base + offset
        return self.tell()

    def read(self, length: int = -1) -> bytes:
        left = max(self._size - self.tell(), 0)
        data = self._file.read_at(left if length < 0 else min(length, left), self.tell())
        self._of_thread.position = self.tell() + len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
