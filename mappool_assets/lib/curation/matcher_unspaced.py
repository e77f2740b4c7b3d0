"""Matching where scripts without spaces are among the texts, as MetaCLIP 2 does it.

The spaces around an entry are left out where it begins or ends with a character of such a script, or with punctuation:
:func:`~mappool_assets.lib.curation.spacing.padded_unspaced`. Entries that keep both are runs of tokens as before; the
others are looked for as substrings, character by character.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mappool_assets.lib.curation.compiled import kernels
from mappool_assets.lib.curation.matcher import Entries, Int32, Matcher, Matches, Texts, entry_bytes, text_bytes
from mappool_assets.lib.curation.spacing import byte_kinds, padded, padded_unspaced


class SubstringMatcher:
    """An index of substrings of spaced texts.

    Attributes
    ----------
    nbytes : int
        Memory of the index.
    """

    def __init__(self, numbers: Int32, automaton: tuple[np.ndarray, ...]) -> None:
        self._numbers, self._automaton = numbers, automaton
        self.nbytes = sum(array.nbytes for array in (numbers, *automaton))

    @classmethod
    def build(cls, patterns: Entries) -> SubstringMatcher:
        """Index substrings, none of them empty, as they stand in spaced texts; errors as of :meth:`Matcher.build`."""
        numbers, count, symbols, ends = kernels().number_characters(*entry_bytes(patterns))
        return cls(numbers, kernels().build_automaton(symbols, ends, count))

    def match(self, texts: Texts) -> Matches:
        """Return the substrings that each text contains once it is spaced; none where it is null."""
        return Matches(*kernels().match_characters(self._numbers, self._automaton, byte_kinds(), *text_bytes(texts)))


class UnspacedMatcher:
    """An index of entries for texts of any script.

    Attributes
    ----------
    nbytes : int
        Memory of the index.
    """

    def __init__(self, runs: Matcher, substrings: SubstringMatcher, is_run: np.ndarray) -> None:
        self._runs, self._substrings = runs, substrings
        self._runs_names, self._substrings_names = (np.flatnonzero(kind).astype(np.int32) for kind in (is_run, ~is_run))
        self.nbytes = runs.nbytes + substrings.nbytes + 4 * len(is_run)

    @classmethod
    def build(cls, entries: Entries) -> UnspacedMatcher:
        """Index entries; errors as of :meth:`Matcher.build`."""
        entry_bytes(entries)
        listed = entries.to_pylist() if isinstance(entries, pa.Array | pa.ChunkedArray) else list(entries)
        patterns = [padded_unspaced(entry) for entry in listed]
        is_run = np.array([pattern == padded(entry) for pattern, entry in zip(patterns, listed, strict=True)], bool)
        runs = [entry for entry, run in zip(listed, is_run, strict=True) if run]
        substrings = [pattern for pattern, run in zip(patterns, is_run, strict=True) if not run]
        return cls(Matcher.build(runs), SubstringMatcher.build(substrings), is_run)

    def match(self, texts: Texts) -> Matches:
        """Return the entries that match each text; none does where a text is null."""
        runs, substrings = self._runs.match(texts), self._substrings.match(texts)
        return Matches(
            *kernels().merge(
                runs.offsets,
                runs.entries,
                self._runs_names,
                substrings.offsets,
                substrings.entries,
                self._substrings_names,
            )
        )
