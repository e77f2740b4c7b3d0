"""How to search an index's lists is measured: with little work, on hard data, and where images have many copies."""

import dataclasses

import numpy as np
import pytest

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval import calibration
from mappool_assets.lib.retrieval.calibration import LEAST_RECALL, PROBES, Probes, calibrate
from mappool_assets.lib.retrieval.index_checks import measured_recall
from mappool_assets.lib.retrieval.index_ledger import read_ledger
from mappool_assets.lib.retrieval.index_probes import draw_probes
from mappool_assets.lib.retrieval.inverted_lists import StackedLists
from mappool_assets.lib.retrieval.quantiser_store import read_figures
from mappool_assets.lib.retrieval.shard_vectors import IMAGE_VECTOR, TEXT_VECTOR, read_rows
from mappool_assets_tests import small_index
from mappool_assets_tests.small_index import build, images, opened, write_shard
from mappool_assets_tests.small_lake import shard_key

ROWS, SHARDS = 14_000, 3


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Three shards and their index; not to be changed."""
    lake = Lake(str(tmp_path_factory.mktemp("calibrated") / "lake"))
    for number in range(SHARDS):
        write_shard(lake, number, ROWS)
    build(lake)
    return lake


@pytest.fixture(scope="module")
def search(lake):
    return opened(lake)


@pytest.fixture(scope="module")
def probes(lake, search):
    return draw_probes(lake, search, 64, 1000, calibration.PROBES[10])


def slow_recall(lists: StackedLists, probes: Probes, k: int, looked_into: int, depth: int) -> np.ndarray:
    """The share of each probe's true k nearest among the rows ranked again."""
    shares = []
    for query, nearest, own in list(zip(probes.queries, probes.nearest, probes.own, strict=True))[: PROBES[k]]:
        truth = [row for row in nearest.tolist() if row != own][:k]
        found = [row for row in lists.candidates(query, looked_into, depth + 1).tolist() if row != own][:depth]
        shares.append(len(set(truth) & set(found)) / k)
    return np.array(shares)


def test_parameters_are_measured_on_images_and_texts(search, probes):
    pictures, captions = probes
    found = calibrate(search.lists, pictures, captions)
    assert [entry.k for entry in found] == [10, 100, 1000]
    for entry in found:
        for of_kind, told in ((pictures, entry.image_recall), (captions, entry.text_recall)):
            shares = slow_recall(search.lists, of_kind, entry.k, entry.lists, entry.depth)
            assert told == pytest.approx(shares.mean())
            assert shares.mean() - 2 * shares.std(ddof=1) / len(shares) ** 0.5 >= LEAST_RECALL


def test_searches_cost_hardly_more_than_with_the_best_of_all_parameters(search, probes):
    def cost(looked_into, depth):
        return looked_into / search.lists.quantiser.lists * search.rows * 22e-9 + depth * 2.5e-6

    def is_enough(k, looked_into, depth):
        for of_kind in probes:
            shares = slow_recall(search.lists, of_kind, k, looked_into, depth)
            if shares.mean() - 2 * shares.std(ddof=1) / len(shares) ** 0.5 < LEAST_RECALL:
                return False
        return True

    for entry in calibrate(search.lists, *probes)[:2]:
        tried = [(lists, round(depth)) for lists in range(4, 200, 14) for depth in entry.k * 2 ** np.arange(0, 8, 0.5)]
        cheaper = [parameters for parameters in tried if 1.5 * cost(*parameters) < cost(entry.lists, entry.depth)]
        assert not any(is_enough(entry.k, *parameters) for parameters in cheaper)


def test_each_probe_is_searched_with_a_few_times_for_each_k(search, probes, monkeypatch):
    searches, candidates = [], StackedLists.candidates

    def counted(self, query, *settings):
        searches.append(settings)
        return candidates(self, query, *settings)

    monkeypatch.setattr(StackedLists, "candidates", counted)
    calibrate(search.lists, *probes)
    total = 2 * sum(PROBES[k] for k in (10, 100, 1000))
    assert total <= len(searches) <= 3 * total


def test_a_row_is_known_to_be_in_the_list_in_which_it_is_found(search):
    positions = np.random.default_rng(1).permutation(SHARDS * ROWS)[:300]
    numbers = search.lists.members().numbers_of(positions)
    for position, number in zip(positions.tolist(), numbers.tolist(), strict=True):
        query = search.vectors(search.ids_of(np.array([position])))[0].astype(np.float32)
        query /= np.linalg.norm(query)
        order = search.lists.nearest_lists(query).tolist()
        assert sorted(order) == list(range(search.lists.quantiser.lists))
        looked_into = order.index(number) + 1
        assert position in search.lists.candidates(query, looked_into, ROWS * SHARDS)
        if looked_into > 1:
            assert position not in search.lists.candidates(query, looked_into - 1, ROWS * SHARDS)


def test_rows_are_read_from_their_row_groups_alone(lake):
    shard = shard_key("1", 1)
    rows = np.array([0, 1, 4_000, 4_001, ROWS - 1])
    for column in (IMAGE_VECTOR, TEXT_VECTOR):
        whole = lake.read_table("mappool/shard_maps", shard, [column])[column].to_pylist()
        assert read_rows(lake, shard, rows, column).tolist() == [whole[row] for row in rows]
    assert read_rows(lake, shard, rows[:0]).shape == (0, small_index.DIMENSION)


def test_copies_of_an_image_are_as_good_as_each_other(tmp_path):
    def with_copies(vectors):
        return np.concatenate([np.repeat(images(1, draw=99), 3_000, axis=0), vectors[3_000:]])

    lake = Lake(str(tmp_path / "lake"))
    for number in range(SHARDS):
        write_shard(lake, number, 8_000, change=with_copies)
    build(lake)
    depths = [entry.depth for entry in read_figures(lake, read_ledger(lake)[0].quantiser_id).calibrated]
    assert all(recall.is_enough for recall in measured_recall(lake, opened(lake), (10, 500)))
    write_shard(lake, 0, 8_000, draw=50, change=with_copies)  # its ids come first as before, its positions last
    build(lake)
    assert all(recall.is_enough for recall in measured_recall(lake, opened(lake), (10, 500)))
    build(lake, rebuild=True)
    again = read_figures(lake, read_ledger(lake)[0].quantiser_id).calibrated
    assert max(np.divide([entry.depth for entry in again], depths)) <= 2
    assert all(recall.is_enough for recall in measured_recall(lake, opened(lake), (10, 500)))


def test_without_vectors_of_captions_an_index_cannot_be_measured(tmp_path, monkeypatch):
    lake = Lake(str(tmp_path / "lake"))
    monkeypatch.setattr(small_index, "texts", lambda rows, draw: np.zeros((rows, small_index.DIMENSION), np.float32))
    write_shard(lake, 0, 500)
    build(lake)
    (recall,) = measured_recall(lake, opened(lake), (10,))
    assert np.isnan(recall.texts)
    assert recall.is_enough, "a scan of all rows needs no captions"
    assert not dataclasses.replace(recall, images=0.9).is_enough
    write_shard(lake, 1, 25_000)
    with pytest.raises(BadShard, match="captions with a direction"):
        build(lake)
