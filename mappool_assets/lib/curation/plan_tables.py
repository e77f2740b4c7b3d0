"""The rows of a balance plan: sizes over t, sizes over shards, and what each entry gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation.balance import entry_probabilities, t_to_p
from mappool_assets.lib.curation.plan_tallies import EntryTally, Prefix, SizeTally

SIZES_SCHEMA = pa.schema(
    [
        pa.field("t", pa.float64(), False),
        pa.field("role", pa.string(), False),
        pa.field("expected_size", pa.float64(), False),
        pa.field("sd_size", pa.float64(), False),
        pa.field("tail_share", pa.float64(), False),
        pa.field("tail_entries", pa.int64(), False),
        pa.field("head_entries", pa.int64(), False),
        pa.field("matches_kept", pa.float64(), False),
        pa.field("head_factor", pa.float64()),
    ]
)
GROWTH_SCHEMA = pa.schema(
    [
        pa.field("shards", pa.int64(), False),
        pa.field("texts", pa.int64(), False),
        pa.field("t", pa.float64(), False),
        pa.field("expected_size", pa.float64(), False),
        pa.field("sd_size", pa.float64(), False),
    ]
)
ENTRIES_SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.int32(), False),
        pa.field("entry", pa.string(), False),
        pa.field("texts", pa.uint64(), False),
        pa.field("p", pa.float64(), False),
        pa.field("expected_pairs", pa.float64(), False),
        pa.field("is_head", pa.bool_(), False),
    ]
)
TABLE_ROLE, TRAINING, FIRST = "table", "training", "first"
WANTED_PAIRS, WANTED_TAIL_SHARE = "wanted_pairs", "wanted_tail_share"


@dataclass(frozen=True)
class PlannedSize:
    """What balancing with one t would give.

    Attributes
    ----------
    t : float
        How many texts each entry passes on average, where it has so many.
    role : str
        ``training`` and ``first``: of the second pass and of the first, by the settings. ``wanted_pairs`` and
        ``wanted_tail_share``: found for these. ``table``: 1, 2, 5, 10 and so on, and the largest count, with which
        every text that has an entry is kept.
    expected_size, sd_size : float
        Texts kept: mean and standard deviation over seeds.
    tail_share : float
        Of all matches, those of entries that match fewer than ``t`` texts.
    tail_entries, head_entries : int
        Entries that match fewer than ``t`` texts, but one at least; and those that match ``t`` or more.
    matches_kept : float
        Σ min(N, t): matches that pass on average. More than texts are kept, as several of one text may pass.
    head_factor : float or None
        How many kept texts a head entry matches on average, over ``t``: not 1, as texts that it does not pass are kept
        for other entries. None without head.
    """

    t: float
    role: str
    expected_size: float
    sd_size: float
    tail_share: float
    tail_entries: int
    head_entries: int
    matches_kept: float
    head_factor: float | None

    @classmethod
    def of(cls, role: str, tally: SizeTally, counts: npt.NDArray[np.uint64]) -> PlannedSize:
        """Work it out of what is counted.

        Parameters
        ----------
        counts : uint64 ndarray, shape (entries,)
            How many texts each entry matches.
        """
        t = tally.t
        head = int(np.count_nonzero(counts >= t))
        return cls(
            t,
            role,
            tally.size.mean,
            tally.size.sd,
            t_to_p(counts, t),
            int(np.count_nonzero(counts)) - head,
            head,
            float(np.minimum(counts, t).sum()),
            tally.of_head.value / (head * t) if head else None,
        )


@dataclass(frozen=True)
class PlannedGrowth:
    """What balancing the first shards alone would give.

    Attributes
    ----------
    shards, texts : int
        How many, in the order of their keys, and the texts that these have.
    t : float
    expected_size, sd_size : float
        Texts kept with it, as counts of these shards alone have it.
    """

    shards: int
    texts: int
    t: float
    expected_size: float
    sd_size: float


def round_ts(counts: npt.NDArray[np.uint64]) -> list[float]:
    """Return 1, 2, 5, 10 and so on below the largest count, and that; 1 where nothing matches.

    >>> round_ts(np.array([3, 30], dtype=np.uint64))
    [1.0, 2.0, 5.0, 10.0, 20.0, 30.0]
    """
    largest = float(max(counts.max(initial=0), 1))
    steps = (step * 10.0**power for power in range(len(f"{largest:.0f}")) for step in (1, 2, 5))
    return [*(t for t in steps if t < largest), largest]


def planned_growth(prefixes: Iterable[Prefix], texts: Mapping[int, int], ts: Iterable[float]) -> list[PlannedGrowth]:
    """Return the sizes of all prefixes, ascending, for each t."""
    return [
        PlannedGrowth(prefix.shards, texts[prefix.shards], t, prefix.tallies[t].size.mean, prefix.tallies[t].size.sd)
        for t in sorted(ts)
        for prefix in prefixes
    ]


def sizes_table(sizes: Iterable[PlannedSize]) -> pa.Table:
    """Return sizes as rows, ascending by t, then role."""
    ordered = sorted(sizes, key=lambda size: (size.t, size.role))
    return pa.Table.from_pylist([asdict(size) for size in ordered], schema=SIZES_SCHEMA)


def growth_table(growth: Iterable[PlannedGrowth]) -> pa.Table:
    """Return the growth as rows, ascending by shards, then t."""
    ordered = sorted(growth, key=lambda size: (size.shards, size.t))
    return pa.Table.from_pylist([asdict(size) for size in ordered], schema=GROWTH_SCHEMA)


def entries_table(counted: pa.Table, tally: EntryTally) -> pa.Table:
    """Return what each entry gets with the t of a tally.

    A row has ``p``, with which the entry passes a text that it matches; ``expected_pairs``, how many kept texts it
    matches on average, for whichever entry they are kept; and ``is_head``: it matches t texts or more.

    Parameters
    ----------
    counted : pyarrow.Table
        ``entry_id``, ``entry`` and ``texts``.
    """
    counts = counted["texts"].to_numpy()
    columns = [
        *(counted[name] for name in ("entry_id", "entry", "texts")),
        entry_probabilities(counts, tally.t),
        tally.pairs,
        counts >= tally.t,
    ]
    return pa.table([pa.chunked_array(c) if isinstance(c, list) else c for c in columns], schema=ENTRIES_SCHEMA)
