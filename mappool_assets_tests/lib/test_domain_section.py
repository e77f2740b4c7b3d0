"""The section on domains, which the pool's page and that on places share: its sentences for none, one and many."""

from __future__ import annotations

import pytest

from mappool_assets.lib.report_page.domain_section import Domains, domain_section
from mappool_assets.lib.report_page.page import Chart, Page, Table
from mappool_assets_tests.lib.test_pool_report import Read


def equal_domains(count: int, noun: str) -> Domains:
    """As many domains with as many maps or images each; every rank is told."""
    rows = [
        {
            "rank": rank,
            "domain": f"d{rank}.example",
            noun: 3,
            f"{noun}_share": 1 / count,
            "cumulative_share": rank / count,
        }
        for rank in range(1, count + 1)
    ]
    return Domains("place_domains" if noun == "images" else "domains", noun, rows)


@pytest.mark.parametrize("noun", ["maps", "images"])
@pytest.mark.parametrize(
    ("count", "lead", "described", "caption", "headline"),
    [
        (
            1,
            "All {noun} come from one domain.",
            "A single point: one domain holds everything.",
            "The only domain",
            ("1", "domain", "holds all {noun}"),
        ),
        (
            2,
            "2 domains, of which the first 2 hold 100 % of the {noun}.",
            "the first 2 hold 100 %, all 2 hold everything.",
            "The first 2 domains",
            ("2", "domains", "the first 20 hold 100 %"),
        ),
        (
            40,
            "40 domains, of which the first 20 hold 50.0 % of the {noun}.",
            "the first 20 hold 50.0 %, all 40 hold everything.",
            "The first 20 domains",
            ("40", "domains", "the first 20 hold 50.0 %"),
        ),
    ],
)
def test_one_domain_is_told_as_one_and_many_as_many(
    count: int, lead: str, described: str, caption: str, headline: tuple[str, ...], noun: str
) -> None:
    domains = equal_domains(count, noun)
    section = domain_section(domains)
    chart, table = section.blocks
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert section.title == f"Where the {noun} come from"
    assert section.lead == lead.format(noun=noun)
    assert chart.description.endswith(described)
    assert f"their share of all {noun}" in chart.svg
    assert (table.caption, len(table.rows)) == (caption, min(20, count))
    assert list(table.columns) == ["rank", "domain", noun, "share", "together"]
    assert {chart.source, table.source} == {domains.report}
    tile = domains.tile
    assert (tile.value, tile.label, tile.note) == tuple(part.format(noun=noun) for part in headline)
    assert section.lead in Read(Page("t", "s", (tile,), (section,)).to_html()).words


def test_without_maps_there_are_no_domains() -> None:
    domains = equal_domains(0, "maps")
    assert domain_section(domains).lead == "There are no domains, as there are no maps."
    assert (domains.count, domains.top_share, domains.tile.value) == (0, 0.0, "0")
