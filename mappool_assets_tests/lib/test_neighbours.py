import dataclasses
import functools
import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib.classifier_store import store_classifier
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.errors import BadFilter, BadModel, BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.retrieval import merged_neighbours, neighbour_merge, neighbours
from mappool_assets.lib.retrieval.merged_neighbours import FloorTooHigh, merge_neighbours
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets.lib.retrieval.neighbour_tasks import (
    QUERIES,
    SHARD_MAPS,
    SHARD_NEIGHBOURS,
    NeighbourSettings,
    neighbour_tasks,
)
from mappool_assets.lib.retrieval.neighbours import find_shard_neighbours
from mappool_assets.lib.retrieval.similarity_floors import SimilarityCounts, no_floors, read_floors, store_floors
from mappool_assets.lib.shard_filter import output_schema
from mappool_assets.lib.sql_files import run
from mappool_assets.lib.vectors import as_vectors
from mappool_assets_tests.small_lake import folder_bytes

DIMENSION, ENCODER = 16, "tiny/seed0"
SETTINGS = NeighbourSettings(k=12)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def key(number):
    return f"{number * 2654435761 % 2**32:08x}{number:024x}"  # not in the order of the numbers


@functools.cache
def classifier(threshold=0.0):
    arrays = {"coefficients": np.ones(DIMENSION), "intercept": np.zeros(1)}
    return MapClassifier(LOGISTIC_REGRESSION, arrays, encoder_id=ENCODER, training_set_id="t", threshold=threshold)


def write_queries(lake, queries=7, *, encoder_id=ENCODER, dimension=DIMENSION, seed=0):
    random = np.random.default_rng([seed, 1])
    vectors = unit(random.standard_normal((queries, dimension))).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
    table = pa.table({"prompt": [f"map of {number}" for number in range(queries)], "vector": column})
    lake.write_table(QUERIES, table, Provenance({"encoder_id": encoder_id, "seed": seed}, queries, queries))


def write_shard(lake, number, rows=40, *, revision=1, change=lambda vectors: None, classifier_id=None):
    random = np.random.default_rng([number, 2])
    vectors = unit(random.standard_normal((40, DIMENSION))).astype(np.float16)[:rows]
    change(vectors)
    columns = {
        "uid": [f"{key(number)[:8]}{row:024x}" for row in range(rows)],
        "url": [f"https://{'ab'[row % 2]}.example/{row}.png" for row in range(rows)],
        "text": ["a map"] * rows,
        "original_width": [500 + 10 * row for row in range(rows)],
        "original_height": [700] * rows,
        "sha256": ["0" * 64] * rows,
        "l14_img": as_vectors(vectors),
        "l14_txt": as_vectors(vectors),
        "clip_l14_similarity_score": np.full(rows, 0.3, np.float32),
        "map_score": np.full(rows, 0.5, np.float32),
    }
    table = pa.table(columns, schema=output_schema(DIMENSION))
    inputs = {"classifier_id": classifier_id or classifier().classifier_id, "revision": revision}
    with lake.table_writer(SHARD_MAPS, table.schema, key(number)) as writer:
        for start in range(0, max(rows, 1), 15):
            writer.write(table.slice(start, 15))
        writer.provenance = Provenance(inputs, rows, rows)


@pytest.fixture
def lake(tmp_path):
    """A lake of five shards of 40 rows and seven prompts."""
    lake = Lake(str(tmp_path / "lake"))
    store_classifier(lake, ClassifierRecord(classifier(), (), {}))
    write_queries(lake)
    for number in range(5):
        write_shard(lake, number)
    return lake


def tasks_of(lake, numbers, settings=SETTINGS):
    return neighbour_tasks(lake, [key(number) for number in numbers], settings)


def find(lake, numbers, settings=SETTINGS, *, workers=1, force=False):
    outcomes = list(find_shard_neighbours(tasks_of(lake, numbers, settings), workers=workers, force=force))
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    return {outcome.task.key: outcome.result for outcome in outcomes}


