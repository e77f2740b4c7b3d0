"""What is kept and what it stands for, against the rule applied image by image."""

import numpy as np
import pytest

from mappool_assets.demo.embeddings import unit_rows
from mappool_assets.lib.duplicates import look_alikes
from mappool_assets.lib.duplicates.coarse_lists import fit_centroids
from mappool_assets.lib.duplicates.edges import EMBEDDING, MIRRORED, PERCEPTUAL, edges_of, joined
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.duplicates.representatives import KEPT, choose_representatives

DISTANCE, SIMILARITY = 3, 0.9


class GivenEdges:
    """A relation of given pairs, its leaders those that the rule keeps by it alone."""

    def __init__(self, images, pairs, relation, measure=1.0):
        self.images, self.pairs, self.asked = images, sorted(pairs), 0
        self._relation, self._measure = relation, measure

    def leaders(self):
        is_leader = np.ones(self.images, bool)
        for better, worse in self.pairs:
            is_leader[worse] &= not is_leader[better]
        return is_leader, self._edges([pair for pair in self.pairs if is_leader[pair[0]]])

    def edges_to_worse(self, images):
        self.asked += 1
        return self._edges([pair for pair in self.pairs if pair[0] in images.tolist()])

    def _edges(self, pairs):
        ends = np.array(pairs, np.int32).reshape(-1, 2)
        return edges_of(ends[:, 0], ends[:, 1], self._relation, np.full(len(ends), self._measure))


def image_by_image(images, edges):
    """The rule as it is written: edges are (better, worse, relation, measure)."""
    chosen = []
    for image in range(images):
        kept = [e for e in edges if e[1] == image and chosen[e[0]][1] == KEPT]
        by_hash = [e for e in kept if e[2] != EMBEDDING]
        if not kept:
            chosen.append((image, KEPT, None))
            continue
        better = min(e[0] for e in by_hash or kept)
        _, _, relation, measure = min((e for e in by_hash or kept if e[0] == better), key=lambda e: (e[2], e[3]))
        chosen.append((better, relation, measure))
    return chosen


def check(chosen, expected):
    assert chosen.representative.tolist() == [image for image, _, _ in expected]
    assert chosen.relation.tolist() == [relation for _, relation, _ in expected]
    measures = [np.nan if measure is None else measure for _, _, measure in expected]
    assert np.allclose(chosen.measure, measures, atol=1e-6, equal_nan=True)
    assert chosen.is_kept[chosen.representative].all()


def test_a_chain_keeps_its_ends_apart():
    """0 – 1 – 2 – 3: connected components would keep one; here what is dropped is next to what is kept."""
    chain = GivenEdges(4, [(0, 1), (1, 2), (2, 3)], PERCEPTUAL)
    assert choose_representatives(4, [chain]).representative.tolist() == [0, 0, 2, 2]
    star = GivenEdges(4, [(0, 3), (1, 3), (2, 3)], PERCEPTUAL)
    assert choose_representatives(4, [star]).representative.tolist() == [0, 1, 2, 0]


def test_the_relation_that_is_named():
    perceptual, mirrored = GivenEdges(3, [(1, 2)], PERCEPTUAL), GivenEdges(3, [(1, 2)], MIRRORED, measure=0.0)
    embedding = GivenEdges(3, [(0, 2)], EMBEDDING)
    by_all = choose_representatives(3, [embedding, mirrored, perceptual])
    assert (by_all.representative[2], by_all.relation[2], by_all.measure[2]) == (1, PERCEPTUAL, 1)
    assert choose_representatives(3, [embedding, mirrored]).relation.tolist() == [KEPT, KEPT, MIRRORED]
    assert choose_representatives(3, [embedding]).representative.tolist() == [0, 1, 0]
    assert choose_representatives(0, [GivenEdges(0, [], PERCEPTUAL)]).representative.tolist() == []


def test_what_another_relation_frees_is_compared_again():
    """1 leads 2 and 3 by embedding, but is itself dropped by hash: 2 is freed and must then drop 3."""
    hashes, embeddings = GivenEdges(4, [(0, 1)], PERCEPTUAL), GivenEdges(4, [(1, 2), (1, 3), (2, 3)], EMBEDDING)
    chosen = choose_representatives(4, [hashes, embeddings])
    assert chosen.representative.tolist() == [0, 0, 2, 2]
    assert embeddings.asked == 1


@pytest.mark.parametrize("seed", range(40))
def test_any_two_relations_give_what_the_rule_gives_with_all_edges(seed):
    random = np.random.default_rng(seed)
    images = int(random.integers(1, 40))
    relations = []
    for relation in (PERCEPTUAL, EMBEDDING):
        pairs = np.sort(random.integers(0, images, (int(random.integers(0, 80)), 2)), axis=1).tolist()
        relations.append(GivenEdges(images, {(i, j) for i, j in pairs if i < j}, relation))
    everything = [(i, j, r._relation, 1.0) for r in relations for i, j in r.pairs]
    check(choose_representatives(images, relations), image_by_image(images, everything))


@pytest.mark.parametrize("seed", range(4))
def test_hashes_and_embeddings_together_give_what_the_rule_gives_with_all_pairs(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(look_alikes, "LEAF_IMAGES", 8)
    random, images = np.random.default_rng(seed), 160
    hashes, mirrored = (
        random.integers(0, 1 << 10, images, dtype=np.uint64) * np.uint64(0x0000_4000_0100_0401) for _ in range(2)
    )
    vectors = unit_rows(random.standard_normal((images // 4, 16), dtype=np.float32)).repeat(4, 0)
    vectors = unit_rows(vectors + 0.12 * random.standard_normal((images, 16), dtype=np.float32)).astype(np.float16)
    lists = EmbeddingLists(tmp_path, fit_centroids(vectors, 1), images)
    lists.add(np.arange(images, dtype=np.int32), vectors)
    relations = [LookAlikes(hashes, mirrored, DISTANCE), EmbeddingNeighbours(lists, images, SIMILARITY, threads=2)]
    everything = joined([relation.edges_to_worse(np.arange(images, dtype=np.int32)) for relation in relations])
    kinds = set(everything.relation.tolist())
    assert kinds == {PERCEPTUAL, MIRRORED, EMBEDDING}
    edges = list(zip(*(column.tolist() for column in everything), strict=True))
    check(choose_representatives(images, relations), image_by_image(images, edges))
