"""Pairs of image and text, each once: as the slow and obvious way finds them, every other one with its reason."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation import pair_rows, unique_pairs
from mappool_assets.lib.curation.balanced_pool import TABLE as PAIRS
from mappool_assets.lib.curation.matches import MatchSettings
from mappool_assets.lib.curation.unique_pairs import FETCHED, LISTED, TABLE, PairSettings, find_unique_pairs
from mappool_assets.lib.duplicates.unique_images import find_unique_images
from mappool_assets.lib.duplicates.unique_table import TABLE as IMAGES
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.map_images.image_task import BALANCED_POOL
from mappool_assets_tests.image_web import image_web
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_curation import (
    balance,
    compiled_folder,
    match_and_count,
    use_compiled,
    write_balanced,
    write_entries,
)
from mappool_assets_tests.small_images import flat_png, write_images, write_unique_images
from mappool_assets_tests.small_lake import A, B, C, folder_bytes, shard_key, write_maps

OF_POOL = {"texts": {"parquet_version": "1"}}


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


def pair(uid, text="a map", sha256=None, **columns):
    return {"uid": uid, "text": text, "sha256": sha256, **columns}


def write_pool_pairs(lake, shards):
    for shard, pairs in shards.items():
        write_balanced(lake, shard, pairs, inputs=OF_POOL)


def kept(lake):
    return {row["uid"]: row for row in lake.read_table(TABLE).to_pylist()}


def assert_accounted(lake, made):
    rows = [(row["shard"], row["uid"]) for row in lake.read_table(TABLE).to_pylist()]
    assert rows == sorted(rows)
    assert made.rows_in == sum(lake.read_table(PAIRS, shard).num_rows for shard in lake.partitions(PAIRS))
    assert made.rows_in == made.rows_kept + sum(made.rows_dropped.values())
    assert made.rows_kept == len(rows)


def assert_the_checks_hold(lake):
    assert sql_files.run(lake, "checks/rows_accounted", table=TABLE).num_rows == 0
    for check in sql_files.names("checks"):
        if check.startswith("checks/unique_pairs"):
            assert sql_files.run(lake, check).to_pylist() == [], check


# -- the slow and obvious way -----------------------------------------------------------------------------------------


def draw_of(seed, what, uid):
    return int.from_bytes(hashlib.md5(f"{seed}:{what}:{uid}".encode()).digest(), "little")


def slow(shards, chosen, images=None):
    """Return what becomes of every row: by shard and row: a reason, or its image and whether it is its text."""
    rows = [(shard, row, pair) for shard in sorted(shards) for row, pair in enumerate(shards[shard])]
    named = {(shard, pair["uid"]): pair for shard, _, pair in reversed(rows)}  # by the first row of each uid
    fates, image_of, met = {}, {}, set()
    for shard, row, of_row in rows:
        own, sha256 = (shard, of_row["uid"]), (of_row["sha256"] or "").lower()
        if images is not None:
            image_of[shard, row] = images.get(own)
        elif not sha256:
            image_of[shard, row] = own
        else:
            same = [(uid, s) for (s, uid), p in named.items() if (p["sha256"] or "").lower() == sha256]
            image_of[shard, row] = min(same, default=own)[::-1]
        if own in met:
            fates[shard, row] = "repeated_uid"
        elif image_of[shard, row] is None:
            fates[shard, row] = "no_image"
        met.add(own)
    left = [each for each in rows if each[:2] not in fates]

    def keep(left, reason, group, order, most):
        groups = {}
        for each in sorted(left, key=order):
            groups.setdefault(group(each), []).append(each)
        for members in groups.values():
            fates.update({each[:2]: reason for each in members[most:]})
        return [each for members in groups.values() for each in members[:most]]

    def by_draw(what):
        return lambda each: (draw_of(chosen.seed, what, each[2]["uid"]), each[2]["uid"], each[0])

    left = keep(
        left,
        "duplicate_pair",
        lambda each: (image_of[each[:2]], each[2]["text"]),
        lambda each: (image_of[each[:2]] != (each[0], each[2]["uid"]), each[2]["uid"], each[0]),
        1,
    )
    left = keep(left, "repeated_text", lambda each: each[2]["text"], by_draw("text"), chosen.text_copies or len(rows))
    of_images = dict(fates)
    firsts = keep(left, "", lambda each: image_of[each[:2]], by_draw("image"), 1)
    return of_images | {each[:2]: (*image_of[each[:2]], each in firsts) for each in left}


def assert_as_the_slow_way(lake, shards, chosen, made, images=None):
    fates = slow(shards, chosen, images)
    wanted = {}
    for (shard, row), fate in fates.items():
        if not isinstance(fate, str):
            columns = {name: shards[shard][row][name] for name in ("uid", "text", "sha256")}
            image = dict(zip(("image_shard", "image_uid", "is_image_text"), fate, strict=True))
            wanted[shard, columns["uid"]] = {"shard": shard, **columns, **image}
    found = lake.read_table(TABLE).to_pylist()
    names = ("shard", "uid", "text", "sha256", "image_shard", "image_uid", "is_image_text")
    assert {(row["shard"], row["uid"]): {name: row[name] for name in names} for row in found} == wanted
    assert made.rows_dropped == Counter(fate for fate in fates.values() if isinstance(fate, str))
    assert made.measures["images"] == len({(row["image_shard"], row["image_uid"]) for row in found})
    assert_accounted(lake, made)


UIDS = st.sampled_from(["a", "b", "c", "d", "ä", "中", "B", "0"])
TEXTS_DRAWN = st.sampled_from(["", "map", "Map", "a map", "ä\u0308"])
ROWS = st.builds(pair, UIDS, TEXTS_DRAWN, st.sampled_from([None, "", "0a", "0A", "1", "2"]))
SHARDS = st.dictionaries(st.sampled_from([A, B, C]), st.lists(ROWS, max_size=12), min_size=1)
CHOSEN = {"text_copies": st.integers(0, 3), "seed": st.integers(-1, 2**40)}


@settings(max_examples=15, deadline=None)
@given(shards=SHARDS, chosen=st.builds(PairSettings, st.just(LISTED), **CHOSEN))
def test_any_pairs_of_listed_images(shards, chosen):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        write_pool_pairs(lake, shards)
        made = find_unique_pairs(lake, Path(folder), chosen, threads=1)
        assert_as_the_slow_way(lake, shards, chosen, made)


@settings(max_examples=15, deadline=None)
@given(shards=SHARDS, chosen=st.builds(PairSettings, st.just(FETCHED), **CHOSEN), data=st.data())
def test_any_pairs_of_fetched_images(shards, chosen, data):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        write_pool_pairs(lake, shards)
        known = [(shard, uid) for shard in (A, B, C, shard_key("d")) for uid in ("a", "b", "c", "ä", "中", "0")]
        images = data.draw(st.dictionaries(st.sampled_from(known), st.sampled_from(known[:8]), max_size=20))
        images |= {representative: representative for representative in images.values()}
        write_compared(lake, images)
        made = find_unique_pairs(lake, Path(folder), chosen, threads=1)
        assert_as_the_slow_way(lake, shards, chosen, made, images)


def write_compared(lake, images):
    """Write `unique_images` that attaches images to others, as made from the images and maps that there are."""
    write_maps(lake, shard_key("e"), 1)
    write_images(lake, shard_key("e"))
    groups = {image: [(*image, None)] for image, representative in images.items() if image == representative}
    for image, representative in images.items():
        if image != representative:
            groups[representative].append((*image, "exact"))
    write_unique_images(lake, list(groups.values()))
    sources = fingerprint({"rows": sql_files.run(lake, "steps/image_fingerprints").to_pylist()})
    made = dataclasses.replace(lake.provenance(IMAGES), inputs={"sources": sources, "images": str(images)})
    lake.write_table(IMAGES, lake.read_table(IMAGES), made, is_ledger=True)


# -- by the images that were fetched ----------------------------------------------------------------------------------


def write_fetched(lake):
    """Two shards of maps with images: A's first two and B's first look the same, A's third was not fetched."""
    write_maps(lake, A, 4, columns={"uid": ["a0", "a1", "a2", "a3"]})
    write_maps(lake, B, 2, columns={"uid": ["b0", "b1"]})
    far = [0x0F0F_0F0F_0F0F_0F0F ^ (0xFFFF << 16 * n) for n in range(4)]
    hashes, sizes = {A: [far[0], far[0], None, far[1]], B: [far[0], far[2]]}, {A: [9, 8, None, 7], B: [6, 5]}
    for shard, statuses, first in ((A, ["ok", "ok", "http_404", "ok"], 0), (B, ["ok", "ok"], 10)):
        mirrored = [found and found ^ far[3] for found in hashes[shard]]
        columns = {"perceptual_hash": hashes[shard], "perceptual_hash_mirrored": mirrored, "bytes": sizes[shard]}
        write_images(lake, shard, statuses, columns=columns, image=lambda row, first=first: flat_png(first + row))


