"""A shard of the pool made of drawings: embeddings gathered block by block, and the blemishes of real shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from mappool_assets.demo.commonpool import NPZ_MEMBERS, shard_key, shard_rows, write_shard
from mappool_assets.demo.drawing_files import Album, DrawnFile
from mappool_assets.demo.web_pages import Picture
from mappool_assets.lib.encoder import ClipEncoder

NULL_TEXT_SHARE = 0.004  # of the captions
NAN_VECTORS = 2  # a shard, among pictures that are no maps


class DrawnShard:
    """The pictures of an album, on their way into a shard."""

    def __init__(self, album: Album) -> None:
        rows, (width, dtype) = len(album.is_map), NPZ_MEMBERS["l14_img"]
        self._album = album
        self._is_map = np.array(album.is_map)
        self._random = np.random.default_rng([*album.seed, rows])
        self._is_null = self._random.random(rows) < NULL_TEXT_SHARE
        self._files: dict[int, DrawnFile] = {}
        self._images, self._texts = np.empty((rows, width), dtype), np.empty((rows, width), dtype)

    def add(self, start: int, files: list[DrawnFile], encoder: ClipEncoder) -> None:
        """Embed the pictures of a block, decoded from the bytes that will be served, and their captions."""
        block = slice(start, start + len(files))
        self._files.update(enumerate(files, start))
        with threadpool_limits(1):  # the other cores draw
            self._images[block] = encoder.embed_images(_decoded(file.path) for file in files)
            self._texts[block] = encoder.embed_texts([self._caption(row) or "" for row in range(start, block.stop)])

    def _caption(self, row: int) -> str | None:
        return None if self._is_null[row] else self._files[row].caption

    def write(self, folder: Path, base_url: str) -> None:
        """Write the shard; the pictures' URLs are ``base_url/FOLDER/FILE``."""
        files = [self._files[row] for row in range(len(self._is_map))]
        others = np.flatnonzero(~self._is_map)
        self._images[self._random.choice(others, min(NAN_VECTORS, len(others)), replace=False)] = np.nan
        rows = shard_rows(
            uids=[shard_key(*self._album.seed, row) for row in range(len(files))],
            urls=[_url(file, base_url) for file in files],
            texts=[self._caption(row) for row in range(len(files))],
            sizes=np.array([(file.width, file.height) for file in files]),
            sha256s=[file.sha256 for file in files],
            l14_img=self._images,
            l14_txt=self._texts,
            is_map=self._is_map,
        )
        write_shard(folder, shard_key(*self._album.seed), rows)

    def shown(self, base_url: str) -> list[Picture]:
        """Return the maps among the pictures, and as many of the others (at least one), as web pages show them."""
        maps, others = np.flatnonzero(self._is_map), np.flatnonzero(~self._is_map)
        files = [self._files[row] for row in sorted([*maps.tolist(), *others[: max(len(maps), 1)].tolist()])]
        return [Picture(_url(file, base_url), file.caption, file.width, file.height) for file in files]


def _url(file: DrawnFile, base_url: str) -> str:
    return f"{base_url}/{file.path.parent.name}/{file.path.name}"


def _decoded(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
