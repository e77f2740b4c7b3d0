"""Titles with their views: Wikimedia's hours and clickstreams, against a count line by line, and hostile files."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.curation import page_views
from mappool_assets.lib.curation.entry_settings import TitleSettings
from mappool_assets.lib.curation.page_views import METACLIP_DATES, ReadViews, hourly_files, read_views, titles
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve

# Lines as they are in Wikimedia's files: domain, title, views, bytes.
HOUR = """\
"" Special:Search 9 0
aa Main_Page 3 0
de Karte 120 0
en - 400 0
en London 60 0
en New_York_City 49 0
en Special:Search 90000 0
en "Heroes" 50 0
en S\u00e3o_Paulo 70 0
en.m London 500 0
en.d map 80 0
zu Ikhasi_Elikhulu 1 0
"""
LATER = """\
en London 10 0
en London_Underground 55 0
en S\u00e3o_Paulo 51 0
"""


def views(
    tmp_path: Path, files: dict[str, str | bytes], rule: TitleSettings | None = None, workers: int = 1
) -> ReadViews:
    for name, lines in files.items():
        content = lines.encode() if isinstance(lines, str) else lines
        (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    addresses = [str(tmp_path / name) for name in files]
    return read_views(addresses, Storage(attempts=1), rule or TitleSettings(), tmp_path, workers)


def titles_of(tmp_path: Path, read: ReadViews) -> list[tuple[str, int]]:
    batches = titles(Lake(str(tmp_path)), read, SqlLimits("128MB", 1, tmp_path))
    return [(row["title"], row["views"]) for batch in batches for row in batch.to_pylist()]


FIRST, SECOND = "pageviews-20180419-000000.gz", "pageviews-20180419-010000.gz"


def test_an_hour_counts_where_it_has_enough_views(tmp_path):
    read = views(tmp_path, {FIRST: HOUR, SECOND: LATER})
    assert titles_of(tmp_path, read) == [
        ("-", 400), ("São Paulo", 121), ("London", 60), ("London Underground", 55), ('"Heroes"', 50),
    ]  # fmt: skip
    assert read.lines.rows_in == 15
    assert read.lines.dropped == {"other_domain": 6, "few_views_an_hour": 2, "colon": 1}
    assert read.lines.examples["colon"] == ["Special:Search"]


def test_another_domain_and_other_thresholds(tmp_path):
    read = views(tmp_path, {FIRST: HOUR}, TitleSettings(domain="en.m", min_hour_views=500))
    assert titles_of(tmp_path, read) == [("London", 500)]
    rule = TitleSettings()
    assert (rule.domain, rule.min_hour_views, rule.min_views) == ("en", 50, 70)


LINES = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["en", "en.m", "de", '""']),
            st.sampled_from(["A", "B_b", "C:c", "-", '"d"', "é", "%20"]),
            st.one_of(st.integers(0, 120).map(str), st.sampled_from(["x", "-5", "1e3", "9" * 30, "", "5.0"])),
            st.just("0"),
        ).map(" ".join),
        st.sampled_from(["", "en A 60", "en A 60 0 0", " en A 60 0", "en\tA\t60\t0", "#"]),
    ),
    max_size=30,
)


def slow_views(files: list[list[str]]) -> Counter[str]:
    """Count line by line, as MetaCLIP does."""
    found = Counter[str]()
    for line in (line for lines in files for line in lines):
        fields = line.split(" ")
        if len(fields) != 4 or fields[0] != "en" or ":" in fields[1]:
            continue
        if fields[2].isascii() and fields[2].isdigit() and len(fields[2]) < 13 and int(int(fields[2]) / 50) > 0:
            found[fields[1].replace("_", " ")] += int(fields[2])
    return found


@settings(max_examples=30)
@given(st.lists(LINES, min_size=1, max_size=3))
def test_titles_are_those_of_a_count_line_by_line(tmp_path_factory, files):
    tmp_path = tmp_path_factory.mktemp("views")
    files = [[*lines, "en Last 50 0"] for lines in files]
    named = {f"pageviews-20180419-{number:02}0000.gz": "\n".join(lines) for number, lines in enumerate(files)}
    read = views(tmp_path, named)
    wanted = slow_views(files)
    assert titles_of(tmp_path, read) == sorted(wanted.items(), key=lambda title: (-title[1], title[0]))
    lines = sum(bool(line) for lines in files for line in lines)
    assert read.lines.rows_in == lines
    assert read.lines.dropped.total() <= lines


def test_neither_workers_nor_the_order_of_files_changes_anything(tmp_path, monkeypatch):
    draw = random.Random(2)
    files = {
        f"pageviews-20180419-{hour:02}0000.gz": "".join(
            f"en T{draw.randrange(300)} {draw.randrange(200)} 0\n" for _ in range(2_000)
        )
        for hour in range(4)
    }
    one = views(tmp_path, files)
    found = titles_of(tmp_path, one)
    monkeypatch.setattr(page_views, "BLOCK_BYTES", 100)
    other = views(tmp_path, dict(reversed(files.items())))
    assert (titles_of(tmp_path, other), other.versions) == (found, one.versions)
    assert other.lines.dropped == one.lines.dropped
    monkeypatch.undo()
    assert titles_of(tmp_path, views(tmp_path, files, workers=2)) == found


CLICKS = """\
other-search\tLondon\texternal\t50
River_Thames\tLondon\tlink\t25
other-empty\tStar_Wars:_A_New_Hope\texternal\t900
other-empty\tNew_York_City\texternal\t11
London\tRiver_Thames\tlink\tten
"""


def test_clickstreams_count_every_way_to_a_title(tmp_path):
    read = views(tmp_path, {"clickstream-enwiki-2024-01.tsv.gz": CLICKS, "clickstream-enwiki-2024-02.tsv": CLICKS})
    assert titles_of(tmp_path, read) == [("London", 150), ("New York City", 22)]
    assert read.lines.dropped == {"colon": 2, "views_not_a_number": 2}
    with pytest.raises(BadSetting, match="count twice"):
        views(tmp_path, {"clickstream-enwiki-2024-01.tsv.gz": CLICKS, FIRST: HOUR})


def test_titles_that_are_no_utf8_are_counted(tmp_path):
    read = views(tmp_path, {FIRST: b"en caf\xe9 60 0\nen caf\xc3\xa9 60 0\n\xff\xfe map 60 0\nen A\x00B 60 0\n"})
    assert titles_of(tmp_path, read) == [("A\0B", 60), ("café", 60)]
    assert read.lines.dropped == {"not_utf8": 1, "other_domain": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html><body>404 not found</body></html>\n" * 20, "no such line"),
        (b"London\tlink\n" * 5, "no such line"),
        (b"en London sixty 0\n", "no such line"),
        (b"en " + b"a" * (9 << 20) + b" 60 0\n", "straddling"),
    ],
    ids=["html", "tabs", "words", "one line"],
)
def test_what_has_no_views_is_refused(tmp_path, content, told):
    with pytest.raises(BadSetting, match=told) as refused:
        views(tmp_path, {FIRST: content})
    assert refused.value.where.endswith(FIRST)


def test_a_title_that_is_too_long_is_counted(tmp_path):
    lines = "".join(f"en {'a' * length} 60 0\n" for length in (765, 766, 5 << 20))
    read = views(tmp_path, {FIRST: lines})
    assert titles_of(tmp_path, read) == [("a" * 765, 60)]
    assert read.lines.dropped == {"too_long": 2}


def test_an_hour_without_any_view_is_none(tmp_path):
    read = views(tmp_path, {FIRST: b"", SECOND: b"\n\n"})
    assert (titles_of(tmp_path, read), read.lines.rows_in) == ([], 0)


def test_a_damaged_file_and_one_of_another_name_are_refused(tmp_path):
    (tmp_path / FIRST).write_bytes(gzip.compress(HOUR.encode())[:-9])
    with pytest.raises(BadSetting, match="ends early"):
        read_views([str(tmp_path / FIRST)], Storage(), TitleSettings(), tmp_path)
    with pytest.raises(BadSetting, match="another name"):
        read_views([str(tmp_path / "projectviews-20180419-000000")], Storage(), TitleSettings(), tmp_path)
    with pytest.raises(BadSetting, match="min_hour_views"):
        TitleSettings(min_hour_views=0)


def test_the_hours_of_metaclips_dates_lie_where_wikimedia_has_them(tmp_path):
    wanted = hourly_files("https://dumps.wikimedia.org/other/pageviews/")
    assert len(METACLIP_DATES) == 26
    assert len(set(wanted)) == 26 * 24
    assert wanted[-1] == "https://dumps.wikimedia.org/other/pageviews/2022/2022-08/pageviews-20220829-230000.gz"
    for name in hourly_files(str(tmp_path), ["20180419"])[:2]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(gzip.compress(HOUR.encode()))
    with serve(tmp_path) as server:
        hours = hourly_files(server.url, ["20180419"])
        assert titles_of(tmp_path, read_views(hours[:2], Storage(), TitleSettings(), tmp_path))[1] == ("São Paulo", 140)
        with pytest.raises(MissingInput, match="020000"):
            read_views(hours[:3], Storage(attempts=1), TitleSettings(), tmp_path)
