"""How many lists to look into and how many rows to rank again: found by measuring recall, not set by hand.

Probes are images of the index itself (each without itself) and captions' vectors, which are as far from images as
any prompt's: parameters that suit images alone find half of what a text is near to. For each number of lists the
codes' ranking is compared with the true neighbours; whatever of these is among the rows ranked again ends up in its
place, so that one search tells the recall of every smaller depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.retrieval.inverted_lists import StackedLists
from mappool_assets.lib.row_blocks import Float32

LEAST_RECALL = 0.95
STANDARD_ERRORS = 2  # by which the probes' mean recall must be above that: all queries' then is, 97 times in a hundred
# What is calibrated: nearest rows asked for, and probes of each kind. Larger k need fewer probes for the same error.
PROBES = {10: 64, 100: 32, 1_000: 16, 10_000: 8}
LEAST_ROWS_OF_NEAREST = 40  # rows of the index for each of k: below, a scan of all rows is no slower (measured: 25)

_DEPTH_STEPS = 2.0**0.5
_LIST_STEPS = 2.0**0.5
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
    """Return parameters for each k that the rows are enough for, ascending."""
    calibrated = list[Calibrated]()
    for k in PROBES:
        if k * LEAST_ROWS_OF_NEAREST <= lists.rows:
            # Farther neighbours are spread over more lists.
            least = calibrated[-1].lists if calibrated else max(1, lists.quantiser.lists // 512)
            calibrated.append(_calibrated(lists, images, texts, k, least))
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


def _calibrated(lists: StackedLists, images: Probes, texts: Probes, k: int, least: int) -> Calibrated:
    most = min(32 * k, max(8_000, 8 * k))  # what a million rows took was half as much
    while True:
        steps = range(math.ceil(math.log(most / k, _DEPTH_STEPS)) + 1)
        depths = sorted({min(round(k * _DEPTH_STEPS**step), most, lists.rows) for step in steps})
        best = _cheapest(lists, images, texts, k, least, depths)
        if best is not None:
            return best
        most *= 4  # ends: all rows ranked again are an exact search


def _cheapest(
    lists: StackedLists, images: Probes, texts: Probes, k: int, least: int, depths: Sequence[int]
) -> Calibrated | None:
    """Look into more and more lists until reading them alone costs more than the best so far."""
    total = lists.quantiser.lists
    best: Calibrated | None = None
    best_cost = np.inf
    number = float(least)
    while number < total * _LIST_STEPS and _scan_seconds(lists, number) < best_cost:
        looked_into = min(round(number), total)
        of_images, of_texts = (_shares_found(lists, probes, k, looked_into, depths) for probes in (images, texts))
        is_reached = np.minimum(_sure_mean(of_images), _sure_mean(of_texts)) >= LEAST_RECALL
        place = int(np.argmax(is_reached))
        cost = _scan_seconds(lists, looked_into) + depths[place] * _ROW_SECONDS
        if is_reached.any() and cost < best_cost:
            recalls = (float(shares[:, place].mean()) for shares in (of_images, of_texts))
            best, best_cost = Calibrated(k, looked_into, depths[place], *recalls), cost
        number *= _LIST_STEPS
    return best


def _scan_seconds(lists: StackedLists, looked_into: float) -> float:
    return looked_into / lists.quantiser.lists * lists.rows * _CODE_SECONDS


def _sure_mean(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over the probes, less what they may be off."""
    errors = shares.std(axis=0, ddof=1) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
    return shares.mean(axis=0) - STANDARD_ERRORS * errors


def _shares_found(
    lists: StackedLists, probes: Probes, k: int, looked_into: int, depths: Sequence[int]
) -> NDArray[np.float64]:
    """Return which share of each probe's true k nearest is among the first rows by code, for ascending depths."""
    some = slice(PROBES[k])
    shares = []
    for query, nearest, own in zip(probes.queries[some], probes.nearest[some], probes.own[some], strict=True):
        found = lists.candidates(query, looked_into, depths[-1] + 1)
        truth = nearest[nearest != own][:k]
        hits = np.cumsum(np.isin(found[found != own], truth))
        shares.append([hits[min(depth, len(hits)) - 1] / len(truth) if len(hits) else 0.0 for depth in depths])
    return np.array(shares)
