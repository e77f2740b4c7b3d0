"""Where the images come from."""

from __future__ import annotations

from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_report import charts
from mappool_assets.lib.pool_report.charts import LAION_GEO_DOMAINS, LAION_GEO_TOP_20_SHARE
from mappool_assets.lib.pool_report.page import Chart, Section, Table, percent

TOP = 20


@dataclass(frozen=True)
class Domains:
    """The hosts of the maps' addresses.

    Attributes
    ----------
    rows : list of dict
        Of ``reports/domains``: the first ranks, then ever fewer, the last one too.
    """

    rows: list[dict]

    @classmethod
    def of(cls, lake: Lake) -> Domains:
        """Ask the lake."""
        return cls(sql_files.run(lake, "reports/domains").to_pylist())

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows[-1]["rank"] if self.rows else 0

    @property
    def top_share(self) -> float:
        """The share of the maps that the first :data:`TOP` hold, 0 to 1."""
        return max((row["cumulative_share"] for row in self.rows if row["rank"] <= TOP), default=0.0)


def domain_section(domains: Domains) -> Section:
    """Tell how many domains there are and what the largest hold."""
    title = "Where they come from"
    if not domains.count:
        return Section("domains", title, lead="There are no domains, as there are no maps.")
    ranks, shares = ([row[name] for row in domains.rows] for name in ("rank", "cumulative_share"))
    top = [
        (r["rank"], r["domain"] or "(no host)", r["maps"], r["maps_share"], percent(r["cumulative_share"]))
        for r in domains.rows
        if r["rank"] <= TOP
    ]
    laion = f"{LAION_GEO_DOMAINS:,} domains, of which the first {TOP} held {100 * LAION_GEO_TOP_20_SHARE:.2f} %"
    return Section(
        "domains",
        title,
        (
            Chart(
                "How few domains hold how much",
                charts.as_svg(charts.concentration_chart(ranks, shares), "domains"),
                f"Curve of the share that the largest domains hold together: the first {TOP} hold "
                f"{percent(domains.top_share)}, all {domains.count:,} hold everything.",
                "domains",
                f"LAION-geo, 484,714 images of one district, had {laion} of the images.",
            ),
            Table(
                f"The first {len(top)} domains",
                {"rank": "count", "domain": "web", "maps": "count", "share": "share", "together": "text"},
                top,
                "domains",
                "A domain is the host in lower case, without port and leading “www.”. What people can register "
                "(example.co.uk) would take a list of public suffixes.",
            ),
        ),
        f"{domains.count:,} domains, of which the first {min(TOP, domains.count)} hold {percent(domains.top_share)} of "
        "the maps.",
    )