TEXTS = {"a0": "old", "a1": "old", "a2": "lost", "a3": "a map", "b0": "new", "b1": "a map"}


def write_fetched_pairs(lake, uids=TEXTS):
    for shard, first in ((A, "a"), (B, "b")):
        write_balanced(lake, shard, [pair(uid, TEXTS[uid]) for uid in uids if uid.startswith(first)])


def test_images_that_look_the_same_are_one(lake, scratch):
    write_fetched(lake)
    find_unique_images(lake, scratch)
    write_fetched_pairs(lake)
    made = find_unique_pairs(lake, scratch)
    rows = kept(lake)
    assert made.rows_dropped == {"no_image": 1, "duplicate_pair": 1, "repeated_text": 1}
    assert {"a0", "b0"} < rows.keys(), "the same image with different texts; a1 has the text of a0, whose image is kept"
    assert len(rows.keys() & {"a3", "b1"}) == 1, "different images of one text"
    assert {(row["image_shard"], row["image_uid"]) for uid, row in rows.items() if uid in ("a0", "b0")} == {(A, "a0")}
    assert sorted(rows[uid]["is_image_text"] for uid in ("a0", "b0")) == [False, True]
    maps = {shard: lake.provenance("mappool/shard_maps", shard).fingerprint for shard in (A, B)}
    assert made.inputs["shard_maps"] == maps
    assert made.inputs["unique_images"] == lake.provenance(IMAGES).fingerprint
    assert_accounted(lake, made)
    assert_the_checks_hold(lake)
    assert list(scratch.iterdir()) == []


