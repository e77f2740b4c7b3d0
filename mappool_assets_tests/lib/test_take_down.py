"""What is on the take-down list leaves the published files and stays out; everything else is as without it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.publish import take_down as take_down_module
from mappool_assets.lib.publish.corpus import Corpus, read_corpus
from mappool_assets.lib.publish.published_files import FORMAT, ROWS_PER_GROUP, made_from, write_published_file
from mappool_assets.lib.publish.take_down import (
    NO_TAKE_DOWN,
    TakeDown,
    find_taken_down,
    parse_take_down,
    read_take_down,
)
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests import range_server
from mappool_assets_tests.small_lake import shard_key, write_maps, write_pool

A, B, C = shard_key("a"), shard_key("b"), shard_key("c")
UID, SHA256, URL = "0123456789abcdef" * 2, "0123456789ABCDEF" * 4, "https://maps.example/a%20b.png?x=1#top"
STORAGE = Storage(attempts=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, dict.fromkeys((A, B, C), ""))
    for key in (A, B, C):
        write_maps(lake, key, 5)
    return lake


def rows_of(lake: Lake, shard: str) -> list[dict]:
    return lake.read_table("mappool/shard_maps", shard).to_pylist()


def published(lake: Lake, corpus: Corpus, folder: Path) -> dict[str, pa.Table]:
    """The rows of each shard's file, whose record must agree with it."""
    tables = {}
    for shard in corpus.shards:
        record = write_published_file(lake, shard, folder / f"{shard.shard}.parquet")
        tables[shard.shard] = pq.read_table(folder / f"{shard.shard}.parquet")
        assert record.rows == tables[shard.shard].num_rows == shard.rows_published
        assert record.made_from == made_from(shard)
    return tables


# -- the list -----------------------------------------------------------------------------------------------------


def test_entries_are_told_apart_by_their_form() -> None:
    text = f"# asked for in May\r\n\r\n  {UID.upper()}  # by mail\r\n{SHA256}\n{URL}\nHTTP://maps.example/ä\t# x"
    listed = parse_take_down(text, "list")
    assert listed == TakeDown(frozenset({UID}), frozenset({URL, "HTTP://maps.example/ä"}), frozenset({SHA256.lower()}))
    assert listed.entry_count == 4
    assert parse_take_down("", "list") == parse_take_down("# nothing yet\n", "list") == NO_TAKE_DOWN


@pytest.mark.parametrize(
    "line",
    [
        UID[:-1],
        UID + "0",
        SHA256[:-1] + "g",
        f"{UID} {UID}",
        f"{UID}, {UID}",
        "ftp://maps.example/1.png",
        "maps.example/1.png",
        "https://",
        "https://maps.example/a b.png",
        "https://maps.example/a\x00b.png",
        "https://maps.example/a\u2028b.png",
        "uid",
    ],
)
def test_any_other_line_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(BadSetting, match=r"my list, line 3\]"):
        parse_take_down(f"# comment\n{UID}\n{line}\n{SHA256}", "my list")