def found_anew(reports):
    return sorted(shard for shard, report in reports.items() if not report.is_reused)


def merge(lake, numbers, settings=SETTINGS):
    return merge_neighbours(tasks_of(lake, numbers, settings))


def pairs_of_one_sort(lake, numbers, settings=SETTINGS, is_wanted=lambda row: True):
    """The slow, obvious way: all rows of all shards, each prompt's similarities sorted."""
    queries = np.array(lake.read_table(QUERIES)["vector"].to_pylist(), np.float32).astype(float)
    queries = np.rint(queries * 2.0**27) / 2.0**27
    least = -np.inf if settings.min_similarity is None else np.float32(settings.min_similarity)
    rows = []
    for shard in sorted(map(key, numbers)):
        for number, row in enumerate(lake.read_table(SHARD_MAPS, shard).to_pylist()):
            vector = np.array(row["l14_img"], float)
            if is_wanted(row) and np.isfinite(vector).all() and vector.any():
                rows.append((shard, number, row["uid"], vector))
    best = []
    for query, text in enumerate(queries):
        similar = [
            (-float(np.float32((text @ vector) / np.sqrt(vector @ vector))), shard, number, uid)
            for shard, number, uid, vector in rows
        ]
        similar = [pair for pair in sorted(similar) if -pair[0] >= least][: settings.k]
        best += [(query, shard, number, uid, -s, rank) for rank, (s, shard, number, uid) in enumerate(similar, 1)]
    return best


def merged_rows(lake):
    return list(zip(*lake.read_table(NEIGHBOURS).to_pydict().values(), strict=True))


@pytest.mark.parametrize(
    ("settings", "is_wanted"),
    [
        (SETTINGS, lambda row: True),
        (NeighbourSettings(k=1), lambda row: True),
        (NeighbourSettings(k=90), lambda row: True),  # more than a shard has
        (NeighbourSettings(k=1000), lambda row: True),  # more than there are
        (NeighbourSettings(k=15, min_similarity=0.35), lambda row: True),
        (NeighbourSettings(k=15, min_similarity=1.0), lambda row: True),
        (NeighbourSettings(k=15, row_filter="width >= 700"), lambda row: row["original_width"] >= 700),
        (NeighbourSettings(k=15, row_filter="domain = 'b.example'"), lambda row: "//b." in row["url"]),
        (NeighbourSettings(k=15, row_filter="width < 0"), lambda row: False),
    ],
)
def test_the_neighbours_are_those_of_one_sort_of_all_rows(lake, settings, is_wanted):
    find(lake, range(5), settings)
    merge(lake, range(5), settings)
    assert merged_rows(lake) == pairs_of_one_sort(lake, range(5), settings, is_wanted)
    table = lake.read_table(NEIGHBOURS)
    assert table.schema.names == ["query", "shard", "row", "uid", "similarity", "rank"]
    assert table.schema.types == [pa.int32(), pa.string(), pa.int32(), pa.string(), pa.float32(), pa.int32()]


def test_a_shard_holds_its_own_nearest_rows_in_order(lake):
    find(lake, [3])
    merge(lake, [3])
    partial = lake.read_table(SHARD_NEIGHBOURS, key(3))
    assert partial.schema.names == ["query", "row", "uid", "similarity"]
    assert partial.to_pylist() == lake.read_table(NEIGHBOURS).select(partial.schema.names).to_pylist()


