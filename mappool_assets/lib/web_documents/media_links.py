"""Media links: of each page its media, each with the windows of text before and after it, as offsets.

All samples of a page are in one row. :func:`mappool_assets.lib.web_documents.reading.read_media_links` fills in the
texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.web_documents.document_batches import (
    DOCUMENTS_TABLE,
    RowGroups,
    batches_of,
    open_documents,
    row_offsets,
    texts_of,
)
from mappool_assets.lib.web_documents.item import TEXT
from mappool_assets.lib.web_documents.tokens import Tokenizer, check_tokenizer, tokenizer_named
from mappool_assets.lib.web_documents.windows import SEPARATOR, TOKENS_A_SIDE, windows_at
from mappool_assets.lib.workers import Outcome, run_tasks

TABLE = "web_documents/media_links"
FAILURES_TABLE = "web_documents/media_link_failures"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
NO_MEDIA = "no_media"

_COLUMNS = ["document_id", "url", "language"]
_ITEM_FIELDS = ("kind", "position", "text", "url", "alt")
OFFSETS = ("before_start", "before_end", "after_start", "after_end")
SAMPLE = pa.struct(
    [
        ("kind", pa.string()),
        ("position", pa.int32()),
        ("url", pa.string()),
        ("alt", pa.string()),
        *((name, pa.int32()) for name in OFFSETS),
    ]
)
SCHEMA = pa.schema([*((name, pa.string()) for name in _COLUMNS), ("samples", pa.list_(SAMPLE))])


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How windows are measured.

    Attributes
    ----------
    tokenizer : str
        ``words`` (default: no model's vocabulary is chosen for those who read), or ``clip``, with which a window fits
        what CLIP-like models count.
    tokens_a_side : int
        Most tokens before and after a medium. Default 256, Flamingo's length of a training sequence
        (arXiv:2204.14198).
    """

    tokenizer: str = "words"
    tokens_a_side: int = TOKENS_A_SIDE

    def __post_init__(self) -> None:
        check_tokenizer(self.tokenizer)
        if self.tokens_a_side < 1:
            raise BadSetting(
                "The length of windows cannot be used",
                where="the windows of media_links",
                rule="1 token or more",
                got=str(self.tokens_a_side),
                action="Correct the setting.",
            )


@dataclass(frozen=True, slots=True)
class LinkTask:
    """What a worker needs to make one crawl file's media links.

    Attributes
    ----------
    key : str
        The crawl file's.
    documents : str
        Fingerprint of its documents; empty where there are none yet.
    origin : mapping
        Of the documents, for lineage.
    lake : Lake
        Where the documents are, and the links go.
    settings : LinkSettings
        How.
    """

    key: str
    documents: str
    origin: Mapping[str, str]
    lake: Lake
    settings: LinkSettings

    def __str__(self) -> str:
        return f"media links of {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        return {
            "crawl_file": self.key,
            "documents": self.documents,
            **asdict(self.settings),
            "code_version": CODE_VERSION,
        }


@dataclass(slots=True)
class LinkReport:
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
    media : dict of str to int
        Media by kind.
    window_tokens : int
        Tokens in all windows, of which each medium has two.
    is_reused : bool
        Nothing was done: the stored links were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    media: dict[str, int] = field(default_factory=dict)
    window_tokens: int = 0
    is_reused: bool = False

    @property
    def mean_window_tokens(self) -> float:
        """Tokens of a window, on average over all windows, empty ones too; 0 where there is none."""
        return self.window_tokens / max(2 * sum(self.media.values()), 1)


def media_link_tasks(lake: Lake, crawl_files: Sequence[str], settings: LinkSettings) -> list[LinkTask]:
    """Return the tasks of some crawl files, from what the lake holds."""
    tasks = []
    for key in crawl_files:
        made = lake.provenance(DOCUMENTS_TABLE, key)
        documents, origin = (made.fingerprint, made.origin) if made else ("", {})
        tasks.append(LinkTask(key, documents, origin, lake, settings))
    return tasks


