"""Near embeddings against the product of all with all."""

import numpy as np
import pytest

from mappool_assets.demo.embeddings import image_vectors, unit_rows
from mappool_assets.lib.duplicates import coarse_lists, embedding_lists, embedding_neighbours
from mappool_assets.lib.duplicates.coarse_lists import fit_centroids, list_count, nearest_lists
from mappool_assets.lib.duplicates.edges import EMBEDDING
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours

SIMILARITY = 0.97


def near(vectors, cosine, random):
    """Vectors at a cosine to others, in directions in which these vary."""
    some = random.permutation(len(vectors))
    noise = vectors[some] - vectors[np.roll(some, 1)]
    noise = unit_rows(noise - (noise * vectors).sum(1, keepdims=True) * vectors)
    return np.float32(cosine) * vectors + np.float32((1 - cosine**2) ** 0.5) * noise


def vectors_with_copies(count, copies, seed=0):
    random = np.random.default_rng(seed)
    vectors = image_vectors(np.ones(count, bool), random)
    cosines = random.uniform(SIMILARITY + 0.002, 0.999, (copies, 1))
    originals = vectors[:copies]
    vectors[-copies:] = near(originals, cosines, random)
    return vectors.astype(np.float16)


def put_into_lists(folder, vectors, lists, batch=1000, order=None):
    folder.mkdir(parents=True)
    order = np.arange(len(vectors)) if order is None else order
    found = EmbeddingLists(folder, fit_centroids(vectors, lists), len(vectors))
    for start in range(0, len(order), batch):
        images = order[start : start + batch].astype(np.int32)
        found.add(images, vectors[images])
    return found


def exact_pairs(vectors, similarity):
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = exact @ exact.T
    pairs = np.argwhere(np.triu(cosines >= similarity, 1))
    return {(i, j): cosines[i, j] for i, j in pairs.tolist()}


def greedy(count, pairs):
    better = {}
    for i, j in pairs:
        better.setdefault(j, []).append(i)
    leads = []
    for image in range(count):
        leads.append(not any(leads[other] for other in better.get(image, ())))
    return leads


def small_blocks(monkeypatch):
    monkeypatch.setattr(embedding_neighbours, "BLOCK_ROWS", 37)
    monkeypatch.setattr(embedding_neighbours, "BLOCK_COLUMNS", 53)


@pytest.mark.parametrize("is_small", [False, True])
def test_one_list_finds_exactly_what_all_with_all_finds(tmp_path, monkeypatch, is_small):
    vectors = vectors_with_copies(700, 200)
    expected = exact_pairs(vectors, SIMILARITY)
    assert len(expected) >= 200
    if is_small:
        small_blocks(monkeypatch)
    lists = put_into_lists(tmp_path / "lists", vectors, 1)
    neighbours = EmbeddingNeighbours(lists, len(vectors), SIMILARITY, threads=2)
    is_leader, edges = neighbours.leaders()
    leads = greedy(len(vectors), expected)
    assert is_leader.tolist() == leads
    others = neighbours.edges_to_worse(np.flatnonzero(~is_leader).astype(np.int32))
    for found, of_leaders in ((edges, True), (others, False)):
        wanted = {pair for pair in expected if leads[pair[0]] == of_leaders}
        pairs = list(zip(found.better.tolist(), found.worse.tolist(), strict=True))
        assert sorted(pairs) == sorted(wanted)
        assert set(found.relation.tolist()) <= {EMBEDDING}
        assert np.allclose(found.measure, [expected[pair] for pair in pairs], atol=1e-6)


def test_lists_of_neighbours_find_nearly_all_pairs_and_no_other(tmp_path):
    vectors = vectors_with_copies(6000, 1500)
    expected = exact_pairs(vectors, SIMILARITY)
    lists = put_into_lists(tmp_path / "lists", vectors, 40)
    neighbours = EmbeddingNeighbours(lists, len(vectors), SIMILARITY, threads=2)
    edges = neighbours.edges_to_worse(np.arange(len(vectors), dtype=np.int32))
    found = set(zip(edges.better.tolist(), edges.worse.tolist(), strict=True))
    assert found <= set(expected)
    assert len(found) / len(expected) > 0.97  # measured: 0.99


def test_the_order_of_adding_and_the_number_of_files_make_no_difference(tmp_path, monkeypatch):
    vectors = vectors_with_copies(2000, 500)
    results = []
    for case, (file_bytes, batch) in enumerate([(1 << 28, 1000), (1 << 20, 999), (1 << 20, 77)]):
        monkeypatch.setattr(embedding_lists, "FILE_BYTES", file_bytes)
        monkeypatch.setattr(embedding_lists, "VECTORS_A_WRITE", 300 * case)
        order = np.random.default_rng(case).permutation(len(vectors))
        lists = put_into_lists(tmp_path / str(case), vectors, 12, batch, order)
        assert (lists.files == 1) == (case == 0)
        is_leader, edges = EmbeddingNeighbours(lists, len(vectors), SIMILARITY, threads=case + 1).leaders()
        pairs = sorted(set(zip(edges.better.tolist(), edges.worse.tolist(), edges.measure.tolist(), strict=True)))
        results.append((is_leader.tolist(), pairs))
    assert results[0] == results[1] == results[2]


def test_a_crowd_of_like_images_does_not_cost_all_pairs(tmp_path):
    random = np.random.default_rng(4)
    one = unit_rows(random.standard_normal((1, 768), dtype=np.float32))
    crowd = (one + 0.001 * random.standard_normal((5000, 768), dtype=np.float32)).astype(np.float16)
    lists = put_into_lists(tmp_path / "lists", crowd, 1)
    is_leader, edges = EmbeddingNeighbours(lists, len(crowd), SIMILARITY, threads=1).leaders()
    assert is_leader.sum() == 1
    assert len(edges.worse) == len(crowd) - 1


def test_images_without_a_list_have_no_neighbours(tmp_path):
    vectors = vectors_with_copies(50, 20)
    lists = put_into_lists(tmp_path / "lists", vectors, 1)
    is_leader, edges = EmbeddingNeighbours(lists, 80, SIMILARITY, threads=1).leaders()
    assert is_leader[50:].all()
    assert edges.worse.max() < 50


def test_centroids_depend_on_the_sample_alone():
    sample = vectors_with_copies(3000, 10)
    first = fit_centroids(sample, 16)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert (first == fit_centroids(sample.copy(), 16)).all()
    nearest = nearest_lists(sample, first, 3)
    products = sample.astype(np.float64) @ first.T.astype(np.float64)
    best = np.sort(products, axis=1)[:, ::-1][:, :3]
    assert np.allclose(np.take_along_axis(products, nearest, axis=1), best, atol=1e-5)


def test_lists_are_balanced_between_finding_and_comparing():
    assert list_count(10) == list_count(1999) == 1
    assert list_count(1_000_000) == 1_000_000 // coarse_lists.LEAST_VECTORS_A_LIST
    assert list_count(75_000_000) == 12_247
    assert list_count(75_000_000, 3) == 18_371
