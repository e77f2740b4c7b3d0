"""The checks, views and reports of the group curation, on a lake that keeps its rules and on broken ones."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.balance_plan import plan_balance
from mappool_assets.lib.curation.balanced_pool import BalanceSettings, balance_shards, balanced_pool_tasks
from mappool_assets.lib.curation.curated_pairs import curate_pairs
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.entries import make_entries
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.entry_settings import EntrySettings
from mappool_assets.lib.curation.matches import MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.plan_settings import PlanSettings
from mappool_assets.lib.curation.unique_pairs import PairSettings, find_unique_pairs
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_curation import use_compiled, write_entries
from mappool_assets_tests.small_lake import A, B, write_maps

CHECKS_OF_SHARDS = ("matches_complete", "shard_entry_counts_add_up", "balanced_pool_of_matches")
CHECKS = (
    *CHECKS_OF_SHARDS,
    "entries_unique_in_order",
    "entry_lint_of_entries",
    "entry_counts_add_up",
    "balance_plan_monotone",
    "balance_plan_of_entries",
    "planned_entries_within_counts",
    "unique_pairs_once",
    "unique_pairs_of_balanced_pool",
    "unique_pairs_text_copies",
    "curated_pairs_of_unique_pairs",
    "curated_pairs_named",
    "curated_pairs_image_once",
    "curated_entries_add_up",
    "rows_accounted",
)
LISTED = ["map", "old", "old map", "Rome", "never", "Washington, D.C."]
WORDS = {"map": 8, "old": 4, "Rome": 2, "sea": 3, "bay": 2, "coast": 2}
TEXTS = 60
FIRST_T, T = 40.0, 10.0
SEEDS = (3, 0)

Rows = list[dict[str, Any]]
Change = Callable[[Rows], object]


# -- a lake that keeps the rules ------------------------------------------------------------------------------------


def write_texts(lake: Lake, shard: str) -> None:
    """Write maps with captions of few words, so that some occur twice; every seventh without a checksum."""
    draw = random.Random(shard)
    columns = {
        "text": [" ".join(draw.choices([*WORDS], [*WORDS.values()], k=draw.randint(0, 4))) for _ in range(TEXTS)],
        "sha256": [f"{draw.randrange(80):064x}" if number % 7 else None for number in range(TEXTS)],
    }
    write_maps(lake, shard, TEXTS, columns=columns)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes."""
    use_compiled(tmp_path_factory)
    folder = tmp_path_factory.mktemp("made")
    (folder / "list.txt").write_text("\n".join(LISTED))
    lake, matching = Lake(str(folder / "lake")), MatchSettings()
    make_entries(lake, EntrySettings(folder / "scratch", given=str(folder / "list.txt")), Storage())
    for shard in (A, B):
        write_texts(lake, shard)
    match(lake)
    count_entries(lake, matching)
    plan_balance(lake, matching, PlanSettings(T, FIRST_T, wanted_pairs=50))
    tasks = balanced_pool_tasks(lake, [A, B], matching, BalanceSettings(FIRST_T))
    assert [outcome.error for outcome in balance_shards(tasks, 1)] == [None, None]
    find_unique_pairs(lake, folder / "scratch", PairSettings("listed"))
    curate_pairs(lake, CurationSettings(T, SEEDS))
    return folder / "lake"


def match(lake: Lake, *shards: str) -> None:
    outcomes = match_shards(match_tasks(lake, shards or (A, B), MatchSettings()), 1)
    assert {outcome.error for outcome in outcomes} == {None}


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def rewrite(lake: Lake, table: str, change: Change, partition: str = "all", **inputs: object) -> None:
    """Change the rows of a table and what its provenance says of its inputs, but not of the rows in and dropped."""
    name = f"curation/{table}"
    stored, recorded = lake.read_table(name, partition), lake.provenance(name, partition)
    rows = stored.to_pylist()
    change(rows)
    said = dataclasses.replace(recorded, inputs={**recorded.inputs, **inputs}, rows_kept=len(rows))
    plain = pa.schema([(field.name, field.type) for field in stored.schema])  # nulls too
    lake.write_table(name, pa.Table.from_pylist(rows, schema=plain), said, partition)


def rows_of(lake: Lake, statement: str, **bound: object) -> Rows:
    return lake.query(statement, bound).to_pylist()


def offenders(lake: Lake, check: str, **bound: object) -> Rows:
    return sql_files.run(lake, f"checks/{check}", **bound).to_pylist()


def faults(lake: Lake, check: str) -> list[str]:
    return [row["fault"] for row in offenders(lake, check)]


def of_shards(lake: Lake, check: str) -> dict[str, int]:
    """Return how many rows a check finds in each shard, asked for by itself."""
    return {shard: len(offenders(lake, check, shards=[shard])) for shard in (A, B)}


