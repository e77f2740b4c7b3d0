"""What is planned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib.errors import BadSetting


@dataclass(frozen=True)
class PlanSettings:
    """For which t, and for which wishes, sizes are worked out.

    Attributes
    ----------
    t : float
        Of the second pass, before training. Default 20,000, as MetaCLIP's for 400M pairs.
    first_t : float
        Of the first pass, before images are downloaded. Default 170,000, which is MetaCLIP's t for 2.5B pairs: of its
        first pass it says only that its t is much higher.
    wanted_pairs : int, optional
        How many pairs shall be kept: the least t that does so on average is searched for.
    wanted_tail_share : float, optional
        Which share of all matches shall be of entries with fewer than t texts. MetaCLIP keeps it near 0.06 as pools
        grow.

    Raises
    ------
    BadSetting
        A value out of range.
    """

    t: float = 20_000
    first_t: float = 170_000
    wanted_pairs: int | None = None
    wanted_tail_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("t", "first_t"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise _bad(name, "a number above 0", value)
        if self.wanted_pairs is not None and not self.wanted_pairs >= 1:
            raise _bad("wanted_pairs", "1 or more", self.wanted_pairs)
        if self.wanted_tail_share is not None and not 0 < self.wanted_tail_share <= 1:
            raise _bad("wanted_tail_share", "a share above 0, at most 1", self.wanted_tail_share)

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the plan beside the counts."""
        return {
            "t": float(self.t),
            "first_t": float(self.first_t),
            "wanted_pairs": self.wanted_pairs,
            "wanted_tail_share": self.wanted_tail_share,
        }


def _bad(where: str, rule: str, got: object) -> BadSetting:
    return BadSetting(
        "Balancing cannot be planned so", where=where, rule=rule, got=repr(got), action="Correct the setting."
    )
