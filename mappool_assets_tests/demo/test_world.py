"""A world is complete, true to its own pictures, built once, and never half."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, UnidentifiedImageError

from mappool_assets.demo.world import World, build_world, serve_images
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting, SourceUnavailable

TINY = {"training_per_class": 3, "shards": 1, "rows_per_shard": 4}


@pytest.fixture
def quick_encoder(monkeypatch):
    """Calibrate on as few drawings as the encoder's width allows: for worlds whose vectors do not matter."""
    monkeypatch.setattr("mappool_assets.demo.encoder._CALIBRATION_DRAWINGS", 70)


def pool_table(world: World) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted(world.pool.glob("*.parquet")))


def pool_vectors(world: World, member: str) -> np.ndarray:
    return np.concatenate([np.load(file)[member] for file in sorted(world.pool.glob("*.npz"))])


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_training_images_hold_both_classes_and_awkward_files(small_world):
    for label in ("map", "non_map"):
        files = list((small_world.training_images / label).iterdir())
        assert len(files) == 20 + 4
        unreadable = [file.stem for file in files if not is_readable(file)]
        assert sorted(unreadable) == ["cut_off", "notes"]
        assert len({file.read_bytes() for file in files}) == 23  # one is there twice


def is_readable(file) -> bool:
    try:
        with Image.open(file) as image:
            image.load()
    except (OSError, UnidentifiedImageError):
        return False
    return True


def test_pool_is_two_shards_with_blemishes(small_world):
    parquets = sorted(path.stem for path in small_world.pool.glob("*.parquet"))
    assert parquets == sorted(path.stem for path in small_world.pool.glob("*.npz"))
    assert len(parquets) == 2
    table = pool_table(small_world)
    assert table.num_rows == 120
    assert len(set(table["uid"].to_pylist())) == 120
    images = pool_vectors(small_world, "l14_img")
    assert np.isnan(images).any(axis=1).sum() == 4
    np.testing.assert_array_equal(np.isnan(images).any(axis=1), np.isnan(table["clip_l14_similarity_score"].to_numpy()))


def is_as_it_was(world, table, row):
    path = world.pool_images / urlparse(table["url"][row].as_py()).path[1:]
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == table["sha256"][row].as_py()


def test_a_part_of_the_pictures_is_gone_or_changed_since(small_world):
    table = pool_table(small_world)
    assert 1 <= sum(not is_as_it_was(small_world, table, row) for row in range(120)) <= 24


def test_pool_is_made_of_exactly_the_served_bytes(small_world):
    table, images = pool_table(small_world), pool_vectors(small_world, "l14_img")
    as_they_were = [row for row in range(120) if is_as_it_was(small_world, table, row)]
    encoder = ClipEncoder(model=small_world.encoder_model, device="cpu")
    with serve_images(small_world) as base_url:
        for row in (as_they_were[0], *as_they_were[50:52], as_they_were[-1]):
            url = table["url"][row].as_py()
            assert url.startswith(f"{base_url}/")
            with urllib.request.urlopen(url) as answer:
                content = answer.read()
            assert hashlib.sha256(content).hexdigest() == table["sha256"][row].as_py()
            with Image.open(small_world.pool_images / urlparse(url).path[1:]) as image:
                assert image.size == (table["original_width"][row].as_py(), table["original_height"][row].as_py())
                vector = encoder.embed_images([image.convert("RGB")])[0].astype(np.float32)
            if not np.isnan(images[row]).any():
                assert vector @ images[row] > 0.999


def test_scores_prove_that_rows_belong_together(small_world):
    table = pool_table(small_world)
    images, texts = (pool_vectors(small_world, f"l14_{part}").astype(np.float32) for part in ("img", "txt"))
    scores = table["clip_l14_similarity_score"].to_numpy()
    np.testing.assert_allclose((images * texts).sum(1), scores, atol=1e-3)
    shifted = (np.roll(images, 1, axis=0) * texts).sum(1)
    assert np.nanmean(np.abs(shifted - scores) > 0.01) > 0.5


