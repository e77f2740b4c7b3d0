"""SQL over the lake, in DuckDB: the views of ``sql/lake.sql`` over a filesystem that is called ``lake://``."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from mappool_assets.lib.errors import MissingInput

SQL_MEMORY = "4GB"  # leaves room for the workers beside it; what does not fit is spilled
NO_FILES = "No files found"  # what DuckDB says where a table's glob matches nothing; other errors are real ones
SQL_FOLDER = next(
    folder for base in (1, 2) if (folder := Path(__file__).parents[base] / "sql").is_dir()
)  # inside an installed package, or beside it in a checkout


def query_lake(filesystem: pafs.FileSystem, root: str, statement: str, parameters: Mapping[str, Any]) -> pa.Table:
    """Run one statement with bound parameters; see :meth:`mappool_assets.lib.lake.Lake.query`."""
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="mappool-sql-") as spill,
        duckdb.connect(config={"memory_limit": SQL_MEMORY, "temp_directory": spill}) as connection,
    ):
        connection.register_filesystem(_duckdb_filesystem(filesystem))
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


def _create_views(connection: Any) -> list[Exception]:
    """Create the views of ``sql/lake.sql``; return why some could not be, save that their tables are not made yet."""
    import duckdb

    unreadable: list[Exception] = []
    for definition in (SQL_FOLDER / "lake.sql").read_text(encoding="utf-8").split(";\n"):
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