@given(st.text(max_size=200))
def test_no_text_is_understood_otherwise_than_line_by_line(text: str) -> None:
    """Every line that is neither empty nor a comment is an entry, or the text is refused."""
    try:
        listed = parse_take_down(text, "list")
    except BadSetting:
        return
    entries = {line.split(" #")[0].strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")}
    assert listed.entry_count <= len({entry for entry in entries if entry and not entry.startswith("#")})


def test_a_list_is_read_from_a_file_and_from_a_server(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"\ufeff{UID}\n{URL}\n", encoding="utf-8")
    expected = TakeDown(frozenset({UID}), frozenset({URL}))
    assert read_take_down(str(tmp_path / "list.txt"), STORAGE) == expected
    with range_server.serve(tmp_path) as server:
        assert read_take_down(f"{server.url}/list.txt", STORAGE) == expected
        with pytest.raises(MissingInput, match="nothing is published without it"):
            read_take_down(f"{server.url}/other.txt", STORAGE)
    assert read_take_down("", STORAGE) == NO_TAKE_DOWN


def test_an_empty_file_is_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").touch()
    assert read_take_down(str(tmp_path / "list.txt"), STORAGE) == NO_TAKE_DOWN


def test_a_list_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin.txt").write_bytes("# für Karten\n".encode("latin-1"))
    (tmp_path / "long.txt").write_text(f"{UID}\n{SHA256}\n")
    with pytest.raises(MissingInput, match=r"take-down list is not there \[.*none\.txt\]"):
        read_take_down(str(tmp_path / "none.txt"), STORAGE)
    with pytest.raises(BadSetting, match="UnicodeDecodeError"):
        read_take_down(str(tmp_path / "latin.txt"), STORAGE)
    with pytest.raises(BadSetting, match="IsADirectoryError"):
        read_take_down(str(tmp_path), STORAGE)
    monkeypatch.setattr(take_down_module, "MAX_BYTES", 97)
    with pytest.raises(BadSetting, match="98 bytes, more than 97"):
        read_take_down(str(tmp_path / "long.txt"), STORAGE)


# -- the rows that it names ---------------------------------------------------------------------------------------


def test_rows_are_found_by_uid_by_address_and_by_checksum(lake: Lake) -> None:
    a, b = rows_of(lake, A), rows_of(lake, B)
    listed = TakeDown(
        frozenset({a[3]["uid"], UID}), frozenset({a[1]["url"], b[0]["url"] + "/"}), frozenset({b[4]["sha256"]})
    )
    assert find_taken_down(lake, listed) == {A: (a[1]["uid"], a[3]["uid"]), B: (b[4]["uid"],)}


def test_one_entry_takes_every_copy(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    same = "f" * 64
    for key in (A, B):
        write_maps(lake, key, 2, columns={"sha256": [same, "0" * 64]})
    assert find_taken_down(lake, TakeDown(sha256s=frozenset({same}))) == {
        key: (rows_of(lake, key)[0]["uid"],) for key in (A, B)
    }


def test_hex_digits_have_no_case_and_addresses_have(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    columns = {"uid": [UID.upper(), "1" * 32], "sha256": ["2" * 64, SHA256.upper()], "url": [URL, URL.upper()]}
    write_maps(lake, A, 2, columns=columns)
    assert find_taken_down(lake, parse_take_down(UID, "list")) == {A: (UID.upper(),)}
    assert find_taken_down(lake, parse_take_down(SHA256, "list")) == {A: ("1" * 32,)}
    assert find_taken_down(lake, parse_take_down(URL, "list")) == {A: (UID.upper(),)}


def test_an_empty_list_does_not_ask_the_lake(tmp_path: Path) -> None:
    assert find_taken_down(Lake(str(tmp_path / "nowhere")), NO_TAKE_DOWN) == {}


HEX_DIGITS = st.sampled_from("01aA")
ROWS = st.lists(
    st.tuples(
        st.text(HEX_DIGITS, min_size=1, max_size=2), st.sampled_from(["u", "v"]), st.text(HEX_DIGITS, max_size=1)
    ),
    unique_by=lambda row: row[0],
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, uids=st.sets(st.sampled_from(["0", "01", "a"])), urls=st.sets(st.just("u")))
def test_the_query_finds_what_a_loop_over_the_rows_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], uids: set[str], urls: set[str]
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    write_maps(
        lake, A, len(rows), columns={n: [row[i] for row in rows] for i, n in enumerate(("uid", "url", "sha256"))}
    )
    sha256s = {"a"}
    slow = sorted(uid for uid, url, sha256 in rows if uid.lower() in uids or url in urls or sha256.lower() in sha256s)
    found = find_taken_down(lake, TakeDown(frozenset(uids), frozenset(urls), frozenset(sha256s)))
    assert found == ({A: tuple(slow)} if slow else {})


# -- what is published --------------------------------------------------------------------------------------------


def test_rows_taken_down_are_counted_and_leave_only_their_own_file(lake: Lake, tmp_path: Path) -> None:
    before = read_corpus(lake)
    a = rows_of(lake, A)
    corpus = read_corpus(lake, TakeDown(frozenset({a[0]["uid"]}), frozenset({a[2]["url"], "https://other.example/"})))

    assert corpus.row_count == before.row_count - 2 == 13
    assert corpus.taken_down_count == 2
    assert corpus.rows_dropped == {**before.rows_dropped, "taken_down": 2}
    for each in (before, corpus):
        assert each.rows_in == each.row_count + sum(each.rows_dropped.values())
    changed = {s.shard for s, old in zip(corpus.shards, before.shards, strict=True) if made_from(s) != made_from(old)}
    assert changed == {A}
    files = published(lake, corpus, tmp_path)
    assert files[A].to_pylist() == [a[1], a[3], a[4]]
    assert {key: files[key].to_pylist() for key in (B, C)} == {key: rows_of(lake, key) for key in (B, C)}


def test_they_stay_out_as_long_as_the_list_names_them(lake: Lake, tmp_path: Path) -> None:
    row = rows_of(lake, A)[1]
    by_uid, by_url = TakeDown(frozenset({row["uid"]})), TakeDown(urls=frozenset({row["url"]}))
    first = read_corpus(lake, by_uid)
    assert [made_from(shard) for shard in read_corpus(lake, by_url).shards] == [made_from(s) for s in first.shards]

    write_maps(
        lake, A, 6, threshold=0.1, columns={"url": [row["url"], *(f"https://maps.example/{n}" for n in range(5))]}
    )
    again = read_corpus(lake, by_url)
    assert [(shard.rows_kept, shard.rows_published) for shard in again.shards] == [(6, 5), (5, 5), (5, 5)]
    assert row["url"] not in published(lake, again, tmp_path)[A]["url"].to_pylist()
    assert read_corpus(lake).taken_down_count == 0


def test_the_same_list_gives_the_same_bytes_whatever_the_lakes_row_groups(tmp_path: Path) -> None:
    contents = set()
    for name, rows_a_group in (("one", 4096), ("other", 7)):
        lake = Lake(str(tmp_path / name))
        write_pool(lake, {A: ""})
        maps = write_maps(lake, A, 2 * ROWS_PER_GROUP, rows_a_group=rows_a_group)
        gone = frozenset(maps["uid"][ROWS_PER_GROUP // 2 : ROWS_PER_GROUP * 2].to_pylist())
        (shard,) = read_corpus(lake, TakeDown(gone)).shards
        write_published_file(lake, shard, tmp_path / f"{name}.parquet")
        contents.add((tmp_path / f"{name}.parquet").read_bytes())
        metadata = pq.read_metadata(tmp_path / f"{name}.parquet")
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROWS_PER_GROUP // 2]
    assert len(contents) == 1


def test_a_shard_can_lose_all_its_maps(lake: Lake, tmp_path: Path) -> None:
    gone = TakeDown(frozenset(row["uid"] for row in rows_of(lake, B)))
    files = published(lake, read_corpus(lake, gone), tmp_path)
    assert files[B].num_rows == 0
    assert files[B].schema == files[A].schema


def test_maps_that_come_after_the_list_was_held_against_them_are_not_published(lake: Lake, tmp_path: Path) -> None:
    """They may hold rows that were not there to be found."""
    (shard, *_) = read_corpus(lake, TakeDown(frozenset({UID}))).shards
    write_maps(lake, A, 5, seed=1, columns={"uid": [UID, *(f"{n:032x}" for n in range(4))]})
    with pytest.raises(SourceChanged, match="Publish again"):
        write_published_file(lake, shard, tmp_path / "file.parquet")


def test_a_corpus_without_a_list_is_as_it_always_was(lake: Lake) -> None:
    """Records of earlier versions hold: what they say a file was made from is what an unaffected file is made from."""
    shard = read_corpus(lake, NO_TAKE_DOWN).shards[0]
    assert made_from(shard) == fingerprint({"maps": shard.fingerprint, "format": FORMAT})


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_of_any_system_end_where_they_end(end):
    uids = ["0" * 32, "1" * 32]
    text = end.join(["# asked by mail", f"{uids[0]}  # first", uids[1], ""])
    assert parse_take_down(text, "list").uids == set(uids)
