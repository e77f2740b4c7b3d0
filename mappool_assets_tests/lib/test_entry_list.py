"""The metadata list out of all its sources: order, duplicates, counts, hash; and sources that cannot be used."""

from __future__ import annotations

import gzip
import json
import string
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.curation import entry_list, source_stream
from mappool_assets.lib.curation.entries import ENTRIES, LINT, make_entries
from mappool_assets.lib.curation.entry_list import (
    TERMS_FILE,
    Candidates,
    cartographic_terms,
    entries_sha256,
    given_entries,
    text_batches,
)
from mappool_assets.lib.curation.entry_settings import SOURCES, EntrySettings, NgramSettings, TitleSettings
from mappool_assets.lib.curation.wordnet import FILES
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.lib.test_page_views import HOUR
from mappool_assets_tests.lib.test_places_geonames import LONDON, READING
from mappool_assets_tests.lib.test_wikipedia_dump import dump, page
from mappool_assets_tests.lib.test_wordnet import NAMES, write_database
from mappool_assets_tests.range_server import serve

GIVEN = ["photo", "map", "New York", ",", "", "Washington, D.C.", "map", "two\nlines"]
NGRAMS = NgramSettings(min_unigram_count=2, min_bigram_pmi=2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def sources(tmp_path: Path) -> EntrySettings:
    """All sources at once, small."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "metadata.json").write_text(json.dumps(GIVEN))
    write_database(folder / "dict")
    (folder / "a.xml").write_bytes(dump(page("New York, [[New York]], a map; a map of a globe"), page("", ns="1")))
    (folder / "b.txt").write_text("once, globe")
    (folder / "pageviews-20180419-000000.gz").write_bytes(gzip.compress(HOUR.encode()))
    rows = [LONDON, READING, {**LONDON, "geonameid": "1", "name": "Null", "latitude": "x"}]
    (folder / "GB.txt").write_text("".join("\t".join(row.values()) + "\n" for row in rows))
    return EntrySettings(
        scratch=tmp_path / "scratch",
        given=str(folder / "metadata.json"),
        has_numbers=True,
        wordnet=str(folder / "dict"),
        corpora=(str(folder / "a.xml"), str(folder / "b.txt")),
        page_views=(str(folder),),
        places=(f"geonames:{folder / 'GB.txt'}",),
        has_cartography=True,
        ngrams=NGRAMS,
        memory="256MB",
    )


def make(lake: Lake, rule: EntrySettings, **options) -> tuple[list[dict], Provenance]:
    made = make_entries(lake, rule, Storage(attempts=1), **options)
    rows = lake.read_table(ENTRIES).to_pylist()
    assert lake.provenance(ENTRIES).fingerprint == made.fingerprint
    assert [row["entry_id"] for row in rows] == list(range(len(rows)))
    assert made.rows_in == made.rows_kept + sum(made.rows_dropped.values())
    assert made.measures["entries_sha256"] == entries_sha256(row["entry"] for row in rows)
    assert sum(made.measures["candidates_by_source"].values()) == made.rows_in
    assert sum(made.measures["entries_by_source"].values()) == made.rows_kept
    return rows, made


def slow_list(by_source: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the entries in order, each with its sources."""
    found: dict[str, list[str]] = {}
    for source in SOURCES:
        for entry in by_source.get(source, []):
            if entry and entry not in set(string.punctuation):
                of_entry = found.setdefault(entry, [])
                of_entry += [source] if source not in of_entry else []
    return found


def test_sources_come_in_their_order_and_each_entry_once(lake, sources):
    rows, made = make(lake, sources)
    wanted = slow_list(
        {
            "given": GIVEN,
            "number": [str(number) for number in range(100)],
            "wordnet": NAMES,
            # Of 13 words: a (3), New, York, globe, map (2), of, once; 2 · 13 / (2 · 2), 1 · 13 / (2 · 1), 13 / 3 twice.
            "unigram": ["a", "New", "York", "globe", "map"],
            "bigram": ["New York", "map of", "a map", "of a"],
            "title": ["-", "São Paulo"],
            "place": ["London", 'Reading "town"'],
            "cartography": list(cartographic_terms()),
        }
    )
    found = {row["entry"]: row["sources"] for row in rows}
    assert found == wanted
    assert list(found) == list(wanted)
    assert all(row["source"] == row["sources"][0] for row in rows)
    assert found["map"][:3] == ["given", "wordnet", "unigram"]
    assert found["New York"] == ["given", "bigram"]
    assert made.measures["places"]["left_out"] == {"latitude_not_a_number": 1}
    assert made.measures["texts"]["left_out"] == {"other_namespace": 1}
    assert made.measures["words"] == {"words": 13, "too_long": 0, "most_pmi": 3.7}
    assert made.rows_dropped["empty"] == 1
    assert made.rows_dropped["single_punctuation"] == 2
    assert made.rows_dropped["too_rare"] == 2  # of, once
    assert made.rows_dropped["below_pmi"] == 1  # a globe
    assert made.rows_dropped["few_views"] == 2  # London and "Heroes"


def test_entries_that_can_never_match_are_listed(lake, sources):
    _, made = make(lake, sources)
    faults = lake.read_table(LINT).to_pylist()
    assert {fault["entry"] for fault in faults} >= {"Washington, D.C.", "two\nlines"}
    assert all(GIVEN[0] != fault["entry"] for fault in faults)
    rows = lake.read_table(ENTRIES)["entry"].to_pylist()
    assert all(rows[fault["entry_id"]] == fault["entry"] for fault in faults)
    assert sum(made.measures["never_matching"].values()) == len(faults)
    of_lint = lake.provenance(LINT)
    assert (of_lint.rows_in, of_lint.rows_kept) == (made.rows_kept, len(faults))


def test_the_same_sources_give_the_same_bytes(tmp_path, lake, sources):
    def stored(of: Lake) -> list[bytes]:
        return [of.read_bytes(of.table_path(table)) for table in (ENTRIES, LINT)]

    _, made = make(lake, sources)
    first = stored(lake)
    assert list(sources.scratch.iterdir()) == []
    again = replace(sources, memory="128MB")
    make(lake, again, workers=2, force=True)
    assert stored(lake) == first
    # Where files lie, and in which order they are named, has no effect on the list.
    folder = (tmp_path / "sources").rename(tmp_path / "moved")
    moved = replace(
        sources,
        given=str(folder / "metadata.json"),
        wordnet=f"{folder / 'dict'}/",
        corpora=(str(folder / "b.txt"), str(folder / "a.xml")),
        page_views=(str(folder / "pageviews-20180419-000000.gz"),),
        places=(f"geonames:{folder / 'GB.txt'}",),
    )
    rows, remade = make(Lake(str(tmp_path / "other")), moved)
    assert remade.fingerprint == made.fingerprint
    assert rows == lake.read_table(ENTRIES).to_pylist()


def test_a_list_is_made_anew_only_where_something_changed(tmp_path, lake, sources):
    told: list[str] = []
    make(lake, sources, tell=told.append)
    assert told[0] == "given: 8 candidates"
    told.clear()
    _, made = make(lake, sources, tell=told.append)
    assert told == []
    make(lake, replace(sources, titles=TitleSettings(min_views=60)), tell=told.append)
    assert told
    assert "London" in lake.read_table(ENTRIES)["entry"].to_pylist()

    told.clear()
    (tmp_path / "sources" / "b.txt").write_text("once, globe, once")
    _, changed = make(lake, sources, tell=told.append)
    assert told
    assert changed.fingerprint != made.fingerprint
    lake.delete(lake.table_path(LINT))
    told.clear()
    make(lake, sources, tell=told.append)
    assert told
    assert lake.exists(lake.table_path(LINT))


def test_a_given_list_alone_is_taken_as_it_is(tmp_path, lake):
    entries = ["b", "a", " lead", "trail ", "A", "é", "e\u0301", "two  spaces", "\u00a0", "\0", "図", "a\tb"]
    (tmp_path / "metadata.json").write_text(json.dumps(entries))
    rows, made = make(lake, EntrySettings(tmp_path / "scratch", given=str(tmp_path / "metadata.json")))
    assert [row["entry"] for row in rows] == entries
    assert {row["source"] for row in rows} == {"given"}
    assert (made.rows_in, made.rows_dropped) == (12, {})
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    assert made.measures["entries_sha256"] == sha256(lines.encode()).hexdigest()
    assert made.inputs["files"] == {
        "given": [f"sha256:{sha256((tmp_path / 'metadata.json').read_bytes()).hexdigest()}"]
    }


ANY = st.text(st.characters(codec="utf-8"), max_size=4)
ENTRY = st.one_of(ANY, st.sampled_from([*"abc,;~", "", "a b", " "]))


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(SOURCES), st.lists(ENTRY, max_size=12), min_size=1))
def test_any_candidates_give_the_list_of_the_slow_rule(tmp_path_factory, by_source):
    scratch = tmp_path_factory.mktemp("list")
    candidates = Candidates(scratch)
    for source in reversed(by_source):
        entries = by_source[source]
        candidates.add(source, iter([pa.array(part, pa.string()) for part in (entries[:5], entries[5:])]))
    with candidates.entries(Lake(str(scratch)), SqlLimits("128MB", 1, scratch)) as tables:
        rows = [row for table in tables for row in table.to_pylist()]
    assert {row["entry"]: row["sources"] for row in rows} == (wanted := slow_list(by_source))
    assert [row["entry"] for row in rows] == list(wanted)
    assert candidates.number.total() == len(rows) + candidates.dropped.total()


