"""Where the maps or images come from."""

from __future__ import annotations

from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.charts import LAION_GEO_DOMAINS, LAION_GEO_TOP_20_SHARE, concentration_chart
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import Chart, Section, Table, Tile, percent

TOP = 20


@dataclass(frozen=True)
class Domains:
    """The hosts of the addresses of maps or images.

    Attributes
    ----------
    report : str
        The report that gives the rows: ``domains`` or ``place_domains``.
    noun : str
        What the domains hold: ``maps`` or ``images``, as the report's columns are called.
    rows : list of dict
        Of the report: the first ranks, then ever fewer, the last one too.
    """

    report: str
    noun: str
    rows: list[dict]

    @classmethod
    def of(cls, lake: Lake, report: str, noun: str) -> Domains:
        """Ask the lake."""
        return cls(report, noun, sql_files.run(lake, f"reports/{report}").to_pylist())

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows[-1]["rank"] if self.rows else 0

    @property
    def top_share(self) -> float:
        """The share of the maps or images that the first :data:`TOP` hold, 0 to 1."""
        return max((row["cumulative_share"] for row in self.rows if row["rank"] <= TOP), default=0.0)

    @property
    def tile(self) -> Tile:
        """Their number for the headline."""
        if self.count == 1:
            return Tile("1", "domain", f"holds all {self.noun}")
        return Tile(f"{self.count:,}", "domains", f"the first {TOP} hold {percent(self.top_share)}")


def domain_section(domains: Domains) -> Section:
    """Tell how many domains there are and what the largest hold."""
    noun, share = domains.noun, percent(domains.top_share)
    title = f"Where the {noun} come from"
    if not domains.count:
        return Section("domains", title, lead=f"There are no domains, as there are no {noun}.")
    if domains.count == 1:
        lead = f"All {noun} come from one domain."
        described = "A single point: one domain holds everything."
    else:
        first = f"the first {min(TOP, domains.count)} hold {share}"
        lead = f"{domains.count:,} domains, of which {first} of the {noun}."
        everything = f"all {domains.count:,} hold everything"
        described = f"Curve of the share that the largest domains hold together: {first}, {everything}."
    return Section("domains", title, (_chart(domains, described), _table(domains)), lead)


def _chart(domains: Domains, described: str) -> Chart:
    ranks, shares = ([row[name] for row in domains.rows] for name in ("rank", "cumulative_share"))
    return Chart(
        "How few domains hold how much",
        as_svg(concentration_chart(ranks, shares, domains.noun), "domains"),
        described,
        domains.report,
        f"LAION-geo, 484,714 images of one district, had {LAION_GEO_DOMAINS:,} domains, of which the first {TOP} held "
        f"{100 * LAION_GEO_TOP_20_SHARE:.2f} % of the images.",
    )


def _table(domains: Domains) -> Table:
    noun = domains.noun
    top = [
        (r["rank"], r["domain"] or "(no host)", r[noun], r[f"{noun}_share"], percent(r["cumulative_share"]))
        for r in domains.rows
        if r["rank"] <= TOP
    ]
    return Table(
        "The only domain" if len(top) == 1 else f"The first {len(top)} domains",
        {"rank": "count", "domain": "web", noun: "count", "share": "share", "together": "text"},
        top,
        domains.report,
        "A domain is the host in lower case, without port and leading “www.”. What people can register "
        "(example.co.uk) would take a list of public suffixes.",
    )
