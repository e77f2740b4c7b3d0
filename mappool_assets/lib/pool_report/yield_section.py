"""How many maps the pool's shards and parts gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_report import charts
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import Chart, Section, Table, percent

EXTREMES = 5  # shards and parts shown from either end
REPORT = "yield_by_shard"
YIELD_COLUMNS = {"shard": "shard", "part": "part", "pairs": "rows_in", "maps": "rows_kept", "yield": "yield_share"}
YIELD_KINDS = {"shard": "key", "part": "text", "pairs": "count", "maps": "count", "yield": "share"}
PART_KINDS = {"part": "text", "shards": "count", "pairs": "count", "maps": "count", "yield": "share"}


@dataclass(frozen=True)
class Yields:
    """What became of the pairs of each shard.

    Attributes
    ----------
    rows : pyarrow.Table
        Of ``reports/yield_by_shard``: one row a shard, the highest yield first.
    """

    rows: pa.Table

    @classmethod
    def of(cls, lake: Lake) -> Yields:
        """Ask the lake."""
        return cls(sql_files.run(lake, f"reports/{REPORT}"))

    @property
    def shards(self) -> int:
        """Scored shards."""
        return self.rows.num_rows

    @property
    def pairs(self) -> int:
        """Rows of the pool that were looked at."""
        return sum(self.rows["rows_in"].to_pylist())

    @property
    def maps(self) -> int:
        """Rows that were kept."""
        return sum(self.rows["rows_kept"].to_pylist())

    @property
    def shares(self) -> np.ndarray:
        """Maps among the pairs of each shard, 0 to 1."""
        return self.rows["yield_share"].to_numpy()

    @property
    def thresholds(self) -> list[float]:
        """Scores over which rows are maps, ascending: one, unless shards were filtered with different ones."""
        return sorted(set(self.rows["threshold"].drop_null().to_pylist())) or [0.0]

    @property
    def classifiers(self) -> list[str]:
        """Ids of what told maps from others, sorted."""
        return sorted(set(self.rows["classifier_id"].drop_null().to_pylist()))

    def by_part(self) -> list[tuple[str, int, int, int, float]]:
        """Return part, shards, pairs, maps and their share, the highest first."""
        columns = [("shard", "count"), ("rows_in", "sum"), ("rows_kept", "sum")]
        sums = self.rows.group_by("part").aggregate(columns).to_pylist()
        rows = [(each["part"], each["shard_count"], each["rows_in_sum"], each["rows_kept_sum"]) for each in sums]
        parts = [(*row, row[3] / (row[2] or 1)) for row in rows]
        return sorted(parts, key=lambda part: (-part[4], part[0]))

    def dropped(self) -> Counter[str]:
        """Return the rows that were not kept, by reason."""
        dropped: Counter[str] = Counter()
        for reasons in self.rows["rows_dropped"].to_pylist():
            dropped.update(dict(reasons))
        return dropped


def yield_section(yields: Yields) -> Section:
    """Tell how many maps the pool's shards and parts hold, and what became of the other pairs."""
    chart = Chart(
        "How much the shards differ",
        as_svg(charts.yield_chart(yields.shares), "yields"),
        f"Histogram of the share of maps in {yields.shards:,} shards: from {percent(yields.shares.min())} to "
        f"{percent(yields.shares.max())}, half of them under {percent(float(np.median(yields.shares)))}.",
        REPORT,
    )
    dropped = [
        (reason.replace("_", " "), rows, rows / (yields.pairs or 1)) for reason, rows in yields.dropped().most_common()
    ]
    rows = list(zip(*(yields.rows[name].to_pylist() for name in YIELD_COLUMNS.values()), strict=True))
    parts = yields.by_part()
    return Section(
        "yield",
        "What the pool gave",
        (
            chart,
            Table(
                "What became of the pairs",
                {"": "text", "pairs": "count", "share": "share"},
                [("kept as map", yields.maps, yields.maps / (yields.pairs or 1)), *dropped],
                REPORT,
            ),
            _extremes("Parts of the pool", PART_KINDS, parts),
            _extremes("Shards", YIELD_KINDS, rows),
        ),
        f"{yields.maps:,} of {yields.pairs:,} pairs in {yields.shards:,} shards were taken for maps: "
        f"{percent(yields.maps / (yields.pairs or 1))}.",
    )


def _extremes(what: str, columns: Mapping[str, str], rows: Sequence[tuple]) -> Table:
    """Return all rows or, of many, those with the highest and lowest yields."""
    if len(rows) <= 2 * EXTREMES + 1:
        return Table(f"{what}, by yield", columns, rows, REPORT)
    gap = ("…", *[""] * (len(columns) - 1))
    shown = [*rows[:EXTREMES], gap, *rows[-EXTREMES:]]
    return Table(f"{what} with the highest and the lowest yield, of {len(rows):,}", columns, shown, REPORT)
