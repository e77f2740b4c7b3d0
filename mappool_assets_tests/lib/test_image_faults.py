"""Every fault of the web in one shard: each row gets its own status, and none costs another row, time or memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets_tests.hostile_web import DEADLINE_SECONDS, MAX_BYTES, Address, hostile_web
from mappool_assets_tests.image_runs import ImageRun
from mappool_assets_tests.inward_addresses import inward_addresses
from mappool_assets_tests.loopback_server import LoopbackServer, running
from mappool_assets_tests.small_lake import A, write_maps

RULES = {
    "max_bytes": MAX_BYTES,
    "deadline_seconds": DEADLINE_SECONDS,
    "obeys_robots": True,
    "obeys_opt_out": True,
}
MOST_SECONDS = 40.0  # one deadline, starting and storing: 8 on an idle machine; several faults have no end of their own
MOST_MEGABYTES = 500  # of any process: measured 200; the images alone would take 2,700 and 12,900
MOST_DETAIL = 1000  # characters that a server can put into our table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def uid(position: int) -> str:
    return f"{position:032x}"


def write_addresses(lake: Lake, addresses: Sequence[Address]) -> None:
    assert len({address.name for address in addresses}) == len(addresses)
    columns = {
        "uid": [uid(position) for position in range(len(addresses))],
        "url": [address.url for address in addresses],
        "sha256": [address.sha256 for address in addresses],
    }
    write_maps(lake, A, len(addresses), columns=columns)


def fetch(lake: Lake, tmp_path: Path, *, is_pretended: bool = False, **rules: Any) -> dict[str, Any]:
    run = ImageRun(lake, A, tmp_path / "scratch", {**RULES, **rules}, is_pretended=is_pretended)
    report = run.finish()
    assert run.living() == []
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    return report


def assert_nothing_is_lost(lake: Lake, addresses: Sequence[Address], report: dict[str, Any]) -> None:
    statuses = lake.read_table("mappool/map_images", A)["status"].to_pylist()
    refused = Counter(status for status in statuses if status != "ok")
    assert report["rows_in"] == len(addresses) == len(statuses)
    assert report["rows_kept"] == statuses.count("ok")
    assert report["rows_dropped"] == dict(refused)


def assert_time_and_memory_are_bounded(report: dict[str, Any]) -> None:
    assert report["seconds"] < MOST_SECONDS
    assert report["peak_megabytes"] < MOST_MEGABYTES


def test_each_fault_costs_its_own_row_only(lake: Lake, tmp_path: Path) -> None:
    with hostile_web() as addresses:
        write_addresses(lake, addresses)
        report = fetch(lake, tmp_path, allow_private_addresses=True)

    rows = lake.read_table("mappool/map_images", A).to_pylist()
    assert [row["uid"] for row in rows] == [uid(position) for position in range(len(addresses))]
    named = dict(zip((address.name for address in addresses), rows, strict=True))
    assert {name: row["status"] for name, row in named.items()} == {a.name: a.status for a in addresses}
    for address in addresses:
        row = named[address.name]
        assert len(row["detail"]) <= MOST_DETAIL
        if row["status"] == "ok":
            found = (row["mime"], row["width"], row["height"], row["bytes"])
            assert found == (*address.file[1:], len(address.file.data)), address.name
        else:
            assert row["detail"]
            assert (row["file"], row["sha256"], row["width"]) == (None, None, None)
    assert_nothing_is_lost(lake, addresses, report)
    assert_time_and_memory_are_bounded(report)


def all_from_inside(stack: ExitStack, inside: LoopbackServer, inside6: LoopbackServer) -> Iterator[Address]:
    outside, outside_of_robots = stack.enter_context(running()), stack.enter_context(running())
    yield from inward_addresses(outside, outside_of_robots, inside, inside6)
    yield from stack.enter_context(hostile_web())


def test_nothing_inside_is_ever_asked(lake: Lake, tmp_path: Path) -> None:
    with ExitStack() as stack, running() as inside, running("::1") as inside6:
        addresses = list(all_from_inside(stack, inside, inside6))
        write_addresses(lake, addresses)
        report = fetch(lake, tmp_path, is_pretended=True)
        assert inside.requests == inside6.requests == []

    statuses = lake.read_table("mappool/map_images", A)["status"].to_pylist()
    wanted = {address.name: address.status_from_inside for address in addresses}
    assert dict(zip((address.name for address in addresses), statuses, strict=True)) == wanted
    assert_nothing_is_lost(lake, addresses, report)
    assert_time_and_memory_are_bounded(report)
