"""How pairs are curated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib.errors import BadSetting

PER_TEXT, PER_IMAGE = "text", "image"
POLICIES = (PER_TEXT, PER_IMAGE)
MOST_SEEDS = 100  # each pair of them is counted; MetaCLIP compares three
LARGEST_SEED = 2**31 - 1  # stored as int32


@dataclass(frozen=True)
class CurationSettings:
    """Of the second pass.

    Parameters
    ----------
    t : float
        How many pairs an entry passes on average, where it has so many. Default 20,000, as MetaCLIP's for 400M pairs;
        it takes 170,000 for 2.5B.
    seeds : tuple of int
        Each draws for itself. The first one's draw is what is counted and exported.
    policy : str
        ``text``: each text of an image is drawn by itself, as MetaCLIP's ``balancing.py`` does; an image can be there
        with several. ``image``: one text of each image, picked at random, can be drawn, as by its ``curate.py``, which
        counts all texts all the same.

    Raises
    ------
    BadSetting
        A value out of range.
    """

    t: float = 20_000
    seeds: tuple[int, ...] = (0,)
    policy: str = PER_TEXT

    def __post_init__(self) -> None:
        if not (self.t > 0 and math.isfinite(self.t)):
            raise _bad("t", "a number above 0", self.t)
        if not 1 <= len(self.seeds) <= MOST_SEEDS or len(set(self.seeds)) != len(self.seeds):
            raise _bad("seeds", f"1 to {MOST_SEEDS} different whole numbers", self.seeds)
        if not all(0 <= seed <= LARGEST_SEED for seed in self.seeds):
            raise _bad("seeds", f"whole numbers from 0 to {LARGEST_SEED}", self.seeds)
        if self.policy not in POLICIES:
            raise _bad("policy", " or ".join(POLICIES), self.policy)

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides which pairs are drawn."""
        return {"t": float(self.t), "seeds": list(self.seeds), "policy": self.policy}


def _bad(where: str, rule: str, got: object) -> BadSetting:
    return BadSetting(
        "Pairs cannot be curated so", where=where, rule=rule, got=repr(got), action="Correct the setting."
    )
