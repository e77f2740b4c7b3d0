"""One shard of CommonPool in, its maps out.

The steps, in blocks so that memory does not grow with the shard: open both files; prove on a sample that their rows
belong together; for each block score ``l14_img`` and keep what lies over the threshold; read ``l14_txt`` of kept rows
only; write. Every row that is not kept is counted under the first rule it breaks, in the order of ``DROP_REASONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.read_ahead import read_ahead
from mappool_assets.lib.row_rules import embedding_faults, pairs_agree
from mappool_assets.lib.screen import ScreenedClassifier
from mappool_assets.lib.screen_audit import ScreenAudit
from mappool_assets.lib.shard_files import METADATA_COLUMNS, SIMILARITY, Block, OpenShard, open_shard
from mappool_assets.lib.vectors import as_vectors

TABLE = "mappool/shard_maps"
CODE_VERSION = "2"  # raise when the same inputs would give other rows

BLOCK_ROWS = 16_384  # 25 MB of float16, which malloc reuses; blocks of 50 MB are mapped anew each time (10 % slower)
KEPT_ROWS_A_WRITE = 1024  # kept rows gathered before l14_txt is read and a row group is written: 3 MB of embeddings
Scorer = MapClassifier | ScreenedClassifier
HISTOGRAM_EDGES = np.linspace(-5.0, 5.0, 101)

DROP_REASONS = (
    "null_uid",
    "null_url",
    "null_text",
    "invalid_utf8",
    "embedding_not_finite",
    "embedding_zero",
    "embedding_not_unit",
    "not_a_map",
    "duplicate_uid",
    "pair_mismatch",
)


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
        Histogram of the exact scores (of rows that a screen refused only its sample) over ``HISTOGRAM_EDGES``; the
        outer bins take what lies beyond.
    bytes_read, bytes_listed : int
        Bytes of both files that were read, and their whole size.
    fingerprint : str
        Of the inputs; the data version of the partition.
    screen : ScreenAudit, optional
        What the screen refused, where there was one.
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
    screen: ScreenAudit | None = None
    is_reused: bool = False

    @property
    def measures(self) -> dict[str, Any]:
        """What is recorded in the file beside the counts."""
        screen = asdict(self.screen) if self.screen else None
        return {"score_counts": self.score_counts.tolist(), "screen": screen}


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
    origin: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ShardReport:
    """Write the maps of one shard to ``mappool/shard_maps`` and report what became of its rows.

    Parameters
    ----------
    inputs : mapping
        What decides the result (file versions, classifier id, …); recorded as the file's provenance.
    origin : mapping, optional
        The pool's address and revision; recorded beside the inputs.
    progress : callable
        Called with rows done and rows in all after each block.

    Raises
    ------
    BadShard
        The files are malformed or do not belong together; nothing is written.
    SourceChanged, SourceUnavailable, MissingInput
        See :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`; nothing is written.
    """
    with open_shard(shard, storage, scorer.dimension) as opened:
        report = ShardReport(shard.shard, opened.images.rows, bytes_listed=sum(file.size for file in opened.files))
        if isinstance(scorer, ScreenedClassifier):
            report.screen = ScreenAudit()
        with lake.table_writer(TABLE, output_schema(scorer.dimension), shard.shard) as writer:
            kept = _KeptRows(opened, writer, report)
            for block in read_ahead(opened.blocks(BLOCK_ROWS)):
                kept.add(block, _judge(block, scorer, report))
                progress(block.start + len(block.images), report.rows_in)
            kept.flush()
            for file in opened.files:
                file.check_unchanged()
            report.rows_kept = writer.rows_written
            report.rows_dropped = {r: report.rows_dropped[r] for r in DROP_REASONS if report.rows_dropped.get(r)}
            writer.provenance = Provenance(
                inputs, report.rows_in, report.rows_kept, report.rows_dropped, report.measures, origin or {}
            )
        report.fingerprint = writer.provenance.fingerprint
        report.bytes_read = sum(file.bytes_read for file in opened.files)
        return report


def _judge(block: Block, scorer: Scorer, report: ShardReport) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of a block are maps and all scores; count the others by reason."""
    vectors = block.images
    faults = {
        **{f"null_{name}": _is_null_or_empty(block.metadata[name]) for name in ("uid", "url", "text")},
        "invalid_utf8": _is_invalid_utf8(block.metadata),
        **embedding_faults(vectors),
    }
    is_left = np.ones(len(vectors), dtype=bool)
    for reason, is_fault in faults.items():
        _count(report, reason, int((is_left & is_fault).sum()))
        is_left &= ~is_fault
    scores = np.full(len(vectors), -np.inf, dtype=np.float32)
    if not is_left.all():
        vectors = vectors[is_left]
    left_scores = scorer.scores(vectors)
    if report.screen is not None and isinstance(scorer, ScreenedClassifier):
        report.screen.score_sample(
            scorer, vectors, left_scores, shard=report.shard, shard_rows=report.rows_in, start=block.start
        )
    scores[is_left] = left_scores
    inner = np.clip(left_scores[np.isfinite(left_scores)], HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    report.score_counts += np.histogram(inner, HISTOGRAM_EDGES)[0]
    is_map = is_left & (scores > scorer.threshold)
    _count(report, "not_a_map", int((is_left & ~is_map).sum()))
    return is_map, scores


def _is_null_or_empty(column: pa.ChunkedArray) -> np.ndarray:
    return pc.equal(pc.fill_null(pc.binary_length(column), 0), 0).to_numpy()


def _is_invalid_utf8(metadata: pa.Table) -> np.ndarray:
    """Tell which rows have a string that is none: parquet does not promise it, and SQL over the lake would fail."""
    invalid = np.zeros(metadata.num_rows, dtype=bool)
    for column in metadata.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            invalid |= [value is not None and not _is_utf8(value) for value in column.cast(pa.binary()).to_pylist()]
    return invalid


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class _KeptRows:
    """Maps gathered until they are worth a write; then their ``l14_txt`` is read and checked."""

    def __init__(self, opened: OpenShard, writer: TableWriter, report: ShardReport) -> None:
        self._opened, self._writer, self._report = opened, writer, report
        self._seen_uids: set[str] = set()
        self._parts: list[tuple[np.ndarray, pa.Table, np.ndarray, np.ndarray]] = []

    def add(self, block: Block, judged: tuple[np.ndarray, np.ndarray]) -> None:
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
        texts, similarities = self._opened.texts.take(rows), self._opened.similarities[rows]
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
