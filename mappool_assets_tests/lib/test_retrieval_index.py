import dataclasses
import json
import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval import image_index, index_checks, index_figures
from mappool_assets.lib.retrieval.index_checks import ListDrift, alignment_faults, count_faults, damaged_files
from mappool_assets.lib.retrieval.index_ledger import (
    FOLDER,
    INDEX_SHARDS,
    PENDING_SHARDS,
    BadIndex,
    read_ledger,
    write_ledger,
)
from mappool_assets.lib.retrieval.inverted_lists import ListWriter, ShardLists, StackedLists, imbalance_factor
from mappool_assets.lib.retrieval.kmeans import nearest_centroids, train_centroids
from mappool_assets.lib.retrieval.open_index import stale_shards
from mappool_assets.lib.retrieval.quantiser import MOST_LISTS, number_of_lists, train_quantiser
from mappool_assets.lib.retrieval.quantiser_store import quantiser_paths, read_figures, read_quantiser
from mappool_assets.lib.retrieval.row_file import file_sha256
from mappool_assets.lib.vectors import as_vectors
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_index import (
    DIMENSION,
    ENCODER,
    build,
    by_shard,
    files,
    found_ids,
    images,
    opened,
    texts,
    write_shard,
)
from mappool_assets_tests.small_lake import folder_bytes, shard_key

ROWS = 600  # of each of four shards


@pytest.fixture(scope="module", autouse=True)
def _small_indexes():
    """Train quantisers for as few rows as the lakes here have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_index, "LEAST_INDEXED_ROWS", 2_000)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lake of four shards and its index; not to be changed."""
    lake = Lake(str(tmp_path_factory.mktemp("index") / "lake"))
    for number in range(4):
        write_shard(lake, number, ROWS)
    build(lake)
    return lake


@pytest.fixture
def lake(built, tmp_path):
    """A copy of that lake."""
    shutil.copytree(built.root, tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


# -- what a build makes ------------------------------------------------------------------------------------------


def test_each_shard_has_a_file_of_lists_and_one_of_rows_and_the_ledger_names_them(built):
    entries = read_ledger(built)
    assert [entry.shard for entry in entries] == sorted(entry.shard for entry in entries)
    assert [entry.ordinal for entry in entries] == [0, 1, 2, 3]
    assert [entry.first_position for entry in entries] == [0, ROWS, 2 * ROWS, 3 * ROWS]
    quantiser_id = entries[0].quantiser_id
    named = {Path(path).name for entry in entries for path in entry.paths}
    named |= {Path(path).name for path in quantiser_paths(quantiser_id)}
    assert set(files(built)) == named
    for entry in entries:
        made = built.provenance("mappool/shard_maps", entry.shard)
        assert (entry.rows, entry.rows_indexed, entry.fingerprint) == (ROWS, ROWS, made.fingerprint)
        assert entry.encoder_id == ENCODER
        for path, size, sha256 in (
            (entry.index_path, entry.bytes, entry.sha256),
            (entry.rows_path, entry.rows_bytes, entry.rows_sha256),
        ):
            file = Path(built.root) / path
            assert (file.stat().st_size, file_sha256(file)) == (size, sha256)


def test_the_rows_are_those_of_the_maps_bit_for_bit(built):
    for entry in read_ledger(built):
        rows = np.load(Path(built.root) / entry.rows_path, mmap_mode="r")
        maps = built.read_table("mappool/shard_maps", entry.shard, ["l14_img"])["l14_img"].combine_chunks()
        assert rows.dtype == np.float16
        assert np.array_equal(rows, maps.flatten().to_numpy().reshape(ROWS, DIMENSION))


def test_codes_are_small_and_centroids_are_in_the_quantiser_alone(built):
    entry = read_ledger(built)[0]
    quantiser = read_quantiser(built, entry.quantiser_id)
    assert quantiser.centroids.shape == (number_of_lists(4 * ROWS), DIMENSION)
    code = DIMENSION // 8 + 8 + 8  # a bit a dimension, two factors, position
    assert entry.bytes < ROWS * code + 16 * quantiser.lists + 1000


def test_the_same_maps_give_the_same_bytes_on_any_number_of_threads(built, tmp_path):
    threads = faiss.omp_get_max_threads()
    other = Lake(str(tmp_path / "other"))
    shutil.copytree(Path(built.root) / "mappool", Path(other.root) / "mappool")
    try:
        for number in (1, 3):
            shutil.rmtree(Path(other.root) / "geo_subset", ignore_errors=True)
            faiss.omp_set_num_threads(number)
            with threadpool_limits(number):
                build(other)
            assert folder_bytes(Path(other.root) / "geo_subset") == folder_bytes(Path(built.root) / "geo_subset")
    finally:
        faiss.omp_set_num_threads(threads)


def test_parameters_reach_the_recall_that_is_aimed_at_and_are_stored_with_the_quantiser(built):
    quantiser_id = read_ledger(built)[0].quantiser_id
    figures = read_figures(built, quantiser_id)
    assert [entry.k for entry in figures.calibrated] == [10]
    assert figures.rows == 4 * ROWS
    for entry in figures.calibrated:
        assert min(entry.image_recall, entry.text_recall) > 0.95
        assert entry.depth >= entry.k
    lists = [entry.lists for entry in figures.calibrated]
    assert lists == sorted(lists)
    assert lists[-1] <= number_of_lists(4 * ROWS)


def test_progress_is_told(lake):
    write_shard(lake, 9, 50)
    told = []
    build(lake, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 1), (1, 1)]


