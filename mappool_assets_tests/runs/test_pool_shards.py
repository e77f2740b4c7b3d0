"""What a listing of the pool tells people."""

import re
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from mappool_assets_tests.runs.conftest import platform_in

KEY = dg.AssetKey(["mappool", "pool_shards"])


@pytest.fixture
def platform(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield platform_in(tmp_path, instance)  # no classifier is needed


def test_the_listing_links_to_the_page_that_launches_all_shards_old_and_new(platform):
    known = {platform.add_shard(seed) for seed in (1, 2, 3)}
    assert platform.materialise("pool_shards").success
    known |= {platform.add_shard(seed) for seed in (4, 5)}
    assert platform.materialise("pool_shards").success

    latest = platform.instance.get_latest_materialization_event(KEY).asset_materialization
    text, link = re.fullmatch(r"\[(.*)\]\((.*)\)", latest.metadata["launch_all"].value).groups()
    address = urlsplit(link)
    (chosen,) = parse_qs(address.query)["default_range"]
    in_order = platform.instance.get_dynamic_partitions("pool_shard")  # as added, which is how ranges count
    assert text == "5 shards chosen"
    assert set(in_order) == known
    assert chosen == f"[{in_order[0]}...{in_order[-1]}]"
    assert address.path == "/assets/mappool/shard_maps"
