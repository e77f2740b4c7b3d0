import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from mappool_assets.lib import row_blocks
from mappool_assets.lib.row_blocks import as_float32, for_row_blocks


def test_every_float16_becomes_the_same_number():
    rows = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    finite = rows[np.isfinite(rows).all(axis=1)]
    assert finite.size == 2**16 - 2**11  # all numbers, below 2^-14 and zeros of both signs included
    np.testing.assert_array_equal(as_float32(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32))
    np.testing.assert_array_equal(as_float32(rows), rows.astype(np.float32))  # infinities and NaN


@pytest.mark.parametrize("rows", [np.ones((3, 8), np.float16)[:, ::2], np.ones((3, 4)), np.ones((0, 4), np.float16)])
def test_other_layouts_and_types_are_converted_too(rows):
    converted = as_float32(rows)
    assert converted.dtype == np.float32
    assert converted.shape == rows.shape
    assert (converted == 1).all()


def test_float32_is_not_copied():
    rows = np.ones((3, 4), np.float32)
    assert as_float32(rows) is rows


@given(rows=st.integers(0, 300), block_rows=st.integers(1, 320))
def test_every_row_is_worked_once_and_no_block_is_too_large(rows, block_rows):
    embeddings = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    seen, sizes, lock = np.zeros(rows, int), [], threading.Lock()

    def work(where, block):
        np.testing.assert_array_equal(block, embeddings[where])
        with lock:
            seen[where] += 1
            sizes.append(len(block))

    for_row_blocks(embeddings, work, block_rows)
    assert (seen == 1).all()
    assert max(sizes, default=0) <= block_rows


BLAS_THREADS = """
import numpy as np
from mappool_assets.lib import row_blocks
before, during = row_blocks._blas_threads(), []
def fail_at_the_end(where, block):
    during.append(row_blocks._blas_threads())
    if where.stop == 100:
        raise ValueError("the last block")
try:
    row_blocks.for_row_blocks(np.ones((100, 2), np.float32), fail_at_the_end, 10)
except ValueError as error:
    assert str(error) == "the last block"
    assert set(during) == {1}, during
    assert row_blocks._blas_threads() == before
else:
    raise AssertionError("no error")
"""


@pytest.mark.skipif(row_blocks._blas_threads() < 2, reason="BLAS has one thread here")
def test_blas_has_one_thread_meanwhile_and_its_own_number_afterwards_even_after_an_error():
    """In a process of its own: what other tests load may bring a BLAS whose number of threads is one a thread."""
    subprocess.run([sys.executable, "-c", BLAS_THREADS], check=True)


def test_rows_of_less_than_a_block_are_shared_but_a_few_are_not():
    def blocks_of(rows):
        blocks = []
        for_row_blocks(np.ones((rows, 2), np.float32), lambda where, block: blocks.append((where.start, where.stop)))
        return sorted(blocks)

    assert len(blocks_of(row_blocks.SHARES * row_blocks.LEAST_ROWS)) == row_blocks.SHARES
    assert blocks_of(2 * row_blocks.LEAST_ROWS - 1) == [(0, 2 * row_blocks.LEAST_ROWS - 1)]
    for rows in (5, 500, 50_000):
        with threadpool_limits(1):
            alone = blocks_of(rows)
        assert blocks_of(rows) == alone  # else results would depend on the number of threads
