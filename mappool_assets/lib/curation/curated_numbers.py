"""What was curated, in the numbers that pages and pictures show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation import curated_pairs
from mappool_assets.lib.curation.balance import t_to_p
from mappool_assets.lib.lake import Lake, Provenance

TOP, TOP_SHARE = 100, 0.1  # entries whose share tells how flat the pairs are; of few that match at most a tenth


@dataclass(frozen=True)
class Curated:
    """What was curated, as the page needs it.

    Attributes
    ----------
    made : Provenance
        Of the pairs.
    entries : list of str
        By number.
    texts, unique, curated : float64 ndarray, shape (entries,)
        How many texts match each, the estimate of the unique ones, and pairs of the first seed.
    """

    made: Provenance
    entries: list[str]
    texts: npt.NDArray[np.float64]
    unique: npt.NDArray[np.float64]
    curated: npt.NDArray[np.float64]

    @classmethod
    def of(cls, lake: Lake, made: Provenance) -> Curated:
        """Ask the lake."""
        rows = lake.read_table(curated_pairs.ENTRIES_TABLE)
        counts = ("texts", "unique_texts_estimate", "curated")
        numbers = [rows[name].to_numpy().astype(np.float64) for name in counts]
        return cls(made, rows["entry"].to_pylist(), *numbers)

    @property
    def t(self) -> float:
        """Of the second pass."""
        return self.made.inputs["t"]

    @property
    def seeds(self) -> list[int]:
        """Those that drew."""
        return self.made.inputs["seeds"]

    @property
    def drawn(self) -> int:
        """Pairs of the first seed."""
        return self.made.measures["drawn"][0]

    @property
    def matching(self) -> int:
        """How many entries match a text; of a long list and few texts, most match none."""
        return int(np.count_nonzero(self.texts))

    @property
    def top(self) -> int:
        """How many entries are the most frequent: 100, or a tenth of those that match where they are below 1,000."""
        return min(TOP, max(1, round(TOP_SHARE * self.matching)))

    @property
    def top_shares(self) -> tuple[float, float]:
        """The share that the :attr:`top` entries have in all matches, before and after."""
        most = np.argsort(-self.texts, kind="stable")[: self.top]
        before, after = (float(counts[most].sum() / (counts.sum() or 1)) for counts in (self.texts, self.curated))
        return before, after

    @property
    def tail_shares(self) -> tuple[float, float]:
        """The share that entries of fewer than t unique texts have in all matches, before and after."""
        is_tail = self.unique < self.t
        after = float(self.curated[is_tail].sum() / (self.curated.sum() or 1))
        return t_to_p(self.unique, self.t), after

    @property
    def lost(self) -> int:
        """Entries that match texts, and none of the first seed's pairs."""
        return int(np.count_nonzero((self.texts > 0) & (self.curated == 0)))

    @property
    def head(self) -> npt.NDArray[np.bool_]:
        """Which entries match t unique texts or more, as in the plan."""
        return self.unique >= self.t


def whole(value: float) -> str:
    """Return a number of pairs that need not be whole, as exactly as it is worth.

    >>> whole(12_468.18), whole(5.84), whole(3.0)
    ('12,468', '5.8', '3')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")
