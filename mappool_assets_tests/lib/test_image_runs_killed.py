"""A whole run of fetching killed outright at every stage: nothing outlives it, and the next one ends as one alone."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets_tests.hostile_answers import Route, status, whole
from mappool_assets_tests.image_runs import ImageRun
from mappool_assets_tests.loopback_server import LoopbackServer, running
from mappool_assets_tests.odd_images import PAGE, jpeg
from mappool_assets_tests.small_lake import A, folder_bytes, write_maps

IMAGES = 60
IMAGES_A_BATCH = 15  # so that there are four
RULES = {"allow_private_addresses": True, "deadline_seconds": 5.0}
MOST_SECONDS_TO_END = 10.0  # on a busy machine: measured 0.3 on an idle one


class Site:
    """A server of images, dead links and pages, which calls ``at_request`` with the number of each request."""

    def __init__(self, server: LoopbackServer) -> None:
        self.at_request: Callable[[int], None] = lambda number: None
        self.requests = server.requests
        self.urls = [f"{server.url}/{number}.jpg" for number in range(IMAGES)]
        for number in range(IMAGES):
            server.routes[f"/{number}.jpg"] = self._route(number)

    def _route(self, number: int) -> Route:
        route = {3: status(404), 7: whole(PAGE)}.get(number % 11, whole(jpeg(number)))

        def counted(handler: BaseHTTPRequestHandler) -> None:
            self.at_request(len(self.requests))
            route(handler)

        return counted


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as server:
        yield Site(server)


def write_shard(folder: Path, site: Site) -> Lake:
    lake = Lake(str(folder))
    uids = [f"{number:032x}" for number in range(IMAGES)]
    write_maps(lake, A, IMAGES, columns={"uid": uids, "url": site.urls, "sha256": [None] * IMAGES})
    return lake


def start(lake: Lake, scratch: Path, killed_before: str | None = None) -> ImageRun:
    return ImageRun(lake, A, scratch, RULES, images_a_batch=IMAGES_A_BATCH, killed_before=killed_before)


def assert_ends(run: ImageRun) -> None:
    """All that a killed run started ends by itself, soon."""
    run.process.wait()
    until = time.perf_counter() + MOST_SECONDS_TO_END
    while run.living():
        assert time.perf_counter() < until, run.living()
        time.sleep(0.02)


def end_at_request(run: ImageRun, site: Site, number: int, order: signal.Signals) -> None:
    """Send a signal to a run that has made so many requests."""
    before = len(site.requests)
    site.at_request = lambda total: run.process.send_signal(order) if total == before + number else None
    assert_ends(run)
    site.at_request = lambda total: None


def kill_when_there_is(path: Path, run: ImageRun) -> None:
    while not path.exists():
        assert run.process.poll() is None, f"it ended without {path}"
        time.sleep(0.001)
    run.process.kill()
    assert_ends(run)


def test_killed_at_any_stage_then_run_again(site: Site, tmp_path: Path) -> None:
    scratch, moments = tmp_path / "scratch", random.Random(5)
    alone, lake = write_shard(tmp_path / "alone", site), write_shard(tmp_path / "killed", site)
    report = start(alone, tmp_path / "scratch alone").finish()
    assert report["rows_in"] == IMAGES
    assert report["rows_kept"] == IMAGES - len(range(3, IMAGES, 11)) - len(range(7, IMAGES, 11))

    kill_when_there_is(scratch, start(lake, scratch))  # when img2dataset is about to be started
    end_at_request(start(lake, scratch), site, moments.randrange(1, IMAGES_A_BATCH), signal.SIGKILL)
    end_at_request(start(lake, scratch), site, moments.randrange(IMAGES_A_BATCH, 2 * IMAGES_A_BATCH), signal.SIGINT)
    assert_ends(start(lake, scratch, killed_before=".tar"))
    asked_before = len(site.requests)
    assert_ends(start(lake, scratch, killed_before=".parquet"))
    last = start(lake, scratch)
    last.finish()

    assert len(site.requests) == asked_before, "what killed runs fetched is asked for again"
    assert last.living() == []
    assert folder_bytes(Path(lake.root)) == folder_bytes(Path(alone.root))
    assert not list(Path(lake.root).rglob(".*"))
    assert not [path for path in scratch.rglob("*") if path.is_file()]
