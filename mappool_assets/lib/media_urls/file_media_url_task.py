"""One crawl file's media URLs as a task: what they are made of, what decides the result, and what is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mappool_assets.lib.crawl.crawl_files_table import known_crawl_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.media_urls.page_media import WatSettings
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web_documents.document_batches import DOCUMENTS_TABLE
from mappool_assets.lib.web_documents.document_task import DocumentsTask, document_tasks
from mappool_assets.lib.web_documents.page_documents import DocumentSettings

TABLE = "web_documents/file_media_urls"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
WAT = "wat"


@dataclass(frozen=True, slots=True)
class FileUrlSettings:
    """How the media URLs of a crawl file are made.

    Attributes
    ----------
    scratch : Path
        A folder on a local disk, for what does not fit into memory.
    memory : str
        For the file's different URLs, see :class:`~mappool_assets.lib.lake_sql.SqlLimits`. With 128 MB, a million of
        100 bytes take 3 s, and a worker 350 MB; on a WAT that was made to take as much as it can, 500 MB.
    wat : WatSettings
        How WAT files are read.
    """

    scratch: Path
    memory: str = "128MB"
    wat: WatSettings = field(default_factory=WatSettings)


@dataclass(frozen=True, slots=True)
class FileUrlTask:
    """What a worker needs to make one crawl file's media URLs.

    Attributes
    ----------
    key : str
        The crawl file's.
    documents : str or None
        Fingerprint of its documents, "" where there are none yet; None where the URLs are made of the WAT file.
    file : DocumentsTask or None
        The WAT file: where it lies, and its version.
    origin : mapping
        Of the documents or the WAT file, for lineage.
    lake, storage
        Where to write, and how to read.
    settings : FileUrlSettings
        How.
    """

    key: str
    documents: str | None
    file: DocumentsTask | None
    origin: Mapping[str, str]
    lake: Lake
    storage: Storage
    settings: FileUrlSettings

    def __str__(self) -> str:
        return f"media URLs of {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        if self.file is None:
            of = {"documents": self.documents}
        else:
            of = {"path": self.origin["path"], "version": self.file.version, **asdict(self.settings.wat)}
        return {"crawl_file": self.key, **of, "code_version": CODE_VERSION}


@dataclass(slots=True)
class FileUrlReport:
    """What became of a crawl file's links.

    Attributes
    ----------
    shard : str
        The crawl file's key.
    rows_in : int
        Links of a WAT's pages, and its records of which there is no page; of documents their media.
    rows_kept : int
        Different media URLs of each domain.
    rows_dropped : dict of str to int
        The others by reason: those of :mod:`~mappool_assets.lib.media_urls.wat_links`; ``same_page`` (the page shows
        it more than once) and ``same_domain`` (counted in ``seen`` of the row that is kept).
    fingerprint : str
        Of the inputs; the data version of the partition.
    pages : int
        Pages read.
    seen : dict of str to int
        By kind, on how many pages its URLs were seen, summed over all.
    is_reused : bool
        Nothing was done: the stored URLs were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    pages: int
    seen: dict[str, int]
    is_reused: bool = False


def media_url_file_tasks(
    lake: Lake, crawl_files: Sequence[str], settings: FileUrlSettings, storage: Storage
) -> list[FileUrlTask]:
    """Return the tasks of some crawl files: of a WARC's documents, or of a WAT file.

    Raises
    ------
    MissingInput
        No crawl was listed yet.
    """
    known = known_crawl_files(lake)
    wat = [key for key in crawl_files if key in known and known[key].kind == WAT]
    files = {file.key: file for file in document_tasks(lake, wat, DocumentSettings(), storage)}

    def task(key: str) -> FileUrlTask:
        if key in files:
            return FileUrlTask(key, None, files[key], files[key].origin, lake, storage, settings)
        made = lake.provenance(DOCUMENTS_TABLE, key)
        documents, origin = (made.fingerprint, made.origin) if made else ("", {})
        return FileUrlTask(key, documents, None, origin, lake, storage, settings)

    return [task(key) for key in crawl_files]


def report_of(task: FileUrlTask, made: Provenance, *, is_reused: bool = False) -> FileUrlReport:
    """Return the report of a crawl file whose media URLs have this provenance."""
    return FileUrlReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        made.measures["pages"],
        dict(made.measures["seen"]),
        is_reused,
    )