# -- what changes later ------------------------------------------------------------------------------------------


def test_nothing_is_written_where_nothing_changed(lake):
    before, ledger = files(lake), lake.read_bytes(lake.table_path(INDEX_SHARDS))
    report = build(lake)
    assert (report.built, report.removed, report.failed, report.is_retrained) == ([], [], {}, False)
    assert files(lake) == before
    assert lake.read_bytes(lake.table_path(INDEX_SHARDS)) == ledger
    assert report.rows == 4 * ROWS


def test_a_further_shard_touches_no_other_file(lake):
    before, entries = files(lake), by_shard(lake)
    shard, vectors = write_shard(lake, 20, 700)
    report = build(lake)
    assert report.built == [shard]
    after = files(lake)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    new = by_shard(lake)
    assert {key: new[key] for key in entries} == entries
    assert (new[shard].ordinal, new[shard].first_position) == (4, 4 * ROWS)  # though it sorts between the others
    nearest = opened(lake).search(vectors[[5]].astype(np.float32), 1)[0]
    assert nearest.ids.tolist() == [4 * 2**32 + 5]


def test_a_shard_that_was_filtered_again_is_replaced_alone_and_keeps_its_ordinal(lake):
    before, entries = files(lake), by_shard(lake)
    shard, vectors = write_shard(lake, 2, 900, draw=50)
    assert stale_shards(lake, list(entries.values())) == [shard]
    report = build(lake)
    assert report.built == [shard]
    entry = by_shard(lake)[shard]
    assert (entry.ordinal, entry.first_position, entry.rows) == (entries[shard].ordinal, 4 * ROWS, 900)
    gone = {Path(path).name for path in entries[shard].paths}
    after = files(lake)
    assert not gone & set(after)
    assert {name: after[name] for name in set(before) - gone} == {name: before[name] for name in set(before) - gone}
    nearest = opened(lake).search(vectors[[7]].astype(np.float32), 1)[0]
    assert nearest.ids.tolist() == [entry.ordinal * 2**32 + 7]