def test_every_pair_is_accounted_for_in_shards_and_merged(lake):
    def damage(vectors):
        vectors[4], vectors[5, 0], vectors[6] = 0, np.nan, np.inf

    write_shard(lake, 1, change=damage)
    write_shard(lake, 2, rows=0)
    settings = NeighbourSettings(k=12, min_similarity=0.35, row_filter="width >= 530")  # the first three rows fail it
    reports = find(lake, range(5), settings)
    merged = merge(lake, range(5), settings)
    for table in (SHARD_NEIGHBOURS, NEIGHBOURS):
        assert run(lake, "checks/rows_accounted", table=table).num_rows == 0
    damaged = reports[key(1)]
    assert damaged.rows_in == 7 * 40
    unsound = {"filtered": 7 * 3, "embedding_not_finite": 7 * 2, "embedding_zero": 7}
    assert {reason: damaged.rows_dropped[reason] for reason in unsound} == unsound
    assert damaged.rows_kept + sum(damaged.rows_dropped.values()) == damaged.rows_in
    assert reports[key(2)].rows_in == 0
    assert merged.rows_in == 7 * 160
    similar = pairs_of_one_sort(
        lake, range(5), dataclasses.replace(settings, k=1000), lambda row: row["original_width"] >= 530
    )
    kept = len(pairs_of_one_sort(lake, range(5), settings, lambda row: row["original_width"] >= 530))
    counts = np.bincount([query for query, *_ in similar], minlength=7)
    compared = 4 * 37 - 3
    assert (counts > 12).any()
    assert (counts < 12).any()
    assert merged.rows_kept == kept
    assert merged.rows_dropped == {
        "filtered": 7 * 12,
        "embedding_not_finite": 14,
        "embedding_zero": 7,
        "outranked": int((compared - 12) * (counts >= 12).sum()),
        "below_min_similarity": int((compared - counts)[counts < 12].sum()),
    }


def test_copies_are_ranked_by_shard_then_row(lake):
    def copy(vectors):
        vectors[:] = unit(np.arange(1, DIMENSION + 1)).astype(np.float16)

    for number in range(3):
        write_shard(lake, number, rows=5, change=copy)
    find(lake, range(3))
    merge(lake, range(3))
    first = [row[1:3] for row in merged_rows(lake) if row[0] == 0]
    assert first == list(itertools.product(sorted(map(key, range(3))), range(5)))[:12]


# -- what is done is not done again --------------------------------------------------------------------------------


def test_only_what_changed_is_found_again(lake):
    assert found_anew(find(lake, range(5))) == sorted(map(key, range(5)))
    before = folder_bytes(Path(lake.root))
    reports = find(lake, range(5))
    assert found_anew(reports) == []
    assert folder_bytes(Path(lake.root)) == before
    made = lake.provenance(SHARD_NEIGHBOURS, key(0))
    assert (reports[key(0)].rows_kept, reports[key(0)].fingerprint) == (made.rows_kept, made.fingerprint)
    write_shard(lake, 2, revision=2)
    assert found_anew(find(lake, range(5))) == [key(2)]
    assert len(found_anew(find(lake, range(5), force=True))) == 5
    same_filter = NeighbourSettings(k=12, row_filter="WIDTH>=600")
    assert len(found_anew(find(lake, range(5), same_filter))) == 5
    assert found_anew(find(lake, range(5), NeighbourSettings(k=12, row_filter="original_width >= 600"))) == []
    for settings in (NeighbourSettings(k=13), NeighbourSettings(k=12, min_similarity=0.1), SETTINGS):
        assert len(found_anew(find(lake, range(5), settings))) == 5
    write_queries(lake, seed=1)
    assert len(found_anew(find(lake, range(5)))) == 5


def test_merging_new_shards_gives_the_bytes_of_merging_all(lake, tmp_path):
    for number in range(5, 45):
        write_shard(lake, number)
    shutil.copytree(lake.root, tmp_path / "other")
    other = Lake(str(tmp_path / "other"))
    find(other, range(45), workers=1)
    whole = merge(other, range(45))
    assert merged_rows(other) == pairs_of_one_sort(other, range(45))

    for end in (3, 4, 30, 45):
        find(lake, range(end))
        step = merge(lake, range(end))
    assert step == whole
    path = lake.table_path(NEIGHBOURS)
    assert lake.read_bytes(path) == other.read_bytes(path)
    assert merge(lake, range(45)) == whole  # nothing to do


