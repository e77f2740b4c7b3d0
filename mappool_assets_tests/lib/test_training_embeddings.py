import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib import training_embeddings as module
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.images import open_image
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.training_embeddings import CHUNKS, TRAINING_EMBEDDINGS, write_training_embeddings
from mappool_assets.lib.training_set import TRAINING_SET, TrainingSetSettings, write_training_set
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.labelled_pictures import write_classes
from mappool_assets_tests.tiny_clip import write_tiny_clip

FILE = Lake.table_path(TRAINING_EMBEDDINGS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(model):
    return ClipEncoder(model, device="cpu", batch_size=4)


@pytest.fixture
def source(tmp_path):
    return write_classes(tmp_path / "images")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 5)


def lake_of(folder, source):
    lake = Lake(str(folder))
    rules = FetchRules()
    write_training_set(lake, str(source), TrainingSetSettings(), fetch_rules=rules, progress=ignore)
    return lake


def ignore(done, total):
    """Show nothing."""


class Killed(Exception):
    """Stands for whatever ends a run half-way."""


def kill_after(calls):
    countdown = iter(range(calls))

    def progress(done, total):
        if next(countdown, None) is None:
            raise Killed

    return progress


def test_rows_are_the_training_sets_with_their_vectors(tmp_path, source, encoder):
    lake = lake_of(tmp_path / "lake", source)
    made_by = write_training_embeddings(lake, encoder, progress=ignore)
    table, images = lake.read_table(TRAINING_EMBEDDINGS), lake.read_table(TRAINING_SET)
    assert table.schema.names == ["sha256", "label", "is_map", "split", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 64)
    assert table.drop(["embedding"]).equals(images.select(["sha256", "label", "is_map", "split"]))
    expected = encoder.embed_images(open_image(image["bytes"].as_py()) for image in images["image"])
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    assert vectors.tobytes() == expected.tobytes()
    training_set_id = lake.provenance(TRAINING_SET).inputs["training_set_id"]
    assert made_by.inputs == {"training_set_id": training_set_id, "encoder_id": encoder.encoder_id, "code_version": "1"}
    assert lake.partitions(CHUNKS) == []


def test_progress_ends_at_the_number_of_images(tmp_path, source, encoder):
    calls = []
    lake = lake_of(tmp_path / "lake", source)
    write_training_embeddings(lake, encoder, progress=lambda *call: calls.append(call))
    assert calls == [(0, 24), (5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]


def test_nothing_is_done_twice(tmp_path, source, encoder, model):
    lake = lake_of(tmp_path / "lake", source)
    first = write_training_embeddings(lake, encoder, progress=ignore)
    idle = ClipEncoder(model, device="no such device")  # would fail if it were loaded
    assert write_training_embeddings(lake, idle, progress=ignore) == first


@pytest.mark.parametrize("calls", range(7))
def test_a_run_cut_short_anywhere_goes_on_to_the_same_bytes(tmp_path, source, encoder, calls):
    undisturbed = lake_of(tmp_path / "undisturbed", source)
    write_training_embeddings(undisturbed, encoder, progress=ignore)
    lake = lake_of(tmp_path / "lake", source)
    if calls < 6:
        with pytest.raises(Killed):
            write_training_embeddings(lake, encoder, progress=kill_after(calls))
        assert not lake.exists(FILE)
        assert len(lake.partitions(CHUNKS)) == calls
    reused = []
    write_training_embeddings(lake, encoder, progress=lambda done, total: reused.append(done))
    assert lake.read_bytes(FILE) == undisturbed.read_bytes(FILE)
    assert lake.partitions(CHUNKS) == []


def test_finished_chunks_are_read_not_embedded_again(tmp_path, source, encoder, model):
    lake = lake_of(tmp_path / "lake", source)
    with pytest.raises(Killed):
        write_training_embeddings(lake, encoder, progress=kill_after(5))
    assert len(lake.partitions(CHUNKS)) == 5, "all chunks are done, the table is not"
    write_training_embeddings(lake, ClipEncoder(model, device="no such device"), progress=ignore)
    assert lake.exists(FILE)


def test_chunks_left_by_a_kill_after_the_last_write_are_removed(tmp_path, source, encoder):
    lake = lake_of(tmp_path / "lake", source)
    with pytest.raises(Killed):
        write_training_embeddings(lake, encoder, progress=kill_after(2))
    left = {name: lake.read_table(CHUNKS, name) for name in lake.partitions(CHUNKS)}
    made_by = {name: lake.provenance(CHUNKS, name) for name in left}
    write_training_embeddings(lake, encoder, progress=ignore)
    for name, rows in left.items():
        lake.write_table(CHUNKS, rows, made_by[name], name)
    write_training_embeddings(lake, encoder, progress=ignore)
    assert lake.partitions(CHUNKS) == []


def test_added_images_alone_are_embedded(tmp_path, source, encoder):
    lake = lake_of(tmp_path / "lake", source)
    write_training_embeddings(lake, encoder, progress=ignore)
    write_classes(source, images_per_class=3, first_seed=500)
    lake = lake_of(tmp_path / "lake", source)
    calls = []
    write_training_embeddings(lake, encoder, progress=lambda *call: calls.append(call))
    assert calls[0] == (24, 30)
    fresh = lake_of(tmp_path / "fresh", source)
    write_training_embeddings(fresh, encoder, progress=ignore)
    assert lake.read_bytes(FILE) == fresh.read_bytes(FILE)


def test_another_encoder_takes_nothing_over(tmp_path, source, encoder):
    lake = lake_of(tmp_path / "lake", source)
    write_training_embeddings(lake, encoder, progress=ignore)
    before = lake.read_bytes(FILE)
    other = ClipEncoder(write_tiny_clip(tmp_path / "tiny", seed=1), device="cpu", batch_size=4)
    calls = []
    write_training_embeddings(lake, other, progress=lambda *call: calls.append(call))
    assert calls[0] == (0, 24)
    assert lake.read_bytes(FILE) != before


def test_without_a_training_set_there_is_nothing_to_embed(tmp_path, encoder):
    with pytest.raises(MissingInput, match="mappool/training_set"):
        write_training_embeddings(Lake(str(tmp_path)), encoder, progress=ignore)


EMBED = """
import sys, time
from mappool_assets.lib import training_embeddings
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.lake import Lake
training_embeddings.CHUNK_ROWS = 5
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.2)
encoder = ClipEncoder(sys.argv[2], device="cpu", batch_size=4)
training_embeddings.write_training_embeddings(Lake(sys.argv[1]), encoder, progress=progress)
"""


def test_a_process_killed_in_mid_run_loses_only_the_chunk_at_hand(tmp_path, source, model, encoder):
    lake = lake_of(tmp_path / "lake", source)
    program = [sys.executable, "-c", EMBED, str(tmp_path / "lake"), model]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= 10:
                break
        time.sleep(0.21)  # into the next chunk
        process.kill()
    assert not lake.exists(FILE)
    assert len(lake.partitions(CHUNKS)) >= 2
    write_training_embeddings(lake, encoder, progress=ignore)
    undisturbed = lake_of(tmp_path / "undisturbed", source)
    write_training_embeddings(undisturbed, encoder, progress=ignore)
    assert lake.read_bytes(FILE) == undisturbed.read_bytes(FILE)
