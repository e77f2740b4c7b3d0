"""Shards in CommonPool's format: ``HASH.parquet`` beside ``HASH.npz``, row-aligned, from drawn or synthetic rows.

The format is that of the published shards (https://huggingface.co/datasets/mlfoundations/datacomp_xlarge). Their npz
are 6,144·n + 1,456 bytes long. ``numpy.savez`` reproduces that to the byte when, and only when, it writes the five
members to a stream that cannot seek: sizes and CRC then follow each member in a data descriptor of 24 bytes, while
the local header holds zeros. Readers must therefore take sizes from the central directory, and so these shards are
written in the same way. (Below some 420,000 rows no offset passes 2 GiB and the overhead is 1,368.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.demo.embeddings import caption_vectors, image_vectors, unit_rows
from mappool_assets.lib.lake import replacing

PARQUET_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),  # 32 hexadecimal digits
        ("url", pa.string()),
        ("text", pa.string()),
        ("original_width", pa.int64()),
        ("original_height", pa.int64()),
        ("clip_b32_similarity_score", pa.float32()),
        ("clip_l14_similarity_score", pa.float32()),
        ("face_bboxes", pa.list_(pa.list_(pa.float64()))),
        ("sha256", pa.string()),  # of the image's bytes
    ]
)
# Member, width and dtype, in the order of the file. CommonPool's dedup member takes 1,024 bytes a row. It is written
# here as 256 × float32: near-duplicates were found with the ISC21 descriptor, whose vectors have 256 dimensions
# (https://arxiv.org/abs/2104.13298). Nothing of this project reads it.
NPZ_MEMBERS: Mapping[str, tuple[int, type[np.floating]]] = {
    "b32_img": (512, np.float16),
    "b32_txt": (512, np.float16),
    "l14_img": (768, np.float16),
    "l14_txt": (768, np.float16),
    "dedup": (256, np.float32),
}
BYTES_PER_ROW = 6_144
_BLOCK_ROWS = 8_192  # 25 MB of float32 at width 768


@dataclass(frozen=True)
class ShardRows:
    """The rows of one shard; ``dataclasses.replace`` makes malformed variants of it.

    Attributes
    ----------
    table : pyarrow.Table
        What goes into the parquet file, normally of :data:`PARQUET_SCHEMA`.
    members : mapping of str to array
        What goes into the npz file, in this order, normally as in :data:`NPZ_MEMBERS`.
    is_map : array of bool, shape (n,)
        The truth about each row, for the caller; not part of the files.
    """

    table: pa.Table
    members: Mapping[str, np.ndarray]
    is_map: npt.NDArray[np.bool_]


def shard_key(*content: object) -> str:
    """Return the 32 hexadecimal digits that name a shard, derived from what decides its content."""
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def write_shard(folder: Path, key: str, rows: ShardRows) -> tuple[Path, Path]:
    """Write ``key.parquet`` and ``key.npz``; the same rows give the same bytes.

    Returns
    -------
    tuple of Path
        The parquet file and the npz file.
    """
    parquet, npz = folder / f"{key}.parquet", folder / f"{key}.npz"
    with replacing(parquet) as temporary:
        pq.write_table(rows.table, temporary)
    with replacing(npz) as temporary, temporary.open("wb") as file:
        # numpy's own stub wants a seekable file; zipfile, which does the writing, wants `write` and `flush`
        np.savez(_Unseekable(file), **rows.members)  # type: ignore[arg-type]
    return parquet, npz


class _Unseekable:
    """A file as an upload stream sees it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush

    def read(self) -> bytes:
        """Only there because numpy tells a file from a path by it."""
        raise OSError("this stream is write-only")


