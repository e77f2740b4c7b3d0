"""What the page on curated pairs tells: the way there, the draws, and the entries before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation import curation_charts
from mappool_assets.lib.curation.curated_numbers import Curated, whole
from mappool_assets.lib.curation.curation_settings import PER_IMAGE
from mappool_assets.lib.curation.plan_text import written_t
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import Chart, Section, Table, percent

EXTREMES = 20  # entries shown from either end
MOST_COUPLES = 15  # of seeds, in a table: those of six
STAGES = {
    "texts": "texts",
    "matched": "with an entry",
    "first_pass": "left by the first draw",
    "unique": "unique image and text",
    "curated": "drawn by a seed at least",
}
REASONS = {
    "no_entry": "no entry matches",
    "not_drawn": "not drawn",
    "no_image": "image not fetched",
    "duplicate_pair": "same image and text as another",
    "repeated_text": "text of another image",
    "other_text_of_image": "other text of its image",
    "repeated_uid": "same uid as another",
    "null_uid": "no uid",
    "invalid_utf8": "no Unicode",
}


# -- the way there --------------------------------------------------------------------------------------------


def way_section(lake: Lake, curated: Curated) -> Section:
    """Tell what became of the texts, hold what was drawn against what was to be expected, and seeds against seeds."""
    blocks = [_stages(lake), _draws(lake)]
    if len(curated.seeds) > 1:
        blocks.append(_overlaps(lake, len(curated.seeds)))
    return Section("way", "From texts to curated pairs", blocks, _drawn_lead(curated))


def _drawn_lead(curated: Curated) -> str:
    measures = curated.made.measures
    lead = f"To be expected were {whole(measures['expected_pairs'])} ± {whole(measures['sd_pairs'])} pairs a seed."
    if len(curated.seeds) > 1:
        share = percent(measures["expected_together"] / (measures["expected_pairs"] or 1))
        lead += f" Of what one seed draws, another one draws {share} too, on average."
    if measures["capped"]:
        share = percent(measures["capped"] / measures["candidates"])
        lead += (
            f" {measures['capped']:,} pairs ({share}) were left a smaller chance by the first draw than the second one "
            "means them to have: they stay for sure, and are a little too rare."
        )
    return lead


def _stages(lake: Lake) -> Table:
    rows = sql_files.run(lake, "reports/curation_stages").to_pylist()
    cells = [
        (STAGES[row["stage"]], row["pairs_kept"], row["kept_share"], _reasons(row["dropped_by_reason"])) for row in rows
    ]
    columns = {"": "text", "pairs": "count", "kept": "share", "others": "text"}
    return Table("What became of the texts", columns, cells, "curation_stages")


def _reasons(dropped: str) -> str:
    """Return what a report says of dropped rows in words.

    >>> _reasons("not_drawn 1200, no_image 3")
    'not drawn 1,200, image not fetched 3'
    """
    return re.sub(r"(\w+) (\d+)", lambda found: f"{said(found[1])} {int(found[2]):,}", dropped)


def said(reason: str) -> str:
    """Return what an outcome is called on the page.

    >>> said("no_image"), said("some_new_reason")
    ('image not fetched', 'some new reason')
    """
    return REASONS.get(reason, reason.replace("_", " "))


def _draws(lake: Lake) -> Table:
    rows = sql_files.run(lake, "reports/curated_draws").to_pylist()
    columns = {"seed": "key", "pairs": "count", "expected": "number", "off by": "number"}
    cells = [
        (
            str(row["seed"]),
            row["pairs"],
            f"{whole(row['expected_pairs'])} ± {whole(row['sd_pairs'])}",
            _deviations(row),
        )
        for row in rows
    ]
    note = "Off by: in standard deviations of a draw, which is within 2 of them in 19 of 20 cases."
    return Table("What each seed drew", columns, cells, "curated_draws", note)


def _overlaps(lake: Lake, seeds: int) -> Table:
    rows = sql_files.run(lake, "reports/curated_overlaps").to_pylist()
    cells = [
        (
            f"{row['seed']} and {row['other_seed']}",
            row["pairs"],
            f"{whole(row['expected_together'])} ± {whole(row['sd_together'])}",
            _deviations(row),
            row["overlap"],
        )
        for row in rows[:MOST_COUPLES]
    ]
    columns = {"seeds": "key", "both drew": "count", "expected": "number", "off by": "number", "overlap": "share"}
    shown = f" The first {MOST_COUPLES} of {len(rows)}." if len(rows) > MOST_COUPLES else ""
    note = (
        "All seeds draw from the same survivors of the first draw. Overlap: the share in what at least one of the two "
        "drew."
    )
    return Table(f"What {seeds} seeds have in common", columns, cells, "curated_overlaps", note + shown)


def _deviations(row: Mapping[str, Any]) -> str | None:
    return None if row["deviations"] is None else f"{row['deviations']:+.1f}".replace("-", "−")


# -- entries --------------------------------------------------------------------------------------------------


def entry_section(lake: Lake, curated: Curated) -> Section:
    """Show the entries before and after, and those at either end."""
    (before, after), (tail_before, tail_after) = curated.top_shares, curated.tail_shares
    top = f"{curated.top:,} most frequent entries have" if curated.top > 1 else "most frequent entry has"
    lead = (
        f"The {top} {percent(before)} of all matches before and {percent(after)} after; the tail, entries of fewer "
        f"than {written_t(curated.t)} unique texts, {percent(tail_before)} and {percent(tail_after)}. Of "
        f"{len(curated.entries):,} entries {curated.matching:,} match a text; "
        f"{curated.head.sum():,} are of the head, entries of {written_t(curated.t)} unique texts or more."
    )
    if curated.lost:
        lead += f" {curated.lost:,} that match texts have no pair any more."
    shown = (_entries_chart(curated), _distribution(lake), _kept_chart(curated))
    return Section("entries", "Entries before and after", (*shown, *_extremes(lake, curated)), lead)


def _entries_chart(curated: Curated) -> Chart:
    chart = curation_charts.entries_chart(curated.texts, curated.curated, curated.t)
    note = "Before: all texts that an entry matches. After: the pairs of the first seed. Each in an order of its own."
    described = (
        f"Two falling curves on logarithmic scales. Before: from {curated.texts.max(initial=0):,.0f} texts of the most "
        f"frequent entry; after: from {curated.curated.max(initial=0):,.0f}. A line at t, {written_t(curated.t)}."
    )
    return Chart("Texts of each entry", as_svg(chart, "entries"), described, "entry_distribution", note)


def _kept_chart(curated: Curated) -> Chart:
    chart = curation_charts.kept_chart(curated.unique, curated.curated, curated.t)
    factor = _head_factor(curated)
    few = "those that can be drawn" if curated.made.inputs["policy"] == PER_IMAGE else "them all"
    beyond = "" if factor is None else f" Here entries of the head have {factor:.3g} × t on average."
    note = (
        f"Entries of fewer than t unique texts keep {few}. Of the others t is a floor, not a cap: a text that is "
        f"drawn for one entry counts for all that it holds.{beyond}"
    )
    described = "Pairs of an entry by its unique texts: as many up to t, and little more beyond."
    return Chart("What is drawn of an entry", as_svg(chart, "kept"), described, "", note)


def _head_factor(curated: Curated) -> float | None:
    return float(curated.curated[curated.head].mean() / curated.t) if curated.head.any() else None


def _distribution(lake: Lake) -> Table:
    rows = sql_files.run(lake, "reports/entry_distribution").to_pylist()
    cells = [
        (
            _range(row["texts_from"], row["texts_to"]),
            row["entries"],
            row["matches_share"],
            row["curated_entries"],
            row["curated_matches_share"],
        )
        for row in rows
    ]
    columns = {
        "texts": "number", "before": "count", "of matches": "share", "after": "count", "of matches after": "share",
    }  # fmt: skip
    note = "How many entries have so many texts, and which share of all matches is theirs."
    return Table("Entries by their number of texts", columns, cells, "entry_distribution", note)


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} – {last:,}"


def _extremes(lake: Lake, curated: Curated) -> list[Table]:
    if curated.matching <= 2 * EXTREMES:
        return [_listed(lake, "head_entries", "All {} entries that match a text", curated.matching)]
    return [
        _listed(lake, "head_entries", "The {} most frequent entries", EXTREMES),
        _listed(lake, "tail_entries", "The {} rarest entries that match a text", EXTREMES),
    ]


def _listed(lake: Lake, report: str, caption: str, most: int) -> Table:
    rows = sql_files.run(lake, f"reports/{report}", entries=most).to_pylist()
    cells = [
        (row["entry"], row["texts"], *_rounded(row, "unique_texts_estimate", "expected_pairs"), row["curated"])
        for row in rows
    ]
    columns = {"entry": "web", "texts": "count", "unique, about": "count", "expected": "count", "drawn": "count"}
    return Table(caption.format(len(rows)), columns, cells, report)


def _rounded(row: Mapping[str, Any], *names: str) -> list[str | None]:
    return [None if row[name] is None else whole(row[name]) for name in names]
