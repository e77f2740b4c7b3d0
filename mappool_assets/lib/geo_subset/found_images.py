"""The images that were found, read from their shards: metadata and measures as a table, embeddings as rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.geo_subset.best_prompts import NO_PLACE, BestPrompts
from mappool_assets.lib.geo_subset.safety_head import SafetyHead
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance
from mappool_assets.lib.vectors import as_matrix

SHARD_MAPS = "mappool/shard_maps"
VECTOR = "l14_img"
METADATA = ("url", "text", "original_width", "original_height", "sha256", "map_score")
ROWS_AT_A_TIME = 8192  # 12.5 MB of embeddings; where shards give few images, those of several


@dataclass(frozen=True)
class Measures:
    """What is worked out from an image's embedding.

    Parameters
    ----------
    place_of_query : int32 array of shape (q,)
        Whose each prompt is.
    places : BestPrompts
        All prompts.
    generic : BestPrompts, optional
        Those that name no place.
    head : SafetyHead, optional
    """

    place_of_query: NDArray[np.int32]
    places: BestPrompts
    generic: BestPrompts | None
    head: SafetyHead | None

    def columns(self, images: pa.Table, vectors: NDArray[np.float16]) -> dict[str, pa.Array]:
        """Return ``place_margin``, ``generic_margin`` and ``unsafe_score`` of images; null where there is no such."""
        similarity, own = images["similarity"].to_numpy(), self.place_of_query[images["query"].to_numpy()]
        others = self.places.similarities(vectors, own)
        generic = self.generic.similarities(vectors, np.full_like(own, NO_PLACE)) if self.generic else None
        nothing = pa.nulls(len(own), pa.float32())
        return {
            "place_margin": pa.array(similarity - others, mask=np.isneginf(others)),
            "generic_margin": nothing if generic is None else pa.array(similarity - generic),
            "unsafe_score": pa.array(self.head.scores(vectors)) if self.head else nothing,
        }


def describe_images(
    lake: Lake, found: Path, maps: Mapping[str, str], measures: Measures, described: Path
) -> Iterator[NDArray[np.float16]]:
    """Yield the embeddings of the images found, in their order, while ``described`` is written.

    Parameters
    ----------
    found : Path
        Of ``sql/steps/geo_found.sql``.
    maps : mapping of str to str
        Fingerprints of the shards' maps in which the images were found.
    described : Path
        Becomes ``found`` with metadata and measures, in the same order, once all are taken.

    Raises
    ------
    SourceChanged
        A shard was filtered anew since.
    """
    writer = None
    try:
        for images, vectors in _gathered(_images(lake, found, maps)):
            columns = measures.columns(images, vectors)
            table = images.append_column("place_margin", columns.pop("place_margin"))
            for name, column in columns.items():
                table = table.append_column(name, column)
            writer = writer or pq.ParquetWriter(described, table.schema)
            writer.write_table(table)
            yield vectors
    finally:
        if writer is not None:
            writer.close()


def _gathered(parts: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, NDArray[np.float16]]]:
    """Join small tables to larger ones; yield these without embeddings, and the embeddings."""
    gathered: list[pa.Table] = []
    for part in itertools.chain(parts, [None]):
        if part is not None:
            gathered.append(part)
        if gathered and (part is None or sum(map(len, gathered)) >= ROWS_AT_A_TIME):
            table = pa.concat_tables(gathered).combine_chunks()
            yield table.drop_columns(VECTOR), as_matrix(table[VECTOR])
            gathered = []


def _images(lake: Lake, found: Path, maps: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the images of each shard, or of a part of it, with their metadata and embeddings."""
    with pq.ParquetFile(found) as file:
        for batch in file.iter_batches():
            runs = pc.run_end_encode(batch.column("shard"))
            ends = itertools.pairwise([0, *runs.run_ends.to_pylist()])
            for shard, (start, stop) in zip(runs.values.to_pylist(), ends, strict=True):
                images = pa.Table.from_batches([batch.slice(start, stop - start)])
                yield from _of_shard(lake, shard, images, maps[shard])


def _of_shard(lake: Lake, shard: str, images: pa.Table, fingerprint: str) -> Iterator[pa.Table]:
    """Yield some images of a shard, which are in the order of its rows, row group by row group."""
    rows = images["row"].to_numpy()
    with lake.open_table(SHARD_MAPS, shard) as file:
        recorded = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
        _check(shard, fingerprint, Provenance.from_json(recorded).fingerprint if recorded else "nothing")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        first = np.searchsorted(rows, starts)
        for group, (start, stop) in enumerate(itertools.pairwise(first.tolist())):
            if start < stop:
                some = images.slice(start, stop - start)
                group_rows = file.read_row_group(group, columns=["uid", *METADATA, VECTOR])
                taken = group_rows.take(pa.array(rows[start:stop] - starts[group]))
                _check(f"{shard}, row {rows[start]}", some["uid"].to_pylist(), taken["uid"].to_pylist())
                for name in (*METADATA, VECTOR):
                    some = some.append_column(name, taken[name])
                yield some.replace_schema_metadata()


def _check(where: str, expected: object, found: object) -> None:
    if found != expected:
        raise SourceChanged(
            "A shard was filtered again since neighbours were sought in it",
            where=f"{SHARD_MAPS} {where}",
            rule=f"maps made from {expected}" if isinstance(expected, str) else "the uids of the neighbours",
            got=str(found) if isinstance(found, str) else "others",
            action="Materialise geo_subset/neighbours again.",
        )
