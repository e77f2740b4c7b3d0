import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.calibration import Calibrated, parameters_for
from mappool_assets.lib.retrieval.exact_scan import RowBlock, exact_scan
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.retrieval.index_ledger import BadIndex, IndexedShard, read_ledger
from mappool_assets.lib.retrieval.open_index import open_index
from mappool_assets.lib.retrieval.row_file import RowFile, write_rows
from mappool_assets.lib.retrieval.row_similarity import exact_similarities
from mappool_assets.lib.retrieval.search import MOST_NEAREST
from mappool_assets.lib.retrieval.selection import Selection, select_rows
from mappool_assets_tests.small_index import DIMENSION, ENCODER, images, texts, write_shard

SHARD_ROWS = 7_000, 1, 0, 18_000, 16_000
ROWS = sum(SHARD_ROWS)
COPIES = 40  # rows of the last shard that are rows of the first


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake of five shards and its index; not to be changed."""
    lake = Lake(str(tmp_path_factory.mktemp("search") / "lake"))
    _, first = write_shard(lake, 0, SHARD_ROWS[0])
    for number in range(1, 4):
        write_shard(lake, number, SHARD_ROWS[number])
    write_shard(lake, 4, SHARD_ROWS[4], change=lambda vectors: np.concatenate([first[:COPIES], vectors[COPIES:]]))
    build_image_index(lake, encoder_id=ENCODER)
    return lake


@pytest.fixture(scope="module")
def search(lake):
    return open_index(lake, encoder_id=ENCODER)


@pytest.fixture(scope="module")
def rows(search):
    """All rows by id."""
    by_id = {}
    for shard, number in zip(search.shards, range(5), strict=True):
        maps = images(SHARD_ROWS[number], number)
        by_id |= {shard.ordinal * 2**32 + row: vector for row, vector in enumerate(maps)}
    for row in range(COPIES):
        by_id[4 * 2**32 + row] = by_id[row]
    return by_id


def by_full_sort(query, rows, k, allowed=lambda id: True):
    """The slow, obvious way: similarities in float64, all sorted."""
    ids = np.array([id for id in rows if allowed(id)], dtype=np.int64)
    vectors = np.array([rows[id] for id in ids], dtype=np.float64)
    grid = np.rint(query.astype(np.float64) * 2.0**27) / 2.0**27
    similarities = ((vectors @ grid) / np.sqrt((vectors**2).sum(axis=1))).astype(np.float32)
    pairs = sorted(zip((-similarities).tolist(), ids.tolist(), strict=True))[:k]
    return [id for _, id in pairs], [-negative for negative, _ in pairs]


def listed(found):
    return found.ids.tolist(), found.similarities.tolist()


def recall(search, queries, k, **settings):
    exact = search.search(queries, k, mode="exact", selection=settings.get("selection"))
    found = search.search(queries, k, **settings)
    return np.mean([np.isin(e.ids, f.ids).mean() for e, f in zip(exact, found, strict=True)])


# -- exactly -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, 300])
def test_an_exact_search_finds_what_a_full_sort_finds(search, rows, k):
    for query in [*texts(3, 100), *images(3, 101).astype(np.float32)]:
        found = search.search(query[np.newaxis], k, mode="exact")[0]
        assert listed(found) == by_full_sort(query, rows, k)
        assert found.is_exact


def test_similarities_are_the_exact_scans_bit_for_bit(search):
    queries, blocks = texts(4, 102), [RowBlock(start, rows) for start, rows in search.row_blocks()]
    nearest = exact_scan(queries, blocks, 50).nearest
    found = search.search(queries, 50, mode="exact")
    assert np.array_equal(np.concatenate([f.ids for f in found]), search.ids_of(nearest.row))
    assert np.array_equal(np.concatenate([f.similarities for f in found]), nearest.similarity)


def test_more_than_there_is_gives_all(search):
    first = search.select({search.shards[0].shard: np.ones(7000, dtype=bool)})
    found = search.search(texts(1, 103), MOST_NEAREST, selection=first)[0]
    assert sorted(found.ids) == list(range(7000))
    assert found.is_exact


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 90))
def test_similarities_do_not_depend_on_the_rows_beside_them(seed, count, dimension):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dimension)).astype(np.float16)
    query = random.standard_normal(dimension).astype(np.float32)
    query /= np.linalg.norm(query)
    together = exact_similarities(query, rows)
    alone = [exact_similarities(query, row[np.newaxis])[0] for row in rows]
    assert together.tolist() == alone


# -- by the lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 10, 40, 100, 400, 1000])
@pytest.mark.parametrize("kind", [images, texts])
def test_recall_against_an_exact_search(search, kind, k):
    queries = kind(100, 104).astype(np.float32)
    assert not search.search(queries[:1], k)[0].is_exact
    assert recall(search, queries, k) >= 0.95


def test_similarities_do_not_depend_on_how_rows_were_found(search):
    for query in texts(5, 105):
        exact = search.search(query[np.newaxis], 1000, mode="exact")[0]
        similarity = dict(zip(*listed(exact), strict=True))
        ids, similarities = listed(search.search(query[np.newaxis], 100)[0])
        assert sum(id in similarity for id in ids) >= 90
        for id, value in zip(ids, similarities, strict=True):
            assert similarity.get(id, value) == value


def test_order_is_by_similarity_then_id_and_copies_tie(search, rows):
    for row in (0, COPIES - 1):
        found = search.search(rows[row].astype(np.float32)[np.newaxis], 30)[0]
        assert found.ids[:2].tolist() == [row, 4 * 2**32 + row]
        assert found.similarities[0] == found.similarities[1]
        order = list(zip((-found.similarities).tolist(), found.ids.tolist(), strict=True))
        assert order == sorted(order)


def test_beyond_a_fortieth_of_the_rows_all_are_compared(search):
    assert search.calibrated[-1].k == 1000
    assert not search.search(texts(1, 1), 1000)[0].is_exact
    assert search.search(texts(1, 1), 1001)[0].is_exact


def test_searches_in_threads_find_the_same(search):
    queries = texts(60, 106)
    selection = search.select(removed=np.arange(0, 7000, 2))

    def find(number):
        settings = {"selection": selection if number % 2 else None, "mode": "ann" if number % 5 else "exact"}
        return listed(search.search(queries[number : number + 1], 20, **settings)[0])

    alone = [find(number) for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(find, range(60))) == alone


def test_rows_are_given_out_by_id_in_the_order_asked(search, rows):
    ids = np.random.default_rng(1).permutation(list(rows))[:500]
    assert np.array_equal(search.vectors(ids), np.array([rows[id] for id in ids]))
    assert search.vectors(np.array([], dtype=np.int64)).shape == (0, DIMENSION)


def test_parameters_lie_between_those_that_were_measured():
    calibrated = [Calibrated(10, 8, 40, 1, 1), Calibrated(100, 32, 200, 1, 1), Calibrated(1000, 64, 2000, 1, 1)]
    for entry in calibrated:
        assert parameters_for(entry.k, calibrated) == (entry.lists, entry.depth)
    assert parameters_for(1, calibrated) == (8, 40)
    assert parameters_for(1001, calibrated) is None
    assert parameters_for(5, []) is None
    lists, depth = parameters_for(316, calibrated)
    assert (lists, depth) == (46, 632)
    steps = [parameters_for(k, calibrated) for k in range(1, 1001)]
    assert steps == sorted(steps)
    assert all(depth >= k for k, (_, depth) in enumerate(steps, 1))


# -- selections --------------------------------------------------------------------------------------------------


def masks(search, choose):
    return {shard.shard: choose(shard) for shard in search.shards}


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("kind", [images, texts])
def test_recall_among_rows_selected_at_random(search, share, kind):
    random = np.random.default_rng(3)
    selection = search.select(masks(search, lambda shard: random.random(shard.rows) < share))
    queries = kind(40, 107).astype(np.float32)
    assert recall(search, queries, 10, selection=selection) >= 0.95
    assert not search.search(queries[:1], 10, selection=selection)[0].is_exact


def test_recall_among_rows_that_lie_in_a_corner(search, rows):
    topic = images(1, 108)[0].astype(np.float32)
    least = np.quantile([row.astype(np.float32) @ topic for row in rows.values()], 0.9)

    def near(shard):
        return np.array([rows[shard.ordinal * 2**32 + row].astype(np.float32) @ topic >= least
                         for row in range(shard.rows)], dtype=bool)  # fmt: skip

    selection = search.select(masks(search, near))
    assert recall(search, texts(40, 109), 10, selection=selection) >= 0.95


def test_only_selected_rows_are_found_however_few(search, rows):
    for share in (0.3, 0.01, 0.001):
        random = np.random.default_rng(4)
        chosen = masks(search, lambda shard, share=share, random=random: random.random(shard.rows) < share)
        selection = search.select(chosen)
        ordinals = {shard.ordinal: shard.shard for shard in search.shards}

        def is_chosen(id, chosen=chosen, ordinals=ordinals):
            return chosen[ordinals[id // 2**32]][id % 2**32]

        assert selection.count == sum(map(is_chosen, rows))
        for query in texts(3, 110):
            exact = search.search(query[np.newaxis], 20, mode="exact", selection=selection)[0]
            assert listed(exact) == by_full_sort(query, rows, 20, is_chosen)
            found = search.search(query[np.newaxis], 20, selection=selection)[0]
            assert len(found.ids) == min(20, selection.count)
            assert all(map(is_chosen, found.ids))
            assert found.is_exact == (share <= 0.01)


def test_few_selected_rows_are_compared_one_by_one(search, rows):
    selection = search.select({search.shards[1].shard: np.ones(1, dtype=bool)})
    found = search.search(texts(1, 111), 10, selection=selection)[0]
    assert (found.ids.tolist(), found.is_exact) == ([2**32], True)
    nothing = search.search(texts(1, 111), 10, selection=search.select({}))[0]
    assert (len(nothing.ids), nothing.is_exact) == (0, True)


def test_removed_rows_are_not_found_and_selections_join(search):
    query = texts(1, 112)
    first = search.search(query, 10)[0].ids
    second = search.search(query, 10, selection=search.select(removed=first))[0].ids
    assert not set(first) & set(second)
    assert len(second) == 10
    only = search.select({search.shards[0].shard: np.ones(7000, dtype=bool)})
    both = only & search.select(removed=first)
    assert both.count == 7000 - int((first < 7000).sum())
    found = search.search(query, 10, mode="exact", selection=both)[0].ids
    assert (found < 7000).all()
    assert not set(found) & set(first)


def test_more_lists_are_looked_into_where_too_few_selected_rows_are_found(lake, rows):
    search = open_index(lake, encoder_id=ENCODER)
    search.calibrated = (Calibrated(100, 1, 300, 1, 1),)
    far = texts(1, 113)[0]
    nearest_last = sorted(rows, key=lambda id: float(rows[id].astype(np.float32) @ far))
    chosen = np.array(nearest_last[: ROWS // 6])  # most are in the lists that are looked into last
    selection = search.select(removed=np.setdiff1d(np.array(list(rows)), chosen))
    found = search.search(far[np.newaxis], 100, selection=selection)[0]
    assert not found.is_exact
    assert len(found.ids) == 100
    assert set(found.ids) <= set(chosen)


def entry(ordinal, first_position, rows, is_removed=False):
    place = (f"{ordinal:032x}", ordinal, first_position, rows, rows, DIMENSION)
    return IndexedShard(*place, "f", "q", ENCODER, 1, "s", 1, "r", is_removed)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.booleans()), min_size=1, max_size=6),
    st.data(),
)
def test_a_selection_is_the_set_of_its_positions(sizes, data):
    shards, position = [], 0
    for ordinal, (rows, hole, is_removed) in enumerate(sizes):
        shards.append(entry(ordinal, position + hole, rows, is_removed))
        position += hole + rows
    allowed = {
        shard.shard: np.array(data.draw(st.lists(st.booleans(), min_size=shard.rows, max_size=shard.rows)), dtype=bool)
        for shard in shards
        if data.draw(st.booleans())
    }
    rows_of = [(shard, row) for shard in shards for row in range(shard.rows)]
    removed = data.draw(st.sets(st.sampled_from(rows_of))) if rows_of else set()
    ids = np.array([shard.ordinal * 2**32 + row for shard, row in sorted(removed, key=str)], dtype=np.int64)
    selection = select_rows(shards, allowed, ids)
    expected = [
        shard.first_position + row
        for shard, row in rows_of
        if not shard.is_removed and shard.shard in allowed and allowed[shard.shard][row] and (shard, row) not in removed
    ]
    assert selection.positions().tolist() == expected
    assert selection.count == len(expected)
    start = data.draw(st.integers(0, position))
    stop = data.draw(st.integers(start, position))
    assert np.flatnonzero(selection.mask(start, stop)).tolist() == [p - start for p in expected if start <= p < stop]
    everything = select_rows(shards)
    assert everything.count == sum(shard.rows for shard in shards if not shard.is_removed)
    assert (everything & selection).positions().tolist() == expected


# -- pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ann", "exact"])
def test_pages_have_each_row_once_until_all_or_the_limit(search, mode):
    pages = list(search.pages(texts(1, 114)[0], 30, mode=mode))
    ids = np.concatenate([page.ids for page in pages])
    assert len(pages[0].ids) == 30
    assert len(set(ids)) == len(ids) == MOST_NEAREST
    few = search.select({search.shards[0].shard: np.arange(7000) < 250})
    ids = np.concatenate([page.ids for page in search.pages(texts(1, 114)[0], 30, mode=mode, selection=few)])
    assert sorted(ids) == list(range(250))
    assert list(search.pages(texts(1, 114)[0], 30, mode=mode, selection=search.select({}))) == []


def test_who_drops_half_gets_enough_from_a_page_or_two(search):
    shares = []
    for query in texts(20, 115)[:, np.newaxis]:
        kept, pages = [], 0
        for page in search.pages(query[0], 60):
            pages += 1
            kept += [id for id in page.ids.tolist() if id % 2]
            if len(kept) >= 60:
                break
        assert pages == 2
        exact = search.search(query, 300, mode="exact")[0].ids
        odd = [id for id in exact.tolist() if id % 2][:60]
        shares.append(np.isin(odd, kept).mean())
    assert np.mean(shares) >= 0.95


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, MOST_NEAREST + 1, 10**7])
def test_k_out_of_range_is_refused(search, k):
    with pytest.raises(BadSetting, match="1 to 10,000"):
        search.search(texts(1, 1), k)


@pytest.mark.parametrize(
    "vectors",
    [
        texts(2, 1)[0],
        texts(2, 1)[:, :-1],
        np.zeros((1, DIMENSION), dtype=np.float32),
        np.full((1, DIMENSION), np.nan, dtype=np.float32),
        2 * texts(1, 1),
        np.ones((1, DIMENSION), dtype=np.int64),
    ],
    ids=["no matrix", "narrow", "zero", "NaN", "long", "integers"],
)
@pytest.mark.parametrize("mode", ["ann", "exact"])
def test_vectors_that_are_none_are_refused(search, vectors, mode):
    with pytest.raises(BadSetting, match="quer"):
        search.search(vectors, 5, mode=mode)


def test_vectors_of_any_float_type_are_taken(search):
    query = texts(1, 1)
    found = search.search(query, 5)[0]
    for kind in (np.float64, np.float16):
        assert search.search(query.astype(kind), 5)[0].ids[0] == found.ids[0]
    assert search.search(np.empty((0, DIMENSION), dtype=np.float32), 5) == []


def test_an_unknown_mode_is_refused(search):
    with pytest.raises(BadSetting, match="ann or exact"):
        search.search(texts(1, 1), 5, mode="fast")


def test_selections_of_other_rows_are_refused(search):
    shard = search.shards[0].shard
    for allowed, message in (
        ({shard: np.ones(6999, dtype=bool)}, "7000 truth values"),
        ({shard: np.ones(7000, dtype=np.int8)}, "truth values"),
        ({"f" * 32: np.ones(1, dtype=bool)}, "does not have"),
    ):
        with pytest.raises(BadSetting, match=message):
            search.select(allowed)
    for id in (7000, 5 * 2**32, -1, 2**52):
        with pytest.raises(BadSetting, match="not of this index"):
            search.select(removed=np.array([0, id]))


def test_an_index_whose_files_are_gone_says_so(lake, tmp_path):
    shutil.copytree(lake.root, tmp_path / "lake")
    copy = Lake(str(tmp_path / "lake"))
    search = open_index(copy, encoder_id=ENCODER)
    for shard in read_ledger(copy):
        Path(copy.root, shard.index_path).unlink()
    assert len(search.search(texts(1, 1), 5)[0].ids) == 5  # lists are mapped, and stay
    for shard in read_ledger(copy):
        Path(copy.root, shard.rows_path).unlink()
    for mode in ("ann", "exact"):
        with pytest.raises(BadIndex, match="Open the index again"):
            search.search(texts(1, 1), 5, mode=mode)


# -- files of rows -----------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.sets(st.integers(0, 299)), st.integers(1, 70))
def test_rows_are_taken_one_by_one_and_in_stretches(tmp_path_factory, count, wanted, block_rows):
    matrix = np.arange(count * 5, dtype=np.float16).reshape(count, 5)
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    write_rows(path, (matrix[start : start + 7] for start in range(0, count, 7)), count, 5)
    assert np.array_equal(np.load(path), matrix)
    file = RowFile.open(path)
    rows = np.array(sorted(row for row in wanted if row < count), dtype=np.int64)
    assert np.array_equal(file.take(rows), matrix[rows])
    blocks = list(file.blocks(block_rows))
    assert [start for start, _ in blocks] == list(range(0, count, block_rows))
    assert np.array_equal(np.concatenate([np.empty((0, 5), np.float16), *(block for _, block in blocks)]), matrix)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00v", b"\x93NUMPY\x02\x00" + b"\0" * 200, b"PK\x03\x04" + b"\0" * 200]
)
def test_what_is_no_file_of_rows_is_refused(tmp_path, content):
    (tmp_path / "rows.npy").write_bytes(content)
    with pytest.raises(BadIndex, match=r"rows\.npy"):
        RowFile.open(tmp_path / "rows.npy")


@pytest.mark.parametrize(
    "matrix", [np.ones((3, 4)), np.ones(3, np.float16), np.asfortranarray(np.ones((3, 4), np.float16))]
)
def test_a_file_of_other_numbers_is_refused(tmp_path, matrix):
    np.save(tmp_path / "rows.npy", matrix)
    with pytest.raises(BadIndex, match="float16"):
        RowFile.open(tmp_path / "rows.npy")


def test_a_file_that_is_cut_short_while_it_is_open_is_refused(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((100, 4), np.float16))
    file = RowFile.open(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadIndex, match="no 8 bytes"):
        file.take(np.array([0, 99]))


def test_bits_are_counted():
    selection = Selection.of(np.array([0b1001, 255], dtype=np.uint8))
    assert (selection.count, selection.positions().tolist()) == (10, [0, 3, *range(8, 16)])
