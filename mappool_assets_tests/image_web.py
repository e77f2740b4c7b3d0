"""A shard of maps whose images a loopback server has, with some that it does not give."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_task import ImageEngine, ImageReport, ImageSettings
from mappool_assets.lib.map_images.map_images import fetch_map_images, map_image_tasks
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.loopback_server import LoopbackServer, answer, running
from mappool_assets_tests.small_engine import fetch_in_turn
from mappool_assets_tests.small_lake import A, write_maps

RULES = FetchRules(allow_private_addresses=True, deadline_seconds=5.0)
FORMATS = ("PNG", "JPEG", "GIF")


@functools.cache
def image(number: int) -> bytes:
    return encoded(picture(number), FORMATS[number % len(FORMATS)])


def uid(number: int) -> str:
    return f"{number:032x}"


@dataclass
class ImageWeb:
    """A web and a lake.

    Attributes
    ----------
    busy : set of int
        Images whose server answers 503; it says that asking again now is no use, so that nobody waits.
    """

    server: LoopbackServer
    lake: Lake
    scratch: Path
    busy: set[int] = field(default_factory=set)

    def write_maps(self, numbers: Sequence[int], shard: str = A, **columns: Sequence[Any]) -> None:
        """Write a shard whose maps have these images, each number another one."""
        own = {
            "uid": [uid(number) for number in numbers],
            "url": [self.url(number) for number in numbers],
            "sha256": [hashlib.sha256(image(number)).hexdigest() for number in numbers],
        }
        columns = {**own, **columns}
        # The seed is recorded among what made the maps: other maps, another fingerprint.
        write_maps(self.lake, shard, len(numbers), columns=columns, seed=zlib.crc32(repr(columns).encode()))

    def url(self, number: int) -> str:
        path = f"/{number}.png"
        self.server.routes.setdefault(path, lambda handler: self._answer(handler, number))
        return self.server.url + path

    def _answer(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        if number in self.busy:
            answer(handler, 503, Retry_After="3600")
        else:
            answer(handler, 200, image(number))

    def asked(self) -> list[int]:
        """Return the numbers of the images asked for since the last call."""
        found = [int(path[1:].partition(".")[0]) for path in self.server.requests if path[1:2].isdecimal()]
        self.server.requests.clear()
        return sorted(found)

    def settings(self, **settings: Any) -> ImageSettings:
        return ImageSettings(**{"scratch": self.scratch, "rules": RULES, **settings})

    def fetch(
        self, shard: str = A, *, force: bool = False, engine: ImageEngine = fetch_in_turn, **settings: Any
    ) -> ImageReport:
        """Fetch a shard's images; raise what went wrong."""
        tasks = map_image_tasks(self.lake, [shard], self.settings(**settings), engine=engine)
        (outcome,) = fetch_map_images(tasks, workers=1, force=force)
        if outcome.error:
            raise outcome.error
        assert outcome.result is not None
        return outcome.result

    def rows(self, shard: str = A) -> list[dict[str, Any]]:
        return self.lake.read_table("mappool/map_images", shard).to_pylist()

    def statuses(self, shard: str = A) -> dict[str, str]:
        return {row["uid"]: row["status"] for row in self.rows(shard)}


@contextlib.contextmanager
def image_web(folder: Path, lake: Lake | None = None) -> Iterator[ImageWeb]:
    with running() as server:
        yield ImageWeb(server, lake or Lake(str(folder / "lake")), folder / "scratch")
