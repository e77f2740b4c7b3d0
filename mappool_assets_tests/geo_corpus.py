"""A lake that can be published, with images of places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mappool_assets.lib.geo_subset.geo_images import find_geo_images
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.geo_lake import SHARDS, find_neighbours, place, write_classifier, write_places, write_shard
from mappool_assets_tests.small_lake import SOURCE, write_pool


def write_corpus_with_places(folder: Path) -> Lake:
    """Write a lake of three shards in two parts, and images of four places in all of them."""
    lake = Lake(str(folder / "lake"))
    write_pool(lake, dict.fromkeys(SHARDS[:2], "part_1") | {SHARDS[2]: "part_2"})
    write_classifier(lake)
    write_places(lake, [place(number) for number in range(1, 5)])
    for shard in SHARDS:
        write_listed_shard(lake, shard)
    find_places(lake, folder / "scratch")
    return lake


def write_listed_shard(lake: Lake, shard: str, *, revision: int = 1) -> None:
    """Write a shard's maps as made from the pool that the lake lists."""
    write_shard(lake, shard, revision=revision)
    rows, made = lake.read_table("mappool/shard_maps", shard), lake.provenance("mappool/shard_maps", shard)
    assert made is not None
    inputs = {**made.inputs, "threshold": 0.25, "parquet_version": "1", "npz_version": "1"}
    origin = {"source": SOURCE, "revision": "0123abcd"}
    lake.write_table("mappool/shard_maps", rows, dataclasses.replace(made, inputs=inputs, origin=origin), shard)


def find_places(lake: Lake, scratch: Path) -> None:
    """Find the images of the lake's places."""
    find_neighbours(lake)
    find_geo_images(lake, scratch, GeoSettings(most_a_domain=5))
