"""Whether nobody on the web answers: then the fault is ours, and no image must lose an attempt to it."""

from __future__ import annotations

from collections.abc import Iterable

from mappool_assets.lib.errors import SourceUnavailable
from mappool_assets.lib.map_images.image_ledger import LedgerRow

# Where so many that were not silent before give no answer, and nobody else does: of links as old as the pool's some 10
# to 30 % are dead, so that 20 of 20 happen in fewer than one of 10^10 shards.
OUTAGE_ROWS = 20
NO_ANSWER = frozenset({"connection", "timeout", "robots_unreachable", "download_failed"})
NOT_ASKED = frozenset({"bad_scheme", "bad_url", "blocked_address"})  # known without the web


class Answers:
    """What the servers of a shard's images said in one run.

    Parameters
    ----------
    before : iterable of LedgerRow
        Of the run before: that a server which was silent then still is, is no news.

    Attributes
    ----------
    newly_unanswered : int
        Rows without an answer whose server was not silent before.
    """

    def __init__(self, before: Iterable[LedgerRow]) -> None:
        self.newly_unanswered = 0
        self._answered = 0
        self._silent_before = {row.uid for row in before if row.status in NO_ANSWER}

    def count(self, row: LedgerRow) -> None:
        """Take what became of a row that was asked for."""
        if row.status in NO_ANSWER:
            self.newly_unanswered += row.uid not in self._silent_before
        elif row.status not in NOT_ASKED:
            self._answered += 1

    @property
    def is_outage(self) -> bool:
        """Whether it is our own network that is silent."""
        return self.newly_unanswered >= OUTAGE_ROWS and not self._answered

    def outage(self, where: str) -> SourceUnavailable:
        """Return the error that says so; ``where`` names the run."""
        return SourceUnavailable(
            "Nobody on the web answers",
            where=where,
            rule="an answer, whatever it says, to one of the images asked for",
            got=f"none to {self.newly_unanswered:,} that had not been silent before, nor to any other",
            action="Look at this machine's network, resolver and egress proxy, then run the shard again.",
        )
