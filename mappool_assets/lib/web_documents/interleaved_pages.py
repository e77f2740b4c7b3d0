"""Interleaved pages: text – image – text …, and text – medium – text …, of each page with media.

Made of the media links: only what their windows cover, as offsets into the document's text.
:func:`mappool_assets.lib.web_documents.reading.read_interleaved` fills in the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.web_documents.document_batches import (
    DOCUMENTS_TABLE,
    RowGroups,
    open_beside_documents,
    recorded,
    row_offsets,
    with_texts,
)
from mappool_assets.lib.web_documents.interleaved import TEXT_PART, merged_windows
from mappool_assets.lib.web_documents.item import IMAGE, TEXT
from mappool_assets.lib.web_documents.media_links import NO_MEDIA, OFFSETS
from mappool_assets.lib.web_documents.media_links import TABLE as MEDIA_LINKS_TABLE
from mappool_assets.lib.workers import Outcome, run_tasks

TABLE = "web_documents/interleaved"
FAILURES_TABLE = "web_documents/interleaved_failures"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
FORMS = {"image": "image_parts", "media": "media_parts"}  # proposals 2 and 5

_COLUMNS = ["document_id", "url", "language"]
PART = pa.struct(
    [
        ("kind", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("position", pa.int32()),
        ("url", pa.string()),
        ("alt", pa.string()),
    ]
)
SCHEMA = pa.schema([*((name, pa.string()) for name in _COLUMNS), *((name, pa.list_(PART)) for name in FORMS.values())])


@dataclass(frozen=True, slots=True)
class InterleavedTask:
    """What a worker needs to make one crawl file's interleaved pages.

    Attributes
    ----------
    key : str
        The crawl file's.
    documents, media_links : str
        Fingerprints of its documents and media links; empty where there are none yet.
    origin : mapping
        Of the documents, for lineage.
    lake : Lake
        Where they are, and the pages go.
    """

    key: str
    documents: str
    media_links: str
    origin: Mapping[str, str]
    lake: Lake

    def __str__(self) -> str:
        return f"interleaved pages of {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        return {
            "crawl_file": self.key,
            "documents": self.documents,
            "media_links": self.media_links,
            "code_version": CODE_VERSION,
        }


@dataclass(slots=True)
class InterleavedReport:
    """What became of a crawl file's documents.

    Attributes
    ----------
    shard : str
        The crawl file's key.
    rows_in, rows_kept : int
        Documents, and those with media.
    rows_dropped : dict of str to int
        Documents without (``no_media``).
    fingerprint : str
        Of the inputs; the data version of the partition.
    parts : dict of str to dict of str to int
        Of each form (``image``, ``media``), parts by kind.
    is_reused : bool
        Nothing was done: the stored pages were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    parts: dict[str, dict[str, int]]
    is_reused: bool = False


def interleaved_tasks(lake: Lake, crawl_files: Sequence[str]) -> list[InterleavedTask]:
    """Return the tasks of some crawl files, from what the lake holds."""
    tasks = []
    for key in crawl_files:
        documents, links = lake.provenance(DOCUMENTS_TABLE, key), lake.provenance(MEDIA_LINKS_TABLE, key)
        of_documents, origin = (documents.fingerprint, documents.origin) if documents else ("", {})
        tasks.append(InterleavedTask(key, of_documents, links.fingerprint if links else "", origin, lake))
    return tasks


