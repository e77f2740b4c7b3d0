"""faiss without its type stubs: those of 1.15 leave out much of what is used here."""

from typing import Any

import faiss as _faiss

faiss: Any = _faiss
