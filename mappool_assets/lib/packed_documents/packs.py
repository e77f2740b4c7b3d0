"""Packs: files of many packed documents, as they lie in the lake.

``web_documents/packed_documents/<crawl_file>/NNNNN.tar`` holds for each of its documents ``NNNNNNNNN.tar``
(:mod:`~mappool_assets.lib.packed_documents.page_tar`), named after the number of the page's row in ``interleaved``;
``NNNNN.parquet``, for those who prefer it, a row with the same content. The number of a pack makes that nothing is ever
overwritten that a ledger names. The bytes depend on what is put in, and in which order, alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadShard, MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_archive import BYTES_A_TAR, archive_number
from mappool_assets.lib.packed_documents.packed_document import PackedDocument
from mappool_assets.lib.packed_documents.page_row import SCHEMA, from_row, to_row
from mappool_assets.lib.packed_documents.page_tar import from_tar, member, to_tar

PACKS = "web_documents/packed_documents"
TAR, PARQUET = "tar", "parquet"
FORMS = (TAR, PARQUET)

OPEN_PACKS = 8  # documents of later runs lie between those of the first in two or three; files may be open by the 1,000
ROW_GROUP_BYTES = 8 * 2**20  # what a reader of one document reads besides it


class Place(NamedTuple):
    """Where a document lies.

    Attributes
    ----------
    pack : str
        File, inside the crawl file's folder.
    offset : int
        First byte of its tar in the pack; in parquet its row.
    bytes : int or None
        Length of its tar; None in parquet.
    """

    pack: str
    offset: int
    bytes: int | None


Add = Callable[[int, PackedDocument], tuple[int, int | None]]  # returns offset and bytes of a Place


class PackWriter:
    """Documents put one after another into numbered packs of a crawl file; a context manager.

    A pack is in the lake whole or not at all, and is there once the next one is begun or the context is left. On an
    exception the one being written vanishes; earlier ones stay until they are swept.

    Parameters
    ----------
    form : str
        ``tar`` or ``parquet``.
    documents_a_pack : int
        A pack ends with so many documents, or before its images are more than 3 GB.
    """

    def __init__(self, lake: Lake, crawl_file: str, form: str, documents_a_pack: int, first_number: int) -> None:
        self._lake, self._folder, self._form, self._most = lake, f"{PACKS}/{crawl_file}", form, documents_a_pack
        self._number, self._documents, self._bytes = first_number, 0, 0
        self._open = contextlib.ExitStack()
        self._add: Add | None = None

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)

    def add(self, number: int, document: PackedDocument) -> Place:
        """Put a document in, whose number in the crawl file is higher than those before."""
        size = image_bytes(document)
        if self._add and (self._documents == self._most or self._bytes + size > BYTES_A_TAR):
            self._open.close()
            self._add, self._number, self._documents, self._bytes = None, self._number + 1, 0, 0
        if self._add is None:
            begin = _tar_pack if self._form == TAR else _parquet_pack
            self._add = self._open.enter_context(begin(self._lake, self._folder, f"{self._number:05d}"))
        self._documents, self._bytes = self._documents + 1, self._bytes + size
        return Place(f"{self._number:05d}.{self._form}", *self._add(number, document))


@contextlib.contextmanager
def _tar_pack(lake: Lake, folder: str, name: str) -> Iterator[Add]:
    with (
        lake.writing(f"{folder}/{name}.{TAR}") as temporary,
        tarfile.TarFile(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):

        def add(number: int, document: PackedDocument) -> tuple[int, int]:
            content = to_tar(document)
            offset = tar.offset + tarfile.BLOCKSIZE  # behind its header
            tar.addfile(member(f"{number:09d}.{TAR}", len(content)), io.BytesIO(content))
            return offset, len(content)

        yield add


@contextlib.contextmanager
def _parquet_pack(lake: Lake, folder: str, name: str) -> Iterator[Add]:
    rows: list[dict[str, Any]] = []
    added = row_bytes = 0

    def flush() -> None:
        nonlocal row_bytes
        table.write(pa.Table.from_pylist(rows, schema=SCHEMA))
        rows.clear()
        row_bytes = 0

    def add(_: int, document: PackedDocument) -> tuple[int, None]:
        nonlocal added, row_bytes
        rows.append(to_row(document))
        added, row_bytes = added + 1, row_bytes + image_bytes(document)
        if row_bytes >= ROW_GROUP_BYTES:
            flush()
        return added - 1, None

    with lake.table_writer(folder, SCHEMA, name) as table:
        yield add
        if rows:
            flush()
        table.provenance = Provenance({"packs": folder}, added, added)


class PackReader:
    """Reads documents of a crawl file, some of whose packs it keeps open; a context manager."""

    def __init__(self, lake: Lake, crawl_file: str) -> None:
        self._lake, self._folder = lake, f"{PACKS}/{crawl_file}"
        self._open: dict[str, tuple[Any, contextlib.ExitStack]] = {}
        self._row_group = functools.lru_cache(1)(self._read_row_group)

    def __enter__(self) -> PackReader:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._close_one()

    def read(self, place: Place) -> PackedDocument:
        """Return the document that lies at a place.

        Raises
        ------
        MissingInput
            There is no such pack.
        BadShard
            It is damaged.
        """
        where = f"{self._lake.url(f'{self._folder}/{place.pack}')}, {place.offset:,}"
        if place.bytes is not None:
            file = self._file(place.pack)
            file.seek(place.offset)
            return from_tar(file.read(place.bytes), where)
        try:
            return from_row(self._row(place))
        except (pa.ArrowException, OSError, LookupError, ValueError) as error:
            raise BadShard(
                "A packed document cannot be read",
                where=where,
                rule="a row of a whole parquet file",
                got=f"{type(error).__name__}: {error}",
                action="Materialise web_documents/packed_documents for this file again, with force.",
            ) from error

    def _row(self, place: Place) -> dict[str, Any]:
        metadata, left = self._file(place.pack).metadata, place.offset
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            if left < rows:
                (row,) = self._row_group(place.pack, index).slice(left, 1).to_pylist()
                return row
            left -= rows
        raise LookupError("the file has no such row")

    def _read_row_group(self, pack: str, index: int) -> pa.Table:
        return self._file(pack).read_row_group(index)

    def _file(self, pack: str) -> Any:
        """Return a pack as an open file, or as a ``pyarrow.parquet.ParquetFile``."""
        if pack not in self._open:
            if len(self._open) == OPEN_PACKS:
                self._close_one()
            with contextlib.ExitStack() as opened:
                file = opened.enter_context(self._opened(pack))
                if pack.endswith(PARQUET):
                    file = opened.enter_context(pq.ParquetFile(file))
                self._open[pack] = file, opened.pop_all()
        return self._open[pack][0]

    def _opened(self, pack: str) -> pa.NativeFile:
        try:
            return self._lake.filesystem.open_input_file(f"{self._folder}/{pack}")
        except FileNotFoundError:
            raise MissingInput(
                "A pack is not where the ledger says",
                where=self._lake.url(f"{self._folder}/{pack}"),
                rule="a file made by web_documents/packed_documents",
                got="nothing",
                action="Materialise web_documents/packed_documents for this file again.",
            ) from None

    def _close_one(self) -> None:
        _, opened = self._open.pop(next(iter(self._open)))
        opened.close()


def image_bytes(document: PackedDocument) -> int:
    """Return the bytes of a document's images."""
    return sum(image.bytes for image in document.images)


def stored_packs(lake: Lake, crawl_file: str) -> list[str]:
    """Return the files of a crawl file's packs, sorted; those of killed writers too."""
    found = lake.filesystem.get_file_info(pafs.FileSelector(f"{PACKS}/{crawl_file}", allow_not_found=True))
    return sorted(info.base_name for info in found if info.type == pafs.FileType.File)


def next_number(packs: Iterable[str]) -> int:
    """Return the number of the pack after some."""
    return 1 + max(map(archive_number, packs), default=-1)


def sweep(lake: Lake, crawl_file: str, named: Iterable[str]) -> None:
    """Remove the packs that a ledger does not name."""
    kept = set(named)
    for pack in stored_packs(lake, crawl_file):
        if pack not in kept:
            lake.delete(f"{PACKS}/{crawl_file}/{pack}")
