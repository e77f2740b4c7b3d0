"""Assets of the geo subset in Dagster: what they refuse, what they say, and what they mend by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from mappool_assets.defs.geo_subset.image_index import image_index
from mappool_assets.defs.geo_subset.neighbours import neighbours
from mappool_assets.defs.resources import (
    EncoderResource,
    FilterResource,
    GeoSubsetResource,
    LakeResource,
    ScratchResource,
)
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.index_ledger import FOLDER
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets_tests.geo_lake import SHARDS, place, write_classifier, write_places, write_shard
from mappool_assets_tests.runs.conftest import QUIET


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_classifier(lake)
    write_places(lake, [place(number) for number in range(1, 40)])
    return lake


def materialise(lake: Lake, asset: dg.AssetsDefinition, *, encoder: str = "tiny", k: int = 20):
    scratch = Path(lake.root).parent / "scratch"
    resources = {
        "lake": LakeResource(root=lake.root),
        "encoder": EncoderResource(model=encoder, pretrained="seed0"),
        "scratch": ScratchResource(root=str(scratch)),
        "geo_subset": GeoSubsetResource(neighbours=k),
        "filtering": FilterResource(workers=1),
    }
    return dg.materialize([asset], resources=resources, run_config=QUIET, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    return event.event_specific_data.error.message


def damage(lake: Lake, shards: Sequence[str]) -> None:
    for shard in shards:
        file = Path(lake.root, lake.table_path("mappool/shard_maps", shard))
        file.write_bytes(file.read_bytes()[:-50])


def test_maps_of_another_encoder_are_not_indexed_under_this_ones_name(lake: Lake) -> None:
    write_shard(lake, SHARDS[0])
    assert "Maps and index are of different encoders" in failure(materialise(lake, image_index, encoder="other"))
    assert not (Path(lake.root) / FOLDER).exists()
    assert materialise(lake, image_index).success


def test_without_maps_it_is_said_what_is_missing(lake: Lake) -> None:
    assert "Materialise mappool/shard_maps first" in failure(materialise(lake, image_index))


@pytest.mark.parametrize("damaged", [SHARDS, SHARDS[:1]])
def test_shards_that_cannot_be_read_are_named(lake: Lake, damaged: Sequence[str]) -> None:
    for shard in SHARDS:
        write_shard(lake, shard)
    damage(lake, damaged)
    result = materialise(lake, image_index)
    assert f"{len(damaged)} shards are not in the index" in failure(result)
    assert all(shard in failure(result) for shard in damaged)
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks.get("image_index_as_the_maps") is (None if len(damaged) == len(SHARDS) else False)


def test_an_index_tells_its_recall_and_passes_its_checks(lake: Lake) -> None:
    write_shard(lake, SHARDS[0])
    result = materialise(lake, image_index)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert all(check.passed for check in checks.values())
    shown = {name: value.value for name, value in checks["image_index_recall"].metadata.items()}
    assert shown == {"recall_at_10_of_images": 1.0, "recall_at_10_of_texts": 1.0}


def test_neighbours_of_a_lake_that_lost_rows_need_nobody_to_force_them(lake: Lake) -> None:
    shards = [f"{number:032x}" for number in range(20)]
    for shard in shards:
        write_shard(lake, shard)
    assert materialise(lake, neighbours).success
    for shard in shards[:6]:
        write_shard(lake, shard, rows=1, revision=2)
    assert materialise(lake, neighbours).success
    again = lake.read_table(NEIGHBOURS)
    for table in ("geo_subset/shard_neighbours", NEIGHBOURS, "geo_subset/neighbour_floors"):
        for partition in lake.partitions(table):
            lake.delete(lake.table_path(table, partition))
    assert materialise(lake, neighbours).success
    assert lake.read_table(NEIGHBOURS).equals(again)
