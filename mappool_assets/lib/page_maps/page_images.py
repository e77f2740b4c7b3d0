"""The images of a crawl file's packed pages, scored."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.images import ImageRefused, contact_sheet
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.packed_documents.pack_ledger import DOCUMENTS_SHA256
from mappool_assets.lib.packed_documents.pack_ledger import TABLE as PACKED_TABLE
from mappool_assets.lib.packed_documents.reading import read_packed
from mappool_assets.lib.page_maps.image_scores import ImageScorer, groups
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

TABLE = "web_documents/page_images"
FAILURES_TABLE = "web_documents/page_image_failures"
CODE_VERSION = "1"  # raise when the same inputs would give other rows

IMAGES_AT_ONCE = 32  # a batch of the encoder on an accelerator; files of so many images are in memory
SHEET_IMAGES = 24


def schema(dimension: int) -> pa.Schema:
    """Return the columns of ``page_images`` for embeddings of some width; one row is one image of a page."""
    return pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("page_url", pa.string(), nullable=False),
            pa.field("language", pa.string()),
            pa.field("image", pa.int32(), nullable=False),  # its number among the page's images
            pa.field("position", pa.int32(), nullable=False),  # of its first place, among the items of the page
            pa.field("file", pa.string(), nullable=False),
            pa.field("url", pa.string(), nullable=False),
            pa.field("mime", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("perceptual_hash", pa.uint64(), nullable=False),
            pa.field("perceptual_hash_mirrored", pa.uint64(), nullable=False),
            pa.field("alt", pa.string()),
            pa.field("text_before", pa.string()),
            pa.field("text_after", pa.string()),
            pa.field("similarity_alt", pa.float32()),
            pa.field("similarity_before", pa.float32()),
            pa.field("similarity_after", pa.float32()),
            pa.field("similarity_distant", pa.float32()),
            pa.field("aesthetic_score", pa.float32()),
            pa.field("map_score", pa.float32(), nullable=False),
            pa.field("is_map", pa.bool_(), nullable=False),
            pa.field("l14_img", pa.list_(pa.float16(), dimension), nullable=False),
            pa.field("l14_txt", pa.list_(pa.float16(), dimension)),  # of the alternative text
        ]
    )


@dataclass(frozen=True)
class PageImagesTask:
    """One crawl file's images, to be scored.

    Attributes
    ----------
    key : str
        The crawl file's.
    packed : str or None
        Checksum of its packed documents; None where there are none yet.
    origin : mapping
        Where the crawl file was found.
    lake : Lake
    classifier_id : str
    aesthetic_head : str or None
        Checksum of the head.
    """

    key: str
    packed: str | None
    origin: Mapping[str, str]
    lake: Lake
    classifier_id: str
    aesthetic_head: str | None

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows."""
        return {
            "crawl_file": self.key,
            "packed_documents": self.packed,
            "classifier_id": self.classifier_id,
            "aesthetic_head": self.aesthetic_head,
            "code_version": CODE_VERSION,
        }


@dataclass(frozen=True)
class PageImagesReport:
    """What became of a crawl file's images.

    Attributes
    ----------
    shard, fingerprint : str
        The crawl file, and of its inputs.
    rows_in, rows_kept : int
        Images of its packed pages, and those that can still be decoded.
    rows_dropped : mapping
        The others, by the reason of :class:`~mappool_assets.lib.images.ImageRefused`.
    maps : int
        Images that the classifier calls maps.
    closer_to_neighbours : float or None
        Share of the images that are closer to the text beside them than to the page's other text, by mean cosine, of
        those that have both; about a half where the embeddings say nothing.
    contact_sheet : bytes or None
        PNG of the images with the highest score.
    is_reused : bool
    """

    shard: str
    fingerprint: str
    rows_in: int
    rows_kept: int
    rows_dropped: Mapping[str, int] = field(default_factory=dict)
    maps: int = 0
    closer_to_neighbours: float | None = None
    contact_sheet: bytes | None = None
    is_reused: bool = False


