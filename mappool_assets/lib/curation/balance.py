"""MetaCLIP's balancing as a law: with which probability each text is kept, and how many texts that is.

An entry that N texts match passes each of them with p = min(1, t / N). A text is kept if at least one of its entries
passes it, so with P = 1 − ∏ (1 − p); one without entries is not kept. MetaCLIP's ``balancing.py`` (a draw for each
match) and ``balance_sampling.py`` (a mask over all matches) both have this law for each text (Xu et al. 2023,
"Demystifying CLIP Data", algorithm 1).

Arrays alone: where matches lie and how they are drawn is not known here.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.errors import BadSetting

Floats = npt.NDArray[np.float64]
UNIT_BITS = 52  # as many as a float64 has for numbers from 0.5 to 1, less one
_LOW_BITS = 26


class EntriesOfTexts(Protocol):
    """The entries that match each of some texts, as :class:`~mappool_assets.lib.curation.matcher.Matches` has them."""

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Shape (texts + 1,): where each text's entries begin."""

    @property
    def entries(self) -> npt.NDArray[np.int32]:
        """Of all texts, in turn."""


def entry_probabilities(counts: npt.ArrayLike, t: float) -> Floats:
    """Return with which probability each entry passes a text that it matches: min(1, t / N).

    Parameters
    ----------
    counts : array, shape (entries,)
        N: how many texts each entry matches; or an estimate of it, which need not be whole.
    t : float
        How many texts each entry shall pass on average, where it has so many.

    Returns
    -------
    float64 ndarray, shape (entries,)
        In (0, 1]; 1 for an entry that matches no text.

    Raises
    ------
    BadSetting
        ``t`` is not above 0.

    Examples
    --------
    >>> entry_probabilities([0, 5, 20, 80], 20).tolist()
    [1.0, 1.0, 1.0, 0.25]
    """
    if not t > 0:
        raise _bad("The balancing threshold cannot be used", "t", "a number above 0", repr(t))
    texts = np.asarray(counts, dtype=np.float64)
    return np.divide(t, texts, out=np.ones_like(texts), where=texts > t)


def keep_probabilities(matches: EntriesOfTexts, p: Floats) -> Floats:
    """Return with which probability each text is kept: 1 − ∏ (1 − p) over its entries, 0 without any.

    Computed from sums of log(1 − p), so that it is right to about 1e-15 of itself, however small it is. What a text
    gets does not depend on the texts beside it. Time and memory grow with the matches, not with the entries.

    Parameters
    ----------
    matches : Matches
        The entries of each text.
    p : float64 ndarray, shape (entries,)
        Of each entry (:func:`entry_probabilities`).

    Returns
    -------
    float64 ndarray, shape (texts,)
        In [0, 1].
    """
    offsets = matches.offsets
    logs = p[matches.entries[offsets[0] : offsets[-1]]]
    with np.errstate(divide="ignore"):  # log(0) = −∞ where an entry passes all: P is 1 then
        np.log1p(np.negative(logs, out=logs), out=logs)
    has_entry = offsets[1:] > offsets[:-1]
    kept = np.zeros(len(has_entry))
    if len(logs):
        kept[has_entry] = -np.expm1(np.add.reduceat(logs, offsets[:-1][has_entry] - offsets[0]))
    return kept


class ExactSum:
    """A sum of numbers from 0 to 1, added up a batch at a time: neither batches nor their order change a bit of it.

    Each number is rounded to a multiple of 2⁻⁵², of which there are whole numbers.

    Examples
    --------
    >>> some = ExactSum()
    >>> some.add(np.array([0.25, 1.0]), np.array([3, 1]))
    >>> some.value
    1.75
    """

    def __init__(self) -> None:
        self._units = 0

    def add(self, summands: Floats, times: npt.NDArray[np.int64] | int = 1) -> None:
        """Add numbers, each so many times; at once, 2³⁶ in all at most."""
        units = np.rint(np.ldexp(summands, UNIT_BITS)).astype(np.int64)
        high, low = units >> _LOW_BITS, units & ((1 << _LOW_BITS) - 1)  # else 2,048 ones would be too much for 64 bits
        self._units += (int(np.sum(high * times)) << _LOW_BITS) + int(np.sum(low * times))

    @property
    def value(self) -> float:
        """The sum so far, the nearest float64."""
        return self._units / (1 << UNIT_BITS)


class ExpectedSize:
    """How many texts are kept on average, and by how much that varies; added up a batch at a time.

    The draws are independent, so the mean is Σ P and the variance Σ P (1 − P); both are exact sums
    (:class:`ExactSum`).

    Examples
    --------
    >>> size = ExpectedSize()
    >>> size.add(np.array([0.5, 1.0]))
    >>> size.add(np.array([0.5, 0.0]))
    >>> size.mean, round(size.sd, 3)
    (2.0, 0.707)
    """

    def __init__(self) -> None:
        self._mean, self._variance = ExactSum(), ExactSum()

    def add(self, probabilities: Floats) -> None:
        """Take the probabilities of some more texts."""
        self._mean.add(probabilities)
        self._variance.add(probabilities * (1 - probabilities))

    @property
    def mean(self) -> float:
        """Σ P, in texts."""
        return self._mean.value

    @property
    def sd(self) -> float:
        """√ Σ P (1 − P), in texts."""
        return math.sqrt(self._variance.value)


def expected_size(probabilities: Floats) -> ExpectedSize:
    """Return how many of some texts are kept on average, and by how much that varies (:class:`ExpectedSize`)."""
    size = ExpectedSize()
    size.add(probabilities)
    return size


def t_to_p(counts: npt.ArrayLike, t: float) -> float:
    """Return the share of the tail: of all matches, those of entries that match fewer than ``t`` texts.

    As in MetaCLIP, which keeps this share near 6 % when it goes from t = 20,000 for 400M pairs to 170,000 for 2.5B.

    Parameters
    ----------
    counts : array, shape (entries,)
        How many texts each entry matches.
    t : float

    Returns
    -------
    float
        In [0, 1]; 0 where nothing matches.

    Examples
    --------
    >>> t_to_p([1, 2, 3, 4], 3)
    0.3
    """
    texts = np.asarray(counts)
    matches = float(texts.sum())
    return float(texts[texts < t].sum()) / matches if matches else 0.0


def p_to_t(counts: npt.ArrayLike, share: float) -> float:
    """Return the t for a share of the tail: the count up to which, in ascending order, it comes nearest to the share.

    As in MetaCLIP. It is not the inverse of :func:`t_to_p`, which leaves the entries with just this count out.

    Parameters
    ----------
    counts : array, shape (entries,)
        How many texts each entry matches.
    share : float
        In [0, 1]. Of two counts that are as near, the lower one is returned.

    Returns
    -------
    float
        One of the counts.

    Raises
    ------
    BadSetting
        The share is outside its range, or nothing matches.

    Examples
    --------
    >>> p_to_t([4, 3, 2, 1], 0.3)
    2.0
    """
    if not 0 <= share <= 1:
        raise _bad("The share of the tail cannot be used", "share", "0 to 1", repr(share))
    ascending = np.sort(np.asarray(counts))
    ascending = ascending[ascending > 0]
    if not len(ascending):
        raise _bad("No t has a share of the tail", "counts", "an entry that matches a text", "none")
    reached = np.cumsum(ascending)
    return float(ascending[np.argmin(np.abs(reached / reached[-1] - share))])


def _bad(what: str, where: str, rule: str, got: str) -> BadSetting:
    return BadSetting(what, where=where, rule=rule, got=got, action="Correct the setting.")
