"""NLTK's reader of WordNet's files, on files in memory. To be imported only where it is used: NLTK loads slowly."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

from nltk.corpus.reader.wordnet import (  # type: ignore[import-untyped]
    ADJ,
    ADV,
    NOUN,
    VERB,
    WordNetCorpusReader,
    WordNetError,
)
from nltk.data import PathPointer  # type: ignore[import-untyped]

_FAULTS = (  # what its parser comes across in a file that is none, or is cut or patched together
    WordNetError, ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def names_of(contents: Mapping[str, bytes]) -> list[str]:
    """Return the name of each synset, in NLTK's order.

    Parameters
    ----------
    contents : mapping of str to bytes
        What is in WordNet's files, by their names: those of :data:`~.wordnet.FILES`.

    Raises
    ------
    ValueError
        They are none, they contradict each other, or there is no synset of some kind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other languages are not there; of faults an error follows
        try:
            reader = _Reader(_Memory(contents), None)
            names = {kind: [synset.name() for synset in reader.all_synsets(kind)] for kind in (ADJ, ADV, NOUN, VERB)}
        except _FAULTS as error:
            raise ValueError(f"NLTK cannot read them: {type(error).__name__}: {error}") from error
    if missing := [kind for kind, of_kind in names.items() if not of_kind]:
        raise ValueError(f"no synset of the kinds {', '.join(missing)}")
    return [name.partition(".")[0].replace("_", " ") for of_kind in names.values() for name in of_kind]


class _Memory(PathPointer):
    """A folder, and a file in it: NLTK's own pointers reach no folder but that of its downloads."""

    def __init__(self, contents: Mapping[str, bytes], name: str = "") -> None:
        self._contents, self._name = contents, name

    def join(self, fileid: str) -> _Memory:
        return _Memory(self._contents, fileid)

    def open(self, encoding: str | None = None) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._contents[self._name]), encoding, newline="\n")

    def file_size(self) -> int:
        return len(self._contents[self._name])


class _Reader(WordNetCorpusReader):
    def open(self, file: str) -> Any:
        return self._root.join(file).open(self.encoding(file))  # NLTK would look the path up on the disk

    def map_wn(self, version: str = "wordnet") -> None:
        """Relate the synsets to no other WordNet: NLTK would look for one among its downloads."""