def test_a_list_of_many_entries_is_spilled_and_numbered_through(tmp_path):
    candidates = Candidates(tmp_path)
    candidates.add("given", text_batches(f"entry number {number * 7919 % 200_003}" for number in range(200_003)))
    candidates.add("place", text_batches(f"entry number {number}" for number in range(100_000)))
    with candidates.entries(Lake(str(tmp_path)), SqlLimits("48MB", 1, tmp_path)) as tables:
        rows = pa.concat_tables(tables)
    assert rows["entry_id"].to_pylist() == list(range(200_003))
    assert rows["entry"].to_pylist()[:3] == ["entry number 0", "entry number 7919", "entry number 15838"]
    assert candidates.dropped == {"duplicate": 100_000}
    assert rows["sources"].to_pylist().count(["given", "place"]) == 100_000


# -- a list that is given -------------------------------------------------------------------------------------------


def given_list(address: Path | str) -> list[str]:
    versions: list[str] = []
    batches: Iterator[pa.Array] = given_entries(str(address), Storage(attempts=1), versions)
    entries = [entry for batch in batches for entry in batch.to_pylist()]
    assert len(versions) == 1
    return entries


@pytest.mark.parametrize(
    ("name", "content", "entries"),
    [
        ("a.json", b'["a", "b c", "\\u56f3"]', ["a", "b c", "図"]),
        ("a.json.gz", gzip.compress(b'\n[ "a"\n]', mtime=0), ["a"]),
        ("a.json", b"[]", []),
        ("a.txt", "\ufeffa\nb c\r\n\n[d]\n e ".encode(), ["a", "b c", "", "[d]", " e "]),
        ("list", b"a\n", ["a"]),
        ("list.gz", gzip.compress(b"a\rb\x0bc", mtime=0), ["a\rb\x0bc"]),
        ("a.txt", b"", []),
    ],
)
def test_a_list_is_json_or_lines(tmp_path, name, content, entries):
    (tmp_path / name).write_bytes(content)
    assert given_list(tmp_path / name) == entries