def test_a_removed_shard_leaves_its_ordinal_to_nobody_and_gets_it_back(lake):
    entries = by_shard(lake)
    shard = shard_key("1", 1)
    maps = Path(lake.root) / lake.table_path("mappool/shard_maps", shard)
    content = maps.read_bytes()
    maps.unlink()
    assert build(lake).removed == [shard]
    assert by_shard(lake)[shard].is_removed
    assert not any(shard in name for name in files(lake))
    assert entries[shard].ordinal not in {id // 2**32 for ids in found_ids(lake) for id in ids}
    new, _ = write_shard(lake, 30, 60)
    build(lake)
    assert by_shard(lake)[new].ordinal == 4
    maps.write_bytes(content)
    report = build(lake)
    assert report.built == [shard]
    assert by_shard(lake)[shard] == entries[shard]
    assert build(lake).built == []


def test_a_lake_is_searched_exactly_until_it_is_large_enough(tmp_path):
    lake = Lake(str(tmp_path))
    write_shard(lake, 0, 900)
    report = build(lake)
    assert report.quantiser_id is None
    assert [path.suffix for path in (tmp_path / FOLDER).iterdir()] == [".npy"]
    assert opened(lake).search(texts(1, 1), 5)[0].is_exact
    write_shard(lake, 1, image_index.LEAST_INDEXED_ROWS - 900)
    report = build(lake)
    assert report.is_retrained
    assert len(report.built) == 2
    search = opened(lake)
    assert not search.search(texts(1, 1), 5)[0].is_exact
    assert [entry.ordinal for entry in read_ledger(lake)] == [0, 1]


def test_an_index_stays_when_rows_become_few(lake):
    for number in range(1, 4):
        write_shard(lake, number, 10, draw=60 + number)
    report = build(lake)
    assert not report.is_retrained
    assert report.rows == ROWS + 30
    assert not opened(lake).search(texts(1, 1), 5)[0].is_exact


def test_rebuild_trains_anew_and_keeps_ordinals_and_rows(lake):
    write_shard(lake, 1, ROWS, draw=90)
    build(lake)
    before = by_shard(lake)
    report = build(lake, rebuild=True)
    assert report.is_retrained
    after = by_shard(lake)
    assert len(report.built) == 4
    for shard, entry in after.items():
        assert entry.quantiser_id == report.quantiser_id != before[shard].quantiser_id
        assert (entry.ordinal, entry.first_position) == (before[shard].ordinal, before[shard].first_position)
        assert entry.rows_sha256 == before[shard].rows_sha256
    assert count_faults(lake) == damaged_files(lake) == alignment_faults(lake, opened(lake)) == []


def test_a_build_that_is_killed_goes_on_where_it_was(lake, monkeypatch, tmp_path):
    monkeypatch.setattr(image_index, "PENDING_EVERY", 1)
    for number in range(10, 14):
        write_shard(lake, number, 300)
    whole = Lake(str(tmp_path / "whole"))
    shutil.copytree(lake.root, whole.root)
    build(whole)

    class Killed(BaseException):
        pass

    def kill(done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        build(lake, progress=kill)
    assert len(read_ledger(lake)) == 4
    assert len(found_ids(lake)) == 5  # the index of before is whole
    done = [entry.shard for entry in read_ledger(lake, PENDING_SHARDS)]
    report = build(lake)
    assert done
    assert set(report.built) | set(done) == {shard_key(f"{number:x}", number) for number in range(10, 14)}
    assert not set(report.built) & set(done)
    assert not lake.exists(lake.table_path(PENDING_SHARDS))
    assert folder_bytes(Path(lake.root) / "geo_subset") == folder_bytes(Path(whole.root) / "geo_subset")


def test_a_retraining_that_is_killed_goes_on_with_its_quantiser(lake, monkeypatch):
    monkeypatch.setattr(image_index, "PENDING_EVERY", 1)
    write_shard(lake, 3, ROWS, draw=91)
    build(lake)

    class Killed(BaseException):
        pass

    def kill(done, total):
        if done == 3:
            raise Killed

    before = by_shard(lake)
    with pytest.raises(Killed):
        build(lake, rebuild=True, progress=kill)
    assert by_shard(lake) == before
    found_ids(lake)
    pending = {entry.quantiser_id for entry in read_ledger(lake, PENDING_SHARDS)}
    report = build(lake, rebuild=True)
    assert pending == {report.quantiser_id}
    assert not report.is_retrained
    assert len(report.built) < 4
    assert damaged_files(lake) == alignment_faults(lake, opened(lake)) == []


# -- checks ------------------------------------------------------------------------------------------------------


def test_an_index_that_is_right_has_no_faults(built):
    search = opened(built)
    assert count_faults(built) == damaged_files(built) == alignment_faults(built, search) == []
    recalls = index_checks.measured_recall(built, search, (10, 100))
    assert [recall.k for recall in recalls] == [10, 100]
    assert all(recall.is_enough for recall in recalls)
    assert not dataclasses.replace(recalls[0], texts=0.94).is_enough
    prompts = index_checks.measured_recall(built, search, (10, 10**9), texts=texts(40, 123))
    assert [recall.k for recall in prompts] == [10]
    assert prompts[0].texts >= 0.95


def test_recall_is_what_the_definition_says(built):
    search = opened(built)
    search.calibrated = tuple(dataclasses.replace(entry, lists=1) for entry in search.calibrated)
    queries = texts(20, 5)
    slow = np.mean(
        [
            len(set(ann.ids) & set(exact.ids)) / 10
            for ann, exact in zip(search.search(queries, 10), search.search(queries, 10, mode="exact"), strict=True)
        ]
    )
    measured = index_checks.measured_recall(built, search, (10,), texts=queries)[0].texts
    assert measured == pytest.approx(slow)
    assert measured < 0.9


def test_rows_out_of_step_are_faults(lake):
    entry = read_ledger(lake)[2]
    file = Path(lake.root) / entry.rows_path
    rows = np.load(file)
    np.save(file, np.roll(rows, 1, axis=0))
    faults = alignment_faults(lake, opened(lake))
    assert {fault.shard for fault in faults} == {entry.shard}
    assert len(faults) > 200
    np.save(file, rows)
    quantiser = read_quantiser(lake, entry.quantiser_id)
    writer = ListWriter(quantiser, entry.first_position)
    writer.add(np.roll(rows, 1, axis=0))
    writer.write(Path(lake.root) / entry.index_path)
    size, sha256 = (Path(lake.root) / entry.index_path).stat().st_size, file_sha256(Path(lake.root) / entry.index_path)
    write_ledger(
        lake,
        [dataclasses.replace(e, bytes=size, sha256=sha256) if e.shard == entry.shard else e for e in read_ledger(lake)],
    )
    faults = alignment_faults(lake, opened(lake))
    assert {fault.shard for fault in faults} == {entry.shard}
    assert len(faults) > 200


def test_missing_and_superfluous_shards_are_faults(lake):
    write_shard(lake, 8, 20)
    Path(lake.root, lake.table_path("mappool/shard_maps", shard_key("0", 0))).unlink()
    write_shard(lake, 1, 80, draw=70)
    found = {fault.shard: fault.found for fault in count_faults(lake)}
    assert found[shard_key("8", 8)] == found[shard_key("0", 0)] == "none"
    assert f"{ROWS} rows of" in found[shard_key("1", 1)]
    assert len(found) == 3


def test_lists_drift_when_shards_are_of_few_topics(lake):
    figures = read_figures(lake, read_ledger(lake)[0].quantiser_id)
    drift = index_checks.list_drift(opened(lake), figures)
    assert drift == ListDrift(4 * ROWS, 4 * ROWS, figures.imbalance_factor, figures.imbalance_factor)
    assert not drift.is_retraining_due
    write_shard(lake, 9, 800, change=lambda vectors: np.repeat(vectors[:2], 400, axis=0))
    build(lake)
    drift = index_checks.list_drift(opened(lake), figures)
    assert drift.rows == 4 * ROWS + 800
    assert drift.is_retraining_due
    assert ListDrift(401, 100, 1.0, 1.0).is_retraining_due
    assert not ListDrift(400, 100, 1.5, 1.0).is_retraining_due
    assert index_checks.list_drift(opened(lake), figures).imbalance_factor > figures.imbalance_factor


def test_imbalance_is_the_length_of_a_scan_against_even_lists():
    assert imbalance_factor([5, 5, 5]) == 1
    assert imbalance_factor([12, 0, 0]) == 3
    assert imbalance_factor([]) == imbalance_factor([0]) == 1
    assert imbalance_factor([1, 2, 3]) == pytest.approx(3 * 14 / 36)


def test_the_number_of_lists_grows_with_the_root():
    assert number_of_lists(1_000_000) == 1000
    assert number_of_lists(0) == 1
    assert number_of_lists(10**12) == MOST_LISTS


# -- lists -------------------------------------------------------------------------------------------------------


def test_shards_stacked_find_what_one_index_finds(tmp_path):
    rows = images(3000, draw=3)
    quantiser = train_quantiser(rows.astype(np.float32), 40)

    def stacked(cuts):
        shards = []
        for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            writer = ListWriter(quantiser, start)
            for part in np.array_split(rows[start:stop], 3):
                writer.add(part)
            writer.write(tmp_path / f"{start}-{stop}.faiss")
            shards.append(ShardLists(tmp_path / f"{start}-{stop}.faiss", quantiser))
        return StackedLists(shards, quantiser)

    one, many = stacked([]), stacked([1, 700, 701, 2500])
    assert one.sizes().tolist() == many.sizes().tolist()
    assert one.sizes().sum() == 3000
    bits = np.packbits(np.arange(3000) % 3 == 0, bitorder="little")
    for query in texts(6, 4):
        for selected in (None, bits):
            first, second = (set(lists.candidates(query, 9, 50, selected).tolist()) for lists in (one, many))
            assert len(first) == 50
            assert len(first & second) >= 49  # of equals at the end either may be left out
            assert selected is None or all(position % 3 == 0 for position in first)


def test_a_row_is_in_the_list_of_the_nearest_centroid(tmp_path):
    rows = images(500, draw=3)
    quantiser = train_quantiser(rows.astype(np.float32), 20)
    writer = ListWriter(quantiser, 0)
    assert writer.add(rows) == 500
    exact = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    turned = quantiser.rotation.turned(exact.astype(np.float32))
    distances = np.linalg.norm(turned[:, None] - quantiser.centroids[None], axis=2)
    writer.write(tmp_path / "lists")
    sizes = StackedLists([ShardLists(tmp_path / "lists", quantiser)], quantiser).sizes()
    assert sizes.tolist() == np.bincount(distances.argmin(axis=1), minlength=20).tolist()


def lloyd(rows, lists, rounds, seed):
    """The slow, obvious way, where no list gets empty."""
    centroids = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:lists])].astype(float)
    for _ in range(rounds):
        nearest = np.linalg.norm(rows[:, None] - centroids[None], axis=2).argmin(axis=1)
        centroids = np.array([rows[nearest == number].mean(axis=0) for number in range(lists)])
    return centroids