def test_what_the_assets_make_keeps_every_rule(made: Path) -> None:
    lake = Lake(str(made))
    assert {check: offenders(lake, check) for check in CHECKS} == {check: [] for check in CHECKS}
    for check in CHECKS_OF_SHARDS:
        assert of_shards(lake, check) == {A: 0, B: 0}
    # … and there is something to find fault with.
    (found,) = rows_of(
        lake,
        """
        SELECT
            count(*) FILTER ("row" <> text_id) AS repeated,
            count(*) FILTER (len(entries) > 1) AS several,
            (SELECT count(*) FROM balanced_pool WHERE first_p < 1) AS drawn,
            (SELECT count(*) FROM unique_pairs WHERE NOT is_image_text) AS of_one_image,
            (SELECT count(*) FROM curated_pairs WHERE second_p < 1 AND len(seeds) = 2) AS of_two_seeds,
            (SELECT count(*) FROM entry_lint) AS never
        FROM matches
        """,
    )
    assert all(found.values()), found


def test_all_checks_of_the_group_are_tested_here() -> None:
    groups = ("entries", "entry", "matches", "shard_entry", "balance", "balanced", "planned", "unique_pairs", "curated")
    names = {name.removeprefix("checks/") for name in sql_files.names("checks")}
    of_group = {name for name in names if name.startswith(tuple(f"{group}_" for group in groups))}
    assert of_group | {"rows_accounted"} == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS_OF_SHARDS)
def test_checks_of_some_shards_open_no_others(lake: Lake, check: str) -> None:
    """The other shard's tables are made unreadable, which any look at them would notice."""
    for table in ("matches", "shard_entry_counts", "balanced_pool"):
        (Path(lake.root) / Lake.table_path(f"curation/{table}", B)).write_bytes(b"not parquet")
    with pytest.raises((duckdb.Error, MissingInput), match=B):
        offenders(lake, check)
    assert offenders(lake, check, shards=[A]) == []
    assert offenders(lake, check, shards=[]) == []


def test_several_tables_are_read_at_once_in_a_bucket_too(made: Path) -> None:
    local = Lake(str(made))
    with serve_s3("lake") as endpoint:
        bucket = Lake("s3://lake/deep", endpoint)
        for table in ("matches", "shard_entry_counts", "counted_shards", "entry_counts"):
            for file in (made / "curation" / table).iterdir():
                with bucket.writing(str(file.relative_to(made))) as copy:
                    shutil.copyfile(file, copy)
        assert offenders(bucket, "entry_counts_add_up") == []
        assert report(bucket, "curation_stages") == report(local, "curation_stages")[:2]


# -- entries --------------------------------------------------------------------------------------------------------


def swap(rows: Rows) -> None:
    rows[1], rows[2] = rows[2], rows[1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (swap, [(2, 1, 1), (1, 2, 1)]),
        (lambda rows: rows[1].update(entry="map"), [(0, 0, 2), (1, 1, 2)]),
        (lambda rows: rows[3].update(entry=""), [(3, 3, 1)]),
        (lambda rows: rows[3].update(entry=None), [(3, 3, 1)]),
        (lambda rows: rows[5].update(entry_id=None), [(None, 5, 1)]),
    ],
)
def test_entries_are_numbered_by_their_place_and_there_once(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "entries", change)
    found = offenders(lake, "entries_unique_in_order")
    assert [(row["entry_id"], row["row"], row["copies"]) for row in found] == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].update(entry_id=4), [4]),
        (lambda rows: rows[0].update(entry="Rome"), [5]),
        (lambda rows: rows.append(rows[0]), [5, 5]),
    ],
)
def test_the_lint_is_of_entries_of_the_list(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "entry_lint", change)
    assert [row["entry_id"] for row in offenders(lake, "entry_lint_of_entries")] == expected


# -- matches and counts ---------------------------------------------------------------------------------------------


def first_row(lake: Lake, is_wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Return the number of the first row of A's matches that is wanted."""
    return next(
        number for number, row in enumerate(lake.read_table("curation/matches", A).to_pylist()) if is_wanted(row)
    )


def rows_alone(lake: Lake) -> set[int]:
    """Return the rows of A's matches whose text no other row has."""
    copies = Counter(lake.read_table("curation/matches", A)["text_id"].to_pylist())
    return {row for row, texts in copies.items() if texts == 1}


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        (2, {"entries": [1, 0]}),
        (1, {"entries": [0, 0]}),
        (1, {"entries": [None]}),
        (1, {"entries": [-1]}),
        (1, {"entries": [len(LISTED)]}),
        (1, {"uid": None}),
        (1, {"row": TEXTS}),
        (1, {"row": None}),
        (1, {"text_id": TEXTS - 1}),
    ],
    ids=str,
)
def test_texts_are_matched_in_order_within_the_list(lake: Lake, entries: int, changed: dict) -> None:
    alone = rows_alone(lake)
    number = first_row(lake, lambda row: len(row["entries"]) == entries and row["row"] in alone)
    rewrite(lake, "matches", lambda rows: rows[number].update(changed), A)
    assert [row["row"] for row in offenders(lake, "matches_complete")] == [changed.get("row", number)]


