"""What a screen refuses, sampled and scored exactly: how many maps it costs at most."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.screen import ScreenedClassifier

# One of so many refused rows is sampled, of every block alike: 4,000 of a shard's 511,000 rows, for 0.8 % of the exact
# step's work. Without a miss there at most 0.08 % of the refused rows are maps, with 95 % confidence; over 100 shards
# 0.0008 %.
REFUSED_A_SAMPLED_ROW = 128
LEAST_SAMPLED_ROWS = 1000  # about so many of a smaller shard, as few rows would bound nothing
CONFIDENCE = 0.95


@dataclass
class ScreenAudit:
    """Counts of rows.

    Attributes
    ----------
    refused : int
        Rows that the screen kept from the exact classifier.
    sampled : int
        Refused rows that were scored all the same, drawn by lot.
    missed : int
        Sampled rows that are maps. They are kept.
    """

    refused: int = 0
    sampled: int = 0
    missed: int = 0

    @property
    def miss_rate_upper(self) -> float:
        """The share of refused rows that are maps is at most this, with 95 % confidence (Clopper and Pearson, 1934)."""
        from scipy.special import betaincinv  # beta.ppf without the seconds that scipy.stats takes to import

        if self.refused == 0:
            return 0.0
        if self.missed == self.sampled:
            return 1.0
        return float(betaincinv(self.missed + 1, self.sampled - self.missed, CONFIDENCE))

    def score_sample(
        self,
        scorer: ScreenedClassifier,
        embeddings: npt.NDArray[np.floating],
        scores: npt.NDArray[np.float32],
        *,
        shard: str,
        shard_rows: int,
        start: int,
    ) -> None:
        """Score some refused rows of a block in place, and count.

        Parameters
        ----------
        embeddings : array of shape (n, d)
            Of the rows that were screened.
        scores : array of shape (n,)
            What the scorer said of them: minus infinity is refused.
        shard, shard_rows, start
            The shard's key and rows, and the block's first row: the same rows are drawn each time, in proportion to
            what each block refused.
        """
        refused = np.flatnonzero(np.isneginf(scores))
        seed = int.from_bytes(hashlib.sha256(f"{shard} {start}".encode()).digest()[:8])
        count = -(-len(refused) // max(1, min(REFUSED_A_SAMPLED_ROW, shard_rows // LEAST_SAMPLED_ROWS)))
        sampled = np.sort(np.random.default_rng(seed).choice(refused, count, replace=False))
        scores[sampled] = scorer.classifier.scores(embeddings[sampled])
        self.refused += len(refused)
        self.sampled += count
        self.missed += int((scores[sampled] > scorer.threshold).sum())
