"""The t with which balancing keeps a wanted number of texts, found in few passes over the matches.

The expected size grows with t, and each pass can work it out for several t. The next ones are put around where a line
between the two nearest known sizes, both on logarithmic scales, meets the wanted one: close by if the line is right,
further off in case it is not. A middle one halves what is left in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.errors import BadSetting

TOLERANCE = 1e-4  # of t; the size of 400M pairs varies by 5e-5 from seed to seed as it is
DIGITS = 7  # of a t that is tried: the same on every machine, whatever its logarithms' last bit
OFFSETS = (0.0, 1 / 64, 1 / 16, 1 / 4)  # around the guess, in widths of the bracket


class WantedSize:
    """A search for the least t whose expected size reaches a wanted one.

    Parameters
    ----------
    wanted : float
        How many texts shall be kept on average.
    counts : array, shape (entries,)
        How many texts each entry matches.
    sizes : mapping of float to float
        Expected sizes that are known, by t; among them a t at least as large as all counts, with which all texts that
        have an entry are kept.

    Attributes
    ----------
    t : float
        The least t so far whose size reaches the wanted one; within :data:`TOLERANCE` of the least of all once
        ``is_found``.

    Raises
    ------
    BadSetting
        There are not so many texts with an entry, or the wanted size is not above 0.
    """

    def __init__(self, wanted: float, counts: npt.ArrayLike, sizes: Mapping[float, float]) -> None:
        check_wanted(wanted, max(sizes.values()))
        self._wanted = wanted
        # A text is kept only if one of its matches passes: so many pass with the least t that could do.
        self._below = passing_t(counts, wanted) * (1 - TOLERANCE / 2)
        self._size_below = wanted * (1 - TOLERANCE / 2)
        self.t, self._size = math.inf, math.inf
        self.take(sizes)

    @property
    def is_found(self) -> bool:
        """Whether there is nothing left to try."""
        return self.t <= self._below * (1 + TOLERANCE)

    def take(self, sizes: Mapping[float, float]) -> None:
        """Learn more expected sizes, by t."""
        for t, size in sizes.items():
            if size < self._wanted and t > self._below:
                self._below, self._size_below = t, size
            elif size >= self._wanted and t < self.t:
                self.t, self._size = t, size

    def tries(self) -> list[float]:
        """Return for which t to work out the expected size next, ascending: up to eight; none where it is found."""
        if self.is_found:
            return []
        low, high = math.log(self._below), math.log(self.t)
        rise = math.log(self._size) - math.log(self._size_below)
        part = (math.log(self._wanted) - math.log(self._size_below)) / rise if rise > 0 else 0.5
        places = [part + sign * offset for offset in OFFSETS for sign in (-1, 1)]
        tried = {_rounded(math.exp(low + place * (high - low))) for place in (*places, 0.5)}
        return sorted(t for t in tried if self._below < t < self.t)


def check_wanted(wanted: float, most: float) -> None:
    """Raise ``BadSetting`` where so many texts cannot be kept: of all texts, ``most`` have an entry."""
    if not 0 < wanted <= most:
        raise BadSetting(
            "No t keeps the wanted number of pairs",
            where="the wanted size of the balance plan",
            rule=f"at most {most:,.0f}, which is how many texts match an entry",
            got=f"{wanted:,}",
            action="Ask for fewer pairs, match more shards, or take a longer list of entries.",
        )


def passing_t(counts: npt.ArrayLike, matches: float) -> float:
    """Return the t with which so many matches pass on average: Σ min(N, t).

    Parameters
    ----------
    counts : array, shape (entries,)
        How many texts each entry matches.
    matches : float
        Above 0, at most all of them.

    Examples
    --------
    >>> passing_t([1, 2, 6, 10], 11)
    4.0
    """
    ascending = np.sort(np.asarray(counts, dtype=np.float64))
    before = np.concatenate(([0.0], np.cumsum(ascending)))
    above = len(ascending) - np.arange(len(ascending))  # entries from each one on
    place = min(int(np.searchsorted(before[:-1] + ascending * above, matches)), len(ascending) - 1)
    return float((matches - before[place]) / above[place])


def _rounded(t: float) -> float:
    return float(f"{t:.{DIGITS}g}")