def make_media_links(
    tasks: Sequence[LinkTask], workers: int, force: bool = False
) -> Generator[Outcome[LinkTask, LinkReport]]:
    """Make the media links of crawl files with a pool of workers; yield each outcome as it comes.

    Links that were made from the same inputs are left as they are (unless ``force``): their outcome comes first, with
    ``is_reused`` set. A failure is stored in ``web_documents/media_link_failures`` until the file succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(link_media, pending, workers), FAILURES_TABLE)


def link_media(task: LinkTask) -> LinkReport:
    """Write one crawl file's media links.

    Memory is that of a few dozen pages. The cost of a page grows with its text and its media, not with their product.

    Raises
    ------
    MissingInput, SourceChanged
        See :func:`~mappool_assets.lib.web_documents.document_batches.open_documents`; nothing is written.
    """
    tokenizer, media, window_tokens = tokenizer_named(task.settings.tokenizer), Counter[str](), 0
    columns = [*_COLUMNS, *(f"items.list.element.{name}" for name in _ITEM_FIELDS)]
    with (
        open_documents(task.lake, task.key, task.documents) as documents,
        task.lake.table_writer(TABLE, SCHEMA, task.key) as writer,
    ):
        groups = RowGroups(writer)
        for batch in batches_of(documents, columns):
            rows, tokens = linked_pages(batch, tokenizer, task.settings.tokens_a_side)
            groups.add(rows)
            window_tokens += tokens
            for count in pc.value_counts(rows["samples"].combine_chunks().flatten().field("kind")).to_pylist():
                media[count["values"]] += count["counts"]
        groups.flush()
        pages, kept = documents.metadata.num_rows, writer.rows_written
        made = Provenance(
            task.inputs,
            pages,
            kept,
            {NO_MEDIA: pages - kept} if kept < pages else {},
            {"media": dict(sorted(media.items())), "window_tokens": window_tokens},
            task.origin,
        )
        writer.provenance = made
    return _report(task, made)


def linked_pages(documents: pa.RecordBatch, tokenizer: Tokenizer, tokens_a_side: int) -> tuple[pa.Table, int]:
    """Return the rows of media links of some documents, and how many tokens all their windows have.

    The same as :func:`~mappool_assets.lib.web_documents.windows.media_windows` on each, in a quarter of the time.
    """
    items = documents["items"]
    flat, offsets = items.flatten(), row_offsets(items)
    is_text = pc.equal(flat.field("kind"), TEXT).to_numpy(zero_copy_only=False)
    is_medium = ~is_text
    lengths = pc.fill_null(pc.utf8_length(flat.field("text")), 0).to_numpy() + len(SEPARATOR)
    characters = np.insert(np.cumsum(np.where(is_text, lengths, 0)), 0, 0)  # before each item, in all documents
    media = np.insert(np.cumsum(is_medium), 0, 0)[offsets]  # before each document
    places = characters[:-1][is_medium]
    texts = texts_of(items)
    pages = np.flatnonzero(media[1:] > media[:-1])
    windows, tokens = np.empty((media[-1], 4), dtype=np.int32), 0
    for page in pages:
        text, of_page = texts[page].as_py(), slice(media[page], media[page + 1])
        found = windows_at(tokenizer.spans(text), places[of_page] - characters[offsets[page]], len(text), tokens_a_side)
        windows[of_page] = found.offsets
        tokens += int(found.tokens.sum())
    described = [flat.field(name).filter(pa.array(is_medium)) for name in ("kind", "position", "url", "alt")]
    samples = pa.StructArray.from_arrays([*described, *map(pa.array, windows.T.copy())], fields=list(SAMPLE))
    rows = pa.ListArray.from_arrays(pa.array(np.append(media[pages], media[-1]), pa.int32()), samples)
    columns = [documents[name].take(pa.array(pages)) for name in _COLUMNS]
    return pa.table([*columns, rows.cast(SCHEMA.field("samples").type)], schema=SCHEMA), tokens


def _reused_report(task: LinkTask) -> LinkReport | None:
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.fingerprint != fingerprint(task.inputs):
        return None
    return _report(task, made, is_reused=True)


def _report(task: LinkTask, made: Provenance, *, is_reused: bool = False) -> LinkReport:
    return LinkReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        made.measures["media"],
        made.measures["window_tokens"],
        is_reused,
    )
