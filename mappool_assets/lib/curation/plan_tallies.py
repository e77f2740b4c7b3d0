"""What balancing would keep of texts, for several t in one go, a batch at a time.

Sums are exact, so the order of shards and batches changes nothing, and several threads may add to one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation.balance import (
    EntriesOfTexts,
    ExactSum,
    ExpectedSize,
    Floats,
    entry_probabilities,
    keep_probabilities,
)
from mappool_assets.lib.curation.exact_sums import EntrySums

PAIR_BITS = 24  # a text's chance is off by 3e-8 at most; together 5.5e11, that is five times the pool's matches


@dataclass(frozen=True)
class CountedTexts:
    """Some texts, by how many texts each of their entries matches.

    Attributes
    ----------
    offsets : int64 ndarray, shape (texts + 1,)
        Where each text's matches begin, from 0 on.
    entries : int32 ndarray, shape (matches,)
        The number of each match, which is all that :func:`~mappool_assets.lib.curation.balance.keep_probabilities`
        needs to be given probabilities of matches instead of entries: there may be as many entries as matches.
    counts : float64 ndarray, shape (matches,)
        N of each match's entry.
    """

    offsets: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int32]
    counts: Floats

    @classmethod
    def of(cls, matches: EntriesOfTexts, counts: Floats) -> CountedTexts:
        """Look the counts of entries up."""
        return cls(matches.offsets, np.arange(len(matches.entries), dtype=np.int32), counts[matches.entries])

    def in_head(self, t: float) -> npt.NDArray[np.int64]:
        """Return how many entries of each text match at least ``t`` texts."""
        return np.diff(np.concatenate(([0], np.cumsum(self.counts >= t)))[self.offsets])


class SizeTally:
    """What is kept with one t.

    Parameters
    ----------
    t : float

    Attributes
    ----------
    size : ExpectedSize
        Of texts.
    of_head : ExactSum
        Kept texts, each counted for all its entries that match at least ``t`` texts.
    """

    def __init__(self, t: float) -> None:
        self.t = t
        self.size, self.of_head = ExpectedSize(), ExactSum()
        self._lock = threading.Lock()

    def add(self, texts: CountedTexts) -> Floats:
        """Take some texts; return with which probability each is kept."""
        kept = keep_probabilities(texts, entry_probabilities(texts.counts, self.t))
        in_head = texts.in_head(self.t)
        with self._lock:
            self.size.add(kept)
            self.of_head.add(kept, in_head)
        return kept


@dataclass
class Prefix:
    """The first shards, as if there were no others.

    Attributes
    ----------
    shards : int
        How many.
    counts : float64 ndarray, shape (entries,)
        How many of their texts each entry matches.
    tallies : dict of float to SizeTally
        By t.
    """

    shards: int
    counts: Floats
    tallies: dict[float, SizeTally] = field(default_factory=dict)

    @classmethod
    def at(cls, shards: int, counts: Floats, ts: set[float]) -> Prefix:
        """Return it with a tally for each t."""
        return cls(shards, counts, {t: SizeTally(t) for t in sorted(ts)})


class EntryTally:
    """How many kept texts each entry matches on average.

    Parameters
    ----------
    t : float
        With which they are kept.
    entries : int
        How many there are.
    """

    def __init__(self, t: float, entries: int) -> None:
        self.t = t
        self._sums = EntrySums(entries, PAIR_BITS)
        self._lock = threading.Lock()

    def add(self, matches: EntriesOfTexts, kept: Floats) -> None:
        """Take some texts, and with which probability each is kept."""
        of_matches = np.repeat(kept, np.diff(matches.offsets))
        with self._lock:
            self._sums.add(matches.entries, of_matches)

    @property
    def pairs(self) -> Floats:
        """Texts, shape (entries,)."""
        return self._sums.values


def tally(matches: EntriesOfTexts, shard: int, prefixes: list[Prefix], of_entries: EntryTally | None = None) -> None:
    """Add some texts of one shard to all that they count for.

    Parameters
    ----------
    matches : Matches
        Their entries; offsets from 0 on.
    shard : int
        Its number, from 0 on.
    prefixes : list of Prefix
        The last one has all shards.
    of_entries : EntryTally, optional
        With one of the last prefix's t.
    """
    for prefix in prefixes:
        if shard >= prefix.shards:
            continue
        texts = CountedTexts.of(matches, prefix.counts)
        for t, size in prefix.tallies.items():
            kept = size.add(texts)
            if of_entries is not None and prefix is prefixes[-1] and t == of_entries.t:
                of_entries.add(matches, kept)