def test_an_image_whose_own_pair_was_not_drawn_is_still_named_after_itself(lake, scratch):
    write_fetched(lake)
    find_unique_images(lake, scratch)
    write_fetched_pairs(lake, ["a1", "b0"])
    find_unique_pairs(lake, scratch)
    assert {uid: (row["image_shard"], row["image_uid"]) for uid, row in kept(lake).items()} == {
        "a1": (A, "a0"),
        "b0": (A, "a0"),
    }


def test_images_or_maps_of_which_unique_images_knows_nothing_are_refused(lake, scratch):
    write_fetched(lake)
    write_fetched_pairs(lake)
    with pytest.raises(MissingInput, match="The images have not been compared"):
        find_unique_pairs(lake, scratch)
    find_unique_images(lake, scratch)
    find_unique_pairs(lake, scratch)
    write_maps(lake, C, 1)
    write_images(lake, C)
    with pytest.raises(SourceChanged, match="since the images were compared"):
        find_unique_pairs(lake, scratch)
    find_unique_images(lake, scratch)
    find_unique_pairs(lake, scratch)
    assert find_unique_pairs(lake, scratch, PairSettings(LISTED)).rows_dropped.get("no_image") is None


def test_pairs_of_maps_that_were_filtered_again_are_refused(lake, scratch):
    write_maps(lake, A, 3)
    write_balanced(lake, A, [pair("a")])
    write_balanced(lake, B, [pair("b")], inputs=OF_POOL)
    find_unique_pairs(lake, scratch, PairSettings(LISTED))
    write_maps(lake, A, 4, seed=1)
    for _ in range(2):
        with pytest.raises(SourceChanged, match=f"filtered again since they were balanced.*{A}"):
            find_unique_pairs(lake, scratch, PairSettings(LISTED))
        lake.delete(Lake.table_path("mappool/shard_maps", A))
    write_balanced(lake, A, [pair("a")], inputs=OF_POOL)
    assert find_unique_pairs(lake, scratch, PairSettings(LISTED)).inputs["shard_maps"] == {}


