"""Embeddings as Arrow columns and as matrices, without a copy where the memory allows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def as_vectors(rows: NDArray[np.float16]) -> pa.FixedSizeListArray:
    """Return a matrix (n, d) as a column of n lists of d float16."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def as_matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> NDArray[np.float16]:
    """Return a column of n lists of d float16, none of them null, as a matrix (n, d)."""
    vectors = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), column.type.list_size)
