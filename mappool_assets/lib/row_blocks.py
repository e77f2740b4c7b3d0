"""Work on embeddings in blocks of rows, one block a thread, each with BLAS on that thread alone.

A product of one block followed by element-wise steps leaves all cores but one idle in the latter, and its result in
the wrong cache. A thread that takes a block through all steps does neither.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

Float32 = npt.NDArray[np.float32]

# Of 64, 128, … 2,048 rows a block, 512 and 1,024 were the fastest against 1,872 support vectors of width 768.
BLOCK_ROWS = 1024
# Fewer rows than these many blocks of BLOCK_ROWS are cut into as many shares, for up to so many threads, but not below
# LEAST_ROWS a share. Products of that size are slower on BLAS's own threads, which wait for each other.
SHARES = 8
LEAST_ROWS = 64

_BLAS_LIMIT = threading.Lock()  # the number of BLAS threads belongs to the process: one caller changes it at a time


def for_row_blocks(
    embeddings: npt.NDArray[np.floating], work: Callable[[slice, Float32], None], block_rows: int = BLOCK_ROWS
) -> None:
    """Call ``work`` with each block of rows in float32, on as many threads as BLAS has in this process.

    The blocks depend on the number of rows alone, and BLAS works on one thread in each: results are the same, bit for
    bit, whatever the number of threads.

    Parameters
    ----------
    embeddings : array of float16, float32 or float64, shape (n, d)
    work : callable
        Takes which rows they are and the rows, (m, d) float32, which it must not keep or change. Called from several
        threads at a time, in any order.
    block_rows : int
        Most rows of a block; peak memory is one block a thread.
    """
    threads = _blas_threads()
    shares = min(SHARES, len(embeddings) // LEAST_ROWS) or 1
    blocks = -(-max(len(embeddings), 1) // (block_rows * shares)) * shares
    edges = [len(embeddings) * block // blocks for block in range(blocks + 1)] if len(embeddings) else []

    def run(start: int, stop: int) -> None:
        work(slice(start, stop), as_float32(embeddings[start:stop]))

    with contextlib.ExitStack() as stack:
        if threads > 1:
            stack.enter_context(_BLAS_LIMIT)
            stack.enter_context(_blas().limit(limits=1))
        if threads == 1 or blocks == 1:
            for start, stop in itertools.pairwise(edges):
                run(start, stop)
            return
        pool = stack.enter_context(ThreadPoolExecutor(min(threads, blocks)))
        for _ in pool.map(run, edges[:-1], edges[1:]):
            pass  # the iteration raises what a thread raised


def as_float32(rows: npt.NDArray[np.floating]) -> Float32:
    """Return rows in float32; float16 by integer arithmetic, in half the time of NumPy's conversion.

    Measured on blocks of 512 rows of width 768, which stay in the cache; on 1,024 rows in two thirds of the time.

    The bits of a float16, sign extended and shifted by the 13 bits that the fraction is longer, are those of the
    number times 2^-112 (the difference of the exponents' offsets, 127 − 15), numbers below 2^-14 included. Infinity
    and NaN become 65,536 or more, which no float16 is; a block with such numbers is converted by NumPy.
    """
    if rows.dtype != np.float16 or not rows.flags.c_contiguous or not rows.size:
        return rows.astype(np.float32, copy=False)
    bits = rows.view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x7000_0001), out=bits)  # keeps the sign, clears its three copies
    numbers = bits.view(np.float32)
    np.multiply(numbers, np.float32(2.0**112), out=numbers)
    is_finite = float(np.vecdot(numbers, numbers).max()) < 65_536.0**2
    return numbers if is_finite else rows.astype(np.float32)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _blas_threads() -> int:
    return max((library.num_threads for library in _blas().lib_controllers), default=1)
