"""The rules that clean and split labelled images: pure functions of what was measured of each image.

A rule returns the images it keeps and the ones it drops, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.perceptual_hash import has_neighbour_within

TRAINING, EVALUATION = "training", "evaluation"


class Dropped(NamedTuple):
    """A labelled image that became no row, and why."""

    name: str
    label: str
    reason: str
    detail: str


class MeasuredImage(NamedTuple):
    """A labelled image that could be read; its bytes are in the spool."""

    sha256: str
    name: str
    label: str
    is_map: bool
    split: str
    width: int
    height: int
    phash: np.uint64
    size_bytes: int

    def dropped(self, reason: str, detail: str) -> Dropped:
        """Return the row of the drop table."""
        return Dropped(self.name, self.label, reason, detail)


KeptAndDropped = tuple[list[MeasuredImage], list[Dropped]]


def split_of(sha256: str, training_share: float) -> str:
    """Return the split of an image, from its content alone.

    A number in [0, 1) is drawn from the hash of the content hash; below ``training_share`` the image is trained on.
    Adding or removing other images therefore never moves it. The price: shares are exact only in expectation, and
    stratified by class in the same sense, each class being an independent draw of the same share (1,000 images at 0.6:
    600 ± 30 in 95 of 100 sets). Exact shares would need ranks, and a new image would shift the ranks of others.

    Parameters
    ----------
    sha256 : str
        Hex digits of the hash of the encoded image.
    training_share : float
        In [0, 1].
    """
    digest = hashlib.sha256(f"mappool split{sha256}".encode()).digest()
    uniform = int.from_bytes(digest[:8], "big") / 2**64
    return TRAINING if uniform < training_share else EVALUATION


def drop_same_bytes(images: Sequence[MeasuredImage]) -> KeptAndDropped:
    """Keep one of equal files, and none where their labels differ."""
    by_content: dict[str, list[MeasuredImage]] = {}
    for image in images:
        by_content.setdefault(image.sha256, []).append(image)
    kept, dropped = [], []
    for same in by_content.values():
        labels = sorted({image.label for image in same})
        if len(labels) > 1:
            dropped += [i.dropped("conflicting_label_sha256", f"labelled {' and '.join(labels)}") for i in same]
            continue
        kept.append(same[0])
        dropped += [i.dropped("duplicate_sha256", f"same bytes as {same[0].name}") for i in same[1:]]
    return kept, dropped


def drop_near_duplicates_across_labels(images: Sequence[MeasuredImage], distance: int) -> KeptAndDropped:
    """Drop both images of a pair that looks the same and is said to be a map and not a map."""
    hashes, is_map = _hashes(images), np.array([image.is_map for image in images], dtype=bool)
    doubtful = np.zeros(len(images), dtype=bool)
    for side in (is_map, ~is_map):
        doubtful[side] = has_neighbour_within(hashes[side], hashes[~side], distance)
    return _parted(images, doubtful, "near_duplicate_across_labels", "looks like an image of the other class")


def drop_near_duplicates_across_splits(images: Sequence[MeasuredImage], distance: int) -> KeptAndDropped:
    """Drop images to evaluate on that look like one to train on: they would flatter the accuracy."""
    hashes, evaluated = _hashes(images), np.array([image.split == EVALUATION for image in images], dtype=bool)
    leaked = np.zeros(len(images), dtype=bool)
    leaked[evaluated] = has_neighbour_within(hashes[evaluated], hashes[~evaluated], distance)
    return _parted(images, leaked, "near_duplicate_across_splits", "looks like an image that is trained on")


def _hashes(images: Sequence[MeasuredImage]) -> NDArray[np.uint64]:
    return np.array([image.phash for image in images], dtype=np.uint64)


def _parted(images: Sequence[MeasuredImage], is_dropped: NDArray[np.bool_], reason: str, detail: str) -> KeptAndDropped:
    kept = [image for image, drop in zip(images, is_dropped, strict=True) if not drop]
    return kept, [i.dropped(reason, detail) for i, drop in zip(images, is_dropped, strict=True) if drop]
