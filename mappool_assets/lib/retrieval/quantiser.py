"""The coarse quantiser: which of some hundred lists a row belongs to, and how its code is made.

A row of unit length is rotated at random, goes to the list of the nearest centroid (by distance, so that what is left
is short), and of what is left the signs are kept, 1 bit a dimension, with two factors (RaBitQ). A query looks into the
lists whose centroids have the largest product with it, and the best by code are ranked again on the float16 rows.

Measured on a million hard synthetic rows of width 768 with out-of-distribution text queries, a 32nd of 4,096 lists
looked into, one core, CPU time of the search alone:

=============  =========  ==================  ====================  ==================  ====================
code           bytes/row  text@10 ≥ 0.95 at   text@1000 ≥ 0.95 at   ms, @10 and @1000   CPU s to code 10⁶
=============  =========  ==================  ====================  ==================  ====================
RaBitQ, 1 bit  104        100 ranked again    6,000 ranked again    1.0, 2.7            8
RaBitQ, 2 bit  212        30                  2,500                 1.0, 2.4            53
RaBitQ, 3 bit  308        15                  1,250                 1.5, 5.0            93
=============  =========  ==================  ====================  ==================  ====================

A row ranked again costs 2.5 µs, so that 1 bit answers in 2 ms (10 nearest) and 25 ms (1,000), 2 bits in 1.6 and 13; but
with 2 bits a build would take twice as long, and every query here is far below what it may take. SQ8 would be 768 MB
of lists, more than the whole service may have.

The same sample gives the same bytes on any number of threads of one kind of processor.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from threadpoolctl import threadpool_limits

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.retrieval.index_ledger import BadIndex
from mappool_assets.lib.retrieval.kmeans import train_centroids
from mappool_assets.lib.retrieval.rotation import Rotation, random_rotation
from mappool_assets.lib.row_blocks import Float32, as_float32

CODE_BITS = 1
# A query reads all centroids and some per cent of the rows. With a million rows 1,024, 2,048 and 4,096 lists found as
# much in the same number of rows read; the fewer, the faster rows are assigned (10, 20 and 40 µs) and lists trained.
LISTS_A_ROOT = 1.0
MOST_LISTS = 16_384  # of 268 million rows; a sample for more would take over 3 GB
# With 10 rounds the same recall, distortion within 0.5 %, and a build takes 6 % longer; with 20 points a list texts
# need a tenth more lists.
POINTS_A_LIST, ROUNDS = 30, 6
SEED = 20_240


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A trained quantiser.

    Attributes
    ----------
    content : bytes
        The file: centroids and rotation as safetensors.
    rotation : Rotation
    centroids : float32 array of shape (lists, d)
        Of rotated rows.
    """

    content: bytes
    rotation: Rotation
    centroids: Float32

    @functools.cached_property
    def quantiser_id(self) -> str:
        """16 hex digits of the content's hash."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @property
    def dimension(self) -> int:
        """Width of the rows."""
        return self.centroids.shape[1]

    @property
    def lists(self) -> int:
        """Number of lists."""
        return len(self.centroids)


def number_of_lists(rows: int) -> int:
    """Return how many lists so many rows are worth."""
    return min(max(1, round(LISTS_A_ROOT * math.sqrt(rows))), MOST_LISTS)


def unit_rows(rows: NDArray[np.float16]) -> tuple[Float32, NDArray[np.bool_]]:
    """Return the rows that have a direction, at length 1 in float32, and which rows these are."""
    numbers = as_float32(rows)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.vecdot(numbers, numbers))
    has_direction = np.isfinite(lengths) & (lengths > 0)
    return numbers[has_direction] / lengths[has_direction, np.newaxis], has_direction


def train_quantiser(sample: Float32, lists: int) -> Quantiser:
    """Find centroids by k-means.

    Parameters
    ----------
    sample : float32 array of shape (n, d)
        Unit rows, at least ``lists`` of them.
    lists : int
    """
    rotation = random_rotation(sample.shape[1], SEED)
    centroids = train_centroids(sample, lists, rounds=ROUNDS, seed=SEED)
    with threadpool_limits(1):  # one product, whose last bits depend on BLAS's threads
        centroids = rotation.turned(centroids)
    content = save({"centroids": centroids, "left": rotation.left, "right": rotation.right})
    return Quantiser(content, rotation, centroids)


def quantiser_from_bytes(content: bytes, quantiser_id: str, where: str) -> Quantiser:
    """Read a quantiser.

    Raises
    ------
    BadIndex
        The content is not the one that the id was made from, or no quantiser.
    """
    found = hashlib.sha256(content).hexdigest()[:16]
    try:
        if found != quantiser_id:
            raise ValueError(f"content of id {found}")
        arrays = load(content)
        rotation, centroids = Rotation(arrays["left"], arrays["right"]), arrays["centroids"]
        if centroids.ndim != 2 or centroids.shape[1] != rotation.dimension:
            raise ValueError(f"centroids of shape {centroids.shape}")
    except (ValueError, KeyError, SafetensorError) as error:
        raise damaged(where, f"the quantiser {quantiser_id}", f"{type(error).__name__}: {error}") from error
    return Quantiser(content, rotation, centroids)


def damaged(where: str, rule: str, got: str) -> MappoolError:
    """Return the error of an index file that cannot be used."""
    return BadIndex(
        "A file of the index is damaged",
        where=where,
        rule=rule,
        got=got,
        action="Delete it and build the image index again.",
    )
