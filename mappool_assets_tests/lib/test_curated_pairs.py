"""The second pass draws what its law says, whatever the batches and shards, and says why."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.curation import curated_pairs, entry_counts, pair_rows
from mappool_assets.lib.curation.balance import entry_probabilities, keep_probabilities
from mappool_assets.lib.curation.curated_pairs import (
    ENTRIES_TABLE,
    NO_ENTRY,
    NOT_DRAWN,
    OTHER_TEXT,
    TABLE,
    curate_pairs,
)
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.exact_sums import EntrySums
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.small_lake import folder_bytes
from mappool_assets_tests.small_pairs import SmallPool, change_inputs, write_counts, write_pool, write_unique_pairs

T = 10.0
FEW = CurationSettings(t=T, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def pool() -> SmallPool:
    """The pool on which a pass that ignores the first one goes wrong by as much as in MetaCLIP's own numbers."""
    return SmallPool.make(20_000, 100)


@pytest.fixture(scope="module")
def many_seeds(pool: SmallPool, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake in which sixty seeds drew; nobody changes it."""
    lake = Lake(str(tmp_path_factory.mktemp("many") / "lake"))
    write_pool(lake, pool)
    curate_pairs(lake, CurationSettings(t=T, seeds=tuple(range(60))))
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def small() -> SmallPool:
    return SmallPool.make(1500, 30, seed=1)


def curated(lake: Lake) -> list[dict[str, Any]]:
    return lake.read_table(TABLE).to_pylist()


def by_definition(rows: list[dict[str, Any]], entries: int, settings: CurationSettings) -> dict[str, tuple]:
    """Return chances and seeds of each pair that is drawn, by the formulas alone."""
    texts = [0.0] * entries
    for row in rows:
        for entry in row["entries"]:
            texts[entry] += 1 / row["first_p"]
    found = {}
    for row in rows:
        if settings.policy == "image" and not row["is_image_text"]:
            continue
        missed = 1.0
        for entry in row["entries"]:
            missed *= 1 - min(1, settings.t / texts[entry])
        second = min(1, (1 - missed) / row["first_p"])
        uid = pa.array([row["uid"]])
        seeds = [seed for seed in settings.seeds if keyed_uniforms(uid, seed, "curated_pairs")[0] < second]
        if seeds:
            found[row["uid"]] = (1 - missed, second, seeds)
    return found


# -- the law --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["text", "image"])
def test_pairs_and_chances_are_those_of_the_formulas(lake: Lake, small: SmallPool, policy: str) -> None:
    rows, chosen = small.rows(texts_an_image=3), dataclasses.replace(FEW, policy=policy)
    write_pool(lake, small, rows)
    made = curate_pairs(lake, chosen).made
    expected, found, before = by_definition(rows, small.entries, chosen), curated(lake), {r["uid"]: r for r in rows}
    assert [row["uid"] for row in found] == [row["uid"] for row in rows if row["uid"] in expected]
    for row in found:
        p, second_p, seeds = expected[row["uid"]]
        assert row["p"] == pytest.approx(p, rel=1e-5)
        assert row["second_p"] == pytest.approx(second_p, rel=1e-5)
        assert row["seeds"] == seeds
        assert row["matched"] == [f"entry {entry}" for entry in row["entries"]]
        same = {name: value for name, value in before[row["uid"]].items() if name != "is_image_text"}
        assert {name: row[name] for name in same} == same
    assert made.measures["drawn"] == [sum(seed in row["seeds"] for row in found) for seed in chosen.seeds]


def test_what_became_of_each_entry_is_that_of_the_pairs(lake: Lake, small: SmallPool) -> None:
    rows = small.rows()
    write_pool(lake, small, rows)
    curate_pairs(lake, FEW)
    expected, curated_entries = np.zeros(30), Counter[int]()
    for row in curated(lake):
        curated_entries.update(row["entries"] if 0 in row["seeds"] else ())
    weights = np.zeros(30)
    for row in rows:
        np.add.at(weights, row["entries"], 1 / row["first_p"])
    entry_p = entry_probabilities(weights, T)
    for row in rows:
        p = 1 - np.prod(1 - entry_p[row["entries"]])
        np.add.at(expected, row["entries"], min(1, p / row["first_p"]))
    table = lake.read_table(ENTRIES_TABLE)
    assert table["entry_id"].to_pylist() == list(range(30))
    assert table["entry"].to_pylist() == [f"entry {number}" for number in range(30)]
    assert table["texts"].to_pylist() == small.counts.tolist()
    assert table["unique_texts_estimate"].to_numpy() == pytest.approx(weights, rel=1e-5)
    assert table["expected_pairs"].to_numpy() == pytest.approx(expected, rel=1e-4)
    assert table["curated"].to_pylist() == [curated_entries[number] for number in range(30)]


def test_each_entry_gets_what_is_expected_over_many_seeds(many_seeds: Lake, pool: SmallPool) -> None:
    """Within 4 standard deviations, of the mean of 60 draws."""
    rows, sizes = pool.rows(), np.zeros((60, pool.entries))
    for row in curated(many_seeds):
        for seed in row["seeds"]:
            sizes[seed, row["entries"]] += 1
    weights = np.zeros(pool.entries)
    for row in rows:
        weights[row["entries"]] += 1 / row["first_p"]
    entry_p, variance = entry_probabilities(weights, T), np.zeros(pool.entries)
    for row in rows:
        chance = min(1, (1 - np.prod(1 - entry_p[row["entries"]])) / row["first_p"])
        variance[row["entries"]] += chance * (1 - chance)
    expected = many_seeds.read_table(ENTRIES_TABLE)["expected_pairs"].to_numpy()
    assert np.all(np.abs(sizes.mean(axis=0) - expected) <= 4 * np.sqrt(variance / 60))
    assert many_seeds.read_table(ENTRIES_TABLE)["curated"].to_pylist() == sizes[0].tolist()


def test_each_seed_draws_as_many_as_expected_and_shares_as_many(many_seeds: Lake) -> None:
    measures = many_seeds.provenance(TABLE).measures  # type: ignore[union-attr]
    drawn, together = np.array(measures["drawn"]), np.array(measures["together"])
    assert np.all(np.abs(drawn - measures["expected_pairs"]) <= 4 * measures["sd_pairs"])
    assert np.all(np.diag(together) == drawn)
    others = together[~np.eye(60, dtype=bool)]
    assert np.all(np.abs(others - measures["expected_together"]) <= 5 * measures["sd_together"]), "of 1,770 pairs"
    assert others.mean() == pytest.approx(measures["expected_together"], rel=0.02)
    assert 0 < measures["expected_together"] < 0.5 * measures["expected_pairs"]
    again = np.zeros((60, 60), dtype=int)
    for row in curated(many_seeds):
        again[np.ix_(row["seeds"], row["seeds"])] += 1
    assert again.tolist() == together.tolist()


def entry_shares(matches: Matches, weights: np.ndarray, entries: int) -> np.ndarray:
    """Return the share of each entry among the matches, texts weighted."""
    sums = np.bincount(matches.entries, np.repeat(weights, np.diff(matches.offsets)), entries)
    return sums / sums.sum()


def test_two_passes_come_near_to_one_only_where_the_second_knows_of_the_first(lake: Lake, pool: SmallPool) -> None:
    """Total variation of the entries from one pass: 0.015 against 0.04, averages of six draws of the first pass."""
    one_pass = keep_probabilities(pool.matches, entry_probabilities(pool.counts, T))
    aimed = entry_shares(pool.matches, one_pass, pool.entries)
    weighted, redrawn, sizes = [], [], []
    for seed in range(6):
        write_pool(lake, pool, pool.rows(seed))
        curate_pairs(lake, CurationSettings(t=T, seeds=(seed,)))
        expected = lake.read_table(ENTRIES_TABLE)["expected_pairs"].to_numpy()
        weighted.append(0.5 * np.abs(expected / expected.sum() - aimed).sum())
        sizes.append(lake.provenance(TABLE).measures["expected_pairs"])  # type: ignore[union-attr]
        left = pool.matches.take(pool.survivors(seed))
        counts = np.bincount(left.entries, minlength=pool.entries)
        as_if_first = keep_probabilities(left, entry_probabilities(counts, T))
        redrawn.append(0.5 * np.abs(entry_shares(left, as_if_first, pool.entries) - aimed).sum())
    assert np.mean(weighted) < 0.02
    assert np.mean(redrawn) > 0.035
    assert max(weighted) < 0.5 * min(redrawn)
    assert np.mean(sizes) == pytest.approx(one_pass.sum(), rel=0.005), "the size is one pass's too"


def test_after_both_passes_a_text_is_there_with_the_chance_of_one(small: SmallPool, tmp_path: Path) -> None:
    """Over sixty first passes with a second one each, by texts of like chance: within 5 standard deviations."""
    there = np.zeros(len(small.uids))
    place = {uid: number for number, uid in enumerate(small.uids)}
    for seed in range(60):
        lake = Lake(str(tmp_path / str(seed)))
        write_pool(lake, small, small.rows(seed))
        curate_pairs(lake, CurationSettings(t=T, seeds=(seed,)))
        there[[place[uid] for uid in lake.read_table(TABLE)["uid"].to_pylist()]] += 1
    aimed = keep_probabilities(small.matches, entry_probabilities(small.counts, T))
    classes = np.digitize(aimed, np.quantile(aimed[aimed > 0], np.linspace(0, 1, 9)[1:-1]))
    assert there[aimed == 0].sum() == 0
    for number in range(8):
        chosen = (classes == number) & (aimed > 0)
        sd = np.sqrt((aimed[chosen] * (1 - aimed[chosen])).sum() / 60)
        assert abs(there[chosen].sum() / 60 - aimed[chosen].sum()) <= 5 * sd + 0.02 * aimed[chosen].sum(), number


def test_what_is_drawn_is_nested_over_t(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small)
    before: dict[int, set[str]] = {seed: set() for seed in FEW.seeds}
    for t in (2.0, 5.5, 10.0, 30.0, 1e9):
        curate_pairs(lake, dataclasses.replace(FEW, t=t))
        now = {seed: {row["uid"] for row in curated(lake) if seed in row["seeds"]} for seed in FEW.seeds}
        assert all(before[seed] < now[seed] for seed in FEW.seeds)
        before = now
    assert before[0] == before[1] == {row["uid"] for row in small.rows()}, "a t without end keeps all"


def test_a_pair_whose_chance_the_first_pass_spent_stays(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small)
    made = curate_pairs(lake, CurationSettings(t=80.0)).made
    assert made.measures["capped"] > 100
    assert made.rows_dropped == {}
    assert all(row["second_p"] == 1 and row["p"] >= row["first_p"] - 1e-9 for row in curated(lake))


# -- whatever the way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["text", "image"])
def test_batches_and_row_groups_change_no_byte(
    lake: Lake, small: SmallPool, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    chosen, rows = dataclasses.replace(FEW, policy=policy), small.rows(texts_an_image=2)
    monkeypatch.setattr(curated_pairs, "GROUP_ROWS", 50)
    write_pool(lake, small, rows)
    curate_pairs(lake, chosen)
    expected = [lake.read_bytes(f"{table}/all.parquet") for table in (TABLE, ENTRIES_TABLE)]
    with lake.open_table(TABLE) as table:
        assert table.num_row_groups > 3
    for batch_rows, batch_bytes, rows_a_group in ((1, 1 << 20, 4096), (7, 1 << 20, 100), (4096, 3000, 33)):
        monkeypatch.setattr(pair_rows, "BATCH_ROWS", batch_rows)
        monkeypatch.setattr(pair_rows, "BATCH_BYTES", batch_bytes)
        write_pool(lake, small, rows, rows_a_group=rows_a_group)
        assert not curate_pairs(lake, chosen, force=True).is_reused
        assert [lake.read_bytes(f"{table}/all.parquet") for table in (TABLE, ENTRIES_TABLE)] == expected


@pytest.mark.parametrize("policy", ["text", "image"])
def test_shards_decide_nothing(lake: Lake, small: SmallPool, policy: str) -> None:
    """Not even the last bit of a chance, which sums in another order would."""
    found, entries = [], []
    for shards in (1, 2, 6):
        rows = small.rows(shards=shards, texts_an_image=2)
        write_pool(lake, small, rows)
        curate_pairs(lake, dataclasses.replace(FEW, policy=policy))
        drawn = [{**row, "shard": ""} for row in curated(lake)]
        assert [(row["shard"], row["uid"]) for row in curated(lake)] == sorted(
            (row["shard"], row["uid"]) for row in curated(lake)
        )
        found.append(sorted(drawn, key=lambda row: row["uid"]))
        entries.append(lake.read_table(ENTRIES_TABLE))
    assert found[0] == found[1] == found[2]
    assert entries[0] == entries[1] == entries[2]


LISTS = st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4).map(sorted), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(
    lists=LISTS, chances=st.randoms(use_true_random=False), t=st.sampled_from([0.3, 1.0, 2.5, 100.0]), cut=st.booleans()
)
def test_any_pairs(tmp_path_factory: pytest.TempPathFactory, lists: list, chances: Any, t: float, cut: bool) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("any")))
    rows = [
        {"shard": "a", "uid": f"{number:03d}", "image_shard": "a", "image_uid": f"{number // 2}", "url": None}
        | {"text": "x" * (number % 7), "sha256": None, "entries": entries, "first_p": chances.choice([1.0, 0.5, 1e-3])}
        | {"is_image_text": number % 2 == 0}
        for number, entries in enumerate(lists)
    ]
    write_counts(lake, [str(number) for number in range(5)], [100] * 5)
    write_unique_pairs(lake, rows)
    chosen = CurationSettings(t=t, seeds=(3, 1), policy="image" if cut else "text")
    made = curate_pairs(lake, chosen).made
    expected = by_definition([row for row in rows if row["entries"]], 5, chosen)
    assert {row["uid"]: row["seeds"] for row in curated(lake)} == {
        uid: seeds for uid, (_, _, seeds) in expected.items()
    }
    assert made.rows_in == len(rows) == made.rows_kept + sum(made.rows_dropped.values())
    assert made.rows_dropped.get(NO_ENTRY, 0) == sum(not row["entries"] for row in rows)
    others = [row for row in rows if cut and row["entries"] and not row["is_image_text"]]
    assert made.rows_dropped.get(OTHER_TEXT, 0) == len(others)


# -- where the rows went --------------------------------------------------------------------------------------


def test_every_pair_is_kept_or_dropped_for_a_reason(lake: Lake, small: SmallPool) -> None:
    rows = small.rows(texts_an_image=4)
    for row in rows[:5]:
        row["entries"] = []
    write_pool(lake, small, rows)
    told: list[tuple[int, int]] = []
    made = curate_pairs(
        lake, dataclasses.replace(FEW, policy="image"), tell=lambda done, total: told.append((done, total))
    ).made
    assert made.rows_in == len(rows) == made.rows_kept + sum(made.rows_dropped.values())
    assert made.rows_dropped[NO_ENTRY] == 5
    assert made.rows_dropped[OTHER_TEXT] == sum(bool(row["entries"]) and not row["is_image_text"] for row in rows)
    assert made.rows_dropped[NOT_DRAWN] > 0
    assert made.measures["candidates"] == made.rows_kept + made.rows_dropped[NOT_DRAWN]
    assert told[-1] == (2 * len(rows), 2 * len(rows))


def test_per_image_each_image_is_there_once_and_all_texts_are_counted(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small, small.rows(texts_an_image=3))
    curate_pairs(lake, dataclasses.replace(FEW, t=30.0))
    counts = lake.read_table(ENTRIES_TABLE)["unique_texts_estimate"]
    images = [(row["image_shard"], row["image_uid"]) for row in curated(lake)]
    assert len(set(images)) < len(images), "several texts of an image"
    curate_pairs(lake, dataclasses.replace(FEW, t=30.0, policy="image"))
    images = [(row["image_shard"], row["image_uid"]) for row in curated(lake)]
    assert len(set(images)) == len(images) > 20
    assert lake.read_table(ENTRIES_TABLE)["unique_texts_estimate"] == counts


def test_no_pairs(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small, [])
    made = curate_pairs(lake, FEW).made
    assert (made.rows_in, made.rows_kept, made.measures["expected_pairs"], made.measures["drawn"]) == (0, 0, 0, [0] * 3)
    assert lake.read_table(ENTRIES_TABLE)["curated"].to_pylist() == [0] * 30


def test_long_texts_and_lists_make_small_batches_and_groups(lake: Lake, small: SmallPool) -> None:
    rows = small.rows()[:60]
    for row in rows[::2]:
        row |= {"text": row["uid"] + "x" * (1 << 20), "entries": list(range(30)), "first_p": 1.0}
    write_pool(lake, small, rows, rows_a_group=20)
    with lake.open_table(UNIQUE_PAIRS) as pairs:
        batches = [len(batch) for batch in pair_rows.pair_batches(pairs, ["uid"])]
    assert sum(batches) == 60
    assert max(batches) <= 16
    curate_pairs(lake, dataclasses.replace(FEW, t=1e9))
    with lake.open_table(TABLE) as table:
        assert table.num_row_groups >= 2
        assert table.metadata.num_rows == 60


# -- again, killed, refused -----------------------------------------------------------------------------------


def test_nothing_new_does_nothing_and_anything_new_does(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small)
    first = curate_pairs(lake, FEW)
    again = curate_pairs(lake, FEW)
    assert (first.is_reused, again.is_reused, again.made) == (False, True, first.made)
    before = folder_bytes(Path(lake.root))
    assert not curate_pairs(lake, FEW, force=True).is_reused
    assert folder_bytes(Path(lake.root)) == before
    for other in ({"t": 11.0}, {"seeds": (0, 1)}, {"policy": "image"}):
        assert not curate_pairs(lake, dataclasses.replace(FEW, **other)).is_reused  # type: ignore[arg-type]
    write_counts(lake, [f"entry {number}" for number in range(30)], [1000] * 30)
    assert not curate_pairs(lake, FEW).is_reused
    assert lake.read_table(ENTRIES_TABLE)["texts"].to_pylist() == [1000] * 30


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(small: SmallPool, tmp_path: Path) -> None:
    def prepared(name: str) -> KillingLake:
        lake = KillingLake(str(tmp_path / name))
        write_pool(lake, small)
        curate_pairs(lake, FEW)
        return lake

    changed = dataclasses.replace(FEW, t=12.0)
    with a_killer() as killer:
        undisturbed = prepared("undisturbed")
        curate_pairs(undisturbed, changed)
        expected, steps = folder_bytes(Path(undisturbed.root)), 0
        while True:
            lake = prepared(f"killed-{steps}")
            killer.folders, killer.left = (lake.root,), steps + 1
            try:
                curate_pairs(lake, changed)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            curate_pairs(lake, changed)
            assert folder_bytes(Path(lake.root)) == expected
            assert not list(Path(lake.root).rglob("*.tmp"))
    assert folder_bytes(Path(lake.root)) == expected
    assert steps >= 4  # two tables; each made and renamed


def test_what_is_not_there_is_named(lake: Lake, small: SmallPool) -> None:
    with pytest.raises(MissingInput, match="Materialise curation/unique_pairs first"):
        curate_pairs(lake, FEW)
    write_pool(lake, small)
    lake.delete(f"{entry_counts.TABLE}/all.parquet")
    with pytest.raises(MissingInput, match="Materialise curation/entry_counts first"):
        curate_pairs(lake, FEW)
    assert lake.partitions(TABLE) == []


def test_pairs_matched_with_other_entries_are_refused(lake: Lake, small: SmallPool) -> None:
    write_pool(lake, small)
    write_counts(lake, ["another", "list"], [1, 2])
    with pytest.raises(SourceChanged, match=r"other entries.*Materialise"):
        curate_pairs(lake, FEW)
    assert lake.partitions(TABLE) == []


@pytest.mark.parametrize("first_p", [0.0, -0.5, 1.5, float("nan"), float("inf"), 1e-300])
def test_chances_that_are_none_are_refused(lake: Lake, small: SmallPool, first_p: float) -> None:
    rows = small.rows()
    rows[7]["first_p"] = first_p
    write_pool(lake, small, rows)
    with pytest.raises(BadSetting, match=r"balanced_pool|larger t"):
        curate_pairs(lake, FEW)
    assert lake.partitions(TABLE) == []


@dataclasses.dataclass(frozen=True)
class BusyLake(Lake):
    """A lake in which a table is made anew as soon as its footer was read."""

    table: str = ""

    def provenance(self, table: str, partition: str = "all") -> Any:
        made = super().provenance(table, partition)
        if table == self.table:
            change_inputs(Lake(self.root), table, changed=True)
        return made


@pytest.mark.parametrize("table", [UNIQUE_PAIRS, entry_counts.TABLE])
def test_a_table_made_anew_meanwhile_is_noticed(lake: Lake, small: SmallPool, table: str) -> None:
    write_pool(lake, small)
    with pytest.raises(SourceChanged, match="made anew while pairs were curated"):
        curate_pairs(BusyLake(lake.root, table=table), FEW)
    assert lake.partitions(TABLE) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"t": 0},
        {"t": -1},
        {"t": float("nan")},
        {"t": float("inf")},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"seeds": (-1,)},
        {"seeds": (2**31,)},
        {"seeds": tuple(range(101))},
        {"policy": "both"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(BadSetting, match=next(iter(bad))):
        CurationSettings(**bad)


# -- sums -----------------------------------------------------------------------------------------------------


def test_sums_do_not_depend_on_the_order(small: SmallPool) -> None:
    random = np.random.default_rng(0)
    entries, summands = random.integers(0, 9, 5000), 1 / random.uniform(1e-3, 1, 5000)
    results = set()
    for _ in range(5):
        order, sums = random.permutation(5000), EntrySums(9, 20)
        for part in np.array_split(order, 7):
            sums.add(entries[part], summands[part])
        results.add(sums.values.tobytes())
    assert len(results) == 1
    assert np.frombuffer(results.pop()) == pytest.approx(np.bincount(entries, summands), rel=1e-8)


@pytest.mark.parametrize("summand", [np.inf, np.nan, 2.0**44])
def test_sums_that_do_not_fit_are_refused(summand: float) -> None:
    with pytest.raises(BadSetting, match="larger t"):
        EntrySums(1, 20).add(np.array([0]), np.array([summand]))
