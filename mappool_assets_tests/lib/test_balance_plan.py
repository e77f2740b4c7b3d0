"""The balance plan against sums over all texts, against draws, against plans of fewer shards; and what it refuses."""

from __future__ import annotations

import doctest
import io
import math
import random
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation import plan_tables, stored_matches, wanted_t
from mappool_assets.lib.curation.balance_plan import (
    ENTRIES_TABLE,
    GROWTH_TABLE,
    TABLE,
    PlanReport,
    plan_balance,
)
from mappool_assets.lib.curation.entries import ENTRIES
from mappool_assets.lib.curation.entry_counts import TABLE as COUNTS
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.matches import COUNTS_TABLE, MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.plan_charts import counts_chart, growth_chart, size_chart
from mappool_assets.lib.curation.plan_settings import PlanSettings
from mappool_assets.lib.curation.plan_text import explanation, sizes_markdown
from mappool_assets.lib.curation.wanted_t import TOLERANCE, WantedSize, passing_t
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.figures import as_png
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.small_curation import use_compiled, write_entries
from mappool_assets_tests.small_lake import folder_bytes, shard_key, write_maps

SPACED = MatchSettings()
ENTRY_LIST = [*(f"w{number}" for number in range(60)), "never, found"]
SHARDS = [shard_key("a", number) for number in range(6)]
SETTINGS = PlanSettings(t=12, first_t=60, wanted_pairs=500, wanted_tail_share=0.1)
TABLES = (TABLE, GROWTH_TABLE, ENTRIES_TABLE)


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory):
    use_compiled(tmp_path_factory)


def zipf_texts(count, seed):
    """Texts of words that are as unequal as words are; some have none."""
    draw = random.Random(seed)
    return [" ".join(f"w{int(60 ** draw.random()) - 1}" for _ in range(draw.randint(0, 7))) for _ in range(count)]


def fill(lake, texts_of_shards, entries=ENTRY_LIST, settings=SPACED):
    """Write and match the shards' texts, and count."""
    if entries:
        write_entries(lake, entries)
    for shard, texts in texts_of_shards.items():
        write_maps(lake, shard, len(texts), columns={"text": texts})
    for outcome in match_shards(match_tasks(lake, list(texts_of_shards), settings), 1):
        assert outcome.error is None
    count_entries(lake, settings)
    return lake


