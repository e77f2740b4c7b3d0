import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mappool_assets.lib import training_set as module
from mappool_assets.lib.errors import BadTrainingSet
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.training_set import DROPPED, TRAINING_SET, TrainingSetSettings, write_training_set
from mappool_assets.lib.training_set_rules import (
    EVALUATION,
    TRAINING,
    MeasuredImage,
    drop_near_duplicates_across_labels,
    drop_near_duplicates_across_splits,
    drop_same_bytes,
    split_of,
)
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.labelled_pictures import encoded, picture, write_classes
from mappool_assets_tests.loopback_server import running

REAL_IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"


def write(lake_folder, source, settings=None, progress=lambda done, total: None, **rules):
    lake = Lake(str(lake_folder))
    settings = settings or TrainingSetSettings()
    counts = write_training_set(lake, str(source), settings, fetch_rules=FetchRules(**rules), progress=progress)
    return lake, counts


def digest(data):
    return hashlib.sha256(data).hexdigest()


def seed_in(split, start=0):
    """Return the first seed whose picture falls into a split."""
    return next(seed for seed in range(start, start + 100) if split_of(digest(encoded(picture(seed))), 0.6) == split)


def test_a_row_is_a_labelled_image(tmp_path):
    source = write_classes(tmp_path / "images")
    lake, counts = write(tmp_path / "lake", source)
    rows = lake.read_table(TRAINING_SET).to_pylist()
    assert [row["sha256"] for row in rows] == sorted(row["sha256"] for row in rows)
    assert len(rows) == 24
    for row in rows:
        data = (source / row["name"]).read_bytes()
        assert row["image"] == {"bytes": data, "path": Path(row["name"]).name}
        assert row["sha256"] == digest(data)
        assert row["label"] == row["name"].split("/")[0]
        assert row["is_map"] == (row["label"] == "map")
        assert row["split"] == split_of(row["sha256"], 0.6)
        assert (row["width"], row["height"]) == (48, 40)
    assert sum(sum(by_split.values()) for by_split in counts.images.values()) == 24
    assert counts.provenance == lake.provenance(TRAINING_SET)
    assert lake.read_table(DROPPED).num_rows == 0


def test_the_same_source_gives_the_same_bytes(tmp_path, monkeypatch):
    source = write_classes(tmp_path / "images")
    first, _ = write(tmp_path / "a", source)
    monkeypatch.setattr(module, "READERS", 1)
    second, _ = write(tmp_path / "b", source)
    for table in (TRAINING_SET, DROPPED):
        path = Lake.table_path(table)
        assert first.read_bytes(path) == second.read_bytes(path)


def test_the_id_follows_the_content_not_the_names(tmp_path):
    source = write_classes(tmp_path / "images")
    _, before = write(tmp_path / "a", source)
    (source / "map" / "00000.png").rename(source / "map" / "renamed.png")
    _, renamed = write(tmp_path / "b", source)
    (source / "map" / "more.png").write_bytes(encoded(picture(500)))
    _, added = write(tmp_path / "c", source)
    assert before.training_set_id == renamed.training_set_id != added.training_set_id


def test_every_reason_is_counted_and_kept_with_what_is_kept_makes_up_the_source(tmp_path):
    source = write_classes(tmp_path / "images")
    in_training, in_evaluation = seed_in(TRAINING, 700), seed_in(EVALUATION, 800)
    table = ["path,label"] + [f"{file},{file.parent.name}" for file in sorted(source.rglob("*.png"))]

    def add(name, label, data):
        (source / name).write_bytes(data)
        table.append(f"{source / name},{label}")

    add("broken", "map", b"<html>")
    add("small", "map", encoded(picture(900, 31, 40)))
    add("huge", "map", encoded(Image.new("L", (400, 400))))
    add("twice-1", "photo", encoded(picture(901)))
    add("twice-2", "photo", encoded(picture(901)))
    add("both-1", "map", encoded(picture(902)))
    add("both-2", "photo", encoded(picture(902)))
    add("alike-1", "map", encoded(picture(903)))
    add("alike-2", "photo", encoded(picture(903), "BMP"))
    add("trained", "map", encoded(picture(in_training)))
    other_bytes = next(
        data
        for quality in range(80, 100)
        if split_of(digest(data := jpeg(picture(in_training), quality)), 0.6) == EVALUATION
    )
    add("leaked", "map", other_bytes)
    add("evaluated", "map", encoded(picture(in_evaluation)))
    table.append("gone.png,map")
    with running() as server:
        table.append(f"{server.url}/missing.png,map")
        table.append(f"{server.serve('/there.png', encoded(picture(904)))},map")
        (tmp_path / "table.csv").write_text("\n".join(table))
        settings = TrainingSetSettings(max_pixels=100_000)
        lake, counts = write(tmp_path / "lake", tmp_path / "table.csv", settings, allow_private_addresses=True)
    assert counts.provenance.rows_dropped == {
        "conflicting_label_sha256": 2,
        "duplicate_sha256": 1,
        "http_404": 1,
        "near_duplicate_across_labels": 2,
        "near_duplicate_across_splits": 1,
        "not_an_image": 1,
        "too_many_pixels": 1,
        "too_small": 1,
        "unreadable": 1,
    }
    assert counts.provenance.rows_in == len(table) - 1
    assert counts.provenance.rows_in == counts.provenance.rows_kept + sum(counts.provenance.rows_dropped.values())
    dropped = {(Path(row["name"]).name, row["reason"]) for row in lake.read_table(DROPPED).to_pylist()}
    assert {("twice-2", "duplicate_sha256"), ("leaked", "near_duplicate_across_splits")} <= dropped
    kept = {Path(name).name for name in lake.read_table(TRAINING_SET)["name"].to_pylist()}
    assert {"twice-1", "trained", "evaluated", "there.png"} <= kept


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def test_a_source_that_leaves_a_split_empty_is_an_error_and_leaves_the_earlier_tables(tmp_path):
    lake, counts = write(tmp_path / "lake", write_classes(tmp_path / "good"))
    write_classes(tmp_path / "few", images_per_class=1)
    with pytest.raises(BadTrainingSet, match="Too few labelled images") as caught:
        write(tmp_path / "lake", tmp_path / "few")
    assert "'evaluation': 0" in caught.value.got or "'training': 0" in caught.value.got
    assert lake.provenance(TRAINING_SET) == counts.provenance