def test_a_row_whose_uid_was_there_before_names_no_image(lake, scratch):
    """Else the images of a's two rows, which are different ones, would both be called a."""
    shown = [("a", "one", "1"), ("a", "two", "2"), ("b", "one", "2"), ("c", "three", "2"), ("0", "four", None)]
    again = [("0", "five", "3"), ("d", "four", "3")]
    write_pool_pairs(lake, {A: [pair(*each) for each in (*shown, *again)]})
    made = find_unique_pairs(lake, scratch, PairSettings(LISTED, text_copies=0))
    assert made.rows_dropped == {"repeated_uid": 2}
    assert {uid: row["image_uid"] for uid, row in kept(lake).items()} == {
        "0": "0",
        "a": "a",
        "b": "b",
        "c": "b",
        "d": "d",
    }
    assert_the_checks_hold(lake)


def test_images_that_were_asked_for_by_an_earlier_draw_are_refused(tmp_path, tmp_path_factory, scratch):
    """Pairs of the new draw whose images nobody has asked for yet would be dropped as if they had not come."""
    use_compiled(tmp_path_factory)
    matching = MatchSettings(compiled=compiled_folder(tmp_path_factory))
    with image_web(tmp_path) as web:
        write_entries(web.lake, ["map"])
        web.write_maps(range(8), text=[f"a map {number}" for number in range(8)])
        match_and_count(web.lake, [A], matching)
        for t in (2, 8):
            balance(web.lake, [A], matching, t=t)
            if t == 8:
                with pytest.raises(SourceChanged, match=r"balanced again since the images.*Materialise map_images"):
                    find_unique_pairs(web.lake, scratch)
                assert find_unique_pairs(web.lake, scratch, PairSettings(LISTED)).rows_kept == 8
            web.fetch(images_of=BALANCED_POOL)
            find_unique_images(web.lake, scratch)
            made = find_unique_pairs(web.lake, scratch)
            assert made.rows_kept == made.rows_in == web.lake.read_table(PAIRS, A).num_rows
        assert made.rows_kept == 8


def test_shards_of_different_entries_are_refused_and_different_draws_are_told(lake, scratch):
    write_pool_pairs(lake, {A: [pair("a")], B: [pair("b", "b")]})
    write_balanced(lake, C, [pair("c", "c")], inputs={**OF_POOL, "t": 10.0, "seed": 3, "entry_counts": "later"})
    made = find_unique_pairs(lake, scratch, PairSettings(LISTED))
    assert made.measures["first_passes"] == [
        {"t": 10.0, "seed": 3, "entry_counts": "later", "shards": 1},
        {"t": 170_000.0, "seed": 0, "entry_counts": "counts", "shards": 2},
    ]
    assert made.measures["shards"] == 3
    assert made.inputs["rule"] == lake.provenance(PAIRS, A).inputs["rule"]
    write_balanced(lake, B, [pair("b")], inputs={**OF_POOL, "rule": {"entries_sha256": "another"}})
    with pytest.raises(SourceChanged, match=f"different entries.*{B}"):
        find_unique_pairs(lake, scratch, PairSettings(LISTED))


