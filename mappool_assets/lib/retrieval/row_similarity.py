"""Similarities of one query with some rows: the same bits as the exact scan's, for one query at a time.

The definition is that of :mod:`mappool_assets.lib.retrieval.exact_scan`: the inner product of the query, rounded to
multiples of 2^-27, with the row divided by its length, in float64, where the product is exact, then rounded to float32.
Two million rows a CPU second; of many queries together the scan computes few of the pairs so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retrieval.exact_scan import check_unit_length
from mappool_assets.lib.row_blocks import Float32, as_float32

_GRID = 2.0**27
_ROWS_AT_A_TIME = 256  # 1.6 MB of float64 rows, which stay in the second-level cache


def exact_similarities(query: Float32, rows: NDArray[np.float16]) -> Float32:
    """Return the similarity of a query (d,) with each row (m, d); NaN where a row is zero or not finite."""
    exact_query = np.rint(query.astype(np.float64) * _GRID) / _GRID
    similarities = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        exact = as_float32(rows[start : start + _ROWS_AT_A_TIME]).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            lengths = np.sqrt(np.vecdot(exact, exact))
            similarities[start : start + len(exact)] = np.vecdot(exact, exact_query) / lengths
    return similarities


def check_queries(queries: NDArray[np.floating], dimension: int) -> Float32:
    """Return queries (q, d) in float32.

    Raises
    ------
    BadSetting
        No matrix of that width, or rows that are not of unit length.
    """
    if queries.ndim != 2 or queries.shape[1] != dimension or not np.issubdtype(queries.dtype, np.floating):
        raise BadSetting(
            "Queries and index cannot be compared",
            where="vectors",
            rule=f"a matrix of floats, {dimension} in each row, as the index has",
            got=f"{queries.dtype} of shape {queries.shape}",
            action="Embed the queries with the index's encoder.",
        )
    vectors = np.ascontiguousarray(queries, dtype=np.float32)
    check_unit_length(vectors)
    return vectors
