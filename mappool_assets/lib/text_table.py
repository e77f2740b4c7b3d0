"""A table as plain text, for the terminal."""

from __future__ import annotations

import unicodedata

import pyarrow as pa


def as_text(table: pa.Table) -> str:
    """Return a table's rows in columns: numbers to the right with thousands separators, everything else to the left."""
    import pandas as pd

    frame = table.to_pandas()
    for name in frame.columns:
        if pd.api.types.is_integer_dtype(frame[name]):
            frame[name] = frame[name].map("{:,}".format)
            continue
        frame[name] = frame[name].astype(str).map(_without_controls)
        width = max([len(name), *frame[name].astype(str).str.len()])
        frame[name] = frame[name].astype(str).str.ljust(width)
        frame = frame.rename(columns={name: name.ljust(width)})
    return frame.to_string(index=False, max_colwidth=100)


def _without_controls(text: str) -> str:
    """Strangers' captions may hold what a terminal obeys."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
