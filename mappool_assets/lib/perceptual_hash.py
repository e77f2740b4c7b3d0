"""Perceptual hashes of images, and which of them have a near neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

HASH_BITS = 64
BLOCK_BYTES = 16 * 1024 * 1024  # of XORs held at once; the answer does not depend on it


def perceptual_hash(image: Image) -> np.uint64:
    """Return the 64-bit pHash of an image.

    The signs, against their median, of the 8 x 8 lowest frequencies of the discrete cosine transform of the image as
    32 x 32 grey values: ``imagehash.phash`` (ImageHash 4.3), bits packed first to highest.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any size and mode.
    """
    import imagehash

    bits = imagehash.phash(image).hash
    return np.packbits(bits.ravel()).view(">u8").astype(np.uint64)[0]


def has_neighbour_within(hashes: NDArray[np.uint64], others: NDArray[np.uint64], distance: int) -> NDArray[np.bool_]:
    """Tell of each hash whether any other lies within a Hamming distance.

    Parameters
    ----------
    hashes : uint64 array of shape (n,)
        Asked about.
    others : uint64 array of shape (m,)
        Searched.
    distance : int
        Bits that may differ, 0 to 64.

    Returns
    -------
    bool array of shape (n,)

    Examples
    --------
    >>> has_neighbour_within(np.array([0b0000, 0b1111], np.uint64), np.array([0b0001], np.uint64), 1)
    array([ True, False])
    """
    found = np.zeros(len(hashes), dtype=bool)
    distinct = np.unique(others)
    rows = max(1, BLOCK_BYTES // (8 * max(1, len(distinct))))
    for start in range(0, len(hashes), rows):
        block = hashes[start : start + rows, None]
        found[start : start + rows] = (np.bitwise_count(block ^ distinct) <= distance).any(axis=1)
    return found
