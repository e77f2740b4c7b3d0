"""The images of shards as Dagster records them."""

import dataclasses
import hashlib
import shutil
from collections import Counter

import dagster as dg
import pyarrow as pa

from mappool_assets.demo.commonpool import shard_key, synthetic_rows
from mappool_assets_tests.image_web import image, image_web
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.small_lake import A

SHARD_MAPS, MAP_IMAGES = (dg.AssetKey(["mappool", name]) for name in ("shard_maps", "map_images"))


def settings_of(web):
    return {"MAPPOOL_ALLOW_PRIVATE_ADDRESSES": "1", "MAPPOOL_SCRATCH": str(web.scratch)}


def test_only_the_run_that_fetched_them_shows_images(tmp_path):
    with image_web(tmp_path) as web, dg.DagsterInstance.ephemeral() as instance:
        web.write_maps(range(3))
        instance.add_dynamic_partitions("pool_shard", [A])
        platform = platform_in(tmp_path, instance, **settings_of(web))
        for _ in range(3):
            assert platform.materialise("map_images", shards=[A]).success
        assert platform.out_of_date() == {}, "maps that another instance made are not waited for"
        wanted = dg.AssetRecordsFilter(MAP_IMAGES, asset_partitions=[A])
        records = instance.fetch_materializations(wanted, limit=3, ascending=True).records
    first, *reused = [record.asset_materialization.metadata for record in records]
    assert first["sample"].value.startswith("![sample images](data:image/png;base64,")
    assert not first["is_reused"].value
    assert len(reused) == 2
    for metadata in reused:
        assert metadata["is_reused"].value
        assert "sample" not in metadata, "the event log keeps each of them"
        assert metadata["seconds"] == first["seconds"]
        assert metadata["images_per_second"] == first["images_per_second"]


def rows_on(web, seed, rows=40):
    """Rows whose images the server has, other ones for each seed."""
    made, numbers = synthetic_rows(rows, seed, map_share=0.1), range(rows * seed, rows * (seed + 1))
    columns = {
        "url": [web.url(number) for number in numbers],
        "sha256": [hashlib.sha256(image(number)).hexdigest() for number in numbers],
    }
    table = made.table
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return dataclasses.replace(made, table=table)


def test_maps_and_their_images_are_made_in_one_run(tmp_path, trained):
    shutil.copytree(trained, tmp_path / "lake")
    with image_web(tmp_path) as web, dg.DagsterInstance.ephemeral() as instance:
        platform = platform_in(tmp_path, instance, **settings_of(web))
        shards = [shard_key("runs", seed) for seed in range(2)]
        for seed, shard in enumerate(shards):
            platform.write(shard, rows_on(web, seed))
        assert platform.materialise("pool_shards").success
        for is_reused in (False, True):
            result = platform.materialise("shard_maps", "map_images", shards=shards)
            assert result.success
            assert all(check.passed for check in result.get_asset_check_evaluations())
            events = instance.get_records_for_run(
                result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            ).records
            assert Counter((event.asset_key, event.partition_key) for event in events) == {
                (key, shard): 1 for key in (SHARD_MAPS, MAP_IMAGES) for shard in shards
            }
            assert {event.asset_materialization.metadata["is_reused"].value for event in events} == {is_reused}
            assert platform.out_of_date() == {}
    for shard in shards:
        maps = platform.lake.read_table("mappool/shard_maps", shard)
        assert maps.num_rows > 0
        images = platform.lake.read_table("mappool/map_images", shard)
        assert images["uid"].to_pylist() == maps["uid"].to_pylist()
        assert set(images["status"].to_pylist()) == {"ok"}
