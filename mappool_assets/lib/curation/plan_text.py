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
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
ROLE_NAMES = {
    TRAINING: "training",
    FIRST: "first draw",
    WANTED_PAIRS: "for wanted pairs",
    WANTED_TAIL_SHARE: "for wanted tail",
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
    """Return sizes as a table in markdown, whose cells the UI does not break."""
    rows = [
        (
            written_t(size.t),
            ROLE_NAMES.get(size.role, ""),
            f"{size.expected_size:,.0f}",
            f"{size.sd_size:,.0f}",
            f"{size.tail_share:.1%}",
            f"{size.head_entries:,}",
            _factor(size),
        )
        for size in sizes
    ]
    header = "| t | | pairs | ± sd | tail's matches | head entries | a head entry keeps |"
    lines = [f"| {' | '.join(cell.replace(' ', NO_BREAK_SPACE) for cell in row)} |" for row in rows]
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
    t = written_t(size.t)
    return (
        f"**Why {head:,.0f} + {tail:,.0f} matches give {size.expected_size:,.0f} pairs.** With t = {t}, of "
        f"{_number(size.head_entries, 'entry', 'entries')} of the head (matching {t} texts or more) "
        f"{t} matches each pass on average, {head:,.0f} together. Of "
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
    most = max((of.t for of in report.sizes if of.head_entries), default=0)  # the largest count is one of the t
    return (
        f"**With t = {written_t(size.t)} nothing is balanced:** no entry matches so many texts (the most that one does "
        f"is {written_t(most)}), so all {size.expected_size:,.0f} texts that match an entry are kept. Take a smaller "
        "t, or match more shards."
    )


def _wishes(report: PlanReport) -> str:
    lines = []
    if (first := report.size(FIRST)) is not None:
        lines.append(
            f"- The first draw, with t = {written_t(first.t)}, leaves {first.expected_size:,.0f} ± "
            f"{first.sd_size:,.0f} pairs, whose images are needed."
        )
    if (pairs := report.size(WANTED_PAIRS)) is not None:
        lines.append(
            f"- t = {written_t(pairs.t)} keeps {pairs.expected_size:,.0f} ± {pairs.sd_size:,.0f} pairs, as wanted."
        )
    if (tail := report.size(WANTED_TAIL_SHARE)) is not None:
        lines.append(
            f"- t = {written_t(tail.t)} comes nearest to the wanted tail; entries that match fewer texts have "
            f"{tail.tail_share:.1%} of all matches. {tail.expected_size:,.0f} ± {tail.sd_size:,.0f} pairs are kept."
        )
    return "\n".join(lines)


def _factor(size: PlannedSize) -> str:
    return "" if size.head_factor is None else f"{size.head_factor:.2f} × t"


def written_t(t: float) -> str:
    """Return t as it is written.

    >>> written_t(20_000.0), written_t(1e7), written_t(2.5)
    ('20,000', '10,000,000', '2.5')
    """
    return f"{t:,.0f}" if t == round(t) else f"{t:,.7g}"


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