def test_the_same_text_has_the_same_entries(lake: Lake) -> None:
    number = first_row(lake, lambda row: row["text_id"] < row["row"])
    rewrite(lake, "matches", lambda rows: rows[number].update(entries=[3, 4]), A)
    assert [row["row"] for row in offenders(lake, "matches_complete")] == [number]
    assert of_shards(lake, "matches_complete") == {A: 1, B: 0}


def test_a_text_is_matched_once(lake: Lake) -> None:
    number, *_ = sorted(rows_alone(lake))

    def twice(rows: Rows) -> None:
        rows[number] |= {name: rows[number + 1][name] for name in ("row", "text_id", "entries")}

    rewrite(lake, "matches", twice, A)
    assert [row["row"] for row in offenders(lake, "matches_complete")] == [number + 1] * 2


def test_the_first_row_with_a_text_has_to_be_there(lake: Lake) -> None:
    number = first_row(lake, lambda row: row["text_id"] < row["row"])
    first = lake.read_table("curation/matches", A)["text_id"].to_pylist()[number]
    rewrite(lake, "matches", lambda rows: rows.pop(first), A)
    found = {row["row"]: row["text_id"] for row in offenders(lake, "matches_complete")}
    assert number in found
    assert set(found.values()) == {first}
    assert offenders(lake, "rows_accounted") != [], "and a row is missing"


def test_entries_of_another_list_are_not_held_to_this_one(lake: Lake) -> None:
    write_entries(lake, ["map"])
    assert offenders(lake, "matches_complete") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].update(texts=rows[0]["texts"] + 1), [(0, 1)]),
        (lambda rows: rows.pop(), [(3, None)]),
        (lambda rows: rows.append({"entry_id": 4, "texts": 1}), [(4, None)]),
        (lambda rows: rows[0].update(entry_id=4), [(0, None), (4, None)]),
    ],
)
def test_a_shards_counts_are_those_of_its_matches(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "shard_entry_counts", change, A)
    found = offenders(lake, "shard_entry_counts_add_up")
    assert [
        (row["entry_id"], row["counted"] and row["matched"] and row["counted"] - row["matched"]) for row in found
    ] == expected


def test_counts_are_recounted_shard_by_shard(lake: Lake) -> None:
    rewrite(lake, "shard_entry_counts", lambda rows: rows.clear(), A)
    assert of_shards(lake, "shard_entry_counts_add_up") == {A: 4, B: 0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].update(texts=rows[0]["texts"] - 1), [0]),
        (lambda rows: rows[4].update(texts=None), [4]),
        (lambda rows: rows.pop(3), [3]),
    ],
)
def test_counts_are_those_of_the_shards_together(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "entry_counts", change)
    assert [row["entry_id"] for row in offenders(lake, "entry_counts_add_up")] == expected


def test_counts_are_of_the_shards_as_they_were_counted(lake: Lake) -> None:
    write_maps(lake, A, 2, columns={"text": ["map", "map"]}, seed=1)
    match(lake, A)
    assert offenders(lake, "entry_counts_add_up") == [], "what was counted is kept"
    lake.delete(lake.table_path("curation/matches", B))
    lake.delete(lake.table_path("curation/shard_entry_counts", B))
    assert offenders(lake, "entry_counts_add_up") == []
    kept = next(name for name in lake.partitions("curation/counted_shards") if name.startswith(A))
    rewrite(lake, "counted_shards", lambda rows: rows[0].update(texts=0), kept)
    assert [row["entry_id"] for row in offenders(lake, "entry_counts_add_up")] == [0]
    count_entries(lake, MatchSettings(), force=True)
    assert offenders(lake, "entry_counts_add_up") == [], "a shard that is there no more is not counted"
    (of_map, *_) = rows_of(lake, "SELECT entry, texts FROM entry_counts ORDER BY entry_id")
    assert of_map == {"entry": "map", "texts": 2}


def test_entries_that_no_shard_was_matched_with_are_counted_as_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_entries(lake, LISTED)
    count_entries(lake, MatchSettings())
    assert offenders(lake, "entry_counts_add_up") == []
    rewrite(lake, "entry_counts", lambda rows: rows[0].update(texts=1))
    assert offenders(lake, "entry_counts_add_up") == [{"entry_id": 0, "entry": "map", "counted": 1, "in_shards": 0}]


