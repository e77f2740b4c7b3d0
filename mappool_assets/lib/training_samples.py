"""A sheet of labelled images, for people to look at."""

from __future__ import annotations

import itertools

from mappool_assets.lib.images import contact_sheet
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.training_set import TRAINING_SET

IMAGES_A_CLASS = 12


def sample_sheet(lake: Lake) -> bytes:
    """Return a PNG of some maps, then some others: the first by hash, which is as good as by lot."""
    found: dict[bool, list[tuple[bytes, str]]] = {True: [], False: []}
    with lake.open_table(TRAINING_SET) as file:
        for batch in file.iter_batches(64, columns=["image", "label", "is_map"]):
            for row in batch.to_pylist():
                found[row["is_map"]].append((row["image"]["bytes"], row["label"]))
            if min(map(len, found.values())) >= IMAGES_A_CLASS:
                break
    return contact_sheet(list(itertools.chain.from_iterable(images[:IMAGES_A_CLASS] for images in found.values())))
