"""The checks and reports of the group geo_subset, on lakes that keep their rules and on such that break them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.geo_subset.geo_images import SCHEMA, TABLE, find_geo_images
from mappool_assets.lib.geo_subset.place_counts import SCHEMA as COUNTS_SCHEMA
from mappool_assets.lib.geo_subset.place_counts import TABLE as COUNTS
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.metadata_filter import RowFilter
from mappool_assets_tests.geo_lake import (
    SHARDS,
    find_neighbours,
    place,
    unit,
    write_classifier,
    write_places,
    write_shard,
)
from mappool_assets_tests.small_images import write_images

CHECKS = (
    "geo_images_complete",
    "geo_images_best_place",
    "geo_images_duplicates_kept_once",
    "geo_images_within_limits",
    "place_counts_add_up",
    "rows_accounted",
)


def chain(vectors: np.ndarray) -> None:
    for row in range(10, 20):
        vectors[row] = unit(vectors[row - 1] + 0.08 * vectors[row])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes."""
    folder = tmp_path_factory.mktemp("made")
    lake = Lake(str(folder / "lake"))
    write_classifier(lake)
    write_places(lake, [place(1), place(1, prompt="Old Place 1"), *(place(number) for number in (2, 3, 4))])
    for shard in SHARDS:
        write_shard(lake, shard, change=chain)
    find_neighbours(lake)
    find_geo_images(lake, folder / "scratch", GeoSettings(min_similarity=0.25, most_a_domain=2))
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def broken(lake: Lake) -> set[str]:
    return {name for name in CHECKS if sql_files.run(lake, f"checks/{name}").num_rows}


def rewrite(lake: Lake, change: Callable[[list[dict]], object], table: str = TABLE, schema: pa.Schema = SCHEMA) -> None:
    """Change the rows of a table, but not what its provenance says."""
    made, rows = lake.provenance(table), lake.read_table(table).to_pylist()
    assert made is not None
    change(rows)
    lake.write_table(table, pa.Table.from_pylist(rows, schema=schema), made, is_ledger=table == TABLE)


def first(rows: list[dict], dropped: str | None, **wanted: object) -> dict:
    return next(r for r in rows if r["dropped"] == dropped and all(r[k] == v for k, v in wanted.items()))


def test_what_was_made_keeps_all_rules(lake: Lake) -> None:
    assert broken(lake) == set()


def test_images_that_are_missing_listed_twice_or_were_never_found(lake: Lake) -> None:
    def change(rows: list[dict]) -> None:
        rows[0] = dict(rows[1])

    missing = lake.read_table(TABLE).slice(0, 2).to_pylist()
    rewrite(lake, change)
    found = sql_files.run(lake, "checks/geo_images_complete").to_pylist()
    assert {(row["shard"], row["row"], row["fault"]) for row in found} == {
        (missing[0]["shard"], missing[0]["row"], "not listed"),
        (missing[1]["shard"], missing[1]["row"], "not found by a prompt, or listed twice"),
    }


@pytest.mark.parametrize(
    "changed", [{"place_id": "geonames:0009"}, {"prompt": "a map"}, {"rank": 99}, {"similarity": 0.99}], ids=str
)
def test_images_with_another_place_than_the_best(lake: Lake, changed: dict) -> None:
    rewrite(lake, lambda rows: rows[5].update(changed))
    assert "geo_images_best_place" in broken(lake)


@pytest.mark.parametrize(
    ("dropped", "changed"),
    [
        ("near_duplicate", {"duplicate_of": None}),
        ("near_duplicate", {"duplicate_of": "nobody"}),
        ("near_duplicate", {"duplicate_similarity": 0.5}),
        ("near_duplicate", {"duplicate_similarity": None}),
        ("near_duplicate", {"group_size": 77}),
        (None, {"duplicate_of": "x" * 32, "duplicate_of_shard": SHARDS[0]}),
    ],
    ids=str,
)
def test_duplicates_that_are_none(lake: Lake, dropped: str | None, changed: dict) -> None:
    rewrite(lake, lambda rows: first(rows, dropped).update(changed))
    assert broken(lake) == {"geo_images_duplicates_kept_once"}


def test_duplicates_of_what_is_a_duplicate_itself_or_less_similar(lake: Lake) -> None:
    def to_itself(rows: list[dict]) -> None:
        row = first(rows, "near_duplicate")
        row |= {"duplicate_of": row["uid"], "duplicate_of_shard": row["shard"]}

    rewrite(lake, to_itself)
    assert broken(lake) == {"geo_images_duplicates_kept_once"}


@pytest.mark.parametrize(
    ("dropped", "claimed"),
    [
        ("below_min_similarity", None),
        ("over_domain_quota", None),
        (None, "below_min_similarity"),
        (None, "unsafe"),
        (None, "over_domain_quota"),
        (None, "no such reason"),
    ],
)
def test_images_dropped_against_the_settings(lake: Lake, dropped: str | None, claimed: str | None) -> None:
    rewrite(lake, lambda rows: first(rows, dropped).update(dropped=claimed))
    assert "geo_images_within_limits" in broken(lake)


