"""One shard of CommonPool in, its maps out.

The steps, in blocks so that memory does not grow with the shard: open both files; prove on a sample that their rows
belong together; for each block score ``l14_img`` and keep what lies over the threshold; read ``l14_txt`` of kept rows
only; write. Every row that is not kept is counted under the first rule it breaks, in the order of ``DROP_REASONS``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.npz import RowMatrix, open_matrices
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.ranged_file.base import RangedFile, Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.row_rules import LEAST_AGREEING_SHARE, embedding_faults, pairs_agree
from mappool_assets.lib.vectors import as_vectors

TABLE = "mappool/shard_maps"
CODE_VERSION = "1"  # raise when the same inputs would give other rows

BLOCK_ROWS = 8192  # 12 MB of float16, 25 MB of float32: larger gains nothing, smaller means more requests
KEPT_ROWS_A_WRITE = 4096  # kept rows gathered before l14_txt is read and a row group is written
SAMPLE_SPANS, SPAN_ROWS = 8, 16  # rows whose pairing is proved before a shard is trusted: 128
HISTOGRAM_EDGES = np.linspace(-5.0, 5.0, 101)

METADATA_COLUMNS = {
    "uid": pa.string(),
    "url": pa.string(),
    "text": pa.string(),
    "original_width": pa.int64(),
    "original_height": pa.int64(),
    "sha256": pa.string(),
}
SIMILARITY = "clip_l14_similarity_score"
DROP_REASONS = (
    "null_url",
    "null_text",
    "embedding_not_finite",
    "embedding_zero",
    "embedding_not_unit",
    "not_a_map",
    "duplicate_uid",
    "pair_mismatch",
)


class Scorer(Protocol):
    """What scores embeddings: :class:`~mappool_assets.lib.decision.MapClassifier`, or a faster equal of it."""

    @property
    def threshold(self) -> float:
        """Score over which a row is a map."""

    @property
    def dimension(self) -> int:
        """Width of the embeddings it takes."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return one score a row of (n, d) float32; a map's is over the threshold."""


@dataclass
class ShardReport:
    """What became of a shard's rows.

    Attributes
    ----------
    shard : str
        Its key.
    rows_in, rows_kept : int
        Rows read, maps written.
    rows_dropped : dict of str to int
        By reason, reasons without rows left out.
    score_counts : int64 ndarray of shape (100,)
        Histogram of all scores over ``HISTOGRAM_EDGES``; the outer bins take what lies beyond.
    bytes_read, bytes_listed : int
        Bytes of both files that were read, and their whole size.
    fingerprint : str
        Of the inputs; the data version of the partition.
    is_reused : bool
        Nothing was done: the stored maps were made from the same inputs.
    """

    shard: str
    rows_in: int = 0
    rows_kept: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict)
    score_counts: np.ndarray = field(default_factory=lambda: np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=np.int64))
    bytes_read: int = 0
    bytes_listed: int = 0
    fingerprint: str = ""
    is_reused: bool = False


def output_schema(dimension: int) -> pa.Schema:
    """Return MapPool's columns and ``map_score``."""
    vector = pa.list_(pa.float16(), dimension)
    return pa.schema(
        [
            *(pa.field(name, kind) for name, kind in METADATA_COLUMNS.items()),
            pa.field("l14_img", vector),
            pa.field("l14_txt", vector),
            pa.field(SIMILARITY, pa.float32()),
            pa.field("map_score", pa.float32()),
        ]
    )


def filter_shard(
    shard: PoolShard,
    scorer: Scorer,
    lake: Lake,
    storage: Storage,
    inputs: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ShardReport:
    """Write the maps of one shard to ``mappool/shard_maps`` and report what became of its rows.

    Parameters
    ----------
    inputs : mapping
        What decides the result (file versions, classifier id, …); recorded as the file's provenance.
    progress : callable
        Called with rows done and rows in all after each block.

    Raises
    ------
    BadShard
        The files are malformed or do not belong together; nothing is written.
    SourceChanged, SourceUnavailable, MissingInput
        See :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`; nothing is written.
    """
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(_open_listed(url, version, storage))
            for url, version in ((shard.parquet_url, shard.parquet_version), (shard.npz_url, shard.npz_version))
        ]
        parquet = stack.enter_context(_open_parquet(files[0]))
        images, texts = stack.enter_context(open_matrices(files[1], ["l14_img", "l14_txt"]))
        _check_shapes(parquet.metadata.num_rows, images, texts, scorer.dimension)
        similarities = _read_similarities(parquet, files[0].url)
        _check_pairing(images, texts, similarities)
        report = ShardReport(shard.shard, rows_in=images.rows, bytes_listed=sum(file.size for file in files))
        with lake.table_writer(TABLE, output_schema(scorer.dimension), shard.shard) as writer:
            kept = _KeptRows(texts, similarities, writer, report)
            for block in _blocks(parquet, images):
                kept.add(block, _judge(block, scorer, report))
                progress(block.start + len(block.images), images.rows)
            kept.flush()
            report.rows_kept = writer.rows_written
            report.rows_dropped = {r: report.rows_dropped[r] for r in DROP_REASONS if report.rows_dropped.get(r)}
            measures = {"score_counts": report.score_counts.tolist()}
            writer.provenance = Provenance(inputs, report.rows_in, report.rows_kept, report.rows_dropped, measures)
        report.fingerprint = writer.provenance.fingerprint
        report.bytes_read = sum(file.bytes_read for file in files)
        return report