def make_interleaved(
    tasks: Sequence[InterleavedTask], workers: int, force: bool = False
) -> Generator[Outcome[InterleavedTask, InterleavedReport]]:
    """Make the interleaved pages of crawl files with a pool of workers; yield each outcome as it comes.

    What was made from the same inputs is left as it is (unless ``force``): its outcome comes first, with ``is_reused``
    set. A failure is stored in ``web_documents/interleaved_failures`` until the file succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(interleave, pending, workers), FAILURES_TABLE)


def interleave(task: InterleavedTask) -> InterleavedReport:
    """Write one crawl file's interleaved pages; memory is that of a few dozen pages.

    Raises
    ------
    MissingInput
        Documents or media links are not there, or the links were made of older documents.
    SourceChanged
        They are not those that the task is for, or do not belong together.
    """
    parts: dict[str, Counter[str]] = {form: Counter() for form in FORMS}
    with (
        open_beside_documents(task.lake, MEDIA_LINKS_TABLE, task.key) as (documents, links),
        task.lake.table_writer(TABLE, SCHEMA, task.key) as writer,
    ):
        _check_are_the_tasks(task, recorded(documents), recorded(links))
        groups = RowGroups(writer)
        for batch, texts in with_texts(documents, links):
            rows = interleaved_pages(batch, texts)
            groups.add(rows)
            for form, column in FORMS.items():
                kinds = rows[column].combine_chunks().flatten().field("kind")
                parts[form].update({count["values"]: count["counts"] for count in pc.value_counts(kinds).to_pylist()})
        groups.flush()
        pages, kept = documents.metadata.num_rows, writer.rows_written
        dropped = {NO_MEDIA: pages - kept} if kept < pages else {}
        measures = {"parts": {form: dict(sorted(counts.items())) for form, counts in parts.items()}}
        made = writer.provenance = Provenance(task.inputs, pages, kept, dropped, measures, task.origin)
    return _report(task, made)


def interleaved_pages(links: pa.RecordBatch, texts: pa.StringArray) -> pa.Table:
    """Return the rows of interleaved pages of some rows of media links, given their documents' texts.

    The same as :func:`~mappool_assets.lib.web_documents.interleaved.interleaved_parts` on each, in a quarter of
    the time.
    """
    samples = links["samples"]
    flat, offsets = samples.flatten(), row_offsets(samples)
    pages = np.repeat(np.arange(len(links)), np.diff(offsets))
    read: dict[int, str] = {}

    def is_blank(page: int, start: int, end: int) -> bool:
        text = read[page] if page in read else read.setdefault(page, texts[page].as_py())
        return text[start:end].isspace()

    is_image = pc.equal(flat.field("kind"), IMAGE).to_numpy(zero_copy_only=False)
    forms = {"image_parts": np.flatnonzero(is_image), "media_parts": np.arange(len(flat))}
    columns = [_parts(flat.take(pa.array(chosen)), pages[chosen], len(links), is_blank) for chosen in forms.values()]
    return pa.table([*(links[name] for name in _COLUMNS), *columns], schema=SCHEMA)


def _parts(samples: pa.StructArray, pages: np.ndarray, rows: int, is_blank: Any) -> pa.ListArray:
    windows = np.stack([samples.field(name).to_numpy() for name in OFFSETS], axis=1)
    merged = merged_windows(windows, pages, is_blank)
    is_text = merged.samples == TEXT_PART
    described = samples.take(pa.array(merged.samples, mask=is_text))
    parts = pa.StructArray.from_arrays(
        [
            pc.fill_null(described.field("kind"), TEXT),
            pa.array(merged.starts, pa.int32(), mask=~is_text),
            pa.array(merged.ends, pa.int32(), mask=~is_text),
            *(pc.struct_field(described, name) for name in ("position", "url", "alt")),
        ],
        fields=list(PART),
    )
    counts = np.bincount(pages, merged.counts, minlength=rows).astype(np.int64)
    ends = pa.array(np.insert(np.cumsum(counts), 0, 0), pa.int32())
    return pa.ListArray.from_arrays(ends, parts).cast(pa.list_(PART))


def _check_are_the_tasks(task: InterleavedTask, documents: Provenance | None, links: Provenance | None) -> None:
    found = tuple(made.fingerprint if made else "" for made in (documents, links))
    if found != (task.documents, task.media_links):
        raise SourceChanged(
            "Documents or media links were made anew while their task waited for its turn",
            where=task.key,
            rule=f"{task.documents}, {task.media_links}",
            got=", ".join(found),
            action="Run the crawl file again.",
        )


def _reused_report(task: InterleavedTask) -> InterleavedReport | None:
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.fingerprint != fingerprint(task.inputs):
        return None
    return _report(task, made, is_reused=True)


def _report(task: InterleavedTask, made: Provenance, *, is_reused: bool = False) -> InterleavedReport:
    dropped, parts = dict(made.rows_dropped), made.measures["parts"]
    return InterleavedReport(task.key, made.rows_in, made.rows_kept, dropped, made.fingerprint, parts, is_reused)