def test_lines_are_those_of_the_file_however_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_list, "BATCH_ROWS", 3)
    (tmp_path / "a.txt").write_bytes("é図\r\nab\r\ncdé\n\nx".encode())
    assert given_list(tmp_path / "a.txt") == ["é図", "ab", "cdé", "", "x"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", b'{"a": "w"}', "a JSON dict, not an array"),
        ("a.json", b'["a", 1]', "item 1 is a int"),
        ("a.json", b'["a", null]', "item 1 is a NoneType"),
        ("a.json", b'["a"', "JSONDecodeError"),
        ("a.json", b'["\\ud800"]', "UnicodeEncodeError"),
        ("a.json", b'["\xff"]', "UnicodeDecodeError"),
        ("a.json", b"[" * 200_000, "without end"),
        ("a.json", b"", "JSONDecodeError"),
        ("a.txt", b"a\n\xff\n", "UnicodeDecodeError"),
        ("a.txt", b"a" * (2 << 20), "a line of more than"),
    ],
    ids=["object", "number", "null", "cut", "surrogate", "bytes", "deep", "empty", "no UTF-8", "one line"],
)
def test_what_is_no_list_is_refused(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSetting, match=told) as refused:
        given_list(tmp_path / name)
    assert refused.value.where == str(tmp_path / name)