# -- the plan -------------------------------------------------------------------------------------------------------


def sizes(lake: Lake, check: str) -> list[tuple[str, float]]:
    return [(row["table"], row["t"]) for row in offenders(lake, check)]


def at(rows: Rows, t: float) -> dict[str, Any]:
    return next(row for row in rows if row["t"] == t)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"expected_size": 0.0}, 5.0),
        ({"expected_size": 1e6}, 5.0),
        ({"expected_size": None}, 5.0),
        ({"sd_size": -0.1}, 5.0),
        ({"matches_kept": 0.0}, 5.0),
        ({"tail_share": 1.1}, 5.0),
        ({"t": 0.0}, 0.0),
    ],
    ids=str,
)
def test_more_is_planned_for_a_larger_t_up_to_all_texts(lake: Lake, changed: dict, found: float) -> None:
    rewrite(lake, "balance_plan", lambda rows: at(rows, 5.0).update(changed))
    assert ("balance_plan", found) in sizes(lake, "balance_plan_monotone")


def test_two_roles_of_one_t_have_one_size(lake: Lake) -> None:
    rewrite(lake, "balance_plan", lambda rows: rows.append({**at(rows, 5.0), "role": "twice"}))
    assert sizes(lake, "balance_plan_monotone") == []
    rewrite(lake, "balance_plan", lambda rows: rows[-1].update(expected_size=rows[-1]["expected_size"] - 0.1))
    assert sizes(lake, "balance_plan_monotone") == [("balance_plan", 5.0)]


@pytest.mark.parametrize("changed", [{"expected_size": 1e6}, {"sd_size": None}, {"texts": 3}], ids=str)
def test_what_first_shards_alone_would_give_is_held_to_their_texts(lake: Lake, changed: dict) -> None:
    rewrite(lake, "balance_growth", lambda rows: rows[-1].update(changed))
    assert sizes(lake, "balance_plan_monotone") == [("balance_growth", FIRST_T)]
    rewrite(lake, "balance_growth", lambda rows: rows[0].update(t=FIRST_T + 1))
    assert ("balance_growth", FIRST_T + 1) in sizes(lake, "balance_plan_monotone")


@pytest.mark.parametrize(
    "changed",
    [{"matches_kept": 1.0}, {"tail_share": 0.5}, {"tail_entries": 3}, {"head_entries": None}, {"t": 4.0}],
    ids=str,
)
def test_the_plan_is_that_of_its_entries(lake: Lake, changed: dict) -> None:
    rewrite(lake, "balance_plan", lambda rows: at(rows, 2.0).update(changed))
    assert [row["t"] for row in offenders(lake, "balance_plan_of_entries")] == [changed.get("t", 2.0)]


def test_every_size_is_wrong_where_an_entry_is_missing(lake: Lake) -> None:
    rewrite(lake, "planned_entries", lambda rows: rows.pop(0))
    planned = lake.read_table("curation/balance_plan").num_rows
    assert len(offenders(lake, "balance_plan_of_entries")) == planned
    rewrite(lake, "planned_entries", lambda rows: rows.clear())
    assert len(offenders(lake, "balance_plan_of_entries")) == planned


@pytest.mark.parametrize(
    ("entry", "changed"),
    [
        (0, {"p": 0.9}),
        (0, {"p": None}),
        (0, {"is_head": False}),
        (0, {"expected_pairs": T / 2}),
        (0, {"expected_pairs": 1000.0}),
        (4, {"is_head": True}),
        (4, {"expected_pairs": 0.1}),
    ],
    ids=str,
)
def test_entries_are_planned_within_their_counts(lake: Lake, entry: int, changed: dict) -> None:
    rewrite(lake, "planned_entries", lambda rows: rows[entry].update(changed))
    assert [row["entry_id"] for row in offenders(lake, "planned_entries_within_counts")] == [entry]


# -- the first pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"entries": [5]}, ["not matched so, or twice"]),
        ({"entries": []}, ["no chance", "not matched so, or twice"]),
        ({"text_id": 99}, ["not matched so, or twice"]),
        ({"uid": "other"}, ["not matched so, or twice"]),
        ({"first_p": 0.0}, ["no chance"]),
        ({"first_p": 1.5}, ["no chance"]),
        ({"first_p": float("nan")}, ["no chance"]),
    ],
    ids=str,
)
def test_balanced_pairs_are_matched_so_and_have_a_chance(lake: Lake, changed: dict, expected: list) -> None:
    rewrite(lake, "balanced_pool", lambda rows: rows[0].update(changed), A)
    assert faults(lake, "balanced_pool_of_matches") == expected


