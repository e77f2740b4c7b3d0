"""How many lists to look into and how many rows to rank again: found by measuring recall, not set by hand.

Probes are images of the index itself (each without itself) and captions' vectors, which are as far from images as
any prompt's: parameters that suit images alone find half of what a text is near to. The codes' ranking is compared
with the true neighbours; whatever of these is among the rows ranked again ends up in its place. The lists looked into
do not change what a code says, so that one search of many lists tells the recall of all smaller numbers and depths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.retrieval.inverted_lists import ListMembers, StackedLists
from mappool_assets.lib.row_blocks import Float32

LEAST_RECALL = 0.95
STANDARD_ERRORS = 2  # by which the probes' mean recall must be above that: all queries' then is, 97 times in a hundred
# What is calibrated: nearest rows asked for, and probes of each kind. Larger k need fewer probes for the same error.
PROBES = {10: 64, 100: 32, 1_000: 16, 10_000: 8}
LEAST_ROWS_OF_NEAREST = 40  # rows of the index for each of k: below, a scan of all rows is no slower (measured: 25)

_LIST_STEPS, _DEPTH_STEPS = 2**0.5, 2**0.25  # of what is tried; a row ranked again costs more than a list
_REACH = 4  # times the fewest lists are searched at first; the cheapest are twice as many, about
_FOUND = 1.25  # times the largest depth: of the rows found by most lists so many are in fewer lists too, about
_ROUNDING = 1e-6  # of a logarithm and its inverse
# Seconds of a row in the lists and of a row ranked again (1.5 µs to read, 0.5 µs to compare), measured. Only their
# proportion matters; a clock would make builds differ.
_CODE_SECONDS, _ROW_SECONDS = 22e-9, 2.5e-6


@dataclass(frozen=True)
class Calibrated:
    """Parameters for searches of up to k rows, and what they gave.

    Attributes
    ----------
    k : int
    lists : int
        Lists looked into.
    depth : int
        Rows ranked again.
    image_recall, text_recall : float
        Share of the true k nearest that was found, mean over the probes.
    """

    k: int
    lists: int
    depth: int
    image_recall: float
    text_recall: float


@dataclass(frozen=True, eq=False)
class Probes:
    """Queries whose true neighbours are known.

    Attributes
    ----------
    queries : float32 array of shape (q, d)
        Of unit length.
    nearest : int64 array of shape (q, m)
        Positions of the nearest rows, best first.
    own : int64 array of shape (q,)
        Position of the row that the query is, not counted; -1 where it is none.
    """

    queries: Float32
    nearest: NDArray[np.int64]
    own: NDArray[np.int64]


def calibrate(lists: StackedLists, images: Probes, texts: Probes) -> list[Calibrated]:
    """Return parameters for each k that the rows are enough for, ascending; there are probes of both kinds."""
    members = lists.members()
    kinds = [_Kind(lists, members, probes) for probes in (images, texts)]
    calibrated = list[Calibrated]()
    for k in PROBES:
        if k * LEAST_ROWS_OF_NEAREST <= lists.rows:
            # Farther neighbours are spread over more lists.
            least = max(calibrated[-1].lists if calibrated else 1, *(kind.least_lists(k) for kind in kinds))
            calibrated.append(_calibrated(lists, kinds, k, least))
    return calibrated


def largest_k(rows: int) -> int | None:
    """Return the largest k that is calibrated with so many rows, None where none is."""
    return max((k for k in PROBES if k * LEAST_ROWS_OF_NEAREST <= rows), default=None)


def most_probes() -> int:
    """Return how many probes of each kind are needed."""
    return max(PROBES.values())


def parameters_for(k: int, calibrated: Sequence[Calibrated]) -> tuple[int, int] | None:
    """Return lists and depth for any k; None where k is beyond what was calibrated.

    Between two calibrated k, both lie on the line between theirs in logarithms.
    """
    if not calibrated or k > calibrated[-1].k:
        return None
    known = np.log([[entry.k, entry.lists, entry.depth] for entry in calibrated]).T
    lists, depth = (np.exp(np.interp(np.log(k), known[0], values)) for values in known[1:])
    return math.ceil(lists - _ROUNDING), max(math.ceil(depth - _ROUNDING), k)


class _Kind:
    """The probes of a kind, and how near to each the lists are that rows are in."""

    def __init__(self, lists: StackedLists, members: ListMembers, probes: Probes) -> None:
        self._lists, self._members, self._probes = lists, members, probes
        orders = np.array([lists.nearest_lists(query) for query in probes.queries])
        self._ranks = np.empty_like(orders)  # of each list, from 0, by probe
        np.put_along_axis(self._ranks, orders, np.arange(lists.quantiser.lists), axis=1)

    def least_lists(self, k: int) -> int:
        """Return the fewest lists that hold enough of the true k nearest: with fewer no depth helps."""
        ranks = [np.sort(self._ranks_of(probe, self._truth(probe, k))) for probe in range(self._number(k))]
        tried = np.arange(1, 2 + max(of_probe[-1] for of_probe in ranks))
        shares = np.array([np.searchsorted(of_probe, tried) / len(of_probe) for of_probe in ranks])
        return int(tried[np.argmax(_sure_mean(shares) >= LEAST_RECALL)])

    def shares_found(self, k: int, lists_tried: Sequence[int], depths: Sequence[int]) -> NDArray[np.float64]:
        """Return which share of the true k nearest is among the first rows by code: (probes, lists, depths)."""
        shares = np.empty((self._number(k), len(lists_tried), len(depths)))
        most = math.ceil(_FOUND * depths[-1]) + 1
        for probe, own in enumerate(self._probes.own[: len(shares)]):
            found = self._lists.candidates(self._probes.queries[probe], lists_tried[-1], most)
            found = found[found != own]
            truth, ranks = self._truth(probe, k), self._ranks_of(probe, found)
            is_hit = np.isin(found, truth)
            for number, looked_into in enumerate(lists_tried):
                hits = np.cumsum(is_hit[ranks < looked_into])
                # Rows beyond those that were found count as misses.
                at = np.minimum(depths, len(hits)) - 1
                shares[probe, number] = hits[at] / len(truth) if len(hits) else 0.0
        return shares

    def _number(self, k: int) -> int:
        return min(PROBES[k], len(self._probes.queries))

    def _truth(self, probe: int, k: int) -> NDArray[np.int64]:
        nearest = self._probes.nearest[probe]
        return nearest[nearest != self._probes.own[probe]][:k]

    def _ranks_of(self, probe: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._ranks[probe][self._members.numbers_of(positions)]


def _calibrated(lists: StackedLists, kinds: Sequence[_Kind], k: int, least: int) -> Calibrated:
    most, total = min(32 * k, max(8_000, 8 * k)), lists.quantiser.lists  # what a million rows took was half as deep
    reach = min(_REACH * least, total)
    while True:
        depths = _steps(k, min(most, lists.rows), _DEPTH_STEPS)
        best = _cheapest(lists, kinds, k, _steps(least, reach, _LIST_STEPS), depths)
        if best is not None and (best.lists < reach or reach == total):
            return best
        if reach < total:
            reach = min(_REACH * reach, total)
        else:
            most *= 4  # ends: all rows ranked again are an exact search


def _steps(first: int, last: int, times: float) -> list[int]:
    number = math.ceil(math.log(last / first, times)) + 1
    return sorted({min(round(first * times**step), last) for step in range(number)})


def _cheapest(
    lists: StackedLists, kinds: Sequence[_Kind], k: int, lists_tried: Sequence[int], depths: Sequence[int]
) -> Calibrated | None:
    """Return the cheapest parameters with which images and texts find enough, None where they do with none."""
    shares = [kind.shares_found(k, lists_tried, depths) for kind in kinds]
    is_enough = np.logical_and.reduce([_sure_mean(of_kind) >= LEAST_RECALL for of_kind in shares])
    share_read = np.array(lists_tried) / lists.quantiser.lists
    costs = (share_read * lists.rows * _CODE_SECONDS)[:, np.newaxis] + np.array(depths) * _ROW_SECONDS
    number, place = divmod(int(np.where(is_enough, costs, np.inf).argmin()), len(depths))
    if not is_enough[number, place]:
        return None
    recalls = (float(of_kind[:, number, place].mean()) for of_kind in shares)
    return Calibrated(k, lists_tried[number], depths[place], *recalls)


def _sure_mean(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over the probes, less what they may be off."""
    errors = shares.std(axis=0, ddof=1) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
    return shares.mean(axis=0) - STANDARD_ERRORS * errors