def shard_rows(
    *,
    uids: list[str],
    urls: list[str | None],
    texts: list[str | None],
    sizes: npt.NDArray[np.integer],
    sha256s: list[str],
    l14_img: npt.NDArray[np.floating],
    l14_txt: npt.NDArray[np.floating],
    is_map: npt.NDArray[np.bool_],
) -> ShardRows:
    """Make rows from their own facts and their ViT-L/14 vectors.

    The ViT-B/32 and near-duplicate vectors are derived from these: the file has their place and size, nothing reads
    their values.

    Parameters
    ----------
    uids, urls, texts, sha256s : list of str, length n
        As in the columns.
    sizes : array of int, shape (n, 2)
        Original width and height in pixels.
    l14_img, l14_txt : array of float, shape (n, 768)
        Unit vectors; the similarity scores are their products before the cast to float16.
    is_map : array of bool, shape (n,)
    """
    b32_img, b32_txt = _unit_prefix(l14_img, 512), _unit_prefix(l14_txt, 512)
    table = pa.table(
        {
            "uid": uids,
            "url": urls,
            "text": texts,
            "original_width": sizes[:, 0],
            "original_height": sizes[:, 1],
            "clip_b32_similarity_score": _row_products(b32_img, b32_txt),
            "clip_l14_similarity_score": _row_products(l14_img, l14_txt),
            "face_bboxes": [[] for _ in uids],
            "sha256": sha256s,
        },
        schema=PARQUET_SCHEMA,
    )
    vectors = {
        "b32_img": b32_img,
        "b32_txt": b32_txt,
        "l14_img": l14_img,
        "l14_txt": l14_txt,
        "dedup": l14_img[:, :256],
    }
    members = {name: vectors[name].astype(dtype) for name, (_, dtype) in NPZ_MEMBERS.items()}
    return ShardRows(table, members, is_map)


def synthetic_rows(n: int, seed: int, map_share: float = 0.01) -> ShardRows:
    """Make rows without images whose embeddings are hard to classify.

    Clusters, heavy tails and non-maps that lie close to maps, see :mod:`mappool_assets.demo.embeddings`. Rows of
    any two seeds share one geometry, so that what is trained on one shard can be tried on another. Needs some
    8 kB of memory a row.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Decides everything.
    map_share : float
        Probability of a row to be a map; CommonPool holds 0.0060 to 0.0075 (MapPool).
    """
    random = np.random.default_rng([seed, n])
    is_map = random.random(n) < map_share
    members = {name: np.empty((n, width), dtype) for name, (width, dtype) in NPZ_MEMBERS.items()}
    tables = [PARQUET_SCHEMA.empty_table()]
    for start in range(0, n, _BLOCK_ROWS):
        block = slice(start, min(start + _BLOCK_ROWS, n))
        l14_img = image_vectors(is_map[block], random)
        rows = shard_rows(
            **_invented_facts(block, random),
            l14_img=l14_img,
            l14_txt=caption_vectors(l14_img, random),
            is_map=is_map[block],
        )
        tables.append(rows.table)
        for name, values in rows.members.items():
            members[name][block] = values
    return ShardRows(pa.concat_tables(tables).combine_chunks(), members, is_map)


def _invented_facts(block: slice, random: np.random.Generator) -> dict:
    n = block.stop - block.start
    uids = _hex_strings(n, 32, random)
    return {
        "uids": uids,
        "urls": [f"https://images.example/{uid}.jpg" for uid in uids],
        "texts": [f"caption of picture {i}" for i in range(block.start, block.stop)],
        "sizes": random.integers(180, 2_048, (n, 2)),
        "sha256s": _hex_strings(n, 64, random),
    }


def _hex_strings(n: int, digits: int, random: np.random.Generator) -> list[str]:
    text = random.bytes(n * digits // 2).hex()
    return [text[i : i + digits] for i in range(0, len(text), digits)]


def _unit_prefix(vectors: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.float32]:
    return unit_rows(vectors[:, :width].astype(np.float32))


def _row_products(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return np.einsum("ij,ij->i", a, b, dtype=np.float32)
