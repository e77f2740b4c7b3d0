"""Which entries of a list match a text: MetaCLIP's substring matching, by runs of tokens.

Texts and entries are cut at single spaces, texts after :func:`~mappool_assets.lib.curation.spacing.spaced`. An entry is
found in a text as a substring, with a space on either side, exactly if its tokens (empty ones too) follow one another
there. So whole tokens are compared, a dozen a text, instead of characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation.compiled import as_bytes, kernels
from mappool_assets.lib.curation.spacing import byte_kinds
from mappool_assets.lib.errors import BadSetting

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Texts: TypeAlias = pa.StringArray | pa.LargeStringArray
Entries: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray
MOST_ENTRIES = 2**31 - 1


@dataclass(frozen=True)
class Matches:
    """The entries that match each of some texts.

    Attributes
    ----------
    offsets : int64 ndarray of shape (texts + 1,)
        Where each text's entries begin.
    entries : int32 ndarray
        Of all texts, in turn; those of one text ascending, each once.
    """

    offsets: Int64
    entries: Int32

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, text: int) -> Int32:
        """Return the entries of one text."""
        return self.entries[self.offsets[text] : self.offsets[text + 1]]

    def take(self, texts: npt.NDArray[np.integer]) -> Matches:
        """Return the entries of some texts, in the order given; a text may be there more than once."""
        starts = self.offsets[texts]
        lengths = self.offsets[texts + 1] - starts
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Matches(offsets, self.entries[places])


class Matcher:
    """An index of entries.

    Attributes
    ----------
    nbytes : int
        Memory of the index.
    """

    def __init__(self, vocabulary: tuple[np.ndarray, ...], automaton: tuple[np.ndarray, ...]) -> None:
        self._vocabulary, self._automaton = vocabulary, automaton
        self.nbytes = sum(array.nbytes for array in (*vocabulary, *automaton))

    @classmethod
    def build(cls, entries: Entries) -> Matcher:
        """Index entries; one that is there twice matches under both numbers.

        An entry matches a text where ``" entry "`` is a substring of the spaced text: case and Unicode form count, and
        the empty entry matches where two spaces follow one another, as in MetaCLIP.

        Raises
        ------
        BadSetting
            An entry is null or no Unicode text, or there are more than 2,147,483,647.
        """
        vocabulary, tokens, ends = kernels().number_tokens(*entry_bytes(entries))
        return cls(vocabulary, kernels().build_automaton(tokens, ends, len(vocabulary.places)))

    def match(self, texts: Texts) -> Matches:
        """Return the entries that match each text; none does where a text is null.

        Time grows with the bytes of the texts and the matches, whatever the texts are. The interpreter's lock is
        released.
        """
        return Matches(*kernels().match_tokens(self._vocabulary, self._automaton, byte_kinds(), *text_bytes(texts)))


def entry_bytes(entries: Entries) -> tuple[np.ndarray, Int64]:
    """Return entries as UTF-8 and where each begins; :class:`BadSetting` where they cannot be."""
    if len(entries) > MOST_ENTRIES:
        raise _bad_entries(f"{MOST_ENTRIES:,} entries at most", f"{len(entries):,}")
    try:
        array = pa.array(entries, pa.large_string()) if isinstance(entries, Sequence) else entries
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if array.type not in (pa.string(), pa.large_string()):
            raise TypeError(f"an array of {array.type}")
    except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
        raise _bad_entries("Unicode strings", str(error)) from error
    if array.null_count:
        raise _bad_entries("an entry each", f"{array.null_count:,} nulls")
    data, offsets, _ = text_bytes(array)
    return data, offsets


def text_bytes(texts: Texts) -> tuple[np.ndarray, Int64, npt.NDArray[np.bool_]]:
    """Return texts as UTF-8, where each begins, and whether it is there at all."""
    if not pa.types.is_string(texts.type) and not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    _, places, data = texts.buffers()
    if not len(texts):
        return as_bytes(b""), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.bool_)
    width = np.int32 if pa.types.is_string(texts.type) else np.int64
    offsets = np.frombuffer(places, dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    is_there = np.array(texts.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    return as_bytes(data if data is not None else b""), offsets, is_there


def _bad_entries(rule: str, got: str) -> BadSetting:
    return BadSetting(
        "The list of entries cannot be used",
        where="the entries to match",
        rule=rule,
        got=got,
        action="Correct the list.",
    )
