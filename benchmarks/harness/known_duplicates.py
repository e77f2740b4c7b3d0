"""Pictures of which it is known which are copies of which: real maps where there are some, drawn ones, and copies."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from threadpoolctl import threadpool_limits

from mappool_assets.demo.drawings import MAPS, draw_kind
from mappool_assets.demo.picture_copies import COPIES, as_jpeg, copied, marked
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.images import open_image
from mappool_assets.lib.perceptual_hash import perceptual_hash
from mappool_assets.lib.workers import available_cores, run_tasks

REAL_MAPS = Path(__file__).parents[2].parent / "shared" / "data" / "images" / "map"  # beside the repository, if at all
ORIGINAL, MARKED = "original", "marked: another map"
REAL, DRAWN = "real", "drawn"
SEED = 6
LONGEST_SIDE = 1500  # of a real map; drawn ones are smaller
PICTURES_A_TASK = 20


class Pictures(NamedTuple):
    """What the search for duplicates knows of n pictures, and what only we know: their origin, family and kind.

    A family is an original with its copies; a marked one is another map, but told apart by its kind.
    """

    origin: np.ndarray
    family: np.ndarray
    kind: np.ndarray
    pixels: np.ndarray
    bytes: np.ndarray
    hash: np.ndarray
    mirrored_hash: np.ndarray
    embedding: np.ndarray  # (n, d)

    def where(self, chosen: np.ndarray) -> Pictures:
        """Return some of them, by mask or positions."""
        return Pictures(*(column[chosen] for column in self))


@dataclass(frozen=True)
class Families:
    """A task: some originals, with their copies or without."""

    origin: str
    numbers: range
    has_copies: bool
    encoder: str


def known_duplicates(encoder: str, drawn: int, drawn_alone: int) -> Pictures:
    """Return real and drawn maps with a copy of each kind and a marked one each, and drawn maps without copies."""
    real = len(list(REAL_MAPS.glob("*"))) if REAL_MAPS.is_dir() else 0
    tasks = [
        Families(origin, range(start, min(start + PICTURES_A_TASK, stop)), has_copies, encoder)
        for origin, first, stop, has_copies in (
            (REAL, 0, real, True),
            (DRAWN, 0, drawn, True),
            (DRAWN, drawn, drawn + drawn_alone, False),
        )
        for start in range(first, stop, PICTURES_A_TASK)
    ]
    pictures: list[tuple] = []
    for outcome in run_tasks(_pictures, tasks, available_cores()):
        if outcome.error is not None:
            raise outcome.error
        pictures += outcome.result or []
    return Pictures(*map(np.array, zip(*sorted(pictures, key=lambda picture: picture[:3]), strict=True)))


def _pictures(task: Families) -> list[tuple]:
    """Return the pictures of some families, each with the fields of :class:`Pictures`."""
    pictures = []
    for number in task.numbers:
        random = np.random.default_rng([SEED, number])
        original = _original(task.origin, number)
        files = {ORIGINAL: as_jpeg(original, 95)}
        if task.has_copies:
            files |= {kind: copied(original, kind, random) for kind in COPIES}
            files[MARKED] = as_jpeg(marked(original, random))
        images = [open_image(data) for data in files.values()]
        with threadpool_limits(1):
            embeddings = _encoder(task.encoder).embed_images(images)
        for kind, image, embedding in zip(files, images, embeddings, strict=True):
            hashes = perceptual_hash(image), perceptual_hash(ImageOps.mirror(image))
            known = (task.origin, number, kind, image.width * image.height, len(files[kind]))
            pictures.append((*known, *hashes, embedding))
    return pictures


def _original(origin: str, number: int) -> Image.Image:
    if origin == DRAWN:
        return draw_kind(list(MAPS)[number % len(MAPS)], np.random.default_rng([SEED, SEED, number])).image()
    image = open_image(sorted(REAL_MAPS.glob("*"))[number].read_bytes())
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image


@functools.cache
def _encoder(model: str) -> ClipEncoder:
    import torch

    torch.set_num_threads(1)
    return ClipEncoder(model, device="cpu")