@dataclass(frozen=True)
class _Block:
    start: int
    metadata: pa.Table
    images: np.ndarray  # (n, d) float16


def _open_listed(url: str, version: str, storage: Storage) -> RangedFile:
    """Open a file and refuse it where it is no longer the one that was listed (the Hub's are pinned by commit)."""
    file = open_ranged(url, storage)
    if not url.startswith("hf://") and file.version != version:
        file.close()
        raise SourceChanged(
            "The file is not the one that was listed",
            where=url,
            rule=f"version {version}",
            got=f"version {file.version}",
            action="List the pool anew (materialise pool_shards), then filter this shard again.",
        )
    return file


@contextlib.contextmanager
def _open_parquet(file: RangedFile) -> Iterator[pq.ParquetFile]:
    """Yield the parquet with its columns checked; a large local buffer keeps requests few and memory flat."""
    try:
        with pq.ParquetFile(file.as_stream(), buffer_size=1 << 22, pre_buffer=False) as parquet:
            names = set(parquet.schema_arrow.names)
            missing = sorted({*METADATA_COLUMNS, SIMILARITY} - names)
            if missing:
                raise _bad(file.url, "The parquet lacks columns", f"columns {missing}", f"columns {sorted(names)}")
            yield parquet
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the operating system's, such as a full disk; Arrow's own on corrupt pages has no number
        raise _bad(
            file.url, "The parquet cannot be read", "a complete parquet file with CommonPool's types", str(error)
        ) from error


def _check_shapes(parquet_rows: int, images: RowMatrix, texts: RowMatrix, dimension: int) -> None:
    if not parquet_rows == images.rows == texts.rows:
        raise _bad(
            images.file.url,
            "The rows of parquet and npz differ in number",
            "equal counts",
            f"parquet {parquet_rows:,}, l14_img {images.rows:,}, l14_txt {texts.rows:,}",
        )
    for matrix in (images, texts):
        if matrix.width != dimension:
            raise _bad(
                images.file.url, f"{matrix.name} has another width", f"{dimension}, the classifier's", f"{matrix.width}"
            )


def _read_similarities(parquet: pq.ParquetFile, url: str) -> np.ndarray:
    """Return the pool's own image-text scores, (n,) float32 with NaN for null."""
    scores = parquet.read(columns=[SIMILARITY])[SIMILARITY]
    if not pa.types.is_floating(scores.type):
        raise _bad(url, f"Column {SIMILARITY} has another type", "floating point", str(scores.type))
    return scores.cast(pa.float32()).to_numpy()


def _check_pairing(images: RowMatrix, texts: RowMatrix, similarities: np.ndarray) -> None:
    """Prove on spans all over the shard that rows of both files belong together."""
    starts = np.linspace(0, max(images.rows - SPAN_ROWS, 0), SAMPLE_SPANS).astype(np.int64)
    rows = np.unique((starts[:, None] + np.arange(SPAN_ROWS)).ravel())
    rows = rows[rows < images.rows]
    if not len(rows):
        return
    image_rows, text_rows = images.take(rows), texts.take(rows)
    # Rows that are damaged by themselves say nothing about the pairing; they are dropped one by one.
    usable = np.isfinite(similarities[rows])
    for vectors in (image_rows, text_rows):
        usable &= ~np.any(list(embedding_faults(vectors.astype(np.float32)).values()), axis=0)
    agree = pairs_agree(image_rows, text_rows, similarities[rows])[usable]
    if len(agree) and agree.mean() < LEAST_AGREEING_SHARE:
        raise _bad(
            images.file.url,
            "The rows of parquet and npz do not belong together",
            f"l14_img · l14_txt = {SIMILARITY} on {LEAST_AGREEING_SHARE:.0%} of the sampled rows",
            f"{int(agree.sum())} of {len(agree)} rows that agree",
        )


