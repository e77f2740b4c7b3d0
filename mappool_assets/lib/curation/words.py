"""The words of a text, and which follow each other: MetaCLIP's rule for languages with spaces.

Words end at white space and at punctuation, over which no pair of words reaches; each character of a script without
spaces is a word of its own; case stays. (``metaclip/metadata/build_ngram.py`` of MetaCLIP 2. How the words of MetaCLIP
1 were counted was not published.)
"""

from __future__ import annotations

import re
import string

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# MetaCLIP 2's, after ASCII's; the last one stands for bytes that are no UTF-8.
PUNCTUATION = string.punctuation + "，。、；：？¿！“”‘’（）【】《》〈〉「」『』～—\ufffd"
# Chinese characters, their radicals and description characters; Thai, Lao, Burmese, Khmer, Tibetan.
UNSPACED = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002ceb0-\U0002ebef\uf900-\ufaff\u2e80-\u2eff\u2f00-\u2fdf\u2ff0-\u2fff"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u0f00-\u0fff"
)
LONGEST_WORD = 256  # characters; MetaCLIP 2's. What is longer is a word of no language
COUNTS = pa.schema([("first", pa.string()), ("second", pa.string()), ("n", pa.int64())])

PACKED_WORDS = 1 << 16  # in an Arrow array take a tenth of the memory that they take in a list

_BREAK = "."  # any punctuation: no word
_NONE = pa.nulls(0, pa.string())  # pa.array would load pandas
_BREAKS = re.compile(f"[{re.escape(PUNCTUATION)}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(rf"[^\s{re.escape(PUNCTUATION)}{UNSPACED}]*")


class WordCounter:
    """Counts words, and pairs of words that follow each other, of texts that come in pieces.

    Words are told apart by Arrow and pairs by sorting numbers, four times as fast as Python's counters.

    Parameters
    ----------
    has_pairs : bool
        Whether pairs are counted.

    Attributes
    ----------
    held : int
        How many words and characters wait to be counted: what memory grows with.
    """

    def __init__(self, has_pairs: bool = True) -> None:
        self._has_pairs = has_pairs
        self._previous = _NONE  # the last word that was counted: it may have a successor
        self._packed: list[pa.Array] = []  # the words since, with a break where a text ends …
        self._found: list[str] = []  # … and the last of them
        self._unfinished = ""  # of a word whose end may be in the next piece
        self.held = 0

    def add(self, text: str, *, is_last: bool) -> None:
        """Take a piece of a text; where it is the last one, the next piece is of another text."""
        text = self._unfinished + text
        end = len(text) if is_last else _last_word_start(text)
        # Of a word that is too long, more than shows that it is would only take memory.
        self._unfinished = text[end : end + LONGEST_WORD + 1]
        found = tokens(text[:end])
        if is_last:
            found.append(_BREAK)
        self._found += found
        self.held += len(found) + end
        if len(self._found) >= PACKED_WORDS:
            self._pack()

    def _pack(self) -> None:
        self._packed.append(pa.array(self._found, pa.string()))
        self._found = []

    def take(self) -> tuple[pa.Table, int]:
        """Return the counts so far, and how many words were too long, which are not among them; begin anew.

        Returns
        -------
        pyarrow.Table of :data:`COUNTS`
            Each word once, and each pair; a word's ``second`` is empty.
        int
        """
        self._pack()
        words = pa.concat_arrays([self._previous, *self._packed])
        counted, self._previous = len(self._previous), pa.array(words[-1:].to_pylist(), pa.string())
        self._packed, self.held = [], 0
        encoded = words.dictionary_encode()
        texts, codes = encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
        numbers = np.bincount(codes[counted:], minlength=len(texts))
        is_long = pc.greater(pc.utf8_length(texts), LONGEST_WORD).to_numpy(zero_copy_only=False)
        is_word = ~is_long & pc.not_equal(texts, _BREAK).to_numpy(zero_copy_only=False)
        new = np.flatnonzero(is_word & (numbers > 0))
        tables = [_table(texts.take(new), pa.repeat("", len(new)), numbers[new])]
        if self._has_pairs:
            first, second = codes[:-1], codes[1:]
            is_pair = is_word[first] & is_word[second]
            pairs, of_pairs = np.unique(first[is_pair] * len(texts) + second[is_pair], return_counts=True)
            tables.append(_table(texts.take(pairs // len(texts)), texts.take(pairs % len(texts)), of_pairs))
        return pa.concat_tables(tables), int(numbers[is_long].sum())


def _table(first: pa.Array, second: pa.Array, numbers: npt.NDArray[np.int64]) -> pa.Table:
    return pa.table([first, second, pa.array(numbers, pa.int64())], schema=COUNTS)


def tokens(text: str) -> list[str]:
    """Return the words of a text, and ``"."`` for each run of punctuation.

    Examples
    --------
    >>> tokens("A map of Washington, D.C. (1792)")
    ['A', 'map', 'of', 'Washington', '.', 'D', '.', 'C', '.', '.', '1792', '.']
    """
    spaced = _BREAKS.sub(" . ", text)
    if _UNSPACED.search(spaced):
        spaced = _UNSPACED.sub(r" \g<0> ", spaced)
    return spaced.split()


def _last_word_start(text: str) -> int:
    """Return where the word begins that goes up to a text's end; the text's length where none does."""
    last_word = _WORD.match(text[::-1])
    assert last_word is not None
    return len(text) - last_word.end()