def test_null_captions_come_up(tmp_path, monkeypatch, quick_encoder):
    monkeypatch.setattr("mappool_assets.demo.drawn_shard.NULL_TEXT_SHARE", 0.5)
    world = build_world(tmp_path / "world", training_per_class=1, shards=1, rows_per_shard=30)
    assert 5 < pool_table(world)["text"].null_count < 25


def test_the_env_file_says_the_settings(small_world):
    lines = small_world.env_file.read_text().splitlines()
    assert all(line.startswith("# ") for line in lines[::2])
    assert dict(line.split("=", 1) for line in lines[1::2]) == small_world.settings
    assert small_world.settings["MAPPOOL_POOL"] == str(small_world.pool)
    assert small_world.settings["MAPPOOL_ENCODER_PRETRAINED"] == ""


def test_the_env_file_can_be_sourced_from_a_folder_with_a_space(tmp_path, quick_encoder):
    world = build_world(tmp_path / "my maps" / "world", **TINY)
    shown = subprocess.run(
        ["bash", "-c", f"set -a; . {shlex.quote(str(world.env_file))}; env"],
        capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    environment = dict(line.split("=", 1) for line in shown.stdout.splitlines())
    assert world.settings.items() <= environment.items()


def test_a_second_call_does_nothing(small_world):
    before = {path: path.stat().st_mtime_ns for path in small_world.folder.rglob("*")}
    lines = []
    started = time.perf_counter()
    again = build_world(small_world.folder, training_per_class=20, shards=2, rows_per_shard=60, progress=lines.append)
    assert time.perf_counter() - started < 1
    assert again == small_world
    assert {path: path.stat().st_mtime_ns for path in small_world.folder.rglob("*")} == before
    assert len(lines) == 1
    assert "already built" in lines[0]


def test_same_parameters_same_world_wherever_it_lies(tmp_path, quick_encoder):
    one, other = (build_world(tmp_path / name / "world", **TINY) for name in ("a", "b"))
    different = build_world(tmp_path / "c" / "world", **TINY, seed=8)
    for part in ("training_images", "pool_images", "encoder"):
        assert contents(one.folder / part) == contents(other.folder / part)
        assert contents(one.folder / part) != contents(different.folder / part)
    rows, again = (repr(pool_table(world).drop_columns(["url"]).to_pylist()) for world in (one, other))
    assert rows == again
    np.testing.assert_array_equal(pool_vectors(one, "l14_img"), pool_vectors(other, "l14_img"))


def test_a_killed_build_leaves_no_world_and_the_next_one_succeeds(tmp_path, quick_encoder):
    folder = tmp_path / "world"
    code = (
        "import sys; from pathlib import Path; from mappool_assets.demo.world import build_world\n"
        "build_world(Path(sys.argv[1]), training_per_class=50, shards=1, rows_per_shard=200,"
        " progress=lambda line: print(line, flush=True))"
    )
    build = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    for line in build.stdout:
        if line.startswith("Drew"):
            break
    build.send_signal(signal.SIGKILL)
    build.wait()
    build.stdout.close()
    assert not folder.exists()
    assert (tmp_path / ".world.building").exists()
    world = build_world(folder, **TINY)
    assert pool_table(world).num_rows == 4
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_other_parameters_replace_the_world(tmp_path, quick_encoder):
    build_world(tmp_path / "world", **TINY)
    world = build_world(tmp_path / "world", **{**TINY, "rows_per_shard": 5})
    assert pool_table(world).num_rows == 5


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BadSetting, match="other files"):
        build_world(tmp_path, **TINY)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_taken_port_is_explained(small_world):
    expected = pytest.raises(SourceUnavailable, match="End the program")
    with serve_images(small_world), expected as caught, serve_images(small_world):
        pass
    assert str(small_world.port) in str(caught.value)


def test_the_server_shows_nothing_but_the_pictures(small_world):
    with serve_images(small_world) as base_url:
        for path in ("/0/99999.jpg", "/../demo.env", "/%2e%2e/demo.env"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(base_url + path)
