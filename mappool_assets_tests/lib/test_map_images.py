"""The images of shards: each map has a status row, what is there stays, what may come later is asked for again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged, SourceUnavailable
from mappool_assets.lib.image_download.downloads import Download, download_images
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images import asking, image_archive
from mappool_assets.lib.map_images.image_archive import FILES, IMAGES, read_image, read_images, stored_files
from mappool_assets.lib.map_images.image_facts import inspect_image
from mappool_assets.lib.map_images.image_ledger import may_come_later
from mappool_assets.lib.map_images.image_plan import is_taken_down
from mappool_assets.lib.map_images.image_task import OBEDIENT, ImageSettings
from mappool_assets.lib.map_images.map_images import FAILURES_TABLE, TABLE, fetch_map_images, map_image_tasks
from mappool_assets.lib.map_images.outage import OUTAGE_ROWS
from mappool_assets.lib.publish.take_down import TakeDown, find_taken_down
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.hostile_answers import status
from mappool_assets_tests.image_web import RULES, ImageWeb, image, image_web, uid
from mappool_assets_tests.odd_images import PAGE, SVG, jpeg_of_claimed_size
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_engine import fetch_in_turn
from mappool_assets_tests.small_lake import A, B, folder_bytes

CHECKS = ("map_images_one_row_a_map", "map_images_ok_complete")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[ImageWeb]:
    with image_web(tmp_path) as web:
        yield web


def sound(web: ImageWeb, shard: str = A) -> None:
    """What holds of a shard whose images were fetched, whatever happened before."""
    rows = web.rows(shard)
    stored = {stored.uid: stored.data for stored in read_images(web.lake, shard)}
    assert {row["uid"]: row["sha256"] for row in rows if row["status"] == "ok"} == {
        uid: hashlib.sha256(data).hexdigest() for uid, data in stored.items()
    }
    named = image_archive.members_of({row["file"] for row in rows if row["file"]})
    assert set(stored_files(web.lake, shard)) == named
    for check in CHECKS:
        assert sql_files.run(web.lake, f"checks/{check}", shards=[shard]).num_rows == 0
    assert sql_files.run(web.lake, "checks/rows_accounted", table=TABLE).num_rows == 0
    assert not [path for path in web.scratch.rglob("*") if path.is_file()]


def tars(web: ImageWeb, shard: str = A) -> dict[str, bytes]:
    return folder_bytes(Path(web.lake.root) / IMAGES / shard)


def uids(*numbers: int) -> frozenset[str]:
    return frozenset(uid(number) for number in numbers)


# -- a first run --------------------------------------------------------------------------------------------------


def test_every_map_has_one_row_in_its_place_with_its_image_or_a_reason(web: ImageWeb) -> None:
    web.busy = {3}
    web.write_maps(
        range(8),
        url=[web.url(0), web.server.url + "/none", "ftp://maps.example/2", web.url(3), web.server.serve("/page", PAGE),
             web.server.serve("/svg", SVG), web.server.serve("/bomb", jpeg_of_claimed_size()), web.url(7)],
        sha256=[hashlib.sha256(image(0)).hexdigest().upper(), "1" * 64, "2" * 64, "3" * 64, None, "", None, "7" * 64],
    )  # fmt: skip
    report = web.fetch()

    rows = web.rows()
    assert [row["uid"] for row in rows] == [uid(number) for number in range(8)]
    assert [row["status"] for row in rows] == [
        "ok", "http_404", "bad_scheme", "http_503", "not_an_image", "not_an_image", "too_many_pixels", "hash_changed",
    ]  # fmt: skip
    facts = inspect_image(image(0))
    assert {**rows[0], **facts._asdict()} == rows[0]
    assert (rows[0]["file"], rows[0]["attempts"], rows[0]["detail"]) == ("00000.tar", 1, "")
    assert all(row["detail"] and row["attempts"] == 1 for row in rows[1:])
    assert hashlib.sha256(image(7)).hexdigest() in rows[7]["detail"]
    assert (report.rows_in, report.rows_kept, report.rows_tried, report.rows_to_retry) == (8, 1, 8, 1)
    assert report.rows_dropped == {
        "bad_scheme": 1, "hash_changed": 1, "http_404": 1, "http_503": 1, "not_an_image": 2, "too_many_pixels": 1,
    }  # fmt: skip
    assert report.image_bytes == len(image(0))
    made = web.lake.provenance(TABLE, A)
    assert made is not None
    assert made.fingerprint == report.fingerprint
    assert made.origin == web.lake.provenance("mappool/shard_maps", A).origin
    sound(web)


def test_a_tar_says_of_each_image_where_it_comes_from(web: ImageWeb) -> None:
    web.write_maps(range(3), text=["Ä", "b", "c"], map_score=[0.5, 0.75, 1.0])
    web.fetch()
    with tarfile.open(Path(web.lake.root) / IMAGES / A / "00000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert list(members)[:3] == [f"{uid(0)}.png", f"{uid(0)}.json", f"{uid(0)}.txt"]
    assert members[f"{uid(1)}.jpg"] == image(1), "called .png by its address, a JPEG by its content"
    assert members[f"{uid(0)}.txt"].decode() == "Ä"
    maps = web.lake.read_table("mappool/shard_maps", A).slice(1, 1).to_pylist()[0]
    assert json.loads(members[f"{uid(1)}.json"]) == {
        **{name: maps[name] for name in ("uid", "url", "text", "original_width", "original_height", "sha256")},
        "map_score": 0.75,
        "width": 48,
        "height": 40,
        "mime": "image/jpeg",
    }


def test_the_contact_sheet_shows_images(web: ImageWeb) -> None:
    web.write_maps(range(15))
    sheet = web.fetch().contact_sheet
    assert sheet is not None
    assert sheet.startswith(b"\x89PNG")
    web.write_maps([], shard=B)
    assert web.fetch(B).contact_sheet is None


@pytest.mark.parametrize("archive_format", image_archive.FORMATS)
def test_a_shard_without_maps_and_one_without_images(web: ImageWeb, archive_format: str) -> None:
    web.write_maps([])
    web.write_maps([0, 1], shard=B, url=[web.server.url + "/a", web.server.url + "/b"])
    for shard, rows in ((A, 0), (B, 2)):
        report = web.fetch(shard, archive_format=archive_format)
        assert (report.rows_in, report.rows_kept) == (rows, 0)
        assert web.fetch(shard, archive_format=archive_format).is_reused
        sound(web, shard)


def test_a_uid_that_cannot_name_a_file_is_not_asked_for(web: ImageWeb) -> None:
    web.write_maps(range(3), uid=["../../x", uid(1), "a.b"])
    assert web.fetch().rows_dropped == {"bad_uid": 2}
    assert web.asked() == [1]
    assert web.fetch().is_reused
    sound(web)


def test_the_same_address_for_two_maps_is_two_images(web: ImageWeb) -> None:
    web.write_maps([1, 2], url=[web.url(1)] * 2, sha256=[None] * 2)
    assert web.fetch().rows_kept == 2
    sound(web)


def test_the_real_engine_does_the_same_as_the_small_one(web: ImageWeb) -> None:
    web.busy = {3}
    for shard in (A, B):
        web.write_maps(
            range(7),
            shard=shard,
            url=[
                *map(web.url, range(4)),
                web.server.url + "/none",
                "ftp://maps.example/5",
                web.server.serve("/p", PAGE),
            ],
            sha256=[None, "1" * 64, *[None] * 5],
        )
    web.fetch(A)
    report = web.fetch(B, engine=download_images)
    assert report.rows_dropped == {"bad_scheme": 1, "hash_changed": 1, "http_404": 1, "http_503": 1, "not_an_image": 1}
    assert web.statuses(B) == web.statuses(A)
    assert tars(web, B).keys() == tars(web, A).keys()
    for row, other in zip(web.rows(A), web.rows(B), strict=True):
        assert {**row, "detail": ""} == {**other, "detail": ""}
    sound(web, B)


# -- later runs ---------------------------------------------------------------------------------------------------


def test_a_second_run_finds_everything_done(web: ImageWeb) -> None:
    web.write_maps(range(5))
    first, before = web.fetch(), folder_bytes(Path(web.lake.root))
    web.asked()
    second = web.fetch()
    assert web.asked() == []
    assert folder_bytes(Path(web.lake.root)) == before
    assert second == dataclasses.replace(first, rows_tried=0, is_reused=True, contact_sheet=None)


def test_what_may_come_later_is_asked_for_until_the_limit_and_nothing_else_is_touched(web: ImageWeb) -> None:
    web.write_maps(range(6), url=[*map(web.url, range(5)), web.server.url + "/none"])
    web.busy = {1, 2, 3}
    assert web.fetch().rows_to_retry == 3
    first = tars(web)
    assert web.asked() == [0, 1, 2, 3, 4]

    web.busy = {1, 2}
    report = web.fetch()
    assert (web.asked(), report.rows_tried, report.rows_to_retry) == ([1, 2, 3], 3, 2)
    assert tars(web).keys() == {"00000.tar", "00001.tar"}
    assert tars(web)["00000.tar"] == first["00000.tar"]
    assert [row["attempts"] for row in web.rows()] == [1, 2, 2, 2, 1, 1]

    web.busy = {1}
    assert web.fetch().rows_to_retry == 0, "three runs asked for it"
    assert web.asked() == [1, 2]
    assert web.statuses() == {**dict.fromkeys(map(uid, range(5)), "ok"), uid(1): "http_503", uid(5): "http_404"}
    assert web.fetch().is_reused
    assert web.fetch(max_attempts=4).rows_tried == 1, "a higher limit"
    assert web.fetch(max_attempts=2).is_reused
    assert len(tars(web)) == 3
    sound(web)


def test_a_fruitless_run_makes_no_new_file_but_another_data_version(web: ImageWeb) -> None:
    web.write_maps(range(3))
    web.busy = {1}
    first = web.fetch()
    before = tars(web)
    second = web.fetch()
    assert tars(web) == before
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("changed", "forced"), [({}, True), ({"rules": dataclasses.replace(RULES, max_bytes=10**6)}, False)]
)
def test_what_was_given_up_is_asked_for_by_force_and_under_other_rules(
    web: ImageWeb, changed: dict[str, Any], forced: bool
) -> None:
    web.write_maps(range(4))
    web.busy = {1}
    gone = web.server.routes.pop("/2.png")
    web.fetch(max_attempts=1)
    before = tars(web)
    web.asked()
    web.server.routes["/2.png"], web.busy = gone, set()
    report = web.fetch(max_attempts=1, force=forced, **changed)
    assert web.asked() == [1, 2]
    assert (report.rows_kept, report.rows_tried) == (4, 2)
    assert [row["attempts"] for row in web.rows()] == [1, 1, 1, 1]
    assert tars(web)["00000.tar"] == before["00000.tar"]
    sound(web)


def test_two_lakes_may_share_a_scratch_folder(web: ImageWeb, tmp_path: Path) -> None:
    other = dataclasses.replace(web, lake=Lake(str(tmp_path / "other")))
    for one in (web, other):
        one.write_maps(range(3))

    def engine(requests: pa.Table, work: Path, rules: FetchRules, *, threads: int) -> Iterator[Download]:
        assert other.fetch().rows_kept == 3
        assert work.is_dir()
        return fetch_in_turn(requests, work, rules, threads=threads)

    assert web.fetch(engine=engine).rows_kept == 3
    sound(web)
    sound(other)


def test_a_proxy_is_no_rule_and_is_not_recorded(web: ImageWeb) -> None:
    web.write_maps(range(2))
    web.fetch()
    rules = dataclasses.replace(RULES, egress_proxy="http://user:secret@127.0.0.1:9", user_agent="mappool-assets/99")
    assert web.fetch(rules=rules).is_reused, "nor is our version"
    web.write_maps(range(3), shard=B)
    web.fetch(B, rules=rules, engine=reasons())
    assert b"secret" not in b"".join(folder_bytes(Path(web.lake.root)).values())
    rules = dataclasses.replace(rules, user_agent="another-name/99")
    assert not web.fetch(rules=rules).is_reused


def test_other_code_fetches_everything_anew(web: ImageWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    web.write_maps(range(3))
    web.fetch()
    monkeypatch.setattr("mappool_assets.lib.map_images.image_task.CODE_VERSION", "next")
    assert web.fetch().rows_tried == 3
    assert tars(web).keys() == {"00001.tar"}
    sound(web)


# -- maps that change ---------------------------------------------------------------------------------------------


def test_a_shard_that_is_filtered_again_keeps_the_images_of_maps_that_it_still_has(
    web: ImageWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 3)
    web.busy = {8}
    web.write_maps(range(9))
    web.fetch()
    before = tars(web)
    web.asked()
    # 4 has gone, 9 is new, 1 is expected to be another file, 7 lies elsewhere; the others' captions are other ones.
    kept = [0, 1, 2, 3, 5, 6, 7, 8, 9]
    urls = {7: web.server.serve("/moved.png", image(7))}
    web.write_maps(
        kept,
        url=[urls.get(number, web.url(number)) for number in kept],
        sha256=[hashlib.sha256(image(n)).hexdigest() if n != 1 else None for n in kept],
        text=["another"] * len(kept),
    )
    report = web.fetch()
    assert web.asked() == [1, 8, 9]
    assert (report.rows_in, report.rows_kept, report.rows_tried) == (9, 8, 4)
    assert [row["attempts"] for row in web.rows()] == [1, 1, 1, 1, 1, 1, 1, 2, 1]
    assert set(before) == {"00000.tar", "00001.tar", "00002.tar"}
    files = {int(row["uid"], 16): row["file"] for row in web.rows()}
    # All three lost an image; those that stay come first, then the new ones.
    assert files == {0: "00003.tar", 2: "00003.tar", 3: "00003.tar", 5: "00004.tar", 6: "00004.tar",
                     1: "00004.tar", 7: "00005.tar", 8: None, 9: "00005.tar"}  # fmt: skip
    sound(web)


def test_tars_that_lose_nothing_keep_their_bytes(web: ImageWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 2)
    web.write_maps(range(6))
    web.fetch()
    before = tars(web)
    web.write_maps([0, 1, 2, 4, 5])
    web.asked()
    assert web.fetch().rows_tried == 0
    assert web.asked() == []
    after = tars(web)
    assert after.keys() == {"00000.tar", "00002.tar", "00003.tar"}
    assert all(after[name] == before[name] for name in ("00000.tar", "00002.tar"))
    sound(web)


def test_a_ledger_for_maps_filtered_again_meanwhile_is_not_written(web: ImageWeb) -> None:
    web.write_maps(range(2))
    tasks = map_image_tasks(web.lake, [A], web.settings(), engine=fetch_in_turn)
    web.write_maps(range(3))
    (outcome,) = fetch_map_images([dataclasses.replace(tasks[0], maps_fingerprint="0")], 1)
    assert isinstance(outcome.error, SourceChanged)
    assert web.lake.partitions(TABLE) == []


# -- the take-down list -------------------------------------------------------------------------------------------


def test_what_is_on_the_list_is_not_fetched(web: ImageWeb) -> None:
    shas = [hashlib.sha256(image(number)).hexdigest() for number in range(6)]
    web.write_maps(range(6), sha256=[shas[0], shas[1], shas[2].upper(), None, shas[4], shas[5]])
    listed = TakeDown(uids(0), frozenset({web.url(1)}), frozenset({shas[2], shas[3]}))
    report = web.fetch(take_down=listed)
    assert web.asked() == [3, 4, 5], "that 3 is on it is seen by its content alone"
    assert report.rows_dropped == {"taken_down": 4}
    assert [row["attempts"] for row in web.rows()] == [0, 0, 0, 1, 1, 1]
    assert web.fetch(take_down=listed).is_reused
    sound(web)


@pytest.mark.parametrize("archive_format", image_archive.FORMATS)
def test_what_comes_on_the_list_is_removed_and_can_come_back(web: ImageWeb, archive_format: str) -> None:
    fetch = partial(web.fetch, archive_format=archive_format)
    shas = [hashlib.sha256(image(number)).hexdigest() for number in range(6)]
    web.write_maps(range(6), sha256=[*shas[:5], None])
    fetch()
    web.asked()
    before = web.rows()
    report = fetch(take_down=TakeDown(uids(1), sha256s=frozenset({shas[4], shas[5]})))
    assert (web.asked(), report.rows_dropped) == ([], {"taken_down": 3})
    contents = b"".join(tars(web).values())
    for number in range(6):
        assert (image(number) in contents) == (number in (0, 2, 3)), "an image taken down lies in no file"
        assert (uid(number).encode() in contents) == (number in (0, 2, 3))
    names = ("status", "attempts", "sha256", "mime", "perceptual_hash", "perceptual_hash_mirrored", "width", "bytes")
    for row, old in zip(web.rows(), before, strict=True):
        if row["status"] == "ok":
            assert [row[name] for name in names] == [old[name] for name in names]
    sound(web)

    fetch()
    assert web.asked() == [1, 4, 5]
    assert set(web.statuses().values()) == {"ok"}
    sound(web)


def test_a_list_that_names_nothing_here_changes_no_data_version(web: ImageWeb) -> None:
    web.write_maps(range(3))
    first = web.fetch()
    second = web.fetch(take_down=TakeDown(uids(99)))
    assert not second.is_reused
    assert second.fingerprint == first.fingerprint


def test_a_list_means_here_what_it_means_for_publishing(web: ImageWeb) -> None:
    ids = ["aB" * 16, "cd" * 16, "ef" * 16, "01" * 16]
    web.write_maps(range(4), uid=ids, sha256=["Ef" * 32, None, "ef" * 32, "12" * 32], url=["u", "v", "U", "w"])
    maps = web.lake.read_table("mappool/shard_maps", A).to_pylist()
    for listed in (
        TakeDown(frozenset({"ab" * 16})),
        TakeDown(frozenset({"cd" * 16}), frozenset({"u"})),
        TakeDown(urls=frozenset({"U", "w"})),
        TakeDown(sha256s=frozenset({"ef" * 32})),
        TakeDown(frozenset({"99" * 16}), frozenset({"x"})),
    ):
        named = sorted(row["uid"] for row in maps if is_taken_down(listed, row["uid"], row["url"], row["sha256"]))
        assert find_taken_down(web.lake, listed) == ({A: tuple(named)} if named else {})


# -- the archive --------------------------------------------------------------------------------------------------


def test_images_as_files_and_their_change_into_tars(web: ImageWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 3)
    web.write_maps(range(5))
    web.fetch(archive_format=FILES)
    first = web.rows()
    assert [row["file"] for row in first][2:4] == [f"00000/{uid(2)}.gif", f"00001/{uid(3)}.png"]
    assert read_image(web.lake, A, first[3]["file"], uid(3)) == image(3)
    sound(web)
    web.asked()

    web.fetch()
    assert [row["file"] for row in web.rows()] == ["00002.tar"] * 3 + ["00003.tar"] * 2
    sound(web)
    web.fetch(archive_format=FILES)
    assert [row["file"] for row in web.rows()][:1] == [f"00004/{uid(0)}.png"]
    assert web.asked() == []
    sound(web)


@pytest.mark.parametrize("archive_format", image_archive.FORMATS)
def test_files_that_have_gone_are_fetched_again(web: ImageWeb, archive_format: str) -> None:
    web.write_maps(range(3))
    web.fetch(archive_format=archive_format)
    gone = web.rows()[1]["file"]
    web.lake.delete(f"{IMAGES}/{A}/{gone}")
    web.asked()
    web.fetch(archive_format=archive_format)
    assert web.asked() == ([0, 1, 2] if gone == "00000.tar" else [1])
    assert set(web.statuses().values()) == {"ok"}
    sound(web)


@pytest.mark.parametrize("fault", ["cut", "changed", "no tar"])
def test_what_is_damaged_where_it_must_be_rewritten_is_fetched_again(web: ImageWeb, fault: str) -> None:
    web.write_maps(range(4))
    web.fetch()
    tar = Path(web.lake.root) / IMAGES / A / "00000.tar"
    data = tar.read_bytes()
    middle = data.index(image(1)) + 200
    damaged = {"cut": data[:middle], "changed": data[:middle] + b"!" + data[middle + 1 :], "no tar": b"x" * 2000}
    tar.write_bytes(damaged[fault])
    web.asked()
    report = web.fetch(take_down=TakeDown(uids(3)))
    assert web.asked() == {"cut": [1, 2], "changed": [1], "no tar": [0, 1, 2]}[fault]
    assert report.rows_kept == 3
    sound(web)


@pytest.mark.parametrize("fault", ["cut", "changed", "another tar"])
def test_by_force_what_is_damaged_is_found_and_fetched_again(web: ImageWeb, fault: str) -> None:
    web.write_maps(range(3))
    first = web.fetch()
    tar = Path(web.lake.root) / IMAGES / A / "00000.tar"
    data = tar.read_bytes()
    middle = data.index(image(1)) + 200
    damaged = {"cut": data[:middle], "changed": data[:middle] + b"!" + data[middle + 1 :], "another tar": bytes(10240)}
    assert damaged["changed"] != data
    tar.write_bytes(damaged[fault])
    web.asked()
    assert web.fetch().is_reused, "without force nobody reads what is there"
    report = web.fetch(force=True)
    assert web.asked() == {"cut": [1, 2], "changed": [1], "another tar": [0, 1, 2]}[fault]
    assert report.rows_kept == first.rows_kept == 3
    sound(web)


def test_the_lake_may_be_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 2)
    with serve_s3("maps") as endpoint, image_web(tmp_path, Lake("s3://maps/lake", endpoint)) as web:
        web.busy = {1}
        web.write_maps(range(5))
        web.fetch()
        assert stored_files(web.lake, A) == ["00000.tar", "00001.tar"]
        web.busy = set()
        assert web.fetch(take_down=TakeDown(uids(3))).rows_dropped == {"taken_down": 1}
        assert web.fetch(take_down=TakeDown(uids(3))).is_reused
        assert stored_files(web.lake, A) == ["00000.tar", "00002.tar"]
        sound(web)


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_shard_that_fails_is_recorded_and_the_others_go_on(web: ImageWeb) -> None:
    web.write_maps(range(2), shard=B)
    tasks = map_image_tasks(web.lake, [A, B], web.settings(), engine=fetch_in_turn)
    outcomes = {outcome.task.key: outcome for outcome in fetch_map_images(tasks, workers=1)}
    assert isinstance(outcomes[A].error, MissingInput)
    assert outcomes[B].result is not None
    (failure,) = sql_files_of_failures(web.lake)
    assert (failure["shard"], failure["error"], failure["action"]) == (
        A, "MissingInput", "Materialise the asset mappool/shard_maps first.",
    )  # fmt: skip
    web.write_maps(range(2))
    web.fetch()
    assert web.lake.partitions(FAILURES_TABLE) == []


def sql_files_of_failures(lake: Lake) -> list[dict]:
    return lake.query("SELECT * FROM map_image_failures").to_pylist()


def test_workers_share_the_shards(web: ImageWeb) -> None:
    for shard, first in ((A, 0), (B, 10)):
        web.write_maps(range(first, first + 3), shard=shard)
    tasks = map_image_tasks(web.lake, [A, B], web.settings(), engine=fetch_in_turn)
    assert [outcome.error for outcome in fetch_map_images(tasks, workers=2)] == [None, None]
    for shard in (A, B):
        sound(web, shard)


def test_a_uid_twice_is_no_shard(web: ImageWeb) -> None:
    web.write_maps(range(2), uid=[uid(1)] * 2)
    with pytest.raises(BadShard, match="2 rows, 1 uids"):
        web.fetch()


def reasons(*given: str) -> Callable[..., Iterator[Download]]:
    """An engine that gives these reasons, and ok where there are no more."""

    def engine(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
        for number, key in enumerate(requests["key"].to_pylist()):
            yield Download(key, given[number], "because", None) if number < len(given) else ok(key)

    return engine


def ok(key: str) -> Download:
    return Download(key, "ok", "", image(int(key, 16)))


def test_where_nobody_answers_no_attempt_is_counted(web: ImageWeb) -> None:
    silence = ["connection", "timeout", "robots_unreachable", "download_failed"] * (OUTAGE_ROWS // 4)
    web.write_maps(range(len(silence) + 1))
    with pytest.raises(SourceUnavailable, match="network, resolver and egress proxy") as caught:
        web.fetch(engine=reasons(*silence, "bad_url"))
    assert caught.value.is_transient
    assert (web.lake.partitions(TABLE), list(web.scratch.glob("*/*"))) == ([], [])

    assert web.fetch(engine=reasons(*silence, "http_404")).rows_kept == 0, "somebody answered"
    report = web.fetch(engine=reasons(*silence))
    assert report.rows_to_retry == report.rows_tried == len(silence), "that the dead are still dead proves nothing"
    web.write_maps(range(len(silence)), shard=B)
    assert web.fetch(B, engine=reasons(*silence[1:])).rows_kept == 1
    web.write_maps(range(len(silence) - 1), shard=B)
    assert web.fetch(B, engine=reasons(*silence[1:]), force=True).rows_kept == 0, "too few to tell"


def test_a_network_fault_on_a_later_run_costs_no_attempt(web: ImageWeb) -> None:
    web.write_maps(range(OUTAGE_ROWS + 1))
    web.fetch(engine=reasons(*["http_503"] * OUTAGE_ROWS), max_attempts=2)
    before = web.rows()
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            web.fetch(engine=reasons(*["connection"] * OUTAGE_ROWS), max_attempts=2)
    assert web.rows() == before
    assert web.fetch(engine=reasons(), max_attempts=2).rows_kept == len(before)
    sound(web)


@pytest.mark.parametrize(
    ("changed", "forced"), [({}, True), ({"rules": dataclasses.replace(RULES, max_bytes=10**6)}, False)]
)
def test_hosts_that_were_dead_before_do_not_fail_the_shard(
    web: ImageWeb, changed: dict[str, Any], forced: bool
) -> None:
    dead = reasons(*["timeout", "connection"] * OUTAGE_ROWS)
    web.write_maps(range(2 * OUTAGE_ROWS + 1))
    web.fetch(engine=dead, max_attempts=1)
    report = web.fetch(engine=dead, max_attempts=1, force=forced, **changed)
    assert (report.rows_tried, report.rows_kept) == (2 * OUTAGE_ROWS, 1)
    assert {row["attempts"] for row in web.rows()} == {1}
    sound(web)


@pytest.mark.parametrize("scratch", ["scratch", "another machine's"])
def test_a_second_run_on_a_shard_is_refused_and_the_first_goes_on(web: ImageWeb, tmp_path: Path, scratch: str) -> None:
    web.write_maps(range(3))

    def engine(requests: pa.Table, work: Path, rules: FetchRules, *, threads: int) -> Iterator[Download]:
        downloads = fetch_in_turn(requests, work, rules, threads=threads)
        yield next(downloads)
        with pytest.raises(BadSetting, match="Another run is fetching the images of this shard"):
            web.fetch(scratch=tmp_path / scratch)
        yield from downloads

    assert web.fetch(engine=engine).rows_kept == 3
    assert web.lake.partitions(FAILURES_TABLE) == []
    sound(web)
    web.write_maps(range(4))
    assert web.fetch().rows_kept == 4, "the lock ended with the run"


def answering(change: str, requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
    downloads = [Download(key, "http_404", "no", None) for key in requests["key"].to_pylist()]
    yield from {"fewer": downloads[:-1], "more": [*downloads, downloads[0]], "other order": downloads[::-1]}[change]


@pytest.mark.parametrize("change", ["fewer", "other order"])
def test_an_engine_that_does_not_answer_row_by_row_fails_the_shard(web: ImageWeb, change: str) -> None:
    web.write_maps(range(3))
    tasks = map_image_tasks(web.lake, [A], web.settings(), engine=partial(answering, change))
    (outcome,) = fetch_map_images(tasks, workers=1)
    assert outcome.error is not None
    assert web.lake.partitions(TABLE) == []


def test_the_engine_is_ended_however_the_shard_ends(web: ImageWeb) -> None:
    ended = []

    def engine(requests: pa.Table, work: Path, *_: object, **__: object) -> Iterator[Download]:
        try:
            yield Download(requests["key"][0].as_py(), "ok", "", image(0))
            yield Download("other", "ok", "", image(1))
        finally:
            ended.append(True)

    web.write_maps(range(2))
    with pytest.raises(AssertionError, match="the engine answered other"):
        web.fetch(engine=engine)
    assert ended == [True]
    assert folder_bytes(Path(web.lake.root) / IMAGES) == {}


def test_a_reason_as_long_as_a_book_is_cut(web: ImageWeb) -> None:
    def engine(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
        yield Download(requests["key"][0].as_py(), "timeout", "\ud800ä\0" + "x" * 10**6, None)

    web.write_maps([0])
    web.fetch(engine=engine)
    assert len(web.rows()[0]["detail"]) == asking.DETAIL_CHARACTERS


@pytest.mark.parametrize(("setting", "got"), [({"archive_format": "zip"}, "zip"), ({"max_attempts": 0}, "0")])
def test_settings_out_of_range_are_refused(tmp_path: Path, setting: dict[str, Any], got: str) -> None:
    with pytest.raises(BadSetting, match=got):
        ImageSettings(tmp_path, **setting)


def test_sites_wishes_are_obeyed_by_default(tmp_path: Path) -> None:
    rules = ImageSettings(tmp_path).rules
    assert rules == OBEDIENT
    assert rules.obeys_robots
    assert rules.obeys_opt_out
    assert not rules.allow_private_addresses


@pytest.mark.parametrize(
    ("status", "may"),
    [("http_404", False), ("http_410", False), ("http_403", False), ("http_301", False), ("http_429", True),
     ("http_408", True), ("http_425", True), ("http_500", True), ("http_522", True), ("timeout", True),
     ("connection", True), ("robots_unreachable", True), ("download_failed", True), ("never heard of", True),
     ("robots_txt", False), ("opted_out", False), ("blocked_address", False), ("hash_changed", False),
     ("not_an_image", False), ("too_large", False), ("ok", False), ("taken_down", False), ("bad_uid", False)],
)  # fmt: skip
def test_which_reasons_may_pass(status: str, may: bool) -> None:
    assert may_come_later(status) == may


def noise(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
    """Images of 300 kB, no two alike."""
    for number, key in enumerate(requests["key"].to_pylist()):
        pixels = np.random.default_rng(number).integers(0, 256, (316, 316, 3), dtype=np.uint8)
        header = f"P6 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode()
        yield Download(key, "ok", "", header + pixels.tobytes())


def test_memory_does_not_grow_with_the_images(web: ImageWeb) -> None:
    peaks = []
    for shard, count in ((A, 40), (B, 200)):
        web.write_maps(range(count), shard=shard, sha256=[None] * count)
        tracemalloc.start()
        assert web.fetch(shard, engine=noise).rows_kept == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2_000_000, "160 more images of 300 kB"


def test_statuses_are_told_by_hosts_answers(web: ImageWeb) -> None:
    codes = (401, 403, 404, 410, 418, 451, 500, 502, 520)
    for code in codes:
        web.server.routes[f"/{code}"] = status(code, Retry_After="3600")
    web.write_maps(range(len(codes)), url=[f"{web.server.url}/{code}" for code in codes])
    web.fetch()
    assert [row["status"] for row in web.rows()] == [f"http_{code}" for code in codes]
    web.asked()
    assert web.fetch().rows_tried == 3