def test_progress_counts_every_image_once(tmp_path):
    calls = []
    write(tmp_path / "lake", write_classes(tmp_path / "images"), progress=lambda *call: calls.append(call))
    assert calls == [(done, 24) for done in range(25)]


def test_row_groups_are_small_in_rows_and_bytes(tmp_path, monkeypatch):
    source = write_classes(tmp_path / "images")
    size = max(file.stat().st_size for file in source.rglob("*.png"))
    for rows, size_bytes, expected in ((5, 10**9, 5), (100, 3 * size, 3), (100, 1, 1)):
        monkeypatch.setattr(module, "ROW_GROUP_ROWS", rows)
        monkeypatch.setattr(module, "ROW_GROUP_BYTES", size_bytes)
        lake, _ = write(tmp_path / f"lake-{rows}-{size_bytes}", source)
        with lake.open_table(TRAINING_SET) as file:
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        assert sum(counts) == 24
        assert expected <= max(counts) <= expected + 1


# -- the split ------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=30), st.sets(st.integers(0, 10_000), max_size=30))
def test_adding_images_moves_none_between_splits(numbers, more):
    def measured(numbers):
        hashes = [digest(str(number).encode()) for number in sorted(numbers)]
        images = [measured_image(sha256, phash=2**20 * int(sha256[:8], 16)) for sha256 in hashes]
        kept, _ = drop_near_duplicates_across_splits(drop_same_bytes(images)[0], 0)
        return {image.sha256: image.split for image in kept}

    before, after = measured(numbers), measured(numbers | more)
    assert before.items() <= after.items()


@pytest.mark.parametrize("share", [0.6, 0.25])
def test_shares_are_near_what_is_asked_in_every_class(share):
    for label in ("map", "photo"):
        splits = [split_of(digest(f"{label}{number}".encode()), share) for number in range(5000)]
        standard_error = np.sqrt(share * (1 - share) / 5000)
        assert abs(splits.count(TRAINING) / 5000 - share) < 4 * standard_error


def test_the_split_of_an_image_never_changes_between_versions():
    splits = [split_of(digest(bytes([number])), 0.6) for number in range(16)]
    assert "".join(split[0] for split in splits) == "teteteteeeetttte"


# -- rules against the slow formula -----------------------------------------------------------------------------


def measured_image(sha256, *, is_map=True, phash=0, name="", split=None):
    split = split or split_of(sha256, 0.6)
    return MeasuredImage(sha256, name, "map" if is_map else "x", is_map, split, 1, 1, np.uint64(phash), 1)


some_images = st.lists(
    st.tuples(st.booleans(), st.sampled_from([TRAINING, EVALUATION]), st.integers(0, 63)), max_size=15
).map(
    lambda rows: [
        measured_image(f"{n:064x}", is_map=is_map, split=split, phash=phash)
        for n, (is_map, split, phash) in enumerate(rows)
    ]
)


@given(some_images, st.integers(0, 3))
def test_near_duplicates_are_those_of_the_slow_formula(images, distance):
    def near(a, b):
        return bin(int(a.phash) ^ int(b.phash)).count("1") <= distance

    kept, dropped = drop_near_duplicates_across_labels(images, distance)
    assert kept == [a for a in images if not any(near(a, b) and a.is_map != b.is_map for b in images)]
    assert len(kept) + len(dropped) == len(images)

    kept, dropped = drop_near_duplicates_across_splits(images, distance)
    trained = [image for image in images if image.split == TRAINING]
    assert kept == [a for a in images if a.split == TRAINING or not any(near(a, b) for b in trained)]
    assert len(kept) + len(dropped) == len(images)


# -- real images ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
def test_the_real_images(tmp_path):
    lake, counts = write(tmp_path / "lake", REAL_IMAGES)
    assert counts.provenance.rows_in == 220
    assert counts.provenance.rows_kept >= 200
    assert set(counts.provenance.rows_dropped) == {"near_duplicate_across_splits"}
    for by_split in counts.images.values():
        assert 0.5 < by_split[TRAINING] / sum(by_split.values()) < 0.7
    table = pq.read_table(lake.url(Lake.table_path(TRAINING_SET)))
    maps, others = (table.filter(table["is_map"] if is_map else pc_not(table["is_map"])) for is_map in (True, False))
    distances = np.bitwise_count(maps["phash"].to_numpy()[:, None] ^ others["phash"].to_numpy())
    assert distances.min() >= 12, "the reason given for the distance of 4"


def pc_not(column):
    import pyarrow.compute as pc

    return pc.invert(column)
