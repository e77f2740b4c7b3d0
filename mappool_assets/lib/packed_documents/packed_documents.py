"""Many crawl files to their packed documents: those with which there is nothing to do are recognised, others packed."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence

from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_task import ImageEngine
from mappool_assets.lib.packed_documents.crawl_file_packs import pack_crawl_file, reused_report
from mappool_assets.lib.packed_documents.pack_ledger import TABLE
from mappool_assets.lib.packed_documents.pack_plan import SOURCES
from mappool_assets.lib.packed_documents.pack_task import PackReport, PackSettings, PackTask
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

__all__ = [
    "FAILURES_TABLE",
    "TABLE",
    "PackReport",
    "PackSettings",
    "PackTask",
    "pack_documents",
    "packed_document_tasks",
]

FAILURES_TABLE = "web_documents/packed_document_failures"


def packed_document_tasks(
    lake: Lake, crawl_files: Sequence[str], settings: PackSettings, *, engine: ImageEngine = download_images
) -> list[PackTask]:
    """Return the tasks of some crawl files, from what the lake holds."""
    tasks = []
    for key in crawl_files:
        made = {name: lake.provenance(table, key) for name, table in SOURCES.items()}
        sources = {name: source.fingerprint if source else "" for name, source in made.items()}
        documents = made["documents"]
        tasks.append(PackTask(key, sources, documents.origin if documents else {}, lake, settings, engine))
    return tasks


def pack_documents(
    tasks: Sequence[PackTask], workers: int, force: bool = False
) -> Generator[Outcome[PackTask, PackReport]]:
    """Pack the documents of crawl files with a pool of workers; yield each outcome as it comes.

    A crawl file is done when its ledger was made from the same inputs and no image in it is left to be tried again: its
    outcome comes first, with ``is_reused`` set. A failure is stored in ``web_documents/packed_document_failures`` until
    the crawl file succeeds.

    Parameters
    ----------
    workers : int
        Crawl files under way at once.
    force : bool
        See :func:`~mappool_assets.lib.packed_documents.crawl_file_packs.pack_crawl_file`.
    """
    reused = (lambda _: None) if force else reused_report
    pack = functools.partial(pack_crawl_file, force=force)
    return run_shards(tasks, reused, lambda pending: run_tasks(pack, pending, workers), FAILURES_TABLE)
