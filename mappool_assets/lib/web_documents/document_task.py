"""One crawl file's documents as a task: what decides the result, and what is reported of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from mappool_assets.lib.crawl.crawl_files import CrawlFile
from mappool_assets.lib.crawl.crawl_files_table import known_crawl_files
from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.web_documents.document_batches import DOCUMENTS_TABLE
from mappool_assets.lib.web_documents.page_documents import DocumentSettings

TABLE = DOCUMENTS_TABLE
DROPPED_TABLE = "web_documents/dropped_pages"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
WARC = "warc"
VERSION_THREADS = 16  # versions are small requests


@dataclass(frozen=True)
class DocumentsTask:
    """What a worker needs to make one crawl file's documents.

    Attributes
    ----------
    key : str
        The crawl file's.
    url : str or None
        Where it lies; None where no listing has it.
    kind : str
        ``warc`` or ``wat``.
    version : str
        Changes when its content does (ETag, or size and modification time); "" where it was not asked for: the files
        of a published crawl never change.
    origin : mapping
        Address (``source``), ``crawl`` and ``path``, for lineage; the path is an input too.
    lake, storage
        Where to write, and how to read.
    settings : DocumentSettings
        How.
    """

    key: str
    url: str | None
    kind: str
    version: str
    origin: Mapping[str, str]
    lake: Lake
    storage: Storage
    settings: DocumentSettings

    def __str__(self) -> str:
        return f"documents of {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        settings = asdict(self.settings)
        settings["language"]["languages"] = sorted(self.settings.language.languages)
        return {
            "crawl_file": self.key,
            "path": self.origin.get("path", ""),
            "version": self.version,
            **settings,
            "code_version": CODE_VERSION,
        }


@dataclass
class DocumentsReport:
    """What became of a crawl file's pages.

    Attributes
    ----------
    shard : str
        The crawl file's key.
    rows_in, rows_kept : int
        Pages, records and damaged stretches, as :func:`~mappool_assets.lib.crawl.warc_pages.read_pages` yields them,
        and documents.
    rows_dropped : dict of str to int
        By reason, reasons without rows left out.
    fingerprint : str
        Of the inputs; the data version of the partition.
    items : dict of str to int
        Items of all documents by kind.
    languages : dict of str to int
        Documents by language.
    file_bytes : int
        The crawl file's size.
    bytes_read : int
        Of it, in this run.
    sample : list of (title, language)
        Of the first documents that have a title; empty where ``is_reused``. Strangers wrote the titles.
    is_reused : bool
        Nothing was done: the stored documents were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    items: dict[str, int]
    languages: dict[str, int]
    file_bytes: int
    bytes_read: int = 0
    sample: list[tuple[str, str]] = field(default_factory=list)
    is_reused: bool = False


def document_tasks(
    lake: Lake, crawl_files: Sequence[str], settings: DocumentSettings, storage: Storage
) -> list[DocumentsTask]:
    """Return the tasks of some crawl files, from what the lake holds.

    The version of a file is asked for (one small request) where nobody promises that it stays: of all but the files of
    a published crawl at an address on the web. One that cannot be asked for has none; its task will fail with the
    reason.

    Parameters
    ----------
    crawl_files : sequence of str
        Keys.

    Raises
    ------
    MissingInput
        No crawl was listed yet.
    """
    known = known_crawl_files(lake)

    def task(key: str) -> DocumentsTask:
        file = known.get(key)
        if file is None:
            return DocumentsTask(key, None, WARC, "", {}, lake, storage, settings)
        origin = {"source": file.url, "crawl": file.crawl, "path": file.path}
        return DocumentsTask(key, file.url, file.kind, _version(file, storage), origin, lake, storage, settings)

    with ThreadPoolExecutor(VERSION_THREADS) as threads:
        return list(threads.map(task, crawl_files))


def _version(file: CrawlFile, storage: Storage) -> str:
    if file.crawl and "://" in file.url:
        return ""
    try:
        with open_ranged(file.url, storage) as opened:
            return opened.version
    except (MappoolError, OSError):
        return ""


def report_of(task: DocumentsTask, made: Provenance, **fields: Any) -> DocumentsReport:
    """Return the report of a crawl file whose documents have this provenance."""
    measures = made.measures
    return DocumentsReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        dict(measures["items"]),
        dict(measures["languages"]),
        measures["file_bytes"],
        **fields,
    )
