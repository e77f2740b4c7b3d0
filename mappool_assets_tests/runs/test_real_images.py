"""The whole graph on real maps and real other images, which nobody here made."""

import hashlib
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from mappool_assets.definitions import build_defs
from mappool_assets.defs.resources import resources_from
from mappool_assets.demo.commonpool import shard_key, shard_rows, write_shard
from mappool_assets.demo.encoder import write_encoder
from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.evaluation import accuracy_markdown
from mappool_assets.lib.images import open_image
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.range_server import serve
from mappool_assets_tests.runs.conftest import QUIET

IMAGES = Path(__file__).parents[2].parent / "shared" / "data" / "images"
KEY = shard_key("real images")

pytestmark = pytest.mark.skipif(not IMAGES.is_dir(), reason=f"no real images at {IMAGES}")


def write_pool(folder: Path, base_url: str, encoder: ClipEncoder) -> None:
    """Make a shard of the real images themselves, as if the pool had crawled them."""
    files = sorted(IMAGES.rglob("*.*"))
    images = [open_image(file.read_bytes()) for file in files]
    captions = [f"{file.parent.name} {file.stem}" for file in files]
    folder.mkdir()
    rows = shard_rows(
        uids=[shard_key(file.name) for file in files],
        urls=[f"{base_url}/{file.relative_to(IMAGES).as_posix()}" for file in files],
        texts=captions,
        sizes=np.array([image.size for image in images]),
        sha256s=[hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        l14_img=encoder.embed_images(images),
        l14_txt=encoder.embed_texts(captions),
        is_map=np.array([file.parent.name == "map" for file in files]),
    )
    write_shard(folder, KEY, rows)


def test_the_graph_on_real_images(tmp_path):
    encoder = ClipEncoder(write_encoder(tmp_path / "encoder", seed=7), device="cpu")
    lake = Lake(str(tmp_path / "lake"))
    with serve(IMAGES) as server, dg.DagsterInstance.ephemeral() as instance:
        write_pool(tmp_path / "pool", server.url, encoder)
        settings = {
            "MAPPOOL_LAKE": lake.root,
            "MAPPOOL_POOL": str(tmp_path / "pool"),
            "MAPPOOL_TRAINING_IMAGES": str(IMAGES),
            "MAPPOOL_ENCODER_MODEL": encoder.model,
            "MAPPOOL_PUBLISH_TO": str(tmp_path / "published"),
            "MAPPOOL_ALLOW_PRIVATE_ADDRESSES": "1",
            "MAPPOOL_DEVICE": "cpu",
        }
        defs = build_defs(**resources_from(settings))
        for job in ("train", "filter", "publish"):
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance, run_config=QUIET, partition_key=KEY if job == "filter" else None
            )
            checks = result.get_asset_check_evaluations()
            assert len(checks) >= 3
            assert [check.check_name for check in checks if not check.passed] == []
    evaluations = classifier_record(lake).evaluations
    print(accuracy_markdown(evaluations, chosen="svm_poly"))
    # A random encoder sees colours and edges, no maps; yet these images differ that much (measured: 0.74 to 0.94).
    assert all(evaluation.rows == 84 and evaluation.accuracy > 0.65 for evaluation in evaluations)
    assert max(evaluation.accuracy for evaluation in evaluations) > 0.85
    made = lake.provenance("mappool/shard_maps", KEY)
    assert made.rows_in == 220
    maps = lake.read_table("mappool/shard_maps", KEY)["text"].to_pylist()
    assert sum(text.startswith("map") for text in maps) > 0.75 * 110
    assert (tmp_path / "published" / f"part_{KEY[0]}" / f"{KEY}.parquet").is_file()
