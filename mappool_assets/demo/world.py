"""The demo world: labelled drawings, a pool of shards in CommonPool's format, its pictures, a crawl and an encoder.

Everything lies in one folder that is there whole or not at all: it is built beside its place and renamed.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import shlex
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mappool_assets.demo.canvas import place_name
from mappool_assets.demo.crawl import write_warc
from mappool_assets.demo.drawing_files import Album, Block, DrawnFile, add_awkward_files, age_files, draw_albums
from mappool_assets.demo.drawn_shard import DrawnShard
from mappool_assets.demo.encoder import write_encoder
from mappool_assets.demo.web_pages import made_pages
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting, SourceUnavailable
from mappool_assets.lib.lake import fingerprint, replacing
from mappool_assets.lib.workers import available_cores

FORMAT = 5  # raise it when the same parameters come to mean another world
HOST = "127.0.0.1"
MAP_SHARE = 0.03  # of the pool; CommonPool's 0.7 % would leave too few to look at
CRAWL_FILES, PAGES_A_FILE = 2, 40
PLACES = 12  # names to look for; with random weights an encoder finds anything by them
_FEW_DRAWINGS = 600  # fewer are drawn sooner than worker processes have started
_MANIFEST = "manifest.json"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """A built world.

    Attributes
    ----------
    folder : Path
        Absolute.
    port : int
        Of the loopback server that the pool's URLs name.
    """

    folder: Path
    port: int

    @property
    def training_images(self) -> Path:
        """Labelled drawings, a folder a class: ``map`` and ``non_map``."""
        return self.folder / "training_images"

    @property
    def pool(self) -> Path:
        """``HASH.parquet`` and ``HASH.npz`` of each shard."""
        return self.folder / "pool"

    @property
    def pool_images(self) -> Path:
        """The files behind the pool's URLs."""
        return self.folder / "pool_images"

    @property
    def crawl(self) -> Path:
        """WARC files of web pages that show the pool's pictures."""
        return self.folder / "crawl"

    @property
    def places(self) -> Path:
        """Places to look for: a keyword list."""
        return self.folder / "places.txt"

    @property
    def encoder_model(self) -> str:
        """The encoder's name for open_clip."""
        return f"local-dir:{self.folder / 'encoder'}"

    @property
    def env_file(self) -> Path:
        """The settings as a file of ``KEY=value`` lines."""
        return self.folder / "demo.env"

    @property
    def settings(self) -> dict[str, str]:
        """The settings under which the platform works on this world; lake and results lie beside its folder."""
        return {name: value for name, value, _ in self._explained_settings()}

    def _explained_settings(self) -> list[tuple[str, str, str]]:
        return [
            ("MAPPOOL_LAKE", str(self.folder.parent / "lake"), "where all tables go"),
            ("MAPPOOL_POOL", str(self.pool), "the pool: shards in CommonPool's format"),
            ("MAPPOOL_TRAINING_IMAGES", str(self.training_images), "labelled drawings, a folder a class"),
            ("MAPPOOL_ENCODER_MODEL", self.encoder_model, "a small model with random weights instead of ViT-L-14"),
            ("MAPPOOL_ENCODER_PRETRAINED", "", "its weights are in its folder"),
            ("MAPPOOL_PLACES", f"keywords:{self.places}", "places whose images are looked for"),
            ("MAPPOOL_NEIGHBOURS", "40", "images that a place finds"),
            ("MAPPOOL_CRAWL", str(self.crawl), "WARC files of web pages"),
            ("MAPPOOL_ENTRIES", f"numbers,cartography,places:keywords:{self.places}", "what captions are balanced by"),
            ("MAPPOOL_BALANCE_FIRST_T", "40", "pairs of an entry that the first draw leaves, instead of 170,000"),
            ("MAPPOOL_BALANCE_T", "10", "and the second, instead of 20,000"),
            ("MAPPOOL_BALANCE_SEEDS", "0,1", "two draws to compare"),
            ("MAPPOOL_SCRATCH", str(self.folder.parent / "scratch"), "downloads under way"),
            ("MAPPOOL_PUBLISH_TO", str(self.folder.parent / "published"), "where the finished dataset goes"),
            ("MAPPOOL_ALLOW_PRIVATE_ADDRESSES", "1", "the pool's pictures are served by this machine"),
        ]

    def _env_text(self) -> str:
        lines = [
            f"# {meaning}\n{key}={shlex.quote(v) if v else ''}\n" for key, v, meaning in self._explained_settings()
        ]
        return "".join(lines)


