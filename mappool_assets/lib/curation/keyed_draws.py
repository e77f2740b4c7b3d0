"""Draws that belong to a row, not to the moment they are made: a hash of the row's uid is its random number."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KEY_BYTES, DRAW_BYTES = 32, 8
_DROPPED_BITS = 11  # of 64: float64 holds 53


def keyed_uniforms(uids: pa.Array | pa.ChunkedArray, seed: int, name: str) -> npt.NDArray[np.float64]:
    """Return a number of each row that is as if drawn from [0, 1), and is always the same.

    It is the keyed hash BLAKE2b of the uid, 53 bits of it: whatever the shards, their order and the workers, a row gets
    the same number, and those of other seeds or names have nothing to do with it. A row that is kept where its number
    is below P is also kept for any larger P.

    Parameters
    ----------
    uids : array of strings
        Of any length, none null. Equal uids get equal numbers.
    seed : int
    name : str
        What is drawn, so that two draws with one seed are independent.

    Returns
    -------
    float64 ndarray, shape (rows,)
        Multiples of 2⁻⁵³.

    Examples
    --------
    >>> keyed_uniforms(pa.array(["a", "b"]), 0, "balanced_pool").round(3).tolist()
    [0.08, 0.499]
    """
    key = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=KEY_BYTES).digest()
    start = hashlib.blake2b(key=key, digest_size=DRAW_BYTES)
    draws = bytearray()
    for uid in uids.cast(pa.large_binary()).to_pylist():
        draw = start.copy()
        draw.update(uid)
        draws += draw.digest()
    return np.ldexp((np.frombuffer(draws, dtype="<u8") >> np.uint64(_DROPPED_BITS)).astype(np.float64), -53)
