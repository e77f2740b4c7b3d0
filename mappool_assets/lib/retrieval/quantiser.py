"""The coarse quantiser: which of some thousand lists a row belongs to, and how its code is made.

A row of unit length is rotated at random, goes to the list of the nearest centroid (by distance, so that what is left
is short), and what is left is kept in 2 bits a dimension (RaBitQ). A query looks into the lists whose centroids have
the largest product with it, and what it finds there is ranked again on the float16 rows.

Measured on a million hard synthetic rows of width 768 with out-of-distribution text queries, 4,096 lists, 128 of them
looked into, one core:

==================  ==========  ==================  ==================  ====================
code                bytes/row   text@10 ≥ 0.95 at   text@1000 ≥ 0.95    CPU s to encode 10⁶
==================  ==========  ==================  ==================  ====================
RaBitQ, 1 bit       104         100 ranked again    6,000 ranked again  8
RaBitQ, 2 bits      212         30                  2,500               53
RaBitQ, 3 bits      308         15                  1,250, 2 × slower   93
SQ8                 768         10                  1,000               more than fits: 600 MB a million rows is the aim
==================  ==========  ==================  ==================  ====================

The same sample gives the same bytes on any number of threads of one kind of processor.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.retrieval.index_ledger import BadIndex
from mappool_assets.lib.retrieval.kmeans import train_centroids
from mappool_assets.lib.retrieval.untyped_faiss import faiss
from mappool_assets.lib.row_blocks import Float32, as_float32

CODE_BITS = 1
# A query reads all centroids and some per cent of the rows. With a million rows 2,048 lists found as much as 4,096 in
# the same number of rows read, and took half the time to fill and a quarter to train.
LISTS_A_ROOT = 1.0
MOST_LISTS = 16_384  # of 67 million rows; a sample for more would take over 3 GB
# Of 20 and 30 points a list, 6 and 10 rounds: distortion within 0.5 %, the same recall.
POINTS_A_LIST, ROUNDS = 30, 10
SEED = 20_240


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A trained quantiser.

    Attributes
    ----------
    content : bytes
        The file: a faiss index of the rotation and the centroids.
    rotation : float32 array of shape (d, d)
        Orthogonal.
    centroids : float32 array of shape (lists, d)
        Of rotated rows.
    """

    content: bytes
    rotation: Float32
    centroids: Float32

    @property
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

    def rotated(self, unit_rows: Float32) -> Float32:
        """Return rows (n, d) in the quantiser's coordinates."""
        return np.ascontiguousarray(unit_rows @ self.rotation.T)

    def rotated_query(self, query: Float32) -> Float32:
        """Return one vector (d,) in the quantiser's coordinates, without waking BLAS's threads."""
        return np.vecdot(self.rotation, query)


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
    rotation = _random_rotation(sample.shape[1])
    centroids = train_centroids(sample, lists, rounds=ROUNDS, seed=SEED)
    with threadpool_limits(1):  # one product, whose last bits depend on BLAS's threads
        centroids = np.ascontiguousarray(centroids @ rotation.T)
    return Quantiser(_to_bytes(rotation, centroids), rotation, centroids)


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
        index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        flat, turn = faiss.downcast_index(index.index), faiss.downcast_VectorTransform(index.chain.at(0))
        dimension = index.d
        centroids = faiss.vector_to_array(flat.codes).view(np.float32).reshape(-1, dimension)
        rotation = faiss.vector_to_array(turn.A).reshape(dimension, dimension)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise damaged(where, f"the quantiser {quantiser_id}", str(error)) from error
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


def _random_rotation(dimension: int) -> Float32:
    # Without it codes depend on the axes, and CLIP's vectors have some axes with large values.
    with threadpool_limits(1):  # the last bits depend on LAPACK's threads
        gaussian = np.random.default_rng(SEED).standard_normal((dimension, dimension))
        return np.linalg.qr(gaussian)[0].astype(np.float32)


def _to_bytes(rotation: Float32, centroids: Float32) -> bytes:
    dimension = len(rotation)
    turn = faiss.LinearTransform(dimension, dimension, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(rotation).ravel(), turn.A)
    turn.is_trained = True
    flat = faiss.IndexFlatL2(dimension)
    flat.add(centroids)
    return faiss.serialize_index(faiss.IndexPreTransform(turn, flat)).tobytes()