def test_from_captions_to_unique_pairs(tmp_path, tmp_path_factory, scratch):
    """All steps between: of 12 maps some are drawn, their images alone fetched, and one of these does not come."""
    use_compiled(tmp_path_factory)
    matching = MatchSettings(compiled=compiled_folder(tmp_path_factory))
    with image_web(tmp_path) as web:
        write_entries(web.lake, ["map", "old"])
        texts = [f"old map {number}" if number % 3 else f"map {number % 2}" for number in range(12)]
        web.write_maps(range(12), text=texts)
        match_and_count(web.lake, [A], matching)
        (report,) = balance(web.lake, [A], matching, t=6)
        drawn = {row["uid"]: row for row in web.lake.read_table(PAIRS, A).to_pylist()}
        assert 4 < len(drawn) == report.rows_kept < 12
        web.busy = {int(min(drawn), 16)}
        web.fetch(images_of=BALANCED_POOL)
        assert web.asked() == sorted(int(uid, 16) for uid in drawn)
        find_unique_images(web.lake, scratch)
        made = find_unique_pairs(web.lake, scratch, PairSettings(text_copies=0))
        rows = kept(web.lake)
        assert rows.keys() == drawn.keys() - {min(drawn)}, "pictures that are all different"
        assert made.rows_dropped == {"no_image": 1}
        for uid, row in rows.items():
            assert row.items() > {name: drawn[uid][name] for name in ("url", "text", "first_p")}.items()
            assert row["entries"] == drawn[uid]["entries"]
        assert made.inputs["rule"] == web.lake.provenance("curation/entry_counts").inputs["rule"]
        assert_accounted(web.lake, made)
        assert_the_checks_hold(web.lake)


# -- whatever the way -------------------------------------------------------------------------------------------------