def test_a_balanced_pair_is_there_once(lake: Lake) -> None:
    rewrite(lake, "balanced_pool", lambda rows: rows.append(rows[0]), A)
    assert faults(lake, "balanced_pool_of_matches") == ["not matched so, or twice"]
    assert of_shards(lake, "balanced_pool_of_matches") == {A: 1, B: 0}


# -- unique pairs ---------------------------------------------------------------------------------------------------


def test_an_image_and_a_text_are_there_once(lake: Lake) -> None:
    def change(rows: Rows) -> None:
        rows[:] = [row for row in rows if row["is_image_text"]]
        rows[1] |= {"text": rows[0]["text"], "is_image_text": False}
        rows[1] |= {name: rows[0][name] for name in ("image_shard", "image_uid")}

    rewrite(lake, "unique_pairs", change)
    first, second, *_ = lake.read_table("curation/unique_pairs").to_pylist()
    assert offenders(lake, "unique_pairs_once") == [
        {
            "fault": "same text twice",
            "image_shard": first["image_shard"],
            "image_uid": first["image_uid"],
            "pairs": [f"{row['shard']}/{row['uid']}" for row in (first, second)],
        }
    ]


def test_an_image_has_one_chosen_text(lake: Lake) -> None:
    rewrite(lake, "unique_pairs", lambda rows: [row.update(is_image_text=True) for row in rows])
    images = Counter(lake.read_table("curation/unique_pairs")["image_uid"].to_pylist())
    found = offenders(lake, "unique_pairs_once")
    assert {row["fault"] for row in found} == {"not one chosen text"}
    assert {row["image_uid"] for row in found} == {image for image, texts in images.items() if texts > 1}
    rewrite(lake, "unique_pairs", lambda rows: [row.update(is_image_text=False) for row in rows])
    assert {row["image_uid"] for row in offenders(lake, "unique_pairs_once")} == set(images)


def test_an_image_is_there(lake: Lake) -> None:
    rewrite(lake, "unique_pairs", lambda rows: rows[0].update(image_uid="nobody"))
    assert [(row["fault"], row["image_uid"]) for row in offenders(lake, "unique_pairs_once")] == [
        ("no such image", "nobody")
    ]


def test_a_fetched_image_is_one_that_is_kept(lake: Lake) -> None:
    pairs = lake.read_table("curation/unique_pairs").to_pylist()
    images = sorted({(pair["image_shard"], pair["image_uid"]) for pair in pairs})
    rewrite(lake, "unique_pairs", lambda rows: None, images="fetched")
    assert len(offenders(lake, "unique_pairs_once")) == len(images), "no image is known to be unique yet"
    rows = pa.table(
        {
            "shard": [shard for shard, _ in images],
            "uid": [uid for _, uid in images],
            "is_kept": [True, False, *[True] * (len(images) - 2)],
        }
    )
    lake.write_table("mappool/unique_images", rows, Provenance({}, len(rows), len(rows)))
    assert [(row["image_shard"], row["image_uid"]) for row in offenders(lake, "unique_pairs_once")] == [images[1]]


@pytest.mark.parametrize(
    "changed",
    [{"uid": "other"}, {"shard": B}, {"text": "other"}, {"url": None}, {"entries": [5]}, {"first_p": 0.123}],
    ids=str,
)
def test_unique_pairs_are_balanced_ones_as_they_were(lake: Lake, changed: dict) -> None:
    rewrite(lake, "unique_pairs", lambda rows: rows[0].update(changed))
    first = lake.read_table("curation/unique_pairs").to_pylist()[0]
    assert [(row["shard"], row["uid"]) for row in offenders(lake, "unique_pairs_of_balanced_pool")] == [
        (first["shard"], first["uid"])
    ]


def test_a_unique_pair_is_there_once(lake: Lake) -> None:
    rewrite(lake, "unique_pairs", lambda rows: rows.append(rows[0]))
    assert len(offenders(lake, "unique_pairs_of_balanced_pool")) == 1


def test_a_text_stays_with_as_many_images_as_the_settings_say(lake: Lake) -> None:
    def change(rows: Rows) -> None:
        for row in rows[:3]:
            row["text"] = "the same"

    rewrite(lake, "unique_pairs", change)
    (found,) = offenders(lake, "unique_pairs_text_copies")
    assert (found["text"], found["copies"], found["text_copies"], len(found["pairs"])) == ("the same", 3, 1, 3)
    for copies, broken in ((2, 1), (3, 0), (0, 0)):
        rewrite(lake, "unique_pairs", lambda rows: None, text_copies=copies)
        assert len(offenders(lake, "unique_pairs_text_copies")) == broken