def _blocks(parquet: pq.ParquetFile, images: RowMatrix) -> Iterator[_Block]:
    """Yield both files in step."""
    # Written by hand because a batch of iter_batches ends at a row group and may be shorter than asked for.
    batches = parquet.iter_batches(BLOCK_ROWS, columns=list(METADATA_COLUMNS))
    waiting: list[pa.RecordBatch] = []
    schema = pa.schema(METADATA_COLUMNS)
    start = 0
    for block in images.blocks(BLOCK_ROWS):
        while sum(batch.num_rows for batch in waiting) < len(block):
            waiting.append(next(batches))
        gathered = pa.Table.from_batches(waiting)
        yield _Block(start, gathered.slice(0, len(block)).select(schema.names).cast(schema), block)
        waiting = gathered.slice(len(block)).to_batches()
        start += len(block)


def _judge(block: _Block, scorer: Scorer, report: ShardReport) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of a block are maps and all scores; count the others by reason."""
    vectors = block.images.astype(np.float32)
    faults = {
        "null_url": pc.is_null(block.metadata["url"]).to_numpy(),
        "null_text": pc.is_null(block.metadata["text"]).to_numpy(),
        **embedding_faults(vectors),
    }
    is_left = np.ones(len(vectors), dtype=bool)
    for reason, is_fault in faults.items():
        _count(report, reason, int((is_left & is_fault).sum()))
        is_left &= ~is_fault
    scores = np.full(len(vectors), -np.inf, dtype=np.float32)
    scores[is_left] = scorer.scores(vectors if is_left.all() else vectors[is_left])
    inner = np.clip(scores[is_left], HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    report.score_counts += np.histogram(inner, HISTOGRAM_EDGES)[0]
    is_map = is_left & (scores > scorer.threshold)
    _count(report, "not_a_map", int((is_left & ~is_map).sum()))
    return is_map, scores


class _KeptRows:
    """Maps gathered until they are worth a write; then their ``l14_txt`` is read and checked."""

    def __init__(self, texts: RowMatrix, similarities: np.ndarray, writer: TableWriter, report: ShardReport) -> None:
        self._texts, self._similarities = texts, similarities
        self._writer, self._report = writer, report
        self._seen_uids: set[str] = set()
        self._parts: list[tuple[np.ndarray, pa.Table, np.ndarray, np.ndarray]] = []

    def add(self, block: _Block, judged: tuple[np.ndarray, np.ndarray]) -> None:
        """Take the maps of a block, without those whose uid was kept before."""
        is_map, scores = judged
        rows = []
        for row, uid in zip(np.flatnonzero(is_map), block.metadata["uid"].filter(is_map).to_pylist(), strict=True):
            if uid in self._seen_uids:
                _count(self._report, "duplicate_uid", 1)
            else:
                self._seen_uids.add(uid)
                rows.append(row)
        if rows:
            taken = np.asarray(rows)
            self._parts.append((block.start + taken, block.metadata.take(taken), block.images[taken], scores[taken]))
        if sum(len(part[0]) for part in self._parts) >= KEPT_ROWS_A_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._parts:
            return
        rows, images, scores = (np.concatenate([part[i] for part in self._parts]) for i in (0, 2, 3))
        metadata = pa.concat_tables([part[1] for part in self._parts])
        self._parts.clear()
        texts, similarities = self._texts.take(rows), self._similarities[rows]
        is_sound = pairs_agree(images, texts, similarities)
        _count(self._report, "pair_mismatch", int((~is_sound).sum()))
        columns = [
            *metadata.columns,
            as_vectors(images),
            as_vectors(texts),
            pa.array(similarities),
            pa.array(scores),
        ]
        schema = output_schema(images.shape[1])
        self._writer.write(pa.table(columns, schema=schema).filter(pa.array(is_sound)))


def _count(report: ShardReport, reason: str, rows: int) -> None:
    report.rows_dropped[reason] = report.rows_dropped.get(reason, 0) + rows


def _bad(url: str, what: str, rule: str, got: str) -> BadShard:
    return BadShard(
        what, where=url, rule=rule, got=got, action="Fetch this shard again, or leave it out; other shards go on."
    )


def first_rows(shard: PoolShard, storage: Storage, rows: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield url, sha256 and ``l14_img`` (float16) of a shard's first rows, reading little more than these."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_ranged(url, storage)) for url in (shard.parquet_url, shard.npz_url)]
        parquet = stack.enter_context(_open_parquet(files[0]))
        (images,) = stack.enter_context(open_matrices(files[1], ["l14_img"]))
        vectors = images.take(np.arange(min(rows, images.rows)))
        batches = parquet.iter_batches(max(len(vectors), 1), columns=["url", "sha256"])
        listed = (row for batch in batches for row in batch.to_pylist())
        for row, vector in zip(listed, vectors, strict=False):
            if row["url"] and row["sha256"]:
                yield row["url"], row["sha256"], vector