def test_centroids_are_those_of_k_means():
    rows = images(400, draw=9).astype(np.float32)
    centroids = train_centroids(rows, 12, rounds=4, seed=3)
    assert np.allclose(centroids, lloyd(rows, 12, 4, 3), atol=1e-5)
    nearest = np.linalg.norm(rows[:, None] - centroids[None], axis=2).argmin(axis=1)
    assert nearest_centroids(rows, centroids).tolist() == nearest.tolist()


def test_no_centroid_is_lost_where_rows_are_few_and_alike():
    rows = np.repeat(images(3, draw=9).astype(np.float32), 10, axis=0)
    centroids = train_centroids(rows, 9, rounds=5, seed=1)
    assert np.isfinite(centroids).all()
    assert len(np.unique(centroids, axis=0)) > 3
    distances = np.linalg.norm(rows[:, None] - centroids[None], axis=2).min(axis=1)
    assert (distances < 0.01).all()


def test_a_part_of_the_shards_stands_for_all_and_depths_grow(lake, monkeypatch):
    entries = read_ledger(lake)
    quantiser = read_quantiser(lake, entries[0].quantiser_id)
    monkeypatch.setattr(index_figures, "MEASURED_ROWS", 2 * ROWS)
    monkeypatch.setattr(index_figures, "DEPTH_EXPONENT", 0.0)
    as_measured = index_figures.measure_index(lake, entries, quantiser, None)
    assert as_measured.rows == 4 * ROWS
    monkeypatch.setattr(index_figures, "DEPTH_EXPONENT", 1.0)
    deeper = index_figures.measure_index(lake, entries, quantiser, None)
    assert [entry.depth for entry in deeper.calibrated] == [2 * entry.depth for entry in as_measured.calibrated]


