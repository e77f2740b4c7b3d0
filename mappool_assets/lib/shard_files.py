"""A shard's two files, opened, held against CommonPool's format and read in step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.npz import RowMatrix, open_matrices
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.ranged_file.base import RangedFile, Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.row_rules import LEAST_AGREEING_SHARE, embedding_faults, pairs_agree

METADATA_COLUMNS = {
    "uid": pa.string(),
    "url": pa.string(),
    "text": pa.string(),
    "original_width": pa.int64(),
    "original_height": pa.int64(),
    "sha256": pa.string(),
}
SIMILARITY = "clip_l14_similarity_score"
SAMPLE_SPANS, SPAN_ROWS = 8, 16  # rows whose pairing is proved before a shard is trusted: 128
PARQUET_BUFFER_BYTES = 1 << 22  # a column: few requests, and memory that does not grow with the row group


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a shard: the first one's number, metadata, and ``l14_img`` (n, d) float16."""

    start: int
    metadata: pa.Table
    images: np.ndarray


@dataclass(frozen=True)
class OpenShard:
    """A shard whose files are open and belong together.

    Attributes
    ----------
    files : tuple of RangedFile
        Parquet and npz.
    images, texts : RowMatrix
        ``l14_img`` and ``l14_txt``.
    similarities : float32 ndarray of shape (n,)
        The pool's own image-text scores, NaN for null.
    """

    files: tuple[RangedFile, RangedFile]
    parquet: pq.ParquetFile
    images: RowMatrix
    texts: RowMatrix
    similarities: np.ndarray

    def blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield all rows in order; :class:`BadShard` where bytes turn out to be damaged."""
        schema = pa.schema(METADATA_COLUMNS)
        # Batches end at row groups and may be shorter than asked for: they are joined and cut to the blocks.
        batches = self.parquet.iter_batches(block_rows, columns=schema.names)
        waiting: list[pa.RecordBatch] = []
        start = 0
        for images in self.images.blocks(block_rows):
            with _reading_parquet(self.files[0].url):
                while sum(batch.num_rows for batch in waiting) < len(images):
                    waiting.append(next(batches))
                gathered = pa.Table.from_batches(waiting)
                metadata = gathered.slice(0, len(images)).select(schema.names).cast(schema)
            yield Block(start, metadata, images)
            waiting = gathered.slice(len(images)).to_batches()
            start += len(images)


@contextlib.contextmanager
def open_shard(shard: PoolShard, storage: Storage, dimension: int) -> Iterator[OpenShard]:
    """Yield a shard once its files are proved to be well-formed and row-aligned.

    Parameters
    ----------
    dimension : int
        Width that its embeddings must have.

    Raises
    ------
    BadShard
        A file is malformed, or the rows of both do not belong together: equal counts, and on a sample
        ``l14_img · l14_txt`` must reproduce ``clip_l14_similarity_score``.
    SourceChanged, SourceUnavailable, MissingInput
        See :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
    """
    with contextlib.ExitStack() as stack:
        listed = ((shard.parquet_url, shard.parquet_version), (shard.npz_url, shard.npz_version))
        files = tuple(stack.enter_context(_open_listed(url, version, storage)) for url, version in listed)
        parquet = stack.enter_context(_open_parquet(files[0]))
        images, texts = stack.enter_context(open_matrices(files[1], ["l14_img", "l14_txt"]))
        _check_shapes(parquet.metadata.num_rows, images, texts, dimension)
        opened = OpenShard((files[0], files[1]), parquet, images, texts, _read_similarities(parquet, files[0].url))
        _check_pairing(images, texts, opened.similarities)
        yield opened


def first_rows(shard: PoolShard, storage: Storage, rows: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield url, sha256 and ``l14_img`` (float16) of a shard's first rows, reading little more than these."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_ranged(url, storage)) for url in (shard.parquet_url, shard.npz_url)]
        parquet = stack.enter_context(_open_parquet(files[0]))
        (images,) = stack.enter_context(open_matrices(files[1], ["l14_img"]))
        vectors = images.take(np.arange(min(rows, images.rows)))
        with _reading_parquet(files[0].url):
            batches = parquet.iter_batches(max(len(vectors), 1), columns=["url", "sha256"])
            listed = next(batches).to_pylist() if len(vectors) else []
        for row, vector in zip(listed, vectors, strict=False):
            if row["url"] and row["sha256"]:
                yield row["url"], row["sha256"], vector


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
def _reading_parquet(url: str) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into our error."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the operating system's; Arrow's own on corrupt pages has no number
        rule = "a complete parquet file with CommonPool's types"
        raise _bad(url, "The parquet cannot be read", rule, str(error)) from error


def _open_parquet(file: RangedFile) -> pq.ParquetFile:
    """Open the parquet and check that the columns are there."""
    with _reading_parquet(file.url):
        parquet = pq.ParquetFile(file.as_stream(), buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)
    names = set(parquet.schema_arrow.names)
    missing = sorted({*METADATA_COLUMNS, SIMILARITY} - names)
    if missing:
        raise _bad(file.url, "The parquet lacks columns", f"columns {missing}", f"columns {sorted(names)}")
    return parquet


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
    with _reading_parquet(url):
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


def _bad(url: str, what: str, rule: str, got: str) -> BadShard:
    return BadShard(
        what, where=url, rule=rule, got=got, action="Fetch this shard again, or leave it out; other shards go on."
    )
