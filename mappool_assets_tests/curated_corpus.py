"""A lake that can be published, with curated pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mappool_assets.lib.curation.curated_pairs import curate_pairs
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.small_lake import shard_key, write_maps
from mappool_assets_tests.small_lake import write_pool as write_listing
from mappool_assets_tests.small_pairs import write_counts, write_unique_pairs

SHARDS = tuple(shard_key(first) for first in "abc")
MAPS = 60  # of a shard
ENTRIES = ["map", "old", "of", "river", "harbour"]
SEEDS = (4, 0)


def write_corpus_with_pairs(folder: Path) -> Lake:
    """Write a lake of three shards in two parts, and curated pairs of all of them, some of images of others."""
    lake = Lake(str(folder / "lake"))
    write_listing(lake, dict.fromkeys(SHARDS[:2], "part_1") | {SHARDS[2]: "part_2"})
    for shard in SHARDS:
        write_maps(lake, shard, MAPS)
    write_counts(lake, ENTRIES, [2 * MAPS * len(SHARDS)] * len(ENTRIES))
    curate_maps(lake)
    return lake


def curate_maps(lake: Lake, settings: CurationSettings | None = None, **inputs: Any) -> None:
    """Draw from the maps that the lake holds, as if the first pass had kept all of them; inputs as they are given."""
    random, rows, made = np.random.default_rng(0), [], {}
    for shard in SHARDS:
        maps = lake.read_table("mappool/shard_maps", shard, ["uid", "url", "text", "sha256"]).to_pylist()
        made[shard] = lake.provenance("mappool/shard_maps", shard).fingerprint  # type: ignore[union-attr]
        for number, each in enumerate(maps):
            image = maps[number - number % 2]  # two texts of each image
            found = np.flatnonzero(random.random(len(ENTRIES)) < 0.3).tolist()
            rows.append(
                {"shard": shard, **each, "image_shard": shard, "image_uid": image["uid"], "entries": found}
                | {"first_p": 1.0, "is_image_text": number % 2 == 0}
            )
    write_unique_pairs(lake, rows, **{"shard_maps": made, **inputs})
    curate_pairs(lake, settings or CurationSettings(t=20.0, seeds=SEEDS))
