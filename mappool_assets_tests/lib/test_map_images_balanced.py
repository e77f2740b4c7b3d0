"""The images of what the first balancing kept: nobody is asked for another one, and no map is lost from the ledger."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images import image_archive
from mappool_assets.lib.map_images.image_archive import IMAGES, read_images
from mappool_assets.lib.map_images.image_ledger import may_come_later
from mappool_assets.lib.map_images.image_task import BALANCED_POOL, SHARD_MAPS, ImageSettings
from mappool_assets.lib.map_images.map_images import FAILURES_TABLE, TABLE, fetch_map_images, map_image_tasks
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets_tests.image_web import ImageWeb, image, image_web, uid
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.small_curation import write_balanced
from mappool_assets_tests.small_engine import fetch_in_turn
from mappool_assets_tests.small_lake import A, folder_bytes

OF_BALANCED = {"images_of": BALANCED_POOL}
OF_POOL = {"texts": {"parquet_version": "1"}}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[ImageWeb]:
    with image_web(tmp_path) as web:
        yield web


def balance(web: ImageWeb, numbers: Collection[int], **inputs: Any) -> None:
    write_balanced(web.lake, A, [{"uid": uid(number)} for number in numbers], inputs=inputs)


def statuses(web: ImageWeb) -> list[str]:
    return [row["status"] for row in web.rows()]


def assert_sound(web: ImageWeb) -> None:
    rows = web.rows()
    wanted = {row["uid"]: row["sha256"] for row in rows if row["status"] == "ok"}
    assert {i.uid: hashlib.sha256(i.data).hexdigest() for i in read_images(web.lake, A)} == wanted
    for check in ("map_images_one_row_a_map", "map_images_ok_complete"):
        assert sql_files.run(web.lake, f"checks/{check}", shards=[A]).num_rows == 0
    assert sql_files.run(web.lake, "checks/rows_accounted", table=TABLE).num_rows == 0


def test_only_balanced_maps_are_asked_for_and_the_others_say_so(web: ImageWeb) -> None:
    web.write_maps(range(6))
    balance(web, [1, 4, 99])  # a map of another threshold
    report = web.fetch(**OF_BALANCED)
    assert web.asked() == [1, 4]
    assert statuses(web) == ["not_balanced", "ok", "not_balanced", "not_balanced", "ok", "not_balanced"]
    assert (report.rows_in, report.rows_kept, report.rows_tried, report.rows_to_retry) == (6, 2, 2, 0)
    assert report.rows_dropped == {"not_balanced": 4}
    assert {row["attempts"] for row in web.rows() if row["status"] == "not_balanced"} == {0}
    assert_sound(web)
    assert web.fetch(**OF_BALANCED).is_reused
    assert web.asked() == []


def test_a_larger_balanced_pool_asks_for_what_is_new_and_a_smaller_one_keeps_what_is_there(web: ImageWeb) -> None:
    web.write_maps(range(6))
    balance(web, [1, 4])
    web.fetch(**OF_BALANCED)
    before = folder_bytes(Path(web.lake.root) / IMAGES)
    web.asked()
    balance(web, [0, 1, 4])
    assert web.fetch(**OF_BALANCED).rows_tried == 1
    assert web.asked() == [0]
    balance(web, [5])
    report = web.fetch(**OF_BALANCED)
    assert web.asked() == [5]
    assert (report.rows_kept, report.rows_dropped) == (4, {"not_balanced": 2})
    assert before.items() <= folder_bytes(Path(web.lake.root) / IMAGES).items()
    assert_sound(web)


def test_from_all_maps_to_balanced_ones_and_back(web: ImageWeb) -> None:
    web.busy = {2, 3}
    web.write_maps(range(5), url=[*map(web.url, range(4)), web.server.url + "/none"])
    web.fetch()
    all_maps = web.lake.provenance(TABLE, A)
    assert all_maps is not None
    assert "balanced_pool" not in all_maps.inputs, "else lakes without curation would be done again"
    balance(web, [1, 2])
    web.busy, web.server.requests[:] = {3}, []
    report = web.fetch(**OF_BALANCED)
    assert web.asked() == [2]
    assert statuses(web) == ["ok", "ok", "ok", "not_balanced", "http_404"], "what is there stays; 404 is meant"
    assert [row["attempts"] for row in web.rows()] == [1, 1, 2, 1, 1]
    assert report.rows_to_retry == 0
    assert_sound(web)
    web.busy = set()
    web.fetch()
    assert web.asked() == [3]
    assert statuses(web) == ["ok", "ok", "ok", "ok", "http_404"]
    assert [row["attempts"] for row in web.rows()] == [1, 1, 2, 2, 1]


def test_with_force_what_was_given_up_is_asked_for_again_of_balanced_maps_alone(web: ImageWeb) -> None:
    web.write_maps(range(3), url=[web.url(0), web.server.url + "/none", web.server.url + "/neither"])
    web.fetch()
    web.server.requests.clear()
    balance(web, [0, 1])
    web.fetch(force=True, **OF_BALANCED)
    assert web.server.requests == ["/none"]
    assert statuses(web) == ["ok", "http_404", "not_balanced"]


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_an_image_that_is_lost_is_asked_for_again_of_balanced_maps_alone(web: ImageWeb, how: str) -> None:
    web.write_maps(range(4))
    web.fetch()
    web.asked()
    balance(web, [1])
    tar = Path(web.lake.root) / IMAGES / A / "00000.tar"
    if how == "lost":
        tar.unlink()
    else:
        content = tar.read_bytes()
        for number in (1, 2):
            content = content.replace(image(number), b"\xff" * len(image(number)))
        tar.write_bytes(content)
    web.fetch(force=how == "damaged", **OF_BALANCED)
    assert web.asked() == [1]
    others = "not_balanced" if how == "lost" else "ok"
    assert statuses(web) == [others, "ok", "not_balanced", others]
    assert_sound(web)


def test_an_image_that_is_taken_down_goes_also_where_it_is_not_balanced(web: ImageWeb) -> None:
    web.write_maps(range(3))
    web.fetch()
    balance(web, [1])
    web.fetch(take_down=TakeDown(frozenset({uid(0), uid(1)})), **OF_BALANCED)
    assert statuses(web) == ["taken_down", "taken_down", "ok"]
    web.asked()
    web.fetch(**OF_BALANCED)
    assert (web.asked(), statuses(web)) == ([1], ["not_balanced", "ok", "ok"])
    assert_sound(web)


def failure(web: ImageWeb, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        web.fetch(**OF_BALANCED)
    assert web.lake.partitions(FAILURES_TABLE) == [A]
    assert web.asked() == []


def test_a_shard_that_is_not_balanced_or_of_other_maps_fails(web: ImageWeb) -> None:
    web.write_maps(range(3))
    failure(web, MissingInput, "has not been balanced")
    balance(web, [0, 1])
    web.write_maps(range(4))
    failure(web, SourceChanged, "filtered again since it was balanced")
    balance(web, [0, 1], **OF_POOL)
    assert web.fetch(**OF_BALANCED).rows_kept == 2, "captions of the whole pool do not depend on the maps"
    assert web.lake.partitions(FAILURES_TABLE) == []
    web.write_maps(range(5))
    assert web.fetch(**OF_BALANCED).rows_dropped == {"not_balanced": 3}


def test_a_shard_that_is_balanced_anew_while_its_images_wait_fails(web: ImageWeb) -> None:
    web.write_maps(range(3))
    for before in ([0], []):
        balance(web, [*before, 1])
        tasks = map_image_tasks(web.lake, [A], web.settings(**OF_BALANCED), engine=fetch_in_turn)
        balance(web, [*before, 2])
        (outcome,) = fetch_map_images(tasks, workers=1)
        assert isinstance(outcome.error, SourceChanged)
        assert "balanced anew while its images waited" in str(outcome.error)
    assert web.asked() == []
    assert web.lake.partitions(TABLE) == []


def test_nothing_balanced_asks_nobody(web: ImageWeb) -> None:
    web.write_maps(range(3))
    balance(web, [])
    report = web.fetch(**OF_BALANCED)
    assert (web.asked(), report.rows_kept, report.rows_dropped) == ([], 0, {"not_balanced": 3})
    assert_sound(web)


def test_whose_images_is_one_of_two(tmp_path: Path) -> None:
    assert ImageSettings(tmp_path).images_of == SHARD_MAPS
    with pytest.raises(BadSetting, match="pages"):
        ImageSettings(tmp_path, images_of="pages")
    assert not may_come_later("not_balanced")


def later_runs(web: ImageWeb, numbers: Sequence[int]) -> None:
    balance(web, numbers)
    web.fetch(**OF_BALANCED)


def test_killed_at_any_step_then_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 2)
    with image_web(tmp_path / "prepared") as prepared, a_killer() as killer:
        prepared.write_maps(range(7))
        later_runs(prepared, [0, 1])
        balance(prepared, [1, 2, 3, 6])

        def copied(name: str, kind: type[Lake]) -> ImageWeb:
            shutil.copytree(tmp_path / "prepared", tmp_path / name)
            here = kind(str(tmp_path / name / "lake"))
            return dataclasses.replace(prepared, lake=here, scratch=tmp_path / name / "scratch")

        undisturbed = copied("undisturbed", Lake)
        undisturbed.fetch(**OF_BALANCED)
        expected, steps = folder_bytes(tmp_path / "undisturbed"), 0
        while True:
            here = copied(f"killed-{steps}", KillingLake)
            written = (f"{here.lake.root}/mappool/images", f"{here.lake.root}/mappool/map_images", str(here.scratch))
            killer.folders, killer.left = written, steps + 1
            try:
                here.fetch(**OF_BALANCED)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            here.fetch(**OF_BALANCED)
            assert folder_bytes(Path(here.lake.root).parent) == expected
    assert folder_bytes(Path(here.lake.root).parent) == expected
    assert steps > 10