def test_a_changed_or_missing_shard_is_merged_anew(lake):
    find(lake, range(5))
    merge(lake, range(5))
    write_shard(lake, 1, revision=2, change=lambda vectors: np.negative(vectors, out=vectors))
    with pytest.raises(MissingInput, match=rf"none for 1 of 5 shards: {key(1)}"):
        merge(lake, range(5))
    find(lake, range(5), force=True)
    merge(lake, range(5))
    assert merged_rows(lake) == pairs_of_one_sort(lake, range(5))
    merge(lake, [0, 2, 4])
    assert merged_rows(lake) == pairs_of_one_sort(lake, [0, 2, 4])
    with pytest.raises(MissingInput, match="none for 1 of 2 shards"):
        merge(lake, [0, 77])
    with pytest.raises(MissingInput, match="one shard at least"):
        merge_neighbours([])


def test_ranges_of_prompts_and_groups_of_shards_change_nothing(lake, monkeypatch):
    find(lake, range(5))
    merge(lake, range(3))
    merge(lake, range(5))
    expected = merged_rows(lake)
    monkeypatch.setattr(neighbour_merge, "PAIRS_AT_A_TIME", 30)  # two prompts
    monkeypatch.setattr(neighbour_merge, "BATCH_ROWS", 10)
    for first in ([0], [0, 1, 2, 3], range(5)):  # from nothing, then with what was merged
        merge(lake, first)
    assert merged_rows(lake) == expected
    with lake.open_table(NEIGHBOURS) as file:
        assert file.num_row_groups == 4


def test_two_workers_write_what_one_writes(lake, tmp_path):
    shutil.copytree(lake.root, tmp_path / "other")
    other = Lake(str(tmp_path / "other"))
    find(lake, range(5), workers=2)
    find(other, range(5), workers=1)
    for number in range(5):
        path = lake.table_path(SHARD_NEIGHBOURS, key(number))
        assert lake.read_bytes(path) == other.read_bytes(path)


# -- floors --------------------------------------------------------------------------------------------------------


def test_later_shards_keep_few_pairs_and_the_neighbours_are_the_same(lake):
    numbers = range(60)
    for number in numbers:
        write_shard(lake, number)
    reports = find(lake, numbers)
    kept = [reports[key(number)].rows_kept for number in numbers]
    assert kept[:16] == [7 * 12] * 16
    assert max(kept[16:]) < 7 * 12 / 2
    assert sum(kept[32:]) < 7 * 12 * 3  # as many shards as before them: about 7 × 12 pairs get in
    assert "below_floor" in reports[key(40)].rows_dropped
    merge(lake, numbers)
    assert merged_rows(lake) == pairs_of_one_sort(lake, numbers)
    assert "below_floor" not in lake.provenance(NEIGHBOURS).rows_dropped


def test_shards_added_later_have_the_floors_of_what_was_merged(lake):
    for number in range(5, 40):
        write_shard(lake, number)
    find(lake, range(39))
    merge(lake, range(39))
    reports = find(lake, range(40))
    assert found_anew(reports) == [key(39)]
    assert reports[key(39)].rows_kept < 10
    merge(lake, range(40))
    assert merged_rows(lake) == pairs_of_one_sort(lake, range(40))


def test_a_run_that_was_stopped_goes_on_with_the_floors_it_had(lake):
    for number in range(5, 40):
        write_shard(lake, number)
    tasks = tasks_of(lake, range(40))
    for _ in itertools.islice(find_shard_neighbours(tasks, workers=1), 33):
        pass
    reports = find(lake, range(40))
    assert len(found_anew(reports)) == 40 - 33
    assert max(reports[key(number)].rows_kept for number in range(33, 40)) < 7 * 12 / 2
    merge(lake, range(40))
    assert merged_rows(lake) == pairs_of_one_sort(lake, range(40))


