"""The images of shards as Dagster records them."""

import dagster as dg

from mappool_assets_tests.image_web import image_web
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.small_lake import A

MAP_IMAGES = dg.AssetKey(["mappool", "map_images"])


def test_only_the_run_that_fetched_them_shows_images(tmp_path):
    with image_web(tmp_path) as web, dg.DagsterInstance.ephemeral() as instance:
        web.write_maps(range(3))
        instance.add_dynamic_partitions("pool_shard", [A])
        settings = {"MAPPOOL_ALLOW_PRIVATE_ADDRESSES": "1", "MAPPOOL_SCRATCH": str(web.scratch)}
        platform = platform_in(tmp_path, instance, **settings)
        for _ in range(3):
            assert platform.materialise("map_images", shards=[A]).success
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