def test_a_list_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_list, "MAX_LIST_BYTES", 1_000)
    (tmp_path / "a.json").write_text(json.dumps(["a" * 2_000]))
    with pytest.raises(BadSetting, match="more than 1,000 bytes"):
        given_list(tmp_path / "a.json")
    monkeypatch.setattr(source_stream, "BOMB_BYTES", 1_000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a\n" * 1_000_000))
    with pytest.raises(BadSetting, match="200 times"):
        given_list(tmp_path / "a.txt.gz")


# -- settings and sources that cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: EntrySettings(path), "one of the sources"),
        (lambda path: NgramSettings(min_unigram_count=0), "1 or more"),
        (lambda path: NgramSettings(min_bigram_count=0), "1 or more"),
        (lambda path: NgramSettings(min_bigram_pmi=float("nan")), "-64 to 64"),
        (lambda path: TitleSettings(min_views=0), "1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, change, told):
    with pytest.raises(BadSetting, match=told):
        change(tmp_path)


def test_a_source_that_holds_nothing_is_refused_and_the_old_list_stays(tmp_path, lake, sources):
    make(lake, sources)
    before = lake.read_bytes(lake.table_path(ENTRIES))
    (tmp_path / "empty.json").write_text('["", ";"]')
    folder = tmp_path / "sources"
    for change, kind, told in (
        ({"titles": TitleSettings(domain="xx")}, BadSetting, "no title"),
        ({"place_filter": PlaceFilter(countries=("US",))}, BadSetting, "other_country"),
        ({"places": ("atlas:a",)}, BadSetting, "KIND:PATH"),
        ({"corpora": (str(folder / "metadata.json"),)}, BadSetting, "another name"),
        ({"wordnet": str(tmp_path / "none")}, MissingInput, "data.adj"),
        ({"given": str(tmp_path / "none.json")}, MissingInput, "none.json"),
        ({"given": str(folder / "dict")}, BadSetting, "IsADirectoryError"),
    ):
        with pytest.raises(kind, match=told):
            make_entries(lake, replace(sources, **change), Storage(attempts=1))
    with pytest.raises(BadSetting, match=r"would be empty.*single_punctuation"):
        make_entries(lake, EntrySettings(tmp_path / "s", given=str(tmp_path / "empty.json")), Storage())
    assert lake.read_bytes(lake.table_path(ENTRIES)) == before


def test_sources_may_lie_on_a_server_whose_secrets_are_not_told(tmp_path, lake, sources):
    with serve(tmp_path / "sources") as server:
        rule = EntrySettings(
            tmp_path / "scratch",
            given=f"{server.url}/metadata.json?token=secret",
            wordnet=f"{server.url}/dict",
            corpora=(f"{server.url}/a.xml",),
            places=(f"geonames:{server.url}/GB.txt",),
            ngrams=NGRAMS,
        )
        _, made = make(lake, rule)
    assert "secret" not in made.to_json()
    assert len(made.origin) == 3 + len(FILES)
    assert all(version for version in made.origin.values())


# -- the terms that ship with the package ---------------------------------------------------------------------------


def test_terms_of_cartography_have_three_forms_and_a_source():
    text = TERMS_FILE.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "Source:" in text
    assert len(lines) == len(set(lines)) > 500
    assert all(line == line.strip() and line for line in lines)
    terms = list(cartographic_terms())
    assert len(terms) == len(set(terms))
    assert {"map", "Map", "topographic maps", "Topographic maps", "Topographic Maps", "T and O Map"} <= set(terms)
    assert not any(mark in term for term in terms for mark in ",.;:?!`\t")