@pytest.mark.parametrize(
    "changed",
    [
        *({name: 1_000_000} for name in COUNTS_SCHEMA.names if pa.types.is_integer(COUNTS_SCHEMA.field(name).type)),
        {"returned": 0},
        {"place_id": "geonames:0099"},
    ],
    ids=str,
)
def test_counts_that_do_not_add_up(lake: Lake, changed: dict) -> None:
    if changed == {"requested": 1_000_000}:
        changed = {"requested": 0}
    rewrite(lake, lambda rows: rows[1].update(changed), COUNTS, COUNTS_SCHEMA)
    assert broken(lake) == {"place_counts_add_up"}


# -- reports --------------------------------------------------------------------------------------------------


def report(lake: Lake, name: str, **bound: object) -> list[dict]:
    return sql_files.run(lake, f"reports/{name}", **bound).to_pylist()


def test_reports_on_places_agree_with_the_images(lake: Lake) -> None:
    images = lake.read_table(TABLE).to_pylist()
    kept = [row for row in images if row["dropped"] is None]
    by_place = report(lake, "places_yield")
    assert [row["returned"] for row in by_place] == sorted((row["returned"] for row in by_place), reverse=True)
    assert sum(row["returned"] for row in by_place) == len(kept)
    (summary,) = report(lake, "places_summary")
    counts = [row["returned"] for row in by_place]
    assert summary == {
        "places": 4,
        "places_without_images": counts.count(0),
        "images": len(kept),
        "mean_images": np.mean(counts),
        "median_images": np.median(counts),
        "mean_images_where_any": np.mean([count for count in counts if count]),
        "median_images_where_any": np.median([count for count in counts if count]),
    }
    countries = {row["country"]: row["images"] for row in report(lake, "place_countries")}
    assert countries == {name: sum(row["country"] == name for row in kept) for name in ("GB", "CH")}
    outcomes = {row["outcome"]: row["images"] for row in report(lake, "place_outcomes")}
    reasons = [row["dropped"] or "returned" for row in images]
    assert outcomes == {reason: reasons.count(reason) for reason in outcomes}
    assert sum(outcomes.values()) == len(images)


def test_domains_of_places_count_returned_images_alone(lake: Lake) -> None:
    kept = [row["domain"] for row in lake.read_table(TABLE).to_pylist() if row["dropped"] is None]
    rows = report(lake, "place_domains")
    assert {row["domain"]: row["images"] for row in rows} == {name: kept.count(name) for name in set(kept)}
    assert rows[-1]["cumulative_share"] == 1


def test_margins_are_counted_in_steps_of_a_hundredth(lake: Lake) -> None:
    kept = [row for row in lake.read_table(TABLE).to_pylist() if row["dropped"] is None]
    rows = report(lake, "place_margins")
    assert {row["measure"] for row in rows} == {"similarity", "place_margin"}, "there are no generic prompts"
    found = {(row["measure"], row["step"]): row["images"] for row in rows}
    expected = [int(np.floor(100 * row["place_margin"])) for row in kept]
    assert {step: n for (name, step), n in found.items() if name == "place_margin"} == {
        step: expected.count(step) for step in set(expected)
    }


def test_pictures_are_the_most_similar_fetched_images(lake: Lake) -> None:
    write_images(lake, SHARDS[0])
    kept = [r for r in lake.read_table(TABLE).to_pylist() if r["dropped"] is None and r["shard"] == SHARDS[0]]
    expected = [row["uid"] for row in kept if row["place_id"] == "geonames:0002"][:2]
    rows = report(lake, "place_pictures", places=["geonames:0002"], images=2)
    assert [row["uid"] for row in rows] == expected
    assert {row["place_id"]: row["images"] for row in report(lake, "places_fetched")} == {
        place_id: sum(row["place_id"] == place_id for row in kept) for place_id in {row["place_id"] for row in kept}
    }
    named = report(lake, "place_of_images", uids=[*expected, "nobody"])
    assert [(row["uid"], row["place_id"]) for row in named] == [(uid, "geonames:0002") for uid in sorted(expected)]


def test_the_domain_of_an_address_is_that_of_the_filters(lake: Lake) -> None:
    addresses = [
        "https://www.Maps.example:8080/a?b#c",
        "http://user:secret@maps.example./x",
        "HTTPS://WWW.www.example/",
        "ftp://[::1]:21/map.png",
        "no address",
        "//maps.example/x",
        "http://maps.example\\@other.example/",
        "",
    ]
    rows = lake.query(
        "SELECT address, domain_of(address) AS domain FROM (SELECT unnest($all) AS address)", {"all": addresses}
    )
    for row in rows.to_pylist():
        quoted = row["domain"].replace("'", "''")
        assert RowFilter.parse(f"domain = '{quoted}'").mask(pa.table({"url": [row["address"]]})).all(), row
