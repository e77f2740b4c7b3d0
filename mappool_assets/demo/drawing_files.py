"""Drawings written to files by worker processes, and the awkward files that every real folder holds."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mappool_assets.demo.drawings import draw
from mappool_assets.lib.workers import run_tasks

_BLOCK_DRAWINGS = 64  # a task of about a third of a second, and two full batches of the encoder


@dataclass(frozen=True)
class Album:
    """A folder of drawings to make.

    Attributes
    ----------
    folder : Path
        Where the files ``00000.jpg``, ``00001.png``, … go.
    seed : tuple of int
        With a drawing's index it decides the drawing.
    is_map : tuple of bool
        What to draw.
    """

    folder: Path
    seed: tuple[int, ...]
    is_map: tuple[bool, ...]


@dataclass(frozen=True)
class DrawnFile:
    """A drawing in a file."""

    path: Path
    caption: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Block:
    """Some consecutive drawings of an album: one task."""

    album: Album
    start: int


def draw_albums(albums: list[Album], workers: int) -> Iterator[tuple[Block, list[DrawnFile]]]:
    """Draw all albums; yield blocks as they are done, not in order."""
    for album in albums:
        album.folder.mkdir(parents=True)
    blocks = [Block(album, at) for album in albums for at in range(0, len(album.is_map), _BLOCK_DRAWINGS)]
    for outcome in run_tasks(draw_block, blocks, workers):
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        yield outcome.task, outcome.result


def draw_block(block: Block) -> list[DrawnFile]:
    """Draw and write one block."""
    album, files = block.album, []
    for index in range(block.start, min(block.start + _BLOCK_DRAWINGS, len(album.is_map))):
        drawing = draw(np.random.default_rng([*album.seed, index]), is_map=album.is_map[index])
        path = album.folder / f"{index:05d}{drawing.suffix}"
        path.write_bytes(drawing.content)
        digest = hashlib.sha256(drawing.content).hexdigest()
        files.append(DrawnFile(path, drawing.caption, drawing.width, drawing.height, digest))
    return files


def add_awkward_files(folder: Path) -> None:
    """Add to a folder of drawings: one cut off, one too small, one twice, one that is no picture."""
    first = min(folder.iterdir())
    content = first.read_bytes()
    (folder / f"cut_off{first.suffix}").write_bytes(content[: len(content) // 3])
    (folder / "notes.jpg").write_text("scan the rest of the atlas on Monday\n", encoding="utf-8")
    shutil.copyfile(first, folder / f"copy_of_{first.name}")
    thumbnail = io.BytesIO()
    Image.open(first).convert("RGB").resize((16, 16)).save(thumbnail, "PNG")
    (folder / "thumbnail.png").write_bytes(thumbnail.getvalue())


def age_files(folder: Path, seed: tuple[int, ...]) -> None:
    """Let a web folder grow old: of a hundred files some five are gone, two are others by now, one is an error page."""
    for index, path in enumerate(sorted(folder.iterdir())):
        fate = np.random.default_rng([*seed, index]).random()
        if fate < 0.05:
            path.unlink()
        elif fate < 0.07:
            path.write_bytes(draw(np.random.default_rng([*seed, index]), is_map=False).content)
        elif fate < 0.08:
            path.write_text("<!doctype html><title>Not here</title><p>The page has moved.\n", encoding="utf-8")