def many_pairs(count, seed=8):
    draw = random.Random(seed)
    return [
        pair(
            f"{draw.getrandbits(128):032x}",
            f"map {int(draw.paretovariate(0.7))}",
            draw.choice([None, "", *(f"{n:064x}" for n in range(count // 2))]),
            url=draw.choice([None, "https://maps.example/1.png"]),
            first_p=draw.random(),
            entries=sorted(draw.sample(range(50), draw.randint(1, 9))),
        )
        for _ in range(count)
    ]


def test_it_does_not_matter_to_which_shards_pairs_are_dealt(tmp_path, scratch):
    pairs, results = many_pairs(400), []
    for count in (1, 3, 7):
        lake = Lake(str(tmp_path / f"in-{count}"))
        write_pool_pairs(lake, {shard_key("abcdef"[n % 6], n): pairs[n::count] for n in range(count)})
        made = find_unique_pairs(lake, scratch, PairSettings(LISTED, text_copies=2))
        assert_accounted(lake, made)
        assert_the_checks_hold(lake)
        names = ("uid", "url", "text", "sha256", "entries", "first_p", "image_uid", "is_image_text")
        rows = {uid: {name: row[name] for name in names} for uid, row in kept(lake).items()}
        results.append((rows, made.rows_dropped, made.measures["images"]))
    assert results[0] == results[1] == results[2]
    assert {"duplicate_pair", "repeated_text"} <= results[0][1].keys()
    of_uid = {each["uid"]: each for each in pairs}
    for uid, row in results[0][0].items():
        assert row == {**row, **of_uid[uid]}


def test_threads_memory_batches_and_row_groups_change_no_row(tmp_path, scratch, monkeypatch):
    pairs, chosen = many_pairs(500), PairSettings(LISTED)
    lake = Lake(str(tmp_path / "lake"))
    write_pool_pairs(lake, {A: pairs[:200], B: [], C: pairs[200:]})
    find_unique_pairs(lake, scratch, chosen)
    before, rows = folder_bytes(Path(lake.root)), lake.read_table(TABLE)
    find_unique_pairs(lake, scratch, chosen, force=True, memory="64MB", threads=1)
    assert folder_bytes(Path(lake.root)) == before
    for name, value in (("BATCH_ROWS", 7), ("TAKEN_ROWS", 3)):
        monkeypatch.setattr(unique_pairs, name, value)
    monkeypatch.setattr(pair_rows, "BATCH_ROWS", 11)
    find_unique_pairs(lake, scratch, chosen, force=True)
    assert folder_bytes(Path(lake.root)) == before, "also row groups are the same"
    monkeypatch.setattr(unique_pairs, "GROUP_ROWS", 5)
    for shard, some in ((A, pairs[:200]), (C, pairs[200:])):
        write_balanced(lake, shard, some, inputs=OF_POOL, rows_a_group=13)
    find_unique_pairs(lake, scratch, chosen, force=True)
    assert lake.read_table(TABLE) == rows


def test_a_seed_chooses_the_texts_and_no_image_is_preferred(lake, scratch):
    """Of two images of one text each is kept for half of the seeds, and of two texts of one image each is its text."""
    same_text = [pair(f"t{number}", f"text {number // 2}", f"{number}") for number in range(400)]
    same_image = [pair(f"i{number}", f"other {number}", f"i{number // 2}") for number in range(400)]
    write_pool_pairs(lake, {A: same_text + same_image})
    chosen = []
    for seed in (0, 1):
        find_unique_pairs(lake, scratch, PairSettings(LISTED, seed=seed))
        rows = kept(lake)
        chosen.append({uid for uid, row in rows.items() if uid.startswith("t") or row["is_image_text"]})
    for uids in (*chosen, chosen[0] & chosen[1]):
        for first in ("t", "i"):
            of_kind = [int(uid[1:]) for uid in uids if uid.startswith(first)]
            share = np.mean([number % 2 for number in of_kind])
            assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(of_kind))
    assert all(len(uids) == 400 for uids in chosen)
    assert 150 < len(chosen[0] & chosen[1]) < 250


def test_a_lake_in_a_bucket(tmp_path, scratch):
    local, pairs = Lake(str(tmp_path / "lake")), many_pairs(30)
    images = {(shard, each["uid"]): (A, pairs[0]["uid"]) for shard in (A, B) for each in pairs[:9]}
    with serve_s3("lake") as endpoint:
        bucket = Lake("s3://lake/deep", endpoint)
        for lake in (local, bucket):
            write_pool_pairs(lake, {A: pairs[:10], B: pairs[5:]})
            write_compared(lake, images)
            made = find_unique_pairs(lake, scratch)
        assert made.rows_kept > 3
        assert bucket.read_bytes(Lake.table_path(TABLE)) == local.read_bytes(Lake.table_path(TABLE))


# -- what is done, missing or changing --------------------------------------------------------------------------------


def test_what_is_done_is_recognised_and_what_changed_is_done_again(lake, scratch, monkeypatch):
    write_pool_pairs(lake, {A: [pair("a", sha256="1"), pair("b", "b", "1")]})
    chosen, told = PairSettings(LISTED), []
    made = find_unique_pairs(lake, scratch, chosen, tell=lambda *progress: told.append(progress))
    assert told == [(1, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(unique_pairs, "_find_images", None)  # would fail
        assert find_unique_pairs(lake, scratch, chosen) == lake.provenance(TABLE)
    for other in ({"seed": 1}, {"text_copies": 2}):
        assert find_unique_pairs(lake, scratch, dataclasses.replace(chosen, **other)).fingerprint != made.fingerprint
    write_pool_pairs(lake, {B: [pair("c", "c")]})
    assert find_unique_pairs(lake, scratch, chosen).rows_in == 3
    lake.delete(Lake.table_path(PAIRS, B))
    assert find_unique_pairs(lake, scratch, chosen).fingerprint == made.fingerprint


def test_nothing_balanced_and_nothing_in_it(lake, scratch):
    with pytest.raises(MissingInput, match="No shard has been balanced"):
        find_unique_pairs(lake, scratch, PairSettings(LISTED))
    write_pool_pairs(lake, {A: [], B: []})
    made = find_unique_pairs(lake, scratch, PairSettings(LISTED))
    assert (made.rows_in, made.rows_dropped, made.measures["images"]) == (0, {}, 0)
    assert lake.read_table(TABLE).schema.names == unique_pairs.SCHEMA.names
    assert_accounted(lake, made)


def test_pairs_that_do_not_say_what_made_them_are_refused(lake, scratch):
    write_pool_pairs(lake, {A: [pair("a")], B: [pair("b")]})
    pq.write_table(lake.read_table(PAIRS, B).replace_schema_metadata(), lake.url(Lake.table_path(PAIRS, B)))
    with pytest.raises(SourceChanged, match=f"do not say what made them.*{B}"):
        find_unique_pairs(lake, scratch, PairSettings(LISTED))


def test_settings_out_of_range_are_refused():
    with pytest.raises(BadSetting, match="'seen'"):
        PairSettings("seen")
    with pytest.raises(BadSetting, match="-1"):
        PairSettings(text_copies=-1)


@pytest.mark.parametrize("change", ["the inputs", "the rows alone"])
def test_a_shard_that_is_balanced_anew_meanwhile(lake, scratch, monkeypatch, change):
    write_pool_pairs(lake, {A: [pair("a", "a"), pair("b", "b")], B: [pair("c", "c"), pair("d", "d")]})

    def write_other():
        rows = [pair("c", "c", row=7), pair("d", "d", row=8)]
        inputs = lake.provenance(PAIRS, B).inputs
        write_balanced(lake, B, rows, inputs=inputs if change == "the rows alone" else OF_POOL)

    find_images = unique_pairs._find_images
    monkeypatch.setattr(unique_pairs, "_find_images", lambda *given: (find_images(*given), write_other()))
    with pytest.raises(SourceChanged, match=f"balanced anew while its pairs were compared.*{B}"):
        find_unique_pairs(lake, scratch, PairSettings(LISTED))
    assert not lake.exists(Lake.table_path(TABLE))
    assert list(scratch.iterdir()) == []


def test_too_little_memory_is_told(lake, scratch):
    write_pool_pairs(lake, {A: many_pairs(100)})
    with pytest.raises(BadSetting, match="does not get by with the memory"):
        find_unique_pairs(lake, scratch, PairSettings(LISTED), memory="1MB", threads=1)
    assert list(scratch.iterdir()) == []


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(tmp_path):
    prepared, chosen = tmp_path / "prepared", PairSettings(LISTED)
    lake = Lake(str(prepared / "lake"))
    pairs = many_pairs(40)
    write_pool_pairs(lake, {A: pairs[:10]})
    find_unique_pairs(lake, tmp_path, chosen)  # is to be replaced
    write_pool_pairs(lake, {B: pairs[10:]})
    undisturbed = shutil.copytree(prepared, tmp_path / "undisturbed")
    find_unique_pairs(Lake(f"{undisturbed}/lake"), undisturbed / "scratch", chosen, threads=1)
    expected, steps = folder_bytes(undisturbed / "lake"), 0
    with a_killer() as killer:
        while True:
            folder = shutil.copytree(prepared, tmp_path / f"killed-{steps}")
            here, scratch = KillingLake(f"{folder}/lake"), folder / "scratch"
            killer.folders, killer.left = (here.root, str(scratch)), steps + 1
            try:
                find_unique_pairs(here, scratch, chosen, threads=1)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            find_unique_pairs(here, scratch, chosen, threads=1)
            assert folder_bytes(folder / "lake") == expected
            assert not list(folder.rglob("*.tmp"))
    assert folder_bytes(folder / "lake") == expected
    assert steps >= 4
