"""Vectors of prompts: each prompt is embedded once by an encoder, and never again while a table holds its vector.

While it runs, finished chunks lie in ``geo_subset/embedded_prompts``, a file each, so that a kill costs one chunk. They
go when the tables are written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.lake import Lake, Provenance, fingerprint

CHUNKS = "geo_subset/embedded_prompts"
VECTORS_VERSION = "1"  # raised when an encoder of the same id would give other vectors
CHUNK_PROMPTS = 256  # lost at most by a kill: 35 s of ViT-L-14 on one core (7.2 prompts a second)
BATCH_ROWS = 8192


@dataclass(frozen=True)
class PromptVectors:
    """Vectors of some prompts, on disk rather than in memory: 768 float32 are 3 kB.

    Attributes
    ----------
    vectors : float32 array of shape (n, dimension)
        Unit rows.
    is_cut : bool array of shape (n,)
        Whether the prompt is longer than the encoder's context (77 tokens), so that its end does not count.
    embedded : int
        Prompts that were embedded now; the others were known.
    """

    vectors: NDArray[np.float32]
    is_cut: NDArray[np.bool_]
    embedded: int

    def columns(self, rows: NDArray[np.int64]) -> tuple[pa.Array, pa.Array]:
        """Return ``is_cut`` and ``vector`` of some prompts."""
        chosen = np.ascontiguousarray(self.vectors[rows])
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(chosen.ravel()), chosen.shape[1])
        return pa.array(self.is_cut[rows]), vectors


def vector_fields(dimension: int) -> list[pa.Field]:
    """Return the fields of :meth:`PromptVectors.columns`."""
    return [pa.field("is_cut", pa.bool_(), False), pa.field("vector", pa.list_(pa.float32(), dimension), False)]


def vector_inputs(encoder: ClipEncoder) -> dict[str, str]:
    """Return what decides a prompt's vector, as provenance records it."""
    return {"encoder_id": encoder.encoder_id, "vectors_version": VECTORS_VERSION}


def embed_prompts(
    lake: Lake,
    prompts: pa.Array,
    encoder: ClipEncoder,
    *,
    known_in: Iterable[str],
    progress: Callable[[int, int], None],
) -> PromptVectors:
    """Return the vectors of prompts, from earlier tables where the same encoder made them.

    Parameters
    ----------
    lake : Lake
    prompts : string array
        None of them twice.
    encoder : ClipEncoder
        Not loaded where every vector is known.
    known_in : iterable of str
        Tables that may hold vectors: columns ``prompt``, ``is_cut`` and ``vector``, and ``encoder_id`` in the
        provenance's inputs.
    progress : callable
        Told how many prompts have a vector, of how many.
    """
    found = _Found.empty(len(prompts), encoder.dimension)
    tables = [(table, partition) for table in known_in for partition in lake.partitions(table)]
    tables += [(CHUNKS, chunk) for chunk in lake.partitions(CHUNKS)]
    for table, partition in tables:
        _take_over(lake, table, partition, prompts, vector_inputs(encoder), found)
    missing = np.flatnonzero(~found.is_known)
    done = len(prompts) - len(missing)
    progress(done, len(prompts))
    for start in range(0, len(missing), CHUNK_PROMPTS):
        chunk = missing[start : start + CHUNK_PROMPTS]
        found.fill(chunk, *_embed_chunk(lake, prompts.take(chunk), encoder))
        done += len(chunk)
        progress(done, len(prompts))
    return PromptVectors(found.vectors, found.is_cut, len(missing))


@dataclass(frozen=True)
class _Found:
    vectors: NDArray[np.float32]
    is_cut: NDArray[np.bool_]
    is_known: NDArray[np.bool_]

    @classmethod
    def empty(cls, prompts: int, dimension: int) -> _Found:
        with tempfile.TemporaryFile(prefix="mappool-vectors-") as file:  # has no name; lives as long as it is mapped
            vectors = np.memmap(file, np.float32, "w+", shape=(prompts, dimension))
        return cls(vectors, np.zeros(prompts, bool), np.zeros(prompts, bool))

    def fill(self, rows: NDArray[np.int64], vectors: NDArray[np.float32], is_cut: NDArray[np.bool_]) -> None:
        self.vectors[rows], self.is_cut[rows], self.is_known[rows] = vectors, is_cut, True


def forget_chunks(lake: Lake) -> None:
    """Remove what was kept in case of a kill."""
    for chunk in lake.partitions(CHUNKS):
        lake.delete(lake.table_path(CHUNKS, chunk))


def _take_over(
    lake: Lake, table: str, partition: str, prompts: pa.Array, inputs: dict[str, str], found: _Found
) -> None:
    """Take the vectors of prompts that a table holds, where it was made by the same encoder."""
    made = lake.provenance(table, partition)
    if made is None or {name: made.inputs.get(name) for name in inputs} != inputs:
        return
    with lake.open_table(table, partition) as file:
        held = file.read(columns=["prompt"])["prompt"].combine_chunks()
        position = pc.fill_null(pc.index_in(held, value_set=prompts), -1).to_numpy().astype(np.int64)
        start = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=["is_cut", "vector"]):
            rows = position[start : start + batch.num_rows]
            start += batch.num_rows
            wanted = np.flatnonzero(rows >= 0)
            if wanted.size:
                taken = batch.take(pa.array(wanted))
                vectors = taken["vector"].flatten().to_numpy().reshape(len(wanted), -1)
                found.fill(rows[wanted], vectors, taken["is_cut"].to_numpy(zero_copy_only=False))


def _embed_chunk(lake: Lake, prompts: pa.Array, encoder: ClipEncoder) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    texts = prompts.to_pylist()
    made = PromptVectors(encoder.embed_texts(texts, np.float32), encoder.are_cut(texts), len(texts))
    schema = pa.schema([pa.field("prompt", pa.string(), False), *vector_fields(encoder.dimension)])
    rows = pa.table([prompts, *made.columns(np.arange(len(texts)))], schema=schema)
    inputs = {**vector_inputs(encoder), "prompts": texts}
    lake.write_table(CHUNKS, rows, Provenance(vector_inputs(encoder), len(texts), len(texts)), fingerprint(inputs))
    return made.vectors, made.is_cut
