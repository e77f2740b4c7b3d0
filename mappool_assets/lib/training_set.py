"""The labelled images to train and evaluate on: cleaned of what would flatter the accuracy, split by content.

Written in two passes so that memory does not grow with the images: the first reads each image once, measures it and
spools its bytes to a temporary folder; the second writes those that are kept.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from mappool_assets.lib.errors import BadTrainingSet
from mappool_assets.lib.images import MAX_PIXELS, ImageRefused, open_image
from mappool_assets.lib.labelled_images import LabelledImage, find_labelled_images
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.perceptual_hash import perceptual_hash
from mappool_assets.lib.training_set_rules import (
    EVALUATION,
    TRAINING,
    Dropped,
    MeasuredImage,
    drop_near_duplicates_across_labels,
    drop_near_duplicates_across_splits,
    drop_same_bytes,
    split_of,
)
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher

TRAINING_SET = "mappool/training_set"
DROPPED = "mappool/training_set_dropped"
CODE_VERSION = "1"  # raised when the same source would give other rows

READERS = 8  # images read, fetched and decoded at once
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 64, 32 * 1024 * 1024  # whichever is reached first: what a reader holds at least

SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),  # of the encoded bytes, 64 hex digits
        pa.field("name", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("is_map", pa.bool_(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),  # the Hub's form of an image
    ]
)
DROPPED_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("name", "label", "reason", "detail")]
)

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class TrainingSetSettings:
    """What becomes a row.

    Attributes
    ----------
    positive_label : str
        The class that is searched for; all others together are its opposite.
    training_share : float
        Share of each class to train on. The paper trains on 1,860 and evaluates on 1,240 images a class.
    near_duplicate_distance : int
        Bits of the 64-bit perceptual hash in which two images may differ and still count as the same. In 220 real
        maps and non-maps (cartopy, scikit-image, Pillow, plotnine) no pair across the classes is nearer than 12.
    max_pixels : int
        Width times height that is decoded.
    min_side : int
        Pixels that the shorter side needs. Our choice: under 32 there are icons and tracking pixels, which CLIP's
        224 x 224 input would enlarge seven times.
    """

    positive_label: str = "map"
    training_share: float = 0.6
    near_duplicate_distance: int = 4
    max_pixels: int = MAX_PIXELS
    min_side: int = 32


@dataclass(frozen=True)
class TrainingSetCounts:
    """What was written.

    Attributes
    ----------
    provenance : Provenance
        Rows in, kept and dropped by reason; its inputs hold ``training_set_id``.
    images : dict of str to dict of str to int
        Images kept, by class (``map`` or ``non_map``) and split.
    """

    provenance: Provenance
    images: dict[str, dict[str, int]]

    @property
    def training_set_id(self) -> str:
        """The hash of what is trained and evaluated on: images, labels and splits."""
        return self.provenance.inputs["training_set_id"]


def write_training_set(
    lake: Lake,
    source: str,
    settings: TrainingSetSettings,
    *,
    fetch_rules: FetchRules,
    progress: Progress,
) -> TrainingSetCounts:
    """Read labelled images, drop what cannot or must not be trained on, and write the rest with its split.

    Parameters
    ----------
    lake : Lake
        Gets the tables ``mappool/training_set`` and ``mappool/training_set_dropped``.
    source : str
        An address as in :mod:`mappool_assets.lib.labelled_images`.
    settings : TrainingSetSettings
        What becomes a row.
    fetch_rules : FetchRules
        Bounds for images given as URL.
    progress : callable
        Told how many images are read, of how many.

    Raises
    ------
    BadTrainingSet
        The source has no images or one class, or a class or a split of one is empty after cleaning.
    """
    with tempfile.TemporaryDirectory(prefix="mappool-images-") as folder, WebFetcher(fetch_rules) as fetcher:
        images = find_labelled_images(source, fetcher, settings.positive_label)
        images = _fetched_before(lake, images, Path(folder))
        measured, dropped = _measure_all(images, settings, Path(folder), progress)
        measured, same = drop_same_bytes(measured)
        measured, doubtful = drop_near_duplicates_across_labels(measured, settings.near_duplicate_distance)
        measured, leaked = drop_near_duplicates_across_splits(measured, settings.near_duplicate_distance)
        dropped += same + doubtful + leaked
        counts = _counted(source, settings, measured, dropped)
        _write_dropped(lake, dropped, counts.provenance)
        with lake.table_writer(TRAINING_SET, SCHEMA) as writer:
            for rows in _row_groups(measured, Path(folder)):
                writer.write(rows)
            writer.provenance = counts.provenance
        return counts


# -- first pass -----------------------------------------------------------------------------------------------


def _fetched_before(lake: Lake, images: list[LabelledImage], spool: Path) -> list[LabelledImage]:
    """Let images from the web that an earlier training set holds be taken from it.

    An address that fails today then takes no image away, which would change the classifier and every shard's maps.
    """
    stored: dict[str, Path] = {}
    if any("://" in image.name for image in images) and lake.provenance(TRAINING_SET) is not None:
        with lake.open_table(TRAINING_SET) as file:
            for batch in file.iter_batches(ROW_GROUP_ROWS, columns=["name", "sha256", "image"]):
                for row in batch.to_pylist():
                    if "://" in row["name"]:
                        stored[row["name"]] = spool / row["sha256"]
                        stored[row["name"]].write_bytes(row["image"]["bytes"])
    return [replace(i, read=stored[i.name].read_bytes) if i.name in stored else i for i in images]


def _measure_all(
    images: Sequence[LabelledImage], settings: TrainingSetSettings, spool: Path, progress: Progress
) -> tuple[list[MeasuredImage], list[Dropped]]:
    measured: list[MeasuredImage] = []
    dropped: list[Dropped] = []
    progress(0, len(images))
    waiting = iter(images)
    with ThreadPoolExecutor(READERS) as pool:
        # A window, taken in order: what is held is bounded and the outcome does not depend on who is first.
        pending = [pool.submit(_measure, image, settings, spool) for image in islice(waiting, 2 * READERS)]
        for done in range(1, len(images) + 1):
            result = pending.pop(0).result()
            pending += [pool.submit(_measure, image, settings, spool) for image in islice(waiting, 1)]
            if isinstance(result, Dropped):
                dropped.append(result)
            else:
                measured.append(result)
            progress(done, len(images))
    return measured, dropped


def _measure(image: LabelledImage, settings: TrainingSetSettings, spool: Path) -> MeasuredImage | Dropped:
    try:
        data = image.read()
        decoded = open_image(data, max_pixels=settings.max_pixels, min_side=settings.min_side)
    except OSError as error:
        return Dropped(image.name, image.label, "unreadable", error.strerror or str(error))
    except (FetchRefused, ImageRefused) as refusal:
        return Dropped(image.name, image.label, refusal.reason, refusal.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    (spool / sha256).write_bytes(data)  # twice with the same bytes, where an image is there twice
    return MeasuredImage(
        sha256,
        image.name,
        image.label,
        image.label == settings.positive_label,
        split_of(sha256, settings.training_share),
        *decoded.size,
        perceptual_hash(decoded),
        len(data),
    )


# -- second pass ----------------------------------------------------------------------------------------------


def _counted(
    source: str, settings: TrainingSetSettings, images: list[MeasuredImage], dropped: list[Dropped]
) -> TrainingSetCounts:
    reasons = dict(sorted(Counter(drop.reason for drop in dropped).items()))
    found = Counter((image.is_map, image.split) for image in images)
    counts = {
        class_name: {split: found[is_map, split] for split in (TRAINING, EVALUATION)}
        for class_name, is_map in (("map", True), ("non_map", False))
    }
    if not all(count for by_split in counts.values() for count in by_split.values()):
        raise BadTrainingSet(
            "Too few labelled images are left",
            where=source,
            rule="images of both classes in both splits",
            got=f"{counts} after dropping {reasons or 'none'}",
            action="Add labelled images of the class that is short.",
        )
    content = "\n".join(sorted(f"{image.sha256} {image.label} {image.is_map} {image.split}" for image in images))
    inputs = {
        "source": source,
        "settings": asdict(settings),
        "code_version": CODE_VERSION,
        "training_set_id": hashlib.sha256(content.encode()).hexdigest(),
    }
    return TrainingSetCounts(Provenance(inputs, len(images) + len(dropped), len(images), reasons), counts)


def _write_dropped(lake: Lake, dropped: list[Dropped], made_by: Provenance) -> None:
    rows = sorted(dropped, key=lambda drop: (drop.reason, drop.name, drop.label))
    columns = {name: [getattr(row, name) for row in rows] for name in DROPPED_SCHEMA.names}
    table = pa.table(columns, schema=DROPPED_SCHEMA)
    lake.write_table(DROPPED, table, Provenance(made_by.inputs, len(rows), len(rows)))


def _row_groups(images: list[MeasuredImage], spool: Path) -> Iterator[pa.Table]:
    group: list[MeasuredImage] = []
    group_bytes = 0
    for image in sorted(images):
        if group and (len(group) == ROW_GROUP_ROWS or group_bytes + image.size_bytes > ROW_GROUP_BYTES):
            yield _rows(group, spool)
            group, group_bytes = [], 0
        group.append(image)
        group_bytes += image.size_bytes
    yield _rows(group, spool)


def _rows(images: list[MeasuredImage], spool: Path) -> pa.Table:
    columns = {name: [getattr(image, name) for image in images] for name in SCHEMA.names if name != "image"}
    columns["image"] = [{"bytes": (spool / i.sha256).read_bytes(), "path": Path(i.name).name} for i in images]
    return pa.table(columns, schema=SCHEMA)
