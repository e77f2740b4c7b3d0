"""Packed documents read again: from the lake, or from a tar alone."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.packed_documents.pack_ledger import ledger_rows
from mappool_assets.lib.packed_documents.packed_document import PackedDocument
from mappool_assets.lib.packed_documents.packs import PackReader
from mappool_assets.lib.packed_documents.page_tar import from_tar

END = bytes(2 * tarfile.BLOCKSIZE)  # of every tar; without it, nobody can tell whether documents are missing


def read_packed(lake: Lake, crawl_file: str) -> Iterator[PackedDocument]:
    """Yield the documents of a crawl file in the order of its pages, one in memory at a time (of parquet, a few).

    Raises
    ------
    MissingInput
        The crawl file has no ledger, or a pack that it names is not there.
    BadShard
        A pack is damaged.
    """
    with PackReader(lake, crawl_file) as packs:
        for row in ledger_rows(lake, crawl_file):
            if row.place is not None:
                yield packs.read(row.place)


def read_packed_tar(path: str | Path) -> Iterator[PackedDocument]:
    """Yield the documents of one tar of tars, in its order, one in memory at a time.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    BadShard
        It is no whole tar of tars, or a document in it is damaged.
    """
    try:
        with Path(path).open("rb") as file, tarfile.TarFile(fileobj=file) as tar:
            while (header := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else every header read stays in memory
                content = tar.extractfile(header)
                if content is None:
                    raise tarfile.ReadError(f"{header.name!r} is no file")
                yield from_tar(content.read(), f"{path}, {header.name}")
            file.seek(tar.offset)
            if file.read(len(END)) != END:
                raise tarfile.ReadError("its end is missing")
    except tarfile.TarError as error:
        raise BadShard(
            "Packed documents cannot be read",
            where=str(path),
            rule="a whole tar of tars",
            got=f"{type(error).__name__}: {error}",
            action="Fetch the file anew.",
        ) from error
