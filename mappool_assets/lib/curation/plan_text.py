"""A balance plan in words: what is kept, and why that is less than its matches add up to."""

from __future__ import annotations

from mappool_assets.lib.curation.balance_plan import PlanReport
from mappool_assets.lib.curation.plan_tables import (
    FIRST,
    TRAINING,
    WANTED_PAIRS,
    WANTED_TAIL_SHARE,
    PlannedSize,
)

ISSUE = "https://github.com/facebookresearch/MetaCLIP/issues/24"
# Of its issue 24 and its paper (Xu et al. 2023): matches that pass of head and tail, and the pairs that come of them.
METACLIP_HEAD, METACLIP_TAIL, METACLIP_PAIRS = 320_000_000, 320_000_000, 400_000_000
ROLE_NAMES = {
    TRAINING: "training",
    FIRST: "before the download",
    WANTED_PAIRS: "for the wanted pairs",
    WANTED_TAIL_SHARE: "for the wanted tail",
}


def explanation(report: PlanReport) -> str:
    """Return as markdown what the training's t keeps of this pool, and the arithmetic of MetaCLIP's issue 24.

    Parameters
    ----------
    report : PlanReport
        With a size of the role ``training``.
    """
    size = report.size(TRAINING)
    assert size is not None
    parts = [_texts(report), _head(size) if size.head_entries else _no_head(report, size), _wishes(report)]
    return "\n\n".join(part for part in parts if part)


def sizes_markdown(sizes: list[PlannedSize]) -> str:
    """Return sizes as a table in markdown."""
    header = "| t | | pairs | ± sd | tail, of all matches | head entries | kept over t, of a head entry |"
    lines = [
        f"| {_t(size.t)} | {ROLE_NAMES.get(size.role, '')} | {size.expected_size:,.0f} | {size.sd_size:,.0f} "
        f"| {size.tail_share:.1%} | {size.head_entries:,} | {_factor(size)} |"
        for size in sizes
    ]
    return "\n".join([header, "| ---: | --- | ---: | ---: | ---: | ---: | ---: |", *lines])


def _texts(report: PlanReport) -> str:
    measures = report.made.measures
    return (
        f"Of {_number(measures['texts'], 'text')} in {_number(measures['shards'], 'shard')}, "
        f"{measures['matched_texts']:,} match an entry, {measures['matches']:,} matches in all; the others are not "
        "kept whatever t is. All this is before duplicates are removed and images are found missing."
    )


def _head(size: PlannedSize) -> str:
    head = size.head_entries * size.t
    tail = size.matches_kept - head
    passing = size.matches_kept / size.expected_size
    theirs = METACLIP_HEAD + METACLIP_TAIL
    return (
        f"**Why {head:,.0f} + {tail:,.0f} matches give {size.expected_size:,.0f} pairs.** With t = {_t(size.t)}, of "
        f"{_number(size.head_entries, 'entry', 'entries')} of the head (matching {_t(size.t)} texts or more) "
        f"{_t(size.t)} matches each pass on average, {head:,.0f} together. Of "
        f"{_number(size.tail_entries, 'entry', 'entries')} of the tail all matches pass, {tail:,.0f}. These "
        f"{size.matches_kept:,.0f} matches are not as many pairs: a text is "
        "kept if at least one of its matches passes, and is one pair however many do. So "
        f"{size.expected_size:,.0f} ± {size.sd_size:,.0f} pairs are kept (mean and standard deviation over seeds), "
        f"{passing:.2f} passing matches for each.\n\n"
        f"MetaCLIP's own figures ([issue 24]({ISSUE})) are of this kind: some 16,000 entries × 20,000 are "
        f"{METACLIP_HEAD / 1e6:,.0f} M matches, its tail has {METACLIP_TAIL / 1e6:,.0f} M more, and the "
        f"{theirs / 1e6:,.0f} M give {METACLIP_PAIRS / 1e6:,.0f} M pairs, {theirs / METACLIP_PAIRS:.1f} passing "
        "matches for each.\n\n"
        "For the same reason t is a floor, not a cap: a text that an entry of the head does not pass may be kept for "
        f"another of its entries. Here an entry of the head keeps {_factor(size)} texts on average."
    )


def _no_head(report: PlanReport, size: PlannedSize) -> str:
    most = max(of.t for of in report.sizes if of.role not in (TRAINING, FIRST))
    return (
        f"**With t = {_t(size.t)} nothing is balanced:** no entry matches so many texts (the most that one does is "
        f"{_t(most)}), so all {size.expected_size:,.0f} texts that match an entry are kept. Take a smaller t, or match "
        "more shards."
    )


def _wishes(report: PlanReport) -> str:
    lines = []
    if (first := report.size(FIRST)) is not None:
        lines.append(
            f"- The first pass, with t = {_t(first.t)}, leaves {first.expected_size:,.0f} ± {first.sd_size:,.0f} "
            "images to download."
        )
    if (pairs := report.size(WANTED_PAIRS)) is not None:
        lines.append(f"- t = {_t(pairs.t)} keeps {pairs.expected_size:,.0f} ± {pairs.sd_size:,.0f} pairs, as wanted.")
    if (tail := report.size(WANTED_TAIL_SHARE)) is not None:
        lines.append(
            f"- t = {_t(tail.t)} comes nearest to the wanted tail; entries that match fewer texts have "
            f"{tail.tail_share:.1%} of all matches. {tail.expected_size:,.0f} ± {tail.sd_size:,.0f} pairs are kept."
        )
    return "\n".join(lines)


def _factor(size: PlannedSize) -> str:
    return "" if size.head_factor is None else f"{size.head_factor:.2f} × t"


def _t(t: float) -> str:
    return f"{t:,.0f}" if t == round(t) else f"{t:,.7g}"


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