# -- curated pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"uid": "other"}, ["not unique so, or twice"]),
        ({"image_uid": "other"}, ["not unique so, or twice"]),
        ({"text": "other"}, ["not unique so, or twice"]),
        ({"entries": [5]}, ["not unique so, or twice"]),
        ({"first_p": 0.999, "p": 0.999, "second_p": 1.0}, ["not unique so, or twice"]),
        ({"p": 0.0, "second_p": 0.0}, ["chance"]),
        ({"p": 1.01, "second_p": 1.0}, ["chance"]),
        ({"p": None}, ["chance"]),
        ({"second_p": 0.001}, ["chance"]),
        ({"second_p": float("nan")}, ["chance"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": [0, 0]}, ["seeds"]),
        ({"seeds": [7]}, ["seeds"]),
    ],
    ids=str,
)
def test_curated_pairs_are_unique_ones_with_chances_and_seeds(lake: Lake, changed: dict, expected: list) -> None:
    rewrite(lake, "curated_pairs", lambda rows: rows[0].update(changed))
    assert faults(lake, "curated_pairs_of_unique_pairs") == expected


def test_a_curated_pair_is_there_once(lake: Lake) -> None:
    rewrite(lake, "curated_pairs", lambda rows: rows.append(rows[0]))
    assert faults(lake, "curated_pairs_of_unique_pairs") == ["not unique so, or twice"]


@pytest.mark.parametrize(
    ("matched", "found"),
    [(["Rome"], (0, "Rome")), ([], (0, None)), (["map", "old"], (None, "old")), (["Map"], (0, "Map"))],
    ids=str,
)
def test_curated_pairs_name_their_entries(lake: Lake, matched: list, found: tuple) -> None:
    uid = next(row["uid"] for row in lake.read_table("curation/curated_pairs").to_pylist() if row["entries"] == [0])

    def change(rows: Rows) -> None:
        next(row for row in rows if row["uid"] == uid)["matched"] = matched

    rewrite(lake, "curated_pairs", change)
    assert [(row["uid"], row["entry_id"], row["entry"]) for row in offenders(lake, "curated_pairs_named")] == [
        (uid, *found)
    ]


def test_an_image_is_curated_once_where_that_is_the_policy(lake: Lake) -> None:
    curate_pairs(lake, CurationSettings(1000, SEEDS, "image"))
    assert offenders(lake, "curated_pairs_image_once") == []
    curate_pairs(lake, CurationSettings(1000, SEEDS, "text"))
    pairs = lake.read_table("curation/curated_pairs")
    twice = {image for image, texts in Counter(pairs["image_uid"].to_pylist()).items() if texts > 1}
    assert twice
    assert offenders(lake, "curated_pairs_image_once") == [], "the policy is per text"
    rewrite(lake, "curated_pairs", lambda rows: None, policy="image")
    assert {row["image_uid"] for row in offenders(lake, "curated_pairs_image_once")} == twice


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].update(texts=1), [0]),
        (lambda rows: rows[0].update(curated=rows[0]["curated"] + 1), [0]),
        (lambda rows: rows[4].update(curated=None), [4]),
        (lambda rows: rows[0].update(unique_texts_estimate=rows[0]["unique_texts_estimate"] * 1.01), [0]),
        (lambda rows: rows[4].update(expected_pairs=0.1), [4]),
        (lambda rows: rows[0].update(expected_pairs=-0.1), [0]),
        (lambda rows: rows[0].update(entry="Map"), [0, 0]),
        (lambda rows: rows.pop(2), [2]),
        (lambda rows: rows.append({**rows[0], "entry_id": 99}), [99]),
    ],
)
def test_what_became_of_entries_adds_up(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "curated_entries", change)
    assert [row["entry_id"] for row in offenders(lake, "curated_entries_add_up")] == expected


def test_what_became_of_entries_is_that_of_the_first_seeds_pairs(lake: Lake) -> None:
    assert list(SEEDS) != sorted(SEEDS)
    rewrite(lake, "curated_pairs", lambda rows: None, seeds=sorted(SEEDS))
    assert offenders(lake, "curated_entries_add_up") != []
    rewrite(lake, "curated_pairs", lambda rows: rows.pop(), seeds=SEEDS)
    assert {row["curated"] - row["drawn"] for row in offenders(lake, "curated_entries_add_up")} <= {1}


