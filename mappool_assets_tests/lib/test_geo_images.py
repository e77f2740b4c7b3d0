from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.geo_subset import found_images
from mappool_assets.lib.geo_subset.best_prompts import NO_PLACE, BestPrompts
from mappool_assets.lib.geo_subset.geo_images import TABLE, find_geo_images
from mappool_assets.lib.geo_subset.geo_sources import check_unchanged
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings
from mappool_assets_tests.geo_lake import (
    DIMENSION,
    ENCODER,
    SHARDS,
    find_neighbours,
    place,
    prompt_vector,
    unit,
    write_classifier,
    write_generic,
    write_places,
    write_shard,
)
from mappool_assets_tests.small_lake import folder_bytes

PLACES = [
    place(1),
    place(1, prompt="a map of Old Place 1", prompt_kind="historic"),
    place(2),
    place(3, latitude=None, longitude=None, country=None),
    place(4, prompt="Twin", population=10),
    place(5, prompt="Twin", population=None),
]
CHECKS = [name for name in sql_files.names("checks") if "/geo_images" in name or "/place_counts" in name]


def crowd(vectors: np.ndarray) -> None:
    """Make chains of near duplicates, copies of one row, and near duplicates between two places."""
    vectors[1] = vectors[0]
    for row in range(10, 20):
        vectors[row] = unit(vectors[row - 1] + 0.08 * vectors[row])
    vectors[30:33] += 3 * prompt_vector("Twin")
    vectors[30:33] = unit(vectors[30:33])
    one, other = (prompt_vector(PLACES[query]["prompt"]) for query in (2, 3))
    vectors[34], vectors[35] = unit(one + 0.9 * other), unit(0.9 * one + other)


