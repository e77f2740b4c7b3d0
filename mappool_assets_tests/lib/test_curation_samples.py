"""Samples of curation's tables: what people see is what the tables hold, short enough, of one list of entries."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from mappool_assets.lib.curation.balanced_pool import BalanceSettings, balance_shards, balanced_pool_tasks
from mappool_assets.lib.curation.curated_pairs import curate_pairs
from mappool_assets.lib.curation.curation_samples import (
    balanced_sample,
    curated_sample,
    entry_sample,
    frequent_entries,
    match_sample,
)
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.matches import MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.unique_pairs import PairSettings, find_unique_pairs
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.small_curation import compiled_folder, use_compiled, write_entries
from mappool_assets_tests.small_lake import A, B, write_maps

WORDS = [f"w{number}" for number in range(40)]
LISTED = [*WORDS, "map", "never seen", "x" * 300]
LONG = "map " + "y" * 5000
TEXTS = ["nothing", LONG, " ".join(WORDS), "x" * 300, *(f"map of w{number % 7}" for number in range(60))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    use_compiled(tmp_path_factory)
    folder = tmp_path_factory.mktemp("made")
    lake, matching = Lake(str(folder / "lake")), MatchSettings(compiled=compiled_folder(tmp_path_factory))
    write_entries(lake, LISTED)
    write_maps(lake, A, len(TEXTS), columns={"text": TEXTS})
    outcomes = [*match_shards(match_tasks(lake, [A], matching), 1)]
    count_entries(lake, matching)
    outcomes += [*balance_shards(balanced_pool_tasks(lake, [A], matching, BalanceSettings(30.0)), 1)]
    assert [outcome.error for outcome in outcomes] == [None, None]
    find_unique_pairs(lake, folder / "scratch", PairSettings("listed"))
    curate_pairs(lake, CurationSettings(5.0))
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def test_entries_are_from_the_first_to_the_last(lake: Lake) -> None:
    rows = entry_sample(lake)
    assert (len(rows), rows[0]["entry"], rows[-1]["entry_id"]) == (20, "w0", len(LISTED) - 1)
    assert rows[-1]["entry"] == "x" * 199 + "…"
    assert [row["entry"] for row in rows] == [LISTED[row["entry_id"]] for row in rows[:-1]] + [rows[-1]["entry"]]


def test_no_entries_and_few(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for entries in ([], ["a"], ["a", "b", "c"]):
        write_entries(lake, entries)
        assert [row["entry"] for row in entry_sample(lake)] == entries


def test_most_frequent_entries_match_something(lake: Lake) -> None:
    rows = frequent_entries(lake)
    matches = 61 + 60 + len(WORDS) + 1  # of map, of w0 to w6 in turn, of all words, of the long one
    assert rows[0] == {"entry": "map", "texts": 61, "matches_percent": round(100 * 61 / matches, 2)}
    assert len(rows) == 20
    assert "never seen" not in {row["entry"] for row in rows}


def test_matches_are_shown_with_their_texts_cut(lake: Lake) -> None:
    rows = match_sample(lake, A)
    assert rows[0] == {"text": LONG[:199] + "…", "entries": "map"}
    assert rows[1] == {"text": " ".join(WORDS), "entries": "w0, w1, w2, w3, w4, w5, w6, w7, …"}
    assert rows[2] == {"text": "x" * 199 + "…", "entries": "x" * 199 + "…"}
    assert rows[3] == {"text": "map of w0", "entries": "w0, map"}
    assert len(rows) == 10


def test_pairs_of_either_draw_are_shown_with_their_chance(lake: Lake) -> None:
    balanced = balanced_sample(lake, A)
    assert len(balanced) == 10
    stored = lake.read_table("curation/balanced_pool", A).to_pylist()
    assert [row["first_p"] for row in balanced] == [round(row["first_p"], 4) for row in stored[:10]]
    curated = curated_sample(lake)
    texts = {row["text"] for row in lake.read_table("curation/curated_pairs").to_pylist()}
    assert curated
    assert all(row["text"].endswith("…") or row["text"] in texts for row in curated)
    assert all(0 < row["p"] <= 1 and row["entries"] for row in curated)


def test_what_matches_far_down_is_found_and_what_does_not_is_not_sought_for_long(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake, matching = Lake(str(tmp_path / "lake")), MatchSettings(compiled=compiled_folder(tmp_path_factory))
    write_entries(lake, ["map"])
    for shard, last in ((A, 500), (B, 20_000)):
        write_maps(lake, shard, last + 1, columns={"text": ["none"] * last + ["a map"]})
    assert [outcome.error for outcome in match_shards(match_tasks(lake, [A, B], matching), 1)] == [None, None]
    assert match_sample(lake, A) == [{"text": "a map", "entries": "map"}]
    assert match_sample(lake, B) == []


def test_entries_of_another_list_are_not_named(lake: Lake) -> None:
    write_entries(lake, [*LISTED[1:], "other"])
    assert match_sample(lake, A) == balanced_sample(lake, A) == []


def test_texts_of_the_whole_pool_are_not_looked_for(lake: Lake) -> None:
    made = lake.provenance(MATCHES, A)
    assert made is not None
    of_pool = dataclasses.replace(made, inputs={**made.inputs, "matched": "pool"})
    lake.write_table(MATCHES, lake.read_table(MATCHES, A), of_pool, A)
    lake.delete(lake.table_path("mappool/shard_maps", A))
    assert match_sample(lake, A) == []
