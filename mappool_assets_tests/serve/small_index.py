"""A lake with an image index of some hundred rows on a tiny encoder, among them near duplicates."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.serve.settings import ServiceSettings
from mappool_assets_tests.small_lake import A, B, write_maps
from mappool_assets_tests.tiny_clip import write_tiny_clip

WIDTH = 64  # of the tiny encoder
ROWS = {A: 300, B: 200}
COPIES = 20  # rows of the first shard that are row 0 with a little noise
STEP = 2**32  # ids of one shard


@dataclass(frozen=True)
class SmallIndex:
    lake: Lake
    encoder: ClipEncoder

    @property
    def settings(self) -> ServiceSettings:
        return ServiceSettings({"maps": self.lake}, self.encoder, loads_at_start=False)

    def rows(self) -> list[dict]:
        """Every row with its id, from the lake's own tables."""
        found = []
        for ordinal, shard in enumerate(sorted(ROWS)):
            for row, values in enumerate(self.lake.read_table("mappool/shard_maps", shard).to_pylist()):
                found.append({**values, "id": ordinal * STEP + row, "shard": shard, "row": row})
        return found

    def nearest(self, vector, rows=None) -> list[dict]:
        """The slow, obvious search: all cosines in float64, sorted."""
        rows = self.rows() if rows is None else rows
        query = np.array(vector, dtype=np.float64)
        query /= np.linalg.norm(query)
        for row in rows:
            stored = np.asarray(row["l14_img"], dtype=np.float64)
            row["similarity"] = float(stored @ query / np.linalg.norm(stored))
        return sorted(rows, key=lambda row: (-row["similarity"], row["id"]))


def vector_column(vectors: np.ndarray) -> pa.Array:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return pa.FixedSizeListArray.from_arrays(pa.array(unit.astype(np.float16).ravel()), vectors.shape[1])


def write_shard(lake: Lake, shard: str, rows: int, seed: int = 0, copies: int = 0) -> None:
    random = np.random.default_rng([seed, rows])
    vectors = random.standard_normal((rows, WIDTH))
    vectors[1 : 1 + copies] = vectors[0] + 0.05 * random.standard_normal((copies, WIDTH))
    texts = [f"<b>map & plan</b> «{number}»" if number % 3 else "Karte von Köln" for number in range(rows)]
    scores = np.where(np.arange(rows) == 5, np.nan, 0.3).astype(np.float32)
    columns = {"l14_img": vector_column(vectors), "text": texts, "clip_l14_similarity_score": scores}
    write_maps(lake, shard, rows, dimension=WIDTH, seed=seed, rows_a_group=64, columns=columns)


def build_small_index(folder: Path) -> SmallIndex:
    lake = Lake(str(folder / "lake"))
    encoder = ClipEncoder(write_tiny_clip(folder / "encoder"), "", device="cpu", batch_size=1)
    for shard, rows in ROWS.items():
        write_shard(lake, shard, rows, copies=COPIES if shard == A else 0)
    build_image_index(lake, encoder_id=encoder.encoder_id)
    return SmallIndex(lake, encoder)


build_once = functools.cache(build_small_index)