# -- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "partition"),
    [
        ("entry_lint", None),
        ("matches", "shard"),
        ("shard_entry_counts", "shard"),
        ("counted_shards", "counted"),
        ("entry_counts", None),
        ("balance_plan", None),
        ("balance_growth", None),
        ("planned_entries", None),
        ("balanced_pool", "shard"),
        ("unique_pairs", None),
        ("curated_pairs", None),
        ("curated_entries", None),
    ],
)
def test_a_view_is_its_tables_with_the_partition(made: Path, table: str, partition: str | None) -> None:
    lake, name = Lake(str(made)), f"curation/{table}"
    expected = [
        {**row, **({partition: key} if partition else {})}
        for key in lake.partitions(name)
        for row in lake.read_table(name, key).to_pylist()
    ]
    found = rows_of(lake, f"SELECT * FROM {table}")
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert found


def test_entries_have_their_place_in_the_list(made: Path) -> None:
    lake = Lake(str(made))
    stored = lake.read_table("curation/entries").to_pylist()
    assert rows_of(lake, "SELECT * FROM entries") == [{**row, "row": place} for place, row in enumerate(stored)]


@pytest.mark.parametrize(
    "view",
    [
        "match_failures",
        "balance_failures",
        "shard_entry_counts",
        "counted_shards",
        "planned_entries",
        "curated_entries",
    ],
)
def test_some_views_are_empty_rather_than_absent(made: Path, tmp_path: Path, view: str) -> None:
    lake, name = Lake(str(tmp_path)), f"curation/{view}"
    empty = lake.query(f"SELECT * FROM {view}")
    assert empty.num_rows == 0
    of_made = Lake(str(made))
    if view.endswith("_failures"):
        row = dict.fromkeys(("shard", "error", "what", "where", "rule", "got", "action"), "x")
        lake.write_table(name, pa.Table.from_pylist([row]), Provenance({}, 1, 1), A)
        of_made = lake
    assert empty.schema.equals(of_made.query(f"SELECT * FROM {view}").schema), "as it is once there is something"
    assert of_made.query(f"SELECT * FROM {view}").num_rows >= 1


def test_other_views_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="curated_pairs"):
        Lake(str(tmp_path)).query("SELECT * FROM curated_pairs")


# -- reports --------------------------------------------------------------------------------------------------------


def report(lake: Lake, name: str, **bound: object) -> Rows:
    return sql_files.run(lake, f"reports/{name}", **bound).to_pylist()


def test_the_stages_lead_from_the_texts_to_the_curated_pairs(lake: Lake) -> None:
    stages = {row["stage"]: row for row in report(lake, "curation_stages")}
    assert list(stages) == ["texts", "matched", "first_pass", "unique", "curated"]
    before = 2 * TEXTS
    for row in stages.values():
        reasons = [part.rpartition(" ") for part in row["dropped_by_reason"].split(", ") if part]
        assert row["pairs_in"] == before == row["pairs_kept"] + sum(int(pairs) for *_, pairs in reasons)
        assert row["kept_share"] == row["pairs_kept"] / before
        before = row["pairs_kept"]
    assert [row["partitions"] for row in stages.values()] == [2, 2, 2, 1, 1]
    matches = lake.read_table("curation/matches", A), lake.read_table("curation/matches", B)
    without = sum(not entries for table in matches for entries in table["entries"].to_pylist())
    assert stages["matched"]["dropped_by_reason"] == f"no_entry {without}"
    assert stages["first_pass"]["dropped_by_reason"].startswith("not_drawn ")
    assert stages["curated"]["share_of_texts"] == pytest.approx(before / (2 * TEXTS))
    assert before == lake.read_table("curation/curated_pairs").num_rows


def test_stages_that_are_still_to_come_are_left_out(lake: Lake) -> None:
    whole = report(lake, "curation_stages")
    for table in ("curated_pairs", "unique_pairs"):
        lake.delete(lake.table_path(f"curation/{table}"))
    assert report(lake, "curation_stages") == whole[:3]
    lake.delete(lake.table_path("curation/balanced_pool", B))
    *texts, first = report(lake, "curation_stages")
    assert texts == whole[:2], "the others are of all shards"
    assert (first["partitions"], first["pairs_in"] < whole[1]["pairs_kept"]) == (1, True)
    shutil.rmtree(Path(lake.root) / "curation" / "matches")
    assert [row["stage"] for row in report(lake, "curation_stages")] == ["first_pass"]
    shutil.rmtree(Path(lake.root) / "curation")
    with pytest.raises(MissingInput):
        report(lake, "curation_stages")


def write_counts(lake: Lake, texts: list[int], curated: list[int] | None = None) -> None:
    """Write counts of made-up entries, and what is curated of them."""
    numbers, names = range(len(texts)), [f"entry {number}" for number in range(len(texts))]
    counts = pa.table(
        {"entry_id": pa.array(numbers, pa.int32()), "entry": names, "texts": pa.array(texts, pa.uint64())}
    )
    lake.write_table("curation/entry_counts", counts, Provenance({}, len(texts), len(texts)))
    if curated is not None:
        columns = {"unique_texts_estimate": [float(n) for n in texts], "curated": pa.array(curated, pa.uint64())}
        rows = pa.table({**dict(zip(counts.column_names, counts.columns, strict=True)), **columns})
        rows = rows.append_column("expected_pairs", pa.array([n + 0.5 for n in curated]))
        lake.write_table("curation/curated_entries", rows, Provenance({}, len(texts), len(texts)))


