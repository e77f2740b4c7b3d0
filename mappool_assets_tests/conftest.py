"""What many tests stand on: a small world and synthetic shards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mappool_assets.demo.commonpool import ShardRows, shard_key, synthetic_rows, write_shard
from mappool_assets.demo.world import World, build_world
from mappool_assets_tests.hub_double import WRITE, HubDouble, without_xet

settings.register_profile("no clock", deadline=None)  # a busy machine is no failure
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> World:
    """A world of 2 × 20 labelled drawings and 2 shards of 60 rows, one for each xdist worker; not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "world"
    return build_world(folder, training_per_class=20, shards=2, rows_per_shard=60)


@pytest.fixture
def synthetic_shard(tmp_path) -> Callable[..., tuple[Path, Path, ShardRows]]:
    """Write a synthetic shard into ``tmp_path/pool``; returns its parquet, its npz and its rows."""

    def write(n: int = 200, seed: int = 0, map_share: float = 0.1, change: Callable = lambda rows: rows):
        rows = change(synthetic_rows(n, seed, map_share))
        (tmp_path / "pool").mkdir(exist_ok=True)
        return *write_shard(tmp_path / "pool", shard_key("synthetic", seed), rows), rows

    return write


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[HubDouble]:
    """A Hub on loopback without Xet, to which this process may write."""
    without_xet(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", WRITE)
    with HubDouble(tmp_path) as hub:
        yield hub
