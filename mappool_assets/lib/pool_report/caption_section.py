"""What the captions say, and in which languages."""

from __future__ import annotations

from mappool_assets.lib import sql_files
from mappool_assets.lib.evaluation import wilson_interval
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_report.caption_languages import (
    CAPTIONS,
    LEAST_CONFIDENCE,
    UNKNOWN,
    count_languages,
    language_name,
)
from mappool_assets.lib.pool_report.caption_words import WORDS, stop_words, telling_words
from mappool_assets.lib.report_page.page import Section, Table, percent

LANGUAGES = 20  # rows of the table; the others share one


def caption_section(lake: Lake, maps: int) -> Section:
    """Tell the languages of a sample of the captions, and the most frequent words of all."""
    sample = sql_files.run(lake, "reports/caption_sample", captions=CAPTIONS)["text"].to_pylist()
    if not sample:
        return Section("captions", "What the captions say", lead="There are no captions, as there are no maps.")
    counted = sql_files.run(lake, "reports/caption_words", words=WORDS + len(stop_words())).to_pylist()
    words = telling_words((row["word"], row["captions"]) for row in counted)
    return Section(
        "captions",
        "What the captions say",
        (
            _languages(sample),
            Table(
                "Most frequent words",
                {"word": "web", "captions": "count", "share": "share"},
                [(word, captions, captions / maps) for word, captions in words],
                "caption_words",
                "Captions that hold the word, of all. A word is a run of 2 to 40 letters and no digit, in lower case. "
                "Left out: scikit-learn's English stop words, and articles, prepositions and the like of German, "
                "French, Spanish, Italian, Portuguese and Dutch. Scripts without spaces give whole phrases.",
            ),
        ),
    )


def _languages(sample: list[str]) -> Table:
    counts = count_languages(sample)
    unknown = counts.pop(UNKNOWN, 0)
    common = counts.most_common()
    common.sort(key=lambda item: (-item[1], item[0]))
    rows = [(language_name(code), count) for code, count in common[:LANGUAGES]]
    rest = sum(count for _, count in common[LANGUAGES:])
    rows += [(f"{len(common) - LANGUAGES} other languages", rest)] if rest else []
    rows += [("unknown", unknown)] if unknown else []
    return Table(
        "Languages",
        {"language": "text", "captions": "count", "share": "share", "95 % interval, in %": "text"},
        [(name, count, count / len(sample), _interval(count, len(sample))) for name, count in rows],
        "caption_sample",
        f"The first {len(sample):,} captions by uid, as good as drawn by lot, by fastText's lid.176 (compressed). "
        f"Unknown: a confidence under {LEAST_CONFIDENCE:g}. Short captions, of place names above all, are often taken "
        "for a wrong language.",
    )


def _interval(count: int, total: int) -> str:
    low, high = wilson_interval(count, total)
    return f"{percent(low).removesuffix(' %')} – {percent(high).removesuffix(' %')}"