def page_image_tasks(lake: Lake, crawl_files: Sequence[str], scorer: ImageScorer) -> list[PageImagesTask]:
    """Return the tasks of some crawl files, from what the lake holds."""
    head = scorer.aesthetic_head.sha256 if scorer.aesthetic_head else None
    tasks = []
    for key in crawl_files:
        made = lake.provenance(PACKED_TABLE, key)
        packed, origin = (made.measures.get(DOCUMENTS_SHA256, made.fingerprint), made.origin) if made else (None, {})
        tasks.append(PageImagesTask(key, packed, origin, lake, scorer.classifier.classifier.classifier_id, head))
    return tasks


def score_page_images(
    tasks: Sequence[PageImagesTask], scorer: ImageScorer, force: bool = False
) -> Generator[Outcome[PageImagesTask, PageImagesReport]]:
    """Score the images of crawl files one after the other; yield each outcome as it comes.

    A file whose images were scored by the same classifier is not scored again, unless ``force``. A failure is stored
    in ``web_documents/page_image_failures`` until the file succeeds.
    """
    score = functools.partial(_score_file, scorer)
    return run_shards(
        tasks, (lambda _: None) if force else _reused, lambda pending: run_tasks(score, pending, 1), FAILURES_TABLE
    )


def _score_file(scorer: ImageScorer, task: PageImagesTask) -> PageImagesReport:
    if task.packed is None:
        raise MissingInput(
            "The pages of a crawl file have not been packed",
            where=task.key,
            rule="web_documents/packed_documents of this file",
            got="none",
            action="Materialise packed_documents for this file first.",
        )
    columns = schema(scorer.classifier.encoder.dimension)
    best: list[tuple[float, str, bytes]] = []
    counts, dropped = Counter[str](), Counter[str]()
    with task.lake.table_writer(TABLE, columns, task.key) as writer:
        for group in groups(read_packed(task.lake, task.key), IMAGES_AT_ONCE):
            scored, shown = [], []
            files = itertools.chain.from_iterable(document.images for document in group)
            for row, image in zip(scorer.rows(group), files, strict=True):
                if isinstance(row, ImageRefused):
                    dropped[row.reason] += 1
                    continue
                scored.append(row)
                shown.append((row["map_score"], row["alt"] or "", image.data))
            writer.write(_as_table(scored, columns))
            counts.update(_counts(scored))
            best = sorted([*best, *shown], key=lambda each: each[:2], reverse=True)[:SHEET_IMAGES]
        share = counts["closer"] / counts["compared"] if counts["compared"] else None
        measures = {"maps": counts["maps"], "closer_to_neighbours": share}
        kept, reasons = writer.rows_written, dict(sorted(dropped.items()))
        made = Provenance(task.inputs, kept + dropped.total(), kept, reasons, measures, task.origin)
        writer.provenance = made
    sheet = contact_sheet([(data, f"{score:.2f} {alt}") for score, alt, data in best]) if best else None
    return PageImagesReport(
        task.key, made.fingerprint, made.rows_in, kept, reasons, counts["maps"], share, contact_sheet=sheet
    )


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    compared = [is_closer for row in rows if (is_closer := _is_closer(row)) is not None]
    return {"maps": sum(row["is_map"] for row in rows), "compared": len(compared), "closer": sum(compared)}


def _is_closer(row: Mapping[str, Any]) -> bool | None:
    """Tell whether an image is closer to the text beside it than to text further away; None where one is missing."""
    beside = [row[name] for name in ("similarity_before", "similarity_after") if row[name] is not None]
    if not beside or row["similarity_distant"] is None:
        return None
    return sum(beside) / len(beside) > row["similarity_distant"]  # mean against mean: half of them by chance


def _as_table(rows: Sequence[Mapping[str, Any]], columns: pa.Schema) -> pa.Table:
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in columns]
    return pa.table(arrays, schema=columns)


def _reused(task: PageImagesTask) -> PageImagesReport | None:
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.fingerprint != fingerprint(task.inputs):
        return None
    return PageImagesReport(
        task.key,
        made.fingerprint,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.measures["maps"],
        made.measures["closer_to_neighbours"],
        is_reused=True,
    )
