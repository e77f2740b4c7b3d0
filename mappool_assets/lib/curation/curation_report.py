"""The page about curated pairs: how flat they are over the entries, and whether that is what was to be expected."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mappool_assets.lib.curation import curated_pairs, curation_charts
from mappool_assets.lib.curation.curated_look import pair_section
from mappool_assets.lib.curation.curated_numbers import Curated, whole
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS, made_of
from mappool_assets.lib.curation.curation_sections import entry_section, way_section
from mappool_assets.lib.curation.curation_settings import PER_IMAGE
from mappool_assets.lib.curation.matches import MAPS
from mappool_assets.lib.curation.plan_text import written_t
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.report_page.figures import as_png
from mappool_assets.lib.report_page.page import Page, Section, Tile, percent

PATH = "curation/curation_report/report.html"  # in the lake
FOOTER = (
    "Made from the lake alone, without a clock: the same lake gives the same page. Under most figures stands the "
    "command that prints their numbers.",
    "Captions, entries, addresses and pictures are other people's. The pictures are shown small, to judge the "
    "selection.",
)


@dataclass(frozen=True)
class CurationPage:
    """What was written.

    Attributes
    ----------
    path : str
        Of the page, inside the lake.
    sha256 : str
        Of its bytes: equal lakes give equal pages.
    pairs : int
        Those of the first seed.
    expected_pairs, sd_pairs : float
        How many were to be expected, and the standard deviation of that.
    entries, head_entries, lost_entries : int
        Of the list, those that match t unique texts or more, and those that match texts but no pair of the first
        seed.
    top_share_before, top_share_after : float
        Share of the most frequent entries in all matches, 0 to 1: of 100, or a tenth of those that match
        a text where they are below 1,000.
    tail_share_before, tail_share_after : float
        Share of the entries of fewer than t unique texts, 0 to 1.
    missing : tuple of str
        What the page lacks, and what makes it.
    pictures : mapping of str to bytes
        PNGs for Dagster: ``texts_of_entries`` before and after, and ``drawn_of_entries``, by their unique texts.
    """

    path: str
    sha256: str
    pairs: int
    expected_pairs: float
    sd_pairs: float
    entries: int
    head_entries: int
    lost_entries: int
    top_share_before: float
    top_share_after: float
    tail_share_before: float
    tail_share_after: float
    missing: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(repr=False)


def write_curation_report(lake: Lake, title: str = "Curated pairs") -> CurationPage:
    """Write ``curation/curation_report/report.html``: one page that needs no other file and no network.

    Parameters
    ----------
    title : str
        The page's heading.

    Raises
    ------
    MissingInput
        There are no curated pairs.
    SourceChanged
        The entries are of other pairs: a run that drew anew was killed before it counted them.
    """
    made = made_of(lake, curated_pairs.TABLE)
    _check_entries(made, made_of(lake, curated_pairs.ENTRIES_TABLE), lake)
    curated = Curated.of(lake, made)
    sections = (
        entry_section(lake, curated),
        way_section(lake, curated),
        pair_section(lake, curated),
    )
    html = Page(title, _subtitle(lake, made), _tiles(curated), sections, FOOTER).to_html().encode()
    with lake.writing(PATH) as file:
        file.write_bytes(html)
    return _written(html, curated, sections)


def _pictures(curated: Curated) -> dict[str, bytes]:
    return {
        "texts_of_entries": as_png(curation_charts.entries_chart(curated.texts, curated.curated, curated.t)),
        "drawn_of_entries": as_png(curation_charts.kept_chart(curated.unique, curated.curated, curated.t)),
    }


def _check_entries(pairs: Provenance, entries: Provenance, lake: Lake) -> None:
    if entries.fingerprint != pairs.fingerprint:
        raise SourceChanged(
            "The curated entries are not of the curated pairs that are there",
            where=lake.url(lake.table_path(curated_pairs.ENTRIES_TABLE)),
            rule=f"entries of the pairs made from {pairs.fingerprint}",
            got=f"entries of pairs made from {entries.fingerprint}",
            action=f"Materialise {curated_pairs.TABLE} again.",
        )


def _written(html: bytes, curated: Curated, sections: tuple[Section, ...]) -> CurationPage:
    (top_before, top_after), (tail_before, tail_after) = curated.top_shares, curated.tail_shares
    return CurationPage(
        path=PATH,
        sha256=hashlib.sha256(html).hexdigest(),
        pairs=curated.drawn,
        expected_pairs=curated.made.measures["expected_pairs"],
        sd_pairs=curated.made.measures["sd_pairs"],
        entries=len(curated.entries),
        head_entries=int(curated.head.sum()),
        lost_entries=curated.lost,
        top_share_before=top_before,
        top_share_after=top_after,
        tail_share_before=tail_before,
        tail_share_after=tail_after,
        missing=tuple(section.missing for section in sections if section.missing),
        pictures=_pictures(curated),
    )


def _tiles(curated: Curated) -> tuple[Tile, ...]:
    measures = curated.made.measures
    before, after = curated.top_shares
    expected = f"{whole(measures['expected_pairs'])} ± {whole(measures['sd_pairs'])} expected"
    top = f"top {curated.top:,}" if curated.top > 1 else "top entry"
    return (
        Tile(f"{curated.drawn:,}", f"pairs, seed {curated.seeds[0]}", expected),
        Tile(f"{measures['unique_pairs']:,}", "unique pairs", "that the first draw left"),
        Tile(percent(after), f"matches of the {top}", f"{percent(before)} before"),
        Tile(percent(curated.tail_shares[1]), "matches of the tail", f"{percent(curated.tail_shares[0])} before"),
        Tile(
            f"{int((curated.curated > 0).sum()):,}", "entries have pairs", f"of {curated.matching:,} that match a text"
        ),
    )


def _subtitle(lake: Lake, made: Provenance) -> str:
    unique = lake.provenance(UNIQUE_PAIRS)
    if unique is None or unique.fingerprint != made.inputs["unique_pairs"]:
        return f"Unique pairs were found anew since: materialise {curated_pairs.TABLE} again."
    return ". ".join(_described(made.inputs, unique)) + "."


def _described(inputs: Mapping[str, Any], unique: Provenance) -> list[str]:
    seeds = inputs["seeds"]
    policy = "One text an image" if inputs["policy"] == PER_IMAGE else "Each text drawn by itself"
    first = " and ".join(written_t(t) for t in sorted({draw["t"] for draw in unique.measures["first_passes"]}))
    before = (
        f"t = {first} before the images and {written_t(inputs['t'])} at last"
        if first
        else f"t = {written_t(inputs['t'])}"
    )
    return [
        f"MetaCLIP's balancing, {before}, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}",
        policy,
        "Captions of maps" if inputs["matched"] == MAPS else "Captions of the whole pool",
    ]