# -- lakes that are no folder ------------------------------------------------------------------------------------


def test_a_lake_in_a_bucket_is_built_and_fetched_once(built, tmp_path):
    with serve_s3("lake") as endpoint:
        remote = Lake("s3://lake/deep", endpoint)
        for shard in built.partitions("mappool/shard_maps"):
            path = built.table_path("mappool/shard_maps", shard)
            with remote.writing(path) as file:
                shutil.copyfile(Path(built.root) / path, file)
        report = build(remote, cache=tmp_path / "cache")
        assert [dataclasses.asdict(entry) for entry in report.shards] == [
            dataclasses.asdict(entry) for entry in read_ledger(built)
        ]
        (folder,) = (tmp_path / "cache").iterdir()
        fetched = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert len(fetched) == 8
        stray = folder / "old.0.faiss"
        stray.write_bytes(b"of an index that was replaced")
        assert found_ids(remote, cache=tmp_path / "cache") == found_ids(built)
        assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == fetched
        with pytest.raises(BadSetting, match="cache"):
            opened(remote)
        entry = report.shards[0]
        with remote.writing(entry.rows_path) as file:
            file.write_bytes(b"x" * entry.rows_bytes)
        with pytest.raises(BadIndex, match="sha256"):
            opened(remote, cache=tmp_path / "new")
        assert {fault.shard for fault in damaged_files(remote)} == {entry.shard}
        assert build(remote, cache=tmp_path / "cache").built == []


def test_the_ledger_says_where_it_comes_from(built):
    made = built.provenance(INDEX_SHARDS)
    assert (made.rows_in, made.rows_kept) == (4, 4)
    assert json.loads(json.dumps(made.inputs)) == made.inputs
    assert isinstance(made, Provenance)


def test_vectors_of_another_type_are_refused(lake):
    shard = shard_key("d", 13)
    table = pa.table({"uid": ["a"], "l14_img": as_vectors(np.ones((1, DIMENSION), dtype=np.float16)).cast(
        pa.list_(pa.float32(), DIMENSION))})  # fmt: skip
    lake.write_table("mappool/shard_maps", table, Provenance({"shard": shard}, 1, 1), shard)
    assert "float" in str(build(lake).failed[shard])
