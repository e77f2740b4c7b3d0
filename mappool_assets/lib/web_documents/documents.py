"""Crawl files to documents: each page in natural language a row, in the order of the file; the others with a reason.

Rows are written in row groups of bounded size while the file is read: memory does not grow with the file. The table
``dropped_pages`` is put in its place just before ``documents``, whose atomic write is the commit.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Generator, Sequence

import pyarrow as pa

from mappool_assets.lib.crawl.warc_pages import RefusedRecord
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Provenance, TableWriter, fingerprint
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.web_documents.document_rows import (
    DOCUMENTS_SCHEMA,
    DROPPED_SCHEMA,
    DocumentRows,
    DroppedRows,
)
from mappool_assets.lib.web_documents.document_task import (
    DROPPED_TABLE,
    TABLE,
    WARC,
    DocumentsReport,
    DocumentsTask,
    report_of,
)
from mappool_assets.lib.web_documents.page_documents import Document, document_maker
from mappool_assets.lib.web_documents.page_messages import PageOrder
from mappool_assets.lib.web_documents.page_process import PageProcess
from mappool_assets.lib.workers import Outcome, run_tasks

FAILURES_TABLE = "web_documents/document_failures"
SAMPLE_TITLES, TITLE_CHARACTERS = 5, 80


def make_documents(
    tasks: Sequence[DocumentsTask], workers: int, force: bool = False
) -> Generator[Outcome[DocumentsTask, DocumentsReport]]:
    """Make the documents of crawl files with a pool of workers; yield each outcome as it comes.

    Documents that were made from the same inputs are left as they are (unless ``force``): their outcome comes first,
    with ``is_reused`` set. A failure is stored in ``web_documents/document_failures`` until the file succeeds.

    Parameters
    ----------
    workers : int
        Files under way at once; each takes a process for its pages besides, and 500 MB at most with it.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(document_pages, pending, workers), FAILURES_TABLE)


def document_pages(task: DocumentsTask) -> DocumentsReport:
    """Write one crawl file's documents, and its pages that are none.

    Reasons of the latter: those of :func:`~mappool_assets.lib.crawl.warc_pages.read_pages`; ``over_budget``,
    ``over_memory``, ``parser_crashed`` (:mod:`~mappool_assets.lib.web_documents.page_process`); ``parser_failed`` (the
    parser raised an exception), ``result_too_large`` (over ``MOST_RESULT_BYTES``); and those of
    :func:`~mappool_assets.lib.web_documents.page_documents.make_document`.

    Raises
    ------
    MissingInput
        No listing has the file, or it is not there.
    BadSetting
        It is a WAT file, which holds no pages; or its address cannot be used.
    BadShard
        It holds no record.
    SourceChanged, SourceUnavailable
        See :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
    WorkerKilled
        See :class:`~mappool_assets.lib.web_documents.page_process.PageProcess`. Nothing is written in any of these
        cases.
    """
    settings = task.settings
    prepare = functools.partial(document_maker, settings)
    pages = PageProcess(PageOrder(_address(task), task.storage, settings.warc, prepare, settings.budget))
    with (
        task.lake.table_writer(TABLE, DOCUMENTS_SCHEMA, task.key) as documents,
        task.lake.table_writer(DROPPED_TABLE, DROPPED_SCHEMA, task.key) as dropped,
        contextlib.closing(pages.results()) as results,
    ):
        tables = _Tables(task, documents, dropped)
        for result in results:
            tables.add(result)
        _check_version(task, pages)
        made = tables.close(pages.file_bytes)
    return report_of(task, made, bytes_read=pages.bytes_read, sample=tables.sample)


class _Tables:
    """The two tables of a crawl file while they are written, and what is counted meanwhile."""

    def __init__(self, task: DocumentsTask, documents: TableWriter, dropped: TableWriter) -> None:
        self._task, self._documents, self._dropped = task, documents, dropped
        self._rows, self._dropped_rows = DocumentRows(task.key), DroppedRows()
        self._reasons, self._items, self._languages = Counter[str](), Counter[str](), Counter[str]()
        self.sample: list[tuple[str, str]] = []

    def add(self, result: Document | RefusedRecord) -> None:
        """Take what became of one page."""
        if isinstance(result, RefusedRecord):
            self._reasons[result.reason] += 1
            _write(self._dropped, self._dropped_rows.add(result))
            return
        self._items.update(result.items.kinds)
        self._languages[result.language] += 1
        if result.title and len(self.sample) < SAMPLE_TITLES:
            self.sample.append((result.title[:TITLE_CHARACTERS], result.language))
        _write(self._documents, self._rows.add(result))

    def close(self, file_bytes: int) -> Provenance:
        """Write what is left; return the provenance of the documents."""
        _write(self._documents, self._rows.take())
        _write(self._dropped, self._dropped_rows.take())
        task, reasons = self._task, dict(sorted(self._reasons.items()))
        kept, dropped = self._documents.rows_written, self._dropped.rows_written
        measures = {
            "items": dict(sorted(self._items.items())),
            "languages": dict(sorted(self._languages.items())),
            "file_bytes": file_bytes,
        }
        made = Provenance(task.inputs, kept + dropped, kept, reasons, measures, task.origin)
        self._documents.provenance = made
        self._dropped.provenance = Provenance(task.inputs, dropped, dropped, {}, {"reasons": reasons}, task.origin)
        return made


def _write(writer: TableWriter, rows: pa.Table | None) -> None:
    if rows is not None and rows.num_rows:
        writer.write(rows)


def _address(task: DocumentsTask) -> str:
    if task.url is None:
        raise MissingInput(
            "No listing of a crawl has this file",
            where=task.key,
            rule="a file of web_documents/crawl_files",
            got="a partition of another crawl, or of a listing that was not written",
            action="Materialise crawl_files; if the file is of another crawl, leave its partition out.",
        )
    if task.kind != WARC:
        raise BadSetting(
            "Documents cannot be made of this kind of crawl file",
            where=task.url,
            rule="a WARC file, which holds the pages themselves",
            got=f"a {task.kind.upper()} file, which holds what was found in them",
            action="List WARC files; of WAT files file_media_urls is made.",
        )
    return task.url


def _check_version(task: DocumentsTask, pages: PageProcess) -> None:
    if task.version and pages.file_version != task.version:
        raise SourceChanged(
            "The crawl file is no longer the one that the task was made for",
            where=str(task.url),
            rule=f"version {task.version}",
            got=f"version {pages.file_version}",
            action="Run the crawl file again.",
        )


def _reused_report(task: DocumentsTask) -> DocumentsReport | None:
    made, wanted = task.lake.provenance(TABLE, task.key), fingerprint(task.inputs)
    if made is None or made.fingerprint != wanted:
        return None
    dropped = task.lake.provenance(DROPPED_TABLE, task.key)
    return report_of(task, made, is_reused=True) if dropped is not None and dropped.fingerprint == wanted else None
