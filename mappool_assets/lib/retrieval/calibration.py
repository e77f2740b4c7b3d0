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
# What is aimed at: the mean of a hundred probes is within 0.02 of that of all queries (two standard errors of recall
# at 10, measured), and more rows make the same k easier, not harder.
AIM = 0.97
# What is calibrated: nearest rows asked for, and probes of each kind. Larger k need fewer probes for the same error.
PROBES = {10: 96, 100: 48, 1_000: 24, 10_000: 12}
LEAST_ROWS_OF_NEAREST = 20  # rows of the index for each of k: below, a scan of all rows is no slower

_DEPTHS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 24, 32)  # times k
_MOST_DEPTH = 8_000  # or 4 k, if that is more: the codes' errors matter less among more rows
_LIST_STEPS = 2.0**0.5
_ROUNDING = 1e-6  # of a logarithm and its inverse
# Seconds of a row in the lists and of a row ranked again (0.5 µs to read, 0.5 µs to compare, 1 µs in the heap and the
# sort), measured; their proportion decides what is cheapest, and a clock would make builds differ.
_CODE_SECONDS, _ROW_SECONDS = 22e-9, 3e-6


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
            calibrated.append(_cheapest(lists, images, texts, k, least))
    return calibrated


def largest_k(rows: int) -> int:
    """Return the largest k that is calibrated with so many rows."""
    return max(k for k in PROBES if k * LEAST_ROWS_OF_NEAREST <= rows)


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


def _cheapest(lists: StackedLists, images: Probes, texts: Probes, k: int, least: int) -> Calibrated:
    """Look into more and more lists until reading them alone costs more than the best so far."""
    total = lists.quantiser.lists
    depths = sorted({min(round(k * times), max(_MOST_DEPTH, 8 * k), lists.rows) for times in _DEPTHS})
    best: Calibrated | None = None
    best_cost = np.inf
    number = float(least)
    while best is None or (number < total * _LIST_STEPS and _scan_seconds(lists, number) < best_cost):
        looked_into = min(round(number), total)
        of_images, of_texts = (recall_by_depth(lists, probes, k, looked_into, depths) for probes in (images, texts))
        is_reached = np.minimum(of_images, of_texts) >= AIM
        place = int(np.argmax(is_reached)) if is_reached.any() else len(depths) - 1
        cost = _scan_seconds(lists, looked_into) + depths[place] * _ROW_SECONDS
        is_last_resort = best is None and looked_into == total
        if is_last_resort or (is_reached.any() and cost < best_cost):
            best, best_cost = Calibrated(k, looked_into, depths[place], of_images[place], of_texts[place]), cost
        number *= _LIST_STEPS
    return best


def _scan_seconds(lists: StackedLists, looked_into: float) -> float:
    return looked_into / lists.quantiser.lists * lists.rows * _CODE_SECONDS


def recall_by_depth(
    lists: StackedLists, probes: Probes, k: int, looked_into: int, depths: Sequence[int]
) -> list[float]:
    """Return the mean share of the true k nearest that is among the first rows by code, for ascending depths."""
    queries = slice(PROBES.get(k, len(probes.queries)))
    shares = []
    for query, nearest, own in zip(probes.queries[queries], probes.nearest[queries], probes.own[queries], strict=True):
        found = lists.candidates(lists.quantiser.rotated_query(query), looked_into, depths[-1] + 1)
        truth = nearest[nearest != own][:k]
        is_true = np.isin(found[found != own], truth)
        hits = np.cumsum(is_true)
        shares.append([hits[min(depth, len(hits)) - 1] / len(truth) if len(hits) else 0.0 for depth in depths])
    return np.mean(shares, axis=0).tolist()