@pytest.fixture(scope="module")
def with_neighbours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes."""
    lake = Lake(str(tmp_path_factory.mktemp("made") / "lake"))
    write_classifier(lake)
    write_places(lake, PLACES)
    for shard in SHARDS:
        write_shard(lake, shard, change=crowd)
    find_neighbours(lake)
    return Path(lake.root)


@pytest.fixture
def lake(with_neighbours: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(with_neighbours, tmp_path / "lake")))


def make(lake: Lake, tmp_path: Path, settings: GeoSettings | None = None, **arguments) -> list[dict]:
    find_geo_images(lake, tmp_path / "scratch", settings, **arguments)
    assert list((tmp_path / "scratch").iterdir()) == [], "scratch is removed"
    return lake.read_table(TABLE).to_pylist()


def offenders(lake: Lake) -> dict[str, list[dict]]:
    found = {name: sql_files.run(lake, name).to_pylist() for name in [*CHECKS, "checks/rows_accounted"]}
    return {name: rows for name, rows in found.items() if rows}


# -- the slow, obvious way ------------------------------------------------------------------------------------


def similarity(prompt: np.ndarray, row: np.ndarray) -> np.float32:
    grid = np.rint(prompt.astype(float) * 2.0**27) / 2.0**27
    row = row.astype(float)
    return np.float32((grid @ row) / np.sqrt(row @ row))


def images_of_one_loop(lake: Lake, settings: GeoSettings, generic=(), unsafe=lambda row: None) -> list[dict]:
    rows = {(s, n): np.array(m["l14_img"]) for s in SHARDS for n, m in enumerate(maps(lake, s))}
    directions = {where: unit(row.astype(float)) for where, row in rows.items()}
    best: dict[tuple[str, int], dict] = {}
    for pair in lake.read_table("geo_subset/neighbours").to_pylist():
        prompt = PLACES[pair["query"]]
        key = (-pair["similarity"], -(prompt["population"] or -1), prompt["place_id"], pair["query"])
        found = best.get((pair["shard"], pair["row"]))
        if found is None or key < found["key"]:
            best[pair["shard"], pair["row"]] = {**pair, "key": key}
    for where, image in best.items():
        own = PLACES[image["query"]]["place_id"]
        others = [similarity(prompt_vector(p["prompt"]), rows[where]) for p in PLACES if p["place_id"] != own]
        image |= {name: PLACES[image["query"]][name] for name in ("place_id", "place", "prompt", "latitude")}
        image["place_margin"] = float(np.float32(image["similarity"]) - max(others))
        to_generic = [similarity(prompt_vector(text), rows[where]) for text in generic]
        image["generic_margin"] = float(np.float32(image["similarity"]) - max(to_generic)) if generic else None
        image["unsafe_score"] = unsafe(rows[where])
    ordered = sorted(best.values(), key=lambda image: (-image["similarity"], image["shard"], image["row"]))
    kept: list[dict] = []
    for image in ordered:
        image["dropped"], image["duplicate_of"], vector = (
            None,
            None,
            directions[image["shard"], image["row"]],
        )
        if settings.min_similarity is not None and image["similarity"] < settings.min_similarity:
            image["dropped"] = "below_min_similarity"
        elif settings.max_unsafe_score is not None and image["unsafe_score"] > settings.max_unsafe_score:
            image["dropped"] = "unsafe"
        else:
            near = [k for k in kept if vector @ directions[k["shard"], k["row"]] >= settings.duplicate_similarity]
            if near:
                image["dropped"], image["duplicate_of"] = "near_duplicate", near[0]["uid"]
            else:
                kept.append(image)
    seen: Counter = Counter()
    for image in kept:
        seen[image["place_id"], image["row"] % 4] += 1
        if settings.most_a_domain and seen[image["place_id"], image["row"] % 4] > settings.most_a_domain:
            image["dropped"] = "over_domain_quota"
    return sorted(ordered, key=lambda image: (image["place_id"], -image["similarity"], image["shard"], image["row"]))


def maps(lake: Lake, shard: str) -> list[dict]:
    return lake.read_table("mappool/shard_maps", shard).to_pylist()


COMPARED = (
    *("shard", "row", "uid", "place_id", "place", "prompt", "latitude", "rank", "similarity"),
    *("place_margin", "generic_margin", "dropped", "duplicate_of"),
)


def compared(rows: list[dict]) -> list[tuple]:
    return [tuple(row[name] for name in COMPARED) for row in rows]


# -- what comes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        GeoSettings(),
        GeoSettings(min_similarity=0.3, most_a_domain=2),
        GeoSettings(duplicate_similarity=0.6, most_a_domain=1),
        GeoSettings(min_similarity=1.0),
    ],
    ids=str,
)
def test_images_are_those_of_the_slow_obvious_way(lake: Lake, tmp_path: Path, settings: GeoSettings) -> None:
    generic = ["a map", "a photograph"]
    write_generic(lake, generic)
    rows = make(lake, tmp_path, settings)
    assert compared(rows) == compared(images_of_one_loop(lake, settings, generic))
    assert offenders(lake) == {}
    reasons = Counter(row["dropped"] for row in rows)
    made = lake.provenance(TABLE)
    assert made is not None
    assert made.rows_in == len(rows)
    assert made.rows_kept == reasons.pop(None, 0)
    assert made.rows_dropped == reasons
    assert made.measures == {"pairs": lake.read_table("geo_subset/neighbours").num_rows}


def test_the_case_is_not_a_trivial_one(lake: Lake, tmp_path: Path) -> None:
    rows = make(lake, tmp_path, GeoSettings(min_similarity=0.25, most_a_domain=2))
    assert set(Counter(row["dropped"] for row in rows)) == {
        None,
        "below_min_similarity",
        "near_duplicate",
        "over_domain_quota",
    }
    duplicates = [row for row in rows if row["duplicate_of"]]
    by_uid = {row["uid"]: row for row in rows}
    assert any(by_uid[row["duplicate_of"]]["place_id"] != row["place_id"] for row in duplicates), "across places"
    assert any(by_uid[row["duplicate_of"]]["place_id"] == row["place_id"] for row in duplicates), "within places"
    assert any(row["place_margin"] < 0 for row in rows), "nearer to a place that did not find it"


def test_each_image_has_the_metadata_of_its_row(lake: Lake, tmp_path: Path) -> None:
    names = ("uid", "url", "text", "original_width", "original_height", "sha256", "map_score")
    for row in make(lake, tmp_path):
        source = maps(lake, row["shard"])[row["row"]]
        assert [row[name] for name in names] == [source[name] for name in names]
        assert row["domain"] == f"{'abcd'[row['row'] % 4]}.example"


def test_of_places_that_share_a_prompt_the_larger_one_has_the_image_with_no_margin(lake: Lake, tmp_path: Path) -> None:
    twins = [row for row in make(lake, tmp_path) if row["prompt"] == "Twin"]
    assert twins
    assert {(row["place_id"], row["place_margin"]) for row in twins} == {("geonames:0004", 0.0)}


def test_without_generic_prompts_or_another_place_there_are_no_margins(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    write_classifier(lake)
    write_places(lake, PLACES[:2])
    write_shard(lake, SHARDS[0])
    find_neighbours(lake, shards=SHARDS[:1])
    rows = make(lake, tmp_path)
    assert {(row["place_margin"], row["generic_margin"], row["unsafe_score"]) for row in rows} == {(None, None, None)}


def test_counts_of_places_tell_what_became_of_what_they_found(lake: Lake, tmp_path: Path) -> None:
    write_places(lake, [*PLACES, place(9, prompt="nowhere")])
    find_neighbours(lake, NeighbourSettings(k=25, min_similarity=0.2))
    settings = GeoSettings(min_similarity=0.3, most_a_domain=2)
    rows = make(lake, tmp_path, settings)
    pairs = lake.read_table("geo_subset/neighbours").to_pylist()
    queries = [*PLACES, place(9, prompt="nowhere")]
    counts = {row["place_id"]: row for row in lake.read_table("geo_subset/place_counts").to_pylist()}
    assert list(counts) == sorted({row["place_id"] for row in queries})
    for place_id, count in counts.items():
        of_place = [pair for pair in pairs if queries[pair["query"]]["place_id"] == place_id]
        images = [row["dropped"] for row in rows if row["place_id"] == place_id]
        assert count["prompts"] == sum(row["place_id"] == place_id for row in queries)
        assert count["requested"] == 25 * count["prompts"]
        assert count["pairs"] == len(of_place)
        assert count["retrieved"] == len({(pair["shard"], pair["row"]) for pair in of_place})
        assert count["best_here"] == len(images)
        assert count["eligible"] == len(images) - images.count("below_min_similarity")
        assert count["after_duplicates"] == count["eligible"] - images.count("near_duplicate")
        assert count["returned"] == images.count(None)
    assert counts["geonames:0005"]["best_here"] == 0 < counts["geonames:0005"]["retrieved"]
    assert offenders(lake) == {}


def test_prompts_that_found_nothing_give_an_empty_table(lake: Lake, tmp_path: Path) -> None:
    find_neighbours(lake, NeighbourSettings(k=25, min_similarity=1.0))
    assert make(lake, tmp_path) == []
    counts = lake.read_table("geo_subset/place_counts").to_pylist()
    assert {(row["requested"], row["retrieved"], row["returned"]) for row in counts} == {(25, 0, 0), (50, 0, 0)}
    assert offenders(lake) == {}


# -- safety ---------------------------------------------------------------------------------------------------


def write_head(path: Path, weight=None, *, bias=0.5, encoder_id=ENCODER) -> Path:
    from safetensors.numpy import save_file

    weight = np.linspace(-2, 2, DIMENSION, dtype=np.float32) if weight is None else weight
    metadata = {"encoder_id": encoder_id} if encoder_id else None
    save_file({"weight": weight, "bias": np.array([bias], np.float32)}, path, metadata)
    return path


def test_a_safety_head_gives_scores_and_keeps_out_what_is_over_the_most(lake: Lake, tmp_path: Path) -> None:
    head = write_head(tmp_path / "head.safetensors")

    def unsafe(row: np.ndarray) -> float:
        direction = row.astype(float) / np.linalg.norm(row.astype(float))
        return 1 / (1 + np.exp(-(np.linspace(-2, 2, DIMENSION) @ direction + 0.5)))

    scored = make(lake, tmp_path, safety_head=head)
    expected = images_of_one_loop(lake, GeoSettings(), unsafe=unsafe)
    assert compared(scored) == compared(expected)
    assert [row["unsafe_score"] for row in scored] == pytest.approx([row["unsafe_score"] for row in expected], abs=1e-6)

    settings = GeoSettings(max_unsafe_score=0.5)
    rows = make(lake, tmp_path, settings, safety_head=head)
    assert compared(rows) == compared(images_of_one_loop(lake, settings, unsafe=unsafe))
    assert "unsafe" in {row["dropped"] for row in rows}
    assert offenders(lake) == {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: write_head(path, encoder_id="other/encoder"),
            "metadata encoder_id tiny/seed0; got other/encoder",
        ),
        (lambda path: write_head(path, encoder_id=None), "got None"),
        (lambda path: write_head(path, np.zeros(5, np.float32)), "16 finite weights and a bias; got 5 weights"),
        (lambda path: write_head(path, np.full(DIMENSION, np.nan, np.float32)), "not finite"),
        (lambda path: path.write_bytes(b"no tensors"), "SafetensorError"),
        (lambda path: None, "FileNotFoundError"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(lake: Lake, tmp_path: Path, damage, message: str) -> None:
    damage(tmp_path / "head.safetensors")
    with pytest.raises(BadModel, match=message):
        find_geo_images(lake, tmp_path / "scratch", safety_head=tmp_path / "head.safetensors")
    assert not lake.partitions(TABLE)


# -- made once, and from what belongs together ----------------------------------------------------------------


def test_the_same_gives_the_same_bytes_and_is_not_made_again(lake: Lake, tmp_path: Path, monkeypatch) -> None:
    make(lake, tmp_path)
    before = folder_bytes(Path(lake.root))
    written = (Path(lake.root) / f"{TABLE}/all.parquet").stat().st_mtime_ns
    make(lake, tmp_path)
    assert (Path(lake.root) / f"{TABLE}/all.parquet").stat().st_mtime_ns == written
    monkeypatch.setattr(found_images, "ROWS_AT_A_TIME", 7)
    make(lake, tmp_path, force=True)
    assert (Path(lake.root) / f"{TABLE}/all.parquet").stat().st_mtime_ns > written
    assert folder_bytes(Path(lake.root)) == before, "whatever the size of the blocks"


def test_counts_are_made_where_a_run_ended_before_them(lake: Lake, tmp_path: Path) -> None:
    make(lake, tmp_path)
    before = folder_bytes(Path(lake.root))
    lake.delete("geo_subset/place_counts/all.parquet")
    make(lake, tmp_path)
    assert folder_bytes(Path(lake.root)) == before


def test_other_settings_or_generic_prompts_make_it_again(lake: Lake, tmp_path: Path) -> None:
    seen = set()
    for settings in (GeoSettings(), GeoSettings(most_a_domain=3), GeoSettings(duplicate_similarity=0.9)):
        seen.add(find_geo_images(lake, tmp_path / "scratch", settings).fingerprint)
    for texts in (["a map"], ["a photograph"]):
        write_generic(lake, texts)
        seen.add(find_geo_images(lake, tmp_path / "scratch").fingerprint)
    assert len(seen) == 5


def test_maps_filtered_since_are_refused(lake: Lake, tmp_path: Path) -> None:
    write_shard(lake, SHARDS[1], revision=2)
    with pytest.raises(SourceChanged, match=rf"{SHARDS[1]}.*Materialise geo_subset/neighbours again"):
        find_geo_images(lake, tmp_path / "scratch")
    assert not lake.partitions(TABLE)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_prompts_written_since_are_refused(lake: Lake, tmp_path: Path) -> None:
    write_places(lake, PLACES[:3])
    with pytest.raises(SourceChanged, match="not those whose neighbours were found"):
        find_geo_images(lake, tmp_path / "scratch")


def test_neighbours_written_meanwhile_are_noticed(lake: Lake) -> None:
    before = lake.provenance("geo_subset/neighbours")
    assert before is not None
    check_unchanged(lake, before)
    find_neighbours(lake, NeighbourSettings(k=7))
    with pytest.raises(SourceChanged, match="written anew while images were chosen"):
        check_unchanged(lake, before)


def test_generic_prompts_of_another_encoder_are_refused(lake: Lake, tmp_path: Path) -> None:
    write_generic(lake, ["a map"], encoder_id="other/encoder")
    with pytest.raises(BadModel, match="tiny/seed0; got other/encoder"):
        find_geo_images(lake, tmp_path / "scratch")


def test_without_neighbours_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"Materialise geo_subset/neighbours first"):
        find_geo_images(Lake(str(tmp_path / "lake")), tmp_path / "scratch")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duplicate_similarity", 1.01),
        ("duplicate_similarity", float("nan")),
        ("min_similarity", -2.0),
        ("max_unsafe_score", 1.5),
        ("most_a_domain", 0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadSetting, match=name):
        dataclasses.replace(GeoSettings(), **{name: value})


def test_a_most_unsafe_score_needs_a_head(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="a safety head beside it"):
        find_geo_images(lake, tmp_path / "scratch", GeoSettings(max_unsafe_score=0.5))


# -- the best prompts of other places -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_best_prompts_are_those_of_all_products(seed: int) -> None:
    random = np.random.default_rng(seed)
    prompts = unit(random.standard_normal((2500, 24))).astype(np.float32)
    places = random.integers(0, 40, len(prompts)).astype(np.int32)
    rows = (0.99 * unit(random.standard_normal((150, 24)))).astype(np.float16)
    own = random.integers(-1, 40, len(rows)).astype(np.int32)
    expected = [
        max(similarity(prompt, row) for prompt, of in zip(prompts, places, strict=True) if of != o)
        for row, o in itertools.islice(zip(rows, own, strict=True), 20)
    ]
    found = BestPrompts(prompts, places).similarities(rows, own)
    assert found[:20].tolist() == [float(value) for value in expected]
    assert (BestPrompts(prompts, places).similarities(rows, np.full_like(own, NO_PLACE)) >= found).all()


def test_an_image_of_the_only_place_has_no_other() -> None:
    prompts = unit(np.ones((2, 4))).astype(np.float32)
    found = BestPrompts(prompts, np.zeros(2, np.int32)).similarities(np.ones((1, 4), np.float16), np.zeros(1, np.int32))
    assert found.tolist() == [-np.inf]