TEXTS = {shard: zipf_texts(150 + 20 * number, seed=number) for number, shard in enumerate(SHARDS)}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A lake of six shards, with a plan that nobody changes."""
    lake = fill(Lake(str(tmp_path_factory.mktemp("planned"))), TEXTS)
    return lake, plan_balance(lake, SPACED, SETTINGS)


@pytest.fixture
def small(tmp_path):
    return fill(Lake(str(tmp_path / "lake")), {shard: TEXTS[shard][:60] for shard in SHARDS[:3]})


def stored_texts(lake, shards=SHARDS):
    return [entries for shard in shards for entries in lake.read_table(MATCHES, shard)["entries"].to_pylist()]


def slow_probability(text, counts, t):
    return 1 - math.prod(1 - min(1, t / counts[entry]) for entry in text)


def slow_counts(texts):
    return np.bincount([entry for text in texts for entry in text], minlength=len(ENTRY_LIST))


def test_the_examples():
    assert doctest.testmod(wanted_t).failed == doctest.testmod(plan_tables).failed == 0


def test_sizes_are_the_sums_over_all_texts(planned):
    lake, report = planned
    texts = stored_texts(lake)
    counts = slow_counts(texts)
    assert len(report.sizes) == len(lake.read_table(TABLE)) > 10
    for size in report.sizes:
        kept = [slow_probability(text, counts, size.t) for text in texts]
        assert size.expected_size == pytest.approx(math.fsum(kept), rel=1e-12)
        assert size.sd_size == pytest.approx(math.sqrt(math.fsum(p * (1 - p) for p in kept)), rel=1e-9, abs=1e-7)
        head = {entry for entry, count in enumerate(counts) if count >= size.t}
        assert (size.head_entries, size.tail_entries) == (len(head), np.count_nonzero(counts) - len(head))
        assert size.tail_share == pytest.approx(sum(c for c in counts if c < size.t) / counts.sum())
        assert size.matches_kept == pytest.approx(sum(min(c, size.t) for c in counts))
        of_head = [sum(p for p, text in zip(kept, texts, strict=True) if entry in text) / size.t for entry in head]
        assert size.head_factor == pytest.approx(np.mean(of_head))
        assert size.expected_size <= size.matches_kept + 1e-9


def test_roles_and_order(planned):
    _, report = planned
    counts = slow_counts(stored_texts(planned[0]))
    assert [(size.t, size.role) for size in report.sizes] == sorted((size.t, size.role) for size in report.sizes)
    assert (report.size("training").t, report.size("first").t) == (12, 60)
    table = [size.t for size in report.sizes if size.role == "table"]
    assert table[:6] == [1, 2, 5, 10, 20, 50]
    assert table[-1] == counts.max()
    assert report.size("table").t == 1
    assert report.sizes[-1].expected_size == report.made.measures["matched_texts"]
    assert report.sizes[-1].sd_size == 0
    assert report.size("wanted_tail_share").t in counts


def test_entries_get_what_the_texts_that_they_match_add_up_to(planned):
    lake, _ = planned
    texts = stored_texts(lake)
    counts, rows = slow_counts(texts), lake.read_table(ENTRIES_TABLE).to_pylist()
    assert [(row["entry_id"], row["entry"], row["texts"]) for row in rows] == [
        (number, entry, counts[number]) for number, entry in enumerate(ENTRY_LIST)
    ]
    for row in rows:
        assert row["p"] == min(1, 12 / row["texts"]) if row["texts"] else row["p"] == 1
        assert row["is_head"] == (row["texts"] >= 12)
        expected = math.fsum(slow_probability(text, counts, 12) for text in texts if row["entry_id"] in text)
        assert row["expected_pairs"] == pytest.approx(expected, abs=1e-6 * max(1, row["texts"]))
    assert any(row["texts"] == 0 and row["expected_pairs"] == 0 for row in rows)


def test_draws_are_as_many_and_vary_as_much(planned):
    lake, report = planned
    texts = stored_texts(lake)
    uids = pa.array([str(number) for number in range(len(texts))])  # those of small lakes are the same in each shard
    counts, seeds, size = slow_counts(texts), 300, report.size("training")
    kept = np.array([slow_probability(text, counts, 12) for text in texts])
    drawn = np.array([np.count_nonzero(keyed_uniforms(uids, seed, "plan") < kept) for seed in range(seeds)])
    assert abs(drawn.mean() - size.expected_size) < 4 * size.sd_size / math.sqrt(seeds)
    assert abs(drawn.std(ddof=1) / size.sd_size - 1) < 4 / math.sqrt(2 * seeds)


def test_growth_is_the_plan_of_the_first_shards_alone(planned, tmp_path):
    _, report = planned
    ts = sorted({12.0, 60.0, report.size("wanted_tail_share").t})
    assert [(size.shards, size.t) for size in report.growth] == [(shards, t) for shards in (1, 2, 4, 6) for t in ts]
    for shards in (1, 2, 4, 6):
        some = {shard: TEXTS[shard] for shard in SHARDS[:shards]}
        lake = fill(Lake(str(tmp_path / str(shards))), some)
        for t in ts:
            alone = plan_balance(lake, SPACED, PlanSettings(t=t)).size("training")
            found = next(size for size in report.growth if (size.shards, size.t) == (shards, t))
            assert (found.expected_size, found.sd_size) == (alone.expected_size, alone.sd_size)
            assert found.texts == sum(map(len, some.values()))


def test_the_t_of_a_wanted_size_is_the_least(planned):
    lake, report = planned
    texts = stored_texts(lake)
    counts, size = slow_counts(texts), report.size("wanted_pairs")
    assert 500 <= size.expected_size < 500 * (1 + TOLERANCE)
    below = size.t / (1 + 1.01 * TOLERANCE)
    assert math.fsum(slow_probability(text, counts, below) for text in texts) < 500
    assert report.made.measures["passes"] <= 4


@pytest.mark.parametrize("wanted", [1, 40, "all"])
def test_little_is_wanted_or_all(small, wanted):
    most = small.provenance(COUNTS).measures["matched_rows"]
    wanted = most if wanted == "all" else wanted
    report = plan_balance(small, SPACED, PlanSettings(wanted_pairs=wanted))
    size = report.size("wanted_pairs")
    assert wanted <= size.expected_size <= wanted * (1 + TOLERANCE)
    assert size.t <= slow_counts(stored_texts(small, SHARDS[:3])).max()


def test_more_is_wanted_than_there_is(small):
    most = small.provenance(COUNTS).measures["matched_rows"]
    with pytest.raises(
        BadSetting, match=f"expected at most {most:,}, which is how many texts match an entry; got 10,000"
    ):
        plan_balance(small, SPACED, PlanSettings(wanted_pairs=10_000))
    with pytest.raises(BadSetting, match=f"at most {most}"):
        plan_balance(small, SPACED, PlanSettings(wanted_pairs=most + 1))
    assert not any(small.partitions(table) for table in TABLES)


def a_curve(counts):
    """An expected size of texts with one entry each, but for those that share a text in twos."""

    def size(t):
        p = np.minimum(1, t / counts)
        return float((counts * p).sum() - (np.minimum(counts[::2], 9) * p[::2] ** 2).sum() / 2)

    return size


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.floats(1e-6, 1), st.booleans())
def test_a_search_ends_soon_at_the_least_t(listed, share, is_few):
    counts = np.array(listed, dtype=np.float64)
    size, known = a_curve(counts), [counts.max()] if is_few else [*(counts.max() / 10 ** np.arange(8))]
    wanted = share * size(counts.max())
    assume(wanted > 0)
    search = WantedSize(wanted, counts, {float(t): size(t) for t in known})
    for _ in range(20):
        tries = search.tries()
        if not tries:
            break
        assert tries == sorted(set(tries))
        assert len(tries) <= 8
        search.take({t: size(t) for t in tries})
    assert search.is_found
    assert size(search.t) >= wanted
    assert size(search.t / (1 + 1.01 * TOLERANCE)) < wanted


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.floats(0.001, 1))
def test_so_many_matches_pass(counts, share):
    assume(sum(counts))
    matches = share * sum(counts)
    assert sum(min(count, passing_t(counts, matches)) for count in counts) == pytest.approx(matches)


def test_neither_row_groups_nor_threads_nor_keys_change_anything(planned, tmp_path, monkeypatch):
    lake, _ = planned
    expected = {table: lake.read_table(table) for table in TABLES}
    before = folder_bytes(Path(lake.root))
    for at_once in (1, 300):
        monkeypatch.setattr(stored_matches, "MATCHES_AT_ONCE", at_once)
        assert not plan_balance(lake, SPACED, SETTINGS, force=True).is_reused
        assert folder_bytes(Path(lake.root)) == before
    shuffled = dict(zip(SHARDS, random.Random(1).sample(list(TEXTS.values()), len(TEXTS)), strict=True))
    other = fill(Lake(str(tmp_path / "shuffled")), shuffled)
    plan_balance(other, SPACED, SETTINGS)
    assert other.read_table(TABLE) == expected[TABLE]
    assert other.read_table(ENTRIES_TABLE) == expected[ENTRIES_TABLE]
    every = [text for texts in TEXTS.values() for text in texts]
    whole = fill(Lake(str(tmp_path / "whole")), {SHARDS[0]: every})
    plan_balance(whole, SPACED, SETTINGS)
    assert whole.read_table(TABLE) == expected[TABLE]
    assert whole.read_table(ENTRIES_TABLE) == expected[ENTRIES_TABLE]


def test_stored_lists_as_arrays():
    kind = pa.list_(pa.int32())
    whole = pa.array([[1], [2, 3], [], [4]], kind)
    for lists in (whole, pa.chunked_array([whole[:1], whole[1:]]), whole[1:], whole[:0], pa.chunked_array([], kind)):
        found = stored_matches.as_matches(lists)
        assert [found.of(row).tolist() for row in range(len(found))] == lists.to_pylist()
        assert found.offsets[0] == 0
        assert (found.offsets.dtype, found.entries.dtype) == (np.int64, np.int32)


def test_made_once_and_again_when_anything_is_another(small):
    first = plan_balance(small, SPACED, SETTINGS_SMALL)
    assert not first.is_reused
    again = plan_balance(small, SPACED, SETTINGS_SMALL)
    assert again.is_reused
    assert (again.sizes, again.growth, again.made) == (first.sizes, first.growth, first.made)
    assert not plan_balance(small, SPACED, PlanSettings(t=7, first_t=60)).is_reused
    assert not plan_balance(small, SPACED, SETTINGS_SMALL).is_reused
    small.delete(small.table_path(GROWTH_TABLE))
    assert not plan_balance(small, SPACED, SETTINGS_SMALL).is_reused
    fill(small, {SHARDS[4]: TEXTS[SHARDS[4]]}, entries=None)
    grown = plan_balance(small, SPACED, SETTINGS_SMALL)
    assert (grown.is_reused, grown.made.measures["shards"]) == (False, 4)
    assert grown.made.fingerprint != first.made.fingerprint


SETTINGS_SMALL = PlanSettings(t=6, first_t=60, wanted_pairs=70)


def test_a_killed_plan_run_again_ends_as_undisturbed(tmp_path):
    def prepared(name):
        return fill(KillingLake(str(tmp_path / name)), {SHARDS[0]: TEXTS[SHARDS[0]][:30]})

    settings = PlanSettings(t=2, first_t=3)
    with a_killer() as killer:
        undisturbed = prepared("undisturbed")
        plan_balance(undisturbed, SPACED, settings)
        expected, steps = folder_bytes(Path(undisturbed.root)), 0
        while True:
            lake = prepared(f"killed-{steps}")
            killer.folders, killer.left = (lake.root,), steps + 1
            try:
                plan_balance(lake, SPACED, settings)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            plan_balance(lake, SPACED, settings)
            assert folder_bytes(Path(lake.root)) == expected
    assert steps >= 6  # three tables, each opened and renamed


def test_what_has_to_be_there_first(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(MissingInput, match="Materialise curation/entries first"):
        plan_balance(lake, SPACED, SETTINGS)
    write_entries(lake, ENTRY_LIST)
    with pytest.raises(MissingInput, match="Materialise curation/entry_counts first"):
        plan_balance(lake, SPACED, SETTINGS)
    count_entries(lake, SPACED)
    with pytest.raises(MissingInput, match=r"counts of at least one shard.*Materialise matches, entry_counts first"):
        plan_balance(lake, SPACED, SETTINGS)


def test_counts_of_another_list_or_rule_are_refused(small):
    with pytest.raises(SourceChanged, match="of other entries, or of texts matched by another rule"):
        plan_balance(small, MatchSettings(is_unspaced=True), SETTINGS)
    write_entries(small, ["w1"])
    with pytest.raises(SourceChanged, match="of other entries, or of texts matched by another rule"):
        plan_balance(small, SPACED, SETTINGS)


@pytest.mark.parametrize("shard", [SHARDS[0], SHARDS[2]], ids=["of a prefix", "the last"])
def test_a_shard_matched_anew_or_removed_since_it_was_counted(small, shard):
    write_maps(small, shard, 5, columns={"text": ["w1"] * 5}, seed=1)
    assert all(outcome.error is None for outcome in match_shards(match_tasks(small, [shard], SPACED), 1))
    with pytest.raises(SourceChanged, match="matched anew since its entries were counted"):
        plan_balance(small, SPACED, PlanSettings(t=6))
    small.delete(small.table_path(MATCHES, shard))
    small.delete(small.table_path(COUNTS_TABLE, shard))
    with pytest.raises(MissingInput, match="A file of the lake is not there"):
        plan_balance(small, SPACED, PlanSettings(t=6))
    assert not any(small.partitions(table) for table in TABLES)
    count_entries(small, SPACED)
    assert plan_balance(small, SPACED, PlanSettings(t=6)).made.measures["shards"] == 2


def test_shards_that_are_not_counted_are_named(small):
    plan_balance(small, SPACED, PlanSettings(t=6))
    write_maps(small, SHARDS[5], 5, columns={"text": ["w1"] * 5})
    assert all(outcome.error is None for outcome in match_shards(match_tasks(small, SHARDS[5:], SPACED), 1))
    report = plan_balance(small, SPACED, PlanSettings(t=6))
    assert (report.left_out, report.is_reused) == ([SHARDS[5]], True)


def test_one_entry(tmp_path):
    lake = fill(Lake(str(tmp_path / "one")), {SHARDS[0]: ["w1"] * 30 + ["w2"] * 10 + [None]}, entries=["w1"])
    report = plan_balance(lake, SPACED, PlanSettings(t=3, wanted_pairs=12))
    size = report.size("training")
    assert size.expected_size == pytest.approx(3)
    assert size.sd_size == pytest.approx(math.sqrt(3 * 0.9))
    assert size.head_factor == pytest.approx(1)
    assert report.size("wanted_pairs").t == pytest.approx(12, rel=TOLERANCE)
    assert lake.read_table(ENTRIES_TABLE)["expected_pairs"].to_pylist() == [pytest.approx(3, abs=1e-5)]
    assert "of 1 entry of the head" in explanation(report)


@pytest.mark.parametrize("texts", [[], ["nothing", "", None]], ids=["no texts", "no matches"])
def test_nothing_matches(tmp_path, texts):
    lake = fill(Lake(str(tmp_path / "none")), {SHARDS[0]: texts}, entries=["w1", "w2"])
    report = plan_balance(lake, SPACED, PlanSettings(t=3))
    assert {(size.t, size.expected_size, size.sd_size, size.head_factor) for size in report.sizes} == {
        (1, 0, 0, None), (3, 0, 0, None), (170_000, 0, 0, None)
    }  # fmt: skip
    assert [row["expected_pairs"] for row in lake.read_table(ENTRIES_TABLE).to_pylist()] == [0, 0]
    assert "nothing is balanced" in explanation(report)
    pictures(report, np.zeros(2))
    assert "(the most that one does is 0)" in explanation(report)
    assert "is 0)" in explanation(plan_balance(lake, SPACED, PlanSettings(t=3, first_t=1)))
    with pytest.raises(BadSetting, match="expected at most 0, which"):
        plan_balance(lake, SPACED, PlanSettings(wanted_pairs=1))
    with pytest.raises(BadSetting, match="share of the tail"):
        plan_balance(lake, SPACED, PlanSettings(wanted_tail_share=0.1))


@pytest.mark.parametrize(
    "values",
    [
        *({"t": t} for t in (0, math.nan, math.inf)),
        {"first_t": -1},
        {"wanted_pairs": 0},
        *({"wanted_tail_share": share} for share in (0, 1.5, math.nan)),
    ],
    ids=str,
)
def test_settings_out_of_range(values):
    with pytest.raises(BadSetting, match="Balancing cannot be planned so"):
        PlanSettings(**values)


def test_it_is_told_how_many_shards_are_read(small):
    told = []
    plan_balance(
        small, SPACED, SETTINGS_SMALL, tell=lambda things: lambda done, total: told.append((things, done, total))
    )
    passes = list(dict.fromkeys(things for things, *_ in told))
    assert passes[:2] == ["shards read for the plan", "shards read for the t of 70 pairs, pass 1"]
    assert [(done, total) for _, done, total in told] == [(1, 3), (2, 3), (3, 3)] * len(passes)


def test_a_t_of_a_millionth_is_only_rounded(tmp_path):
    """Of 30 texts each is kept with a chance of 3e-8, which is rounded to a multiple of 2⁻⁵²: together by 3e-9."""
    lake = fill(Lake(str(tmp_path / "tiny")), {SHARDS[0]: ["w1"] * 30}, entries=["w1"])
    report = plan_balance(lake, SPACED, PlanSettings(t=1e-6, first_t=1e-5))
    assert report.size("training").expected_size == pytest.approx(1e-6, rel=1e-8)
    for check in ("balance_plan_monotone", "balance_plan_of_entries", "planned_entries_within_counts"):
        assert sql_files.run(lake, f"checks/{check}").to_pylist() == []


@pytest.mark.parametrize("first_t", [3, 4])
def test_without_a_head_it_says_how_many_texts_an_entry_matches_at_most(tmp_path, first_t):
    lake = fill(Lake(str(tmp_path / "small")), {SHARDS[0]: ["w1", "w1", "w1 w2"]}, entries=["w1", "w2"])
    report = plan_balance(lake, SPACED, PlanSettings(t=5, first_t=first_t))
    assert "(the most that one does is 3), so all 3 texts" in explanation(report)


def test_it_says_why_head_and_tail_are_more_than_the_pairs(planned):
    _, report = planned
    size, text = report.size("training"), explanation(report)
    head = 12 * size.head_entries
    tail = sum(c for c in slow_counts(stored_texts(planned[0])) if c < 12)
    assert f"Why {head:,} + {tail:,} matches give {size.expected_size:,.0f} pairs" in text
    assert f"{size.matches_kept / size.expected_size:.2f} passing matches for each" in text
    assert "320 M matches, its tail has 320 M more, and the 640 M give 400 M pairs, 1.6 passing matches" in text
    assert f"keeps {size.head_factor:.2f} × t texts on average" in text
    assert size.head_factor > 1
    assert f"t = {report.size('wanted_pairs').t:.7g} keeps 500 ± " in text
    assert "comes nearest to the wanted tail" in text
    table = sizes_markdown(report.sizes).splitlines()
    assert len(table) == 2 + len(report.sizes)
    assert {line.count("|") for line in table} == {8}


def pictures(report: PlanReport, counts) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = {"training": report.size("training").t}
        return [
            as_png(chart)
            for chart in (size_chart(report.sizes), growth_chart(report.growth), counts_chart(counts, lines))
        ]


def test_charts_fit_the_ui_and_are_the_same_for_the_same_numbers(planned):
    lake, report = planned
    counts = lake.read_table(COUNTS)["texts"].to_numpy()
    drawn = pictures(report, counts)
    assert drawn == pictures(report, counts)
    for png in drawn:
        image = Image.open(io.BytesIO(png))
        assert (image.format, image.width) == ("PNG", 770)
        assert np.asarray(image.convert("L")).mean() > 180
    assert lake.read_table(ENTRIES).num_rows == len(counts)