def test_floors_that_a_changed_shard_no_longer_bears_out_are_refused_until_found_anew(lake):
    for number in range(5, 40):
        write_shard(lake, number)
    find(lake, range(40))
    merge(lake, range(40))
    for number in range(16):  # those that the others' floors come of lose nearly all their rows
        write_shard(lake, number, rows=2, revision=2)
    find(lake, range(40))
    with pytest.raises(FloorTooHigh, match=r"with 40 shards: .*forced"):
        merge(lake, range(40))
    find(lake, range(40), force=True)
    merge(lake, range(40))
    assert merged_rows(lake) == pairs_of_one_sort(lake, range(40))


@pytest.mark.parametrize("rows", [1, None])
def test_shards_whose_floors_are_not_borne_out_are_found_again_and_no_others(lake, rows):
    for number in range(5, 20):
        write_shard(lake, number)
    find(lake, range(20))
    merge(lake, range(20))
    left = range(20) if rows else range(6, 20)
    for number in range(6):
        if rows:
            write_shard(lake, number, rows=rows, revision=2)
        else:
            lake.delete(lake.table_path(SHARD_MAPS, key(number)))
    find(lake, left)
    again = []

    def find_again(tasks):
        again.extend(task.key for task in tasks)
        assert all(outcome.error is None for outcome in find_shard_neighbours(tasks, workers=1, force=True))

    made = neighbours.merge_or_find_again(tasks_of(lake, left), find_again)
    assert set(again) == {key(number) for number in (*range(6), *range(16, 20)) if number in left}
    assert merged_rows(lake) == pairs_of_one_sort(lake, left)
    assert made.rows_in == made.rows_kept + sum(made.rows_dropped.values())
    again.clear()
    assert neighbours.merge_or_find_again(tasks_of(lake, left), find_again) == made
    assert again == []


def test_floors_of_what_was_merged_are_not_used_once_one_of_its_shards_changed(lake):
    find(lake, range(4))
    merge(lake, range(4))
    task = tasks_of(lake, [4])[0]
    assert np.isfinite(merged_neighbours.merged_floors(task, 7)).all()
    other_k = dataclasses.replace(task, settings=NeighbourSettings(k=3))
    assert np.isneginf(merged_neighbours.merged_floors(other_k, 7)).all()
    write_shard(lake, 0, revision=2)
    assert np.isneginf(merged_neighbours.merged_floors(task, 7)).all()


def test_floors_are_reached_by_k_of_the_pairs_that_were_counted(tmp_path):
    random = np.random.default_rng(4)
    query = random.integers(0, 3, 5000).astype(np.int32)
    similarity = random.normal(0.2, 0.03, 5000).astype(np.float32)
    similarity[:6] = [1, -1, 1.0000001, -1.0000001, 0, -0.0]
    counts = SimilarityCounts(4)
    for half in (slice(0, 2000), slice(2000, None)):
        counts.add(query[half], similarity[half])
    for k in (1, 100, 1500, 5000):
        for number, floor in enumerate(counts.floors(k)):
            ordered = np.sort(similarity[query == number])[::-1]
            if len(ordered) < k:
                assert floor == -np.inf
            else:
                assert floor <= ordered[k - 1] < max(floor, -1) + 0.00101
    lake = Lake(str(tmp_path))
    floors = counts.floors(100)
    floors_id = store_floors(lake, floors)
    assert store_floors(lake, floors) == floors_id
    assert store_floors(lake, no_floors(4)) is None
    np.testing.assert_array_equal(read_floors(lake, [None, floors_id], 4), floors)
    higher = store_floors(lake, np.array([0, 0, 0, 0.5], np.float32))
    np.testing.assert_array_equal(read_floors(lake, [floors_id, higher], 4), [*floors[:3], 0.5])


# -- bad input -----------------------------------------------------------------------------------------------------


