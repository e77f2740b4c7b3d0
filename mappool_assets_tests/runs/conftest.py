"""A platform on synthetic shards, with a classifier: enough to run everything after training."""

import dataclasses
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from mappool_assets.definitions import build_defs
from mappool_assets.defs.resources import resources_from
from mappool_assets.defs.settings import SETTINGS
from mappool_assets.demo.commonpool import ShardRows, shard_key, synthetic_rows, write_shard
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.train_classifier import train

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Platform:
    folder: Path
    instance: dg.DagsterInstance
    defs: dg.Definitions
    lake: Lake

    def add_shard(self, seed: int, rows: int = 300) -> str:
        key = shard_key("runs", seed)
        self.write(key, synthetic_rows(rows, seed=seed, map_share=0.1))
        return key

    def write(self, key: str, rows: ShardRows) -> None:
        (self.folder / "pool").mkdir(exist_ok=True)
        write_shard(self.folder / "pool", key, rows)

    def spoil(self, key: str) -> bytes:
        """Cut a shard's npz in half; return what it was."""
        path = self.folder / "pool" / f"{key}.npz"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return content

    def materialise(self, *names: str, shards: list[str] | None = None, config: dict | None = None):
        """Run assets in this process, shard_maps over a range of partitions as a backfill's run does."""
        keys = [dg.AssetKey(["mappool", name]) for name in names]
        run_config = {**QUIET, **({"ops": {f"mappool__{names[0]}": {"config": config}}} if config else {})}
        tags = {}
        if shards:
            ordered = self.instance.get_dynamic_partitions("pool_shard")
            chosen = sorted(shards, key=ordered.index)
            tags = {"dagster/asset_partition_range_start": chosen[0], "dagster/asset_partition_range_end": chosen[-1]}
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance, run_config=run_config, asset_selection=keys, tags=tags, raise_on_error=False
        )

    def out_of_date(self) -> dict[tuple[str, str | None], list[str]]:
        """Return what the UI shows as out of date, by asset and partition, with the reasons."""
        graph = self.defs.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        found = {}
        for key in graph.get_all_asset_keys():
            partitions = graph.get(key).partitions_def
            for partition in self.instance.get_dynamic_partitions(partitions.name) if partitions else [None]:
                causes = resolver.get_stale_causes(key, partition)
                if causes:
                    found[key.path[-1], partition] = [cause.reason for cause in causes]
        return found


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A lake with a classifier, to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "lake"
    lake = Lake(str(folder))
    store_labelled_embeddings(lake)
    train(lake, "logistic_regression")
    return folder


@pytest.fixture
def platform(tmp_path, trained):
    shutil.copytree(trained, tmp_path / "lake")
    with dg.DagsterInstance.ephemeral() as instance:
        yield platform_in(tmp_path, instance)


def platform_in(folder: Path, instance: dg.DagsterInstance, **settings: str) -> Platform:
    environment = {
        **{name: setting.default for name, setting in SETTINGS.items()},
        "MAPPOOL_LAKE": str(folder / "lake"),
        "MAPPOOL_POOL": str(folder / "pool"),
        "MAPPOOL_PUBLISH_TO": str(folder / "published"),
        "MAPPOOL_WORKERS": "1",
        **settings,
    }
    lake = Lake(environment["MAPPOOL_LAKE"])
    return Platform(folder, instance, build_defs(**resources_from(environment)), lake)


def store_labelled_embeddings(lake: Lake) -> None:
    """Write training embeddings that live in the same space as ``synthetic_rows``."""
    rows = dataclasses.asdict(synthetic_rows(400, seed=99, map_share=0.5))
    vectors, is_map = rows["members"]["l14_img"], rows["is_map"]
    table = pa.table(
        {
            "sha256": sorted(hashlib.sha256(row.tobytes()).hexdigest() for row in vectors),
            "label": np.where(is_map, "map", "non_map"),
            "is_map": is_map,
            "split": np.where(np.arange(400) % 5 < 3, "training", "evaluation"),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    inputs = {"encoder_id": "synthetic", "training_set_id": "synthetic"}
    lake.write_table("mappool/training_embeddings", table, Provenance(inputs, 400, 400))
