"""The law of the second pass: unique survivors of the first one are kept as one pass over all texts would keep them.

A survivor stands for 1 / P1 texts, P1 being the chance that the first pass gave it. So N2 of an entry, the sum of
1 / P1 over the survivors that match it, estimates without bias how many unique texts match it in all. With
p2 = min(1, t / N2) of the entries and P2 = 1 − ∏ (1 − p2) of a text, a survivor is drawn with chance min(1, P2 / P1):
the chance to be there at the end is P2. Balanced as if nothing had been before (N2 a plain count, drawn with P2), texts
of frequent entries would have to pass twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation.balance import EntriesOfTexts, ExpectedSize, Floats, keep_probabilities
from mappool_assets.lib.curation.exact_sums import EntrySums
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms

DRAW = "curated_pairs"  # sets these draws apart from those of the first pass with the same seed
WEIGHT_BITS = 20  # weights are 1 or more: off by 5e-7 of themselves at most; together 8.8e12, that is matches of a pool
CHANCE_BITS = 28  # chances of 2e-5 are off by a ten-thousandth; together 3.4e10, that is matches of what is drawn
Booleans = npt.NDArray[np.bool_]


class UnprunedCounts:
    """N2: how many unique texts match each entry, as far as the survivors tell.

    Parameters
    ----------
    entries : int
        How many there are.
    """

    def __init__(self, entries: int) -> None:
        self._sums = EntrySums(entries, WEIGHT_BITS)

    def add(self, matches: EntriesOfTexts, first_p: Floats) -> None:
        """Take some more survivors.

        Parameters
        ----------
        matches : Matches
            Their entries.
        first_p : float64 ndarray, shape (texts,)
            P1, in (0, 1].
        """
        self._sums.add(matches.entries, np.repeat(1 / first_p, np.diff(matches.offsets)))

    @property
    def estimates(self) -> Floats:
        """N2 of each entry, shape (entries,)."""
        return self._sums.values


@dataclass(frozen=True)
class Chances:
    """Of some texts.

    Attributes
    ----------
    p : float64 ndarray, shape (texts,)
        P2: to be there at the end, as one pass over all texts would have it.
    second_p : float64 ndarray, shape (texts,)
        min(1, P2 / P1): to be drawn, once the first pass has kept it.
    is_capped : bool ndarray, shape (texts,)
        Whether P2 is more than P1: the text stays for sure, and is there less often than P2 says.
    """

    p: Floats
    second_p: Floats
    is_capped: Booleans

    @classmethod
    def of(cls, matches: EntriesOfTexts, entry_p: Floats, first_p: Floats) -> Chances:
        """Work them out.

        Parameters
        ----------
        matches : Matches
            The entries of each text.
        entry_p : float64 ndarray, shape (entries,)
            p2 of each entry.
        first_p : float64 ndarray, shape (texts,)
            P1, in (0, 1].
        """
        p = keep_probabilities(matches, entry_p)
        return cls(p, np.minimum(1.0, p / first_p), p > first_p)


class Draws:
    """What several seeds draw, counted.

    Seeds are independent of one another and of the first pass, whose survivors all of them draw from. So a text is
    drawn by two given seeds with chance second_p².

    Parameters
    ----------
    seeds : tuple of int
    entries : int
        How many there are.

    Attributes
    ----------
    drawn : int64 ndarray, shape (seeds,)
        Texts that each seed drew.
    together : int64 ndarray, shape (seeds, seeds)
        Texts that both of two seeds drew.
    size : ExpectedSize
        Of what one seed draws.
    both : ExpectedSize
        Of what two seeds draw both.
    of_entries : EntrySums
        What one seed draws of each entry, on average.
    first_of_entries : uint64 ndarray, shape (entries,)
        What the first seed drew of each entry.
    """

    def __init__(self, seeds: tuple[int, ...], entries: int) -> None:
        self._seeds = seeds
        self.drawn = np.zeros(len(seeds), dtype=np.int64)
        self.together = np.zeros((len(seeds), len(seeds)), dtype=np.int64)
        self.size, self.both = ExpectedSize(), ExpectedSize()
        self.of_entries = EntrySums(entries, CHANCE_BITS)
        self.first_of_entries = np.zeros(entries, dtype=np.uint64)

    def draw(self, uids: pa.Array, matches: EntriesOfTexts, second_p: Floats) -> Booleans:
        """Return which of some texts each seed draws.

        Parameters
        ----------
        uids : array of strings
            Of the texts.
        matches : Matches
            Their entries.
        second_p : float64 ndarray, shape (texts,)

        Returns
        -------
        bool ndarray, shape (texts, seeds)
        """
        is_drawn = np.empty((len(uids), len(self._seeds)), dtype=np.bool_)
        for number, seed in enumerate(self._seeds):
            is_drawn[:, number] = keyed_uniforms(uids, seed, DRAW) < second_p
        as_counts = is_drawn.astype(np.int64)
        self.drawn += as_counts.sum(axis=0)
        self.together += as_counts.T @ as_counts
        self.size.add(second_p)
        self.both.add(second_p * second_p)
        lengths = np.diff(matches.offsets)
        self.of_entries.add(matches.entries, np.repeat(second_p, lengths))
        np.add.at(self.first_of_entries, matches.entries[np.repeat(is_drawn[:, 0], lengths)], np.uint64(1))
        return is_drawn