def test_prompts_of_another_encoder_are_refused(lake):
    write_queries(lake, encoder_id="other/seed0")
    with pytest.raises(BadModel, match=r"expected tiny/seed0.*got other/seed0"):
        tasks_of(lake, [0])
    lake.write_table(QUERIES, pa.table({"prompt": ["a"]}), Provenance({}, 1, 1))
    with pytest.raises(BadModel, match="no encoder_id"):
        tasks_of(lake, [0])


def test_without_prompts_or_classifier_there_are_no_tasks(lake, tmp_path):
    with pytest.raises(MissingInput, match="There are no prompts"):
        tasks_of(Lake(str(tmp_path / "empty")), [0])
    write_queries(lake, 0)
    with pytest.raises(MissingInput, match="There are no prompts"):
        tasks_of(lake, [0])
    lake.delete("mappool/classifier/classifier.json")
    write_queries(lake)
    with pytest.raises(MissingInput, match="mappool/classifier"):
        tasks_of(lake, [0])


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda lake: write_shard(lake, 1, classifier_id="older"), BadModel, "filtered by another classifier"),
        (lambda lake: lake.delete(lake.table_path(SHARD_MAPS, key(1))), MissingInput, "has no maps"),
        (lambda lake: lake.write_table(SHARD_MAPS, pa.table({"uid": ["a"], "l14_img": [1.0]}),
            Provenance({"classifier_id": classifier().classifier_id}, 1, 1), key(1)), BadModel, "width 16"),
    ],
)  # fmt: skip
def test_a_shard_that_cannot_be_searched_fails_alone(lake, change, kind, message):
    change(lake)
    outcomes = {outcome.task.key: outcome for outcome in find_shard_neighbours(tasks_of(lake, range(3)), workers=1)}
    assert isinstance(outcomes[key(1)].error, kind)
    assert message in str(outcomes[key(1)].error)
    assert key(1) in str(outcomes[key(1)].task)
    assert outcomes[key(0)].error is None
    assert lake.partitions(SHARD_NEIGHBOURS) == sorted([key(0), key(2)])


def test_a_null_vector_fails_the_shard(lake):
    rows, made = lake.read_table(SHARD_MAPS, key(1)), lake.provenance(SHARD_MAPS, key(1))
    place = rows.schema.get_field_index("l14_img")
    field = rows.schema.field(place).with_nullable(True)
    vectors = rows["l14_img"].to_pylist()
    rows = rows.set_column(place, field, pa.array([*vectors[:3], None, *vectors[4:]], field.type))
    lake.write_table(SHARD_MAPS, rows, made, key(1))
    outcomes = {outcome.task.key: outcome.error for outcome in find_shard_neighbours(tasks_of(lake, [0, 1]), workers=1)}
    assert outcomes[key(0)] is None
    assert isinstance(outcomes[key(1)], BadShard)
    assert "1 nulls" in str(outcomes[key(1)])


def test_a_filter_on_a_column_that_is_not_there_fails_the_shard(lake):
    (outcome,) = find_shard_neighbours(tasks_of(lake, [0], NeighbourSettings(row_filter="language = 'en'")), workers=1)
    assert isinstance(outcome.error, BadFilter)


def test_tables_written_anew_meanwhile_are_noticed(lake):
    for change in (lambda: write_queries(lake, seed=5), lambda: write_shard(lake, 0, revision=2)):
        tasks = tasks_of(lake, [0])
        change()
        (outcome,) = find_shard_neighbours(tasks, workers=1)
        assert isinstance(outcome.error, SourceChanged)
    assert lake.partitions(SHARD_NEIGHBOURS) == []


@pytest.mark.parametrize(
    "settings",
    [{"k": 0}, {"k": 10**7}, {"min_similarity": 1.5}, {"min_similarity": float("nan")}, {"row_filter": "width > "}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadSetting):
        NeighbourSettings(**settings)


def test_no_tasks_no_outcomes():
    assert list(find_shard_neighbours([], workers=2)) == []
    assert neighbours.FIRST_WAVE == 16  # what the tests of floors count on
