"""The charts that more than one page has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.plots import BLUE, GREY, ORANGE
from mappool_assets.lib.report_page.axes import finished, plain_axes, short_count
from mappool_assets.lib.report_page.figures import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAION_GEO_DOMAINS, LAION_GEO_TOP_20_SHARE = 44_992, 0.3788  # of 484,714 images, in the article on LAION-geo


def steps_chart(
    images: Mapping[str, Mapping[int, int]], ticks: Mapping[int, str], xlabel: str, *, is_centred: bool = False
) -> Figure:
    """Draw the share of the images in each step, one outline a source.

    Parameters
    ----------
    images : mapping of str to mapping of int to int
        By source, the first one filled: images by step.
    ticks : mapping of int to str
        Labels of the steps.
    xlabel : str
        What the steps are.
    is_centred : bool
        Whether a step lies around its number, not between it and the next.
    """
    steps = sorted({step for counts in images.values() for step in counts})
    every = np.arange(steps[0], steps[-1] + 1)
    edges = np.append(every, every[-1] + 1) - (0.5 if is_centred else 0)
    axes = plain_axes(xlabel, "images, in %")
    for number, (source, counts) in enumerate(images.items()):
        shares = 100 * np.array([counts.get(int(step), 0) for step in every]) / sum(counts.values())
        if number == 0:
            axes.stairs(shares, edges, label=source, color=GREY, alpha=0.45, fill=True)
        else:
            axes.stairs(shares, edges, label=source, color=BLUE, linewidth=2.2)
    shown = {step: label for step, label in ticks.items() if edges[0] <= step <= edges[-1]}
    axes.set_xticks(list(shown), list(shown.values()))
    return finished(axes)


def concentration_chart(ranks: npt.ArrayLike, shares: npt.ArrayLike, noun: str) -> Figure:
    """Draw which share of the maps or images the domains up to each rank hold, the figure of LAION-geo beside it.

    Parameters
    ----------
    ranks : array of int, shape (n,)
        Ascending from 1.
    shares : array of shape (n,)
        Cumulative, 0 to 1.
    noun : str
        What the domains hold, in the plural.
    """
    axes = plain_axes(f"domains with the most {noun}, logarithmic", f"their share of all {noun}, in %")
    axes.plot(ranks, 100 * np.asarray(shares), "o-", color=BLUE, linewidth=2, markersize=3.5, label="here")
    axes.plot(
        [20, LAION_GEO_DOMAINS], [100 * LAION_GEO_TOP_20_SHARE, 100], "D", color=ORANGE, markersize=7,
        markerfacecolor=PAPER, label="LAION-geo", linestyle="none",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 105)
    axes.xaxis.set_major_formatter(lambda rank, _: short_count(rank))
    return finished(axes)