def build_world(
    folder: Path,
    *,
    seed: int = 7,
    training_per_class: int = 500,
    shards: int = 4,
    rows_per_shard: int = 1_200,
    progress: Progress = lambda line: None,
) -> World:
    """Build a world, or find it built.

    Parameters
    ----------
    folder : Path
        Where it goes; a world of other parameters there is replaced, anything else is refused.
    seed : int
        Decides all content; only the port in the URLs is whatever is free.
    training_per_class, shards, rows_per_shard : int
        Sizes.
    progress : callable
        Called with a line now and then.
    """
    folder = folder.absolute()
    parameters = {
        "format": FORMAT,
        "seed": seed,
        "training_per_class": training_per_class,
        "shards": shards,
        "rows_per_shard": rows_per_shard,
    }
    manifest = _read_manifest(folder)
    if manifest is not None and manifest["fingerprint"] == fingerprint(parameters):
        progress(f"The world in {folder} is already built.")
        return World(folder, manifest["port"])
    building = folder.with_name(f".{folder.name}.building")
    if building.exists():
        shutil.rmtree(building)  # of a build that was killed
    building.mkdir(parents=True)
    world = World(folder, _free_port())
    _fill(building, world, parameters, progress)
    manifest = {"fingerprint": fingerprint(parameters), "port": world.port, "parameters": parameters}
    _write_text(building / _MANIFEST, json.dumps(manifest, indent=1))
    if folder.exists():
        shutil.rmtree(folder)
    building.rename(folder)
    progress(f"The world in {folder} is built.")
    return world


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    if (folder / _MANIFEST).is_file():
        return json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    if folder.exists() and any(folder.iterdir()):
        raise BadSetting(
            "The demo's folder is in use",
            where=str(folder),
            rule="an empty folder, or a world built earlier",
            got="other files",
            action="Choose another folder for the demo, or empty this one.",
        )
    return None


def _fill(building: Path, world: World, parameters: dict[str, int], progress: Progress) -> None:
    seed, per_class, rows = parameters["seed"], parameters["training_per_class"], parameters["rows_per_shard"]
    training = [
        Album(building / "training_images" / name, (seed, 0, label), (label == 1,) * per_class)
        for label, name in enumerate(("non_map", "map"))
    ]
    pool = [
        Album(building / "pool_images" / str(shard), (seed, 1, shard), _pool_truth(seed, shard, rows))
        for shard in range(parameters["shards"])
    ]
    # Loading PyTorch takes longer than making the encoder: both go on while the first pictures are drawn.
    with ThreadPoolExecutor(1) as background:
        making = background.submit(_make_encoder, building / "encoder", seed)
        embedded = _draw_and_embed(training, pool, making, progress)
    for album in training:
        add_awkward_files(album.folder)
    for number, album in enumerate(pool):
        age_files(album.folder, (seed, 3, number))
    (building / "pool").mkdir()
    base_url = f"http://{HOST}:{world.port}"
    for shard in embedded:
        shard.write(building / "pool", base_url)
    pictures = [picture for shard in embedded for picture in shard.shown(base_url)]
    for number in range(CRAWL_FILES):
        random = np.random.default_rng([seed, 5, number])
        write_warc(
            building / world.crawl.name / f"journeys-{number:05}.warc.gz", made_pages(pictures, PAGES_A_FILE, random)
        )
    names = sorted({place_name(np.random.default_rng([seed, 4, place])) for place in range(PLACES)})
    _write_text(building / world.places.name, "".join(f"{name}\n" for name in names))
    _write_text(building / world.env_file.name, world._env_text())


def _make_encoder(folder: Path, seed: int) -> ClipEncoder:
    return ClipEncoder(model=write_encoder(folder, seed), device="cpu")


def _pool_truth(seed: int, shard: int, rows: int) -> tuple[bool, ...]:
    return tuple((np.random.default_rng([seed, 2, shard]).random(rows) < MAP_SHARE).tolist())


def _draw_and_embed(
    training: list[Album], pool: list[Album], making: Future[ClipEncoder], progress: Progress
) -> list[DrawnShard]:
    shards = {album: DrawnShard(album) for album in pool}
    total = sum(len(album.is_map) for album in (*training, *pool))
    done = 0
    backlog: list[tuple[Block, list[DrawnFile]]] = []  # drawn before the encoder was there
    for block, files in draw_albums([*training, *pool], available_cores() if total > _FEW_DRAWINGS else 1):
        if block.album in shards:
            backlog.append((block, files))
        if making.done():
            for late, drawn in backlog:
                shards[late.album].add(late.start, drawn, making.result())
            backlog.clear()
        if (done + len(files)) * 10 // total > done * 10 // total:
            progress(f"Drew {done + len(files):,} of {total:,} pictures.")
        done += len(files)
    for late, drawn in backlog:
        shards[late.album].add(late.start, drawn, making.result())
    return list(shards.values())


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# -- the server behind the URLs ---------------------------------------------------------------------------------


@contextlib.contextmanager
def serve_images(world: World) -> Iterator[str]:
    """Serve the pool's pictures on the loopback interface at the port that its URLs name; yield the base URL.

    Raises
    ------
    SourceUnavailable
        The port is taken.
    """
    handler = functools.partial(_QuietHandler, directory=str(world.pool_images))
    try:
        server = _Server((HOST, world.port), handler)
    except OSError as error:
        raise SourceUnavailable(
            "The demo's pictures cannot be served",
            where=f"{HOST}:{world.port}",
            rule="the port that was free when the world was built, as the pool's URLs name it",
            got=str(error),
            action=f"End the program that uses the port, or delete {world.folder} so that it is built for another.",
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{world.port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # img2dataset opens many connections at once


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