def test_entries_are_counted_by_decades(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    texts, curated = [0, 0, 1, 9, 10, 99, 100, 999, 1000, 10**9], [0, 0, 1, 1, 5, 5, 5, 20, 20, 20]
    write_counts(lake, texts)
    rows = report(lake, "entry_distribution")
    assert [(row["texts_from"], row["texts_to"], row["entries"], row["matches"]) for row in rows] == [
        (0, 0, 2, 0),
        (1, 9, 2, 10),
        (10, 99, 2, 109),
        (100, 999, 2, 1099),
        (1000, 9999, 1, 1000),
        (10**9, 10**10 - 1, 1, 10**9),
    ]
    assert [row["matches_share"] for row in rows] == [row["matches"] / sum(texts) for row in rows]
    assert {row[name] for row in rows for name in row if name.startswith("curated")} == {None}
    write_counts(lake, texts, curated)
    rows = report(lake, "entry_distribution")
    assert [(row["texts_from"], row["curated_entries"], row["curated_matches"]) for row in rows] == [
        (0, 2, 0),
        (1, 5, 17),
        (10, 3, 60),
        (100, 0, 0),
        (1000, 0, 0),
        (10**9, 0, 0),
    ]
    assert sum(row["curated_matches_share"] for row in rows) == pytest.approx(1)


def test_nothing_is_divided_where_nothing_matches(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_counts(lake, [0, 0], [0, 0])
    (row,) = report(lake, "entry_distribution")
    assert (row["entries"], row["matches_share"], row["curated_entries"], row["curated_matches_share"]) == (
        2, None, 2, None,
    )  # fmt: skip
    assert [row["matches_share"] for row in report(lake, "head_entries")] == [None, None]
    assert report(lake, "tail_entries") == []


def test_head_and_tail_are_the_ends_of_the_counts(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    texts = [5, 0, 7, 1, 5, *range(100, 160)]
    write_counts(lake, texts)
    head, tail = report(lake, "head_entries"), report(lake, "tail_entries", entries=4)
    assert [row["texts"] for row in head] == sorted(texts, reverse=True)[:50]
    assert [row["rank"] for row in head] == list(range(1, 51))
    assert head[0]["matches_share"] == 159 / sum(texts)
    assert [(row["entry_id"], row["texts"]) for row in tail] == [(3, 1), (0, 5), (4, 5), (2, 7)]
    assert {row[name] for row in head + tail for name in ("planned_p", "planned_pairs", "curated")} == {None}
    write_counts(lake, texts, [2 * n for n in texts])
    assert [row["curated"] for row in report(lake, "head_entries", entries=2)] == [318, 316]
    assert [row["expected_pairs"] for row in report(lake, "tail_entries", entries=1)] == [2.5]
    write_counts(lake, texts[:4])
    assert report(lake, "head_entries", entries=1)[0]["entry"] == "entry 2"


def test_head_and_tail_say_what_is_planned_and_curated(made: Path) -> None:
    lake = Lake(str(made))
    planned = {row["entry_id"]: row for row in lake.read_table("curation/planned_entries").to_pylist()}
    curated = {row["entry_id"]: row for row in lake.read_table("curation/curated_entries").to_pylist()}
    rows = report(lake, "head_entries") + report(lake, "tail_entries")
    assert len(rows) == len(LISTED) + 4
    for row in rows:
        of_plan, of_pairs = planned[row["entry_id"]], curated[row["entry_id"]]
        assert (row["planned_p"], row["planned_pairs"]) == (of_plan["p"], of_plan["expected_pairs"])
        for name in ("texts", "unique_texts_estimate", "expected_pairs", "curated"):
            assert row[name] == of_pairs[name]


def test_the_funnel_leaves_books_out(lake: Lake) -> None:
    row = dict.fromkeys(("shard", "error", "what", "where", "rule", "got", "action"), "x")
    for table in ("match_failures", "balance_failures"):
        lake.write_table(f"curation/{table}", pa.Table.from_pylist([row]), Provenance({}, 1, 1), A)
    found = {row["table"] for row in report(lake, "funnel")}
    assert {"curation/matches", "curation/balanced_pool", "curation/unique_pairs", "curation/curated_pairs"} <= found
    assert not found & {"curation/match_failures", "curation/balance_failures", "curation/counted_shards"}
