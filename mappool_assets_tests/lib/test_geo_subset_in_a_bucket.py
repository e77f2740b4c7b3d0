"""A geo subset, its index and the service's view of it in a bucket: the same bytes as in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib.geo_subset.exports import write_image_list
from mappool_assets.lib.geo_subset.geo_images import find_geo_images
from mappool_assets.lib.geo_subset.geo_report import write_geo_report
from mappool_assets.lib.geo_subset.manifest import PATH, read_manifest, write_manifest
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval import image_index
from mappool_assets.lib.retrieval.image_index import IndexReport, build_image_index
from mappool_assets.lib.retrieval.index_checks import alignment_faults, count_faults, damaged_files, measured_recall
from mappool_assets.lib.retrieval.index_ledger import FOLDER
from mappool_assets.lib.retrieval.index_places import file_sizes
from mappool_assets.lib.retrieval.open_index import open_index
from mappool_assets.lib.serve.served_index import ServedIndex, open_served_index
from mappool_assets.lib.sql_files import run
from mappool_assets_tests.geo_lake import (
    ENCODER,
    SHARDS,
    find_neighbours,
    place,
    prompt_vector,
    write_classifier,
    write_generic,
    write_places,
    write_shard,
)
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_lake import folder_bytes

CHECKS = ("geo_images_best_place", "place_counts_add_up")


@pytest.fixture
def bucket() -> Iterator[Lake]:
    with serve_s3("lake") as endpoint:
        yield Lake("s3://lake/deep", endpoint)


@pytest.fixture(autouse=True)
def _small_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "LEAST_INDEXED_ROWS", 100)


def write_inputs(lake: Lake) -> None:
    write_classifier(lake)
    write_places(lake, [place(number) for number in range(1, 6)])
    write_generic(lake, ["a map"])
    for shard in SHARDS:
        write_shard(lake, shard)


def make_subset(lake: Lake, folder: Path) -> IndexReport:
    find_neighbours(lake)
    find_geo_images(lake, folder / "scratch", GeoSettings(most_a_domain=4))
    write_manifest(lake)
    write_image_list(lake)
    write_geo_report(lake)
    return build_image_index(lake, encoder_id=ENCODER, cache=folder / "cache")


def served(lake: Lake, folder: Path) -> ServedIndex:
    return open_served_index(lake, ENCODER, cache=folder / "cache")


def found(lake: Lake, folder: Path) -> list[tuple[list[int], list[float]]]:
    queries = np.stack([prompt_vector(f"a map of Place {number}") for number in range(3)])
    return [(f.ids.tolist(), f.similarities.tolist()) for f in served(lake, folder).search.search(queries, 10)]


def test_all_of_it_is_made_and_served_as_in_a_folder(bucket: Lake, tmp_path: Path) -> None:
    local, places = Lake(str(tmp_path / "lake")), {}
    for lake in (local, bucket):
        places[lake.root] = tmp_path / lake.root.replace("/", "_")
        write_inputs(lake)
        assert len(make_subset(lake, places[lake.root]).built) == len(SHARDS)
        assert all(run(lake, f"checks/{check}").num_rows == 0 for check in CHECKS)
        assert count_faults(lake) == damaged_files(lake) == []

    for path, content in folder_bytes(tmp_path / "lake").items():
        assert bucket.read_bytes(path) == content, path
    assert found(bucket, places[bucket.root]) == found(local, places[local.root])
    index = served(bucket, places[bucket.root])
    assert alignment_faults(bucket, index.search) == []
    assert all(recall.is_enough for recall in measured_recall(bucket, index.search, (10,)))
    assert index.describe()["has_places"]
    assert read_manifest(bucket.read_bytes(PATH))["shard_maps"].keys() == set(SHARDS)


def test_a_shard_that_is_filtered_again_replaces_its_files_alone(bucket: Lake, tmp_path: Path) -> None:
    write_inputs(bucket)
    build_image_index(bucket, encoder_id=ENCODER, cache=tmp_path / "cache")
    before = file_sizes(bucket)
    write_shard(bucket, SHARDS[1], revision=2)
    report = build_image_index(bucket, encoder_id=ENCODER, cache=tmp_path / "cache")
    assert report.built == [SHARDS[1]]
    gone, new = before.keys() - file_sizes(bucket).keys(), file_sizes(bucket).keys() - before.keys()
    assert {path.removeprefix(f"{FOLDER}/")[:32] for path in gone | new} == {SHARDS[1]}
    assert (len(gone), len(new)) == (2, 2)
    assert count_faults(bucket) == alignment_faults(bucket, served(bucket, tmp_path).search) == []
    (folder,) = (tmp_path / "cache").iterdir()
    cached = {file.name for file in folder.iterdir()}
    assert cached == {Path(path).name for path in file_sizes(bucket) if "quantiser" not in path}


def test_indexes_of_two_lakes_keep_out_of_each_others_way(bucket: Lake, tmp_path: Path) -> None:
    other = Lake("s3://lake/other", bucket.s3_endpoint)
    for lake, shard in ((bucket, SHARDS[0]), (other, SHARDS[1])):
        write_shard(lake, shard)
        build_image_index(lake, encoder_id=ENCODER, cache=tmp_path)
    opened = [open_index(lake, encoder_id=ENCODER, cache=tmp_path) for lake in (bucket, other)]
    for search in opened:
        assert len(search.search(prompt_vector("a map")[np.newaxis], 3)[0].ids) == 3
