"""The page about curated pairs: what it says, what it lacks, and that nothing of a stranger's gets out of its place."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation import curation_charts
from mappool_assets.lib.curation.balanced_pool import BalanceSettings, balance_shards, balanced_pool_tasks
from mappool_assets.lib.curation.curated_pairs import ENTRIES_TABLE, TABLE, curate_pairs
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS
from mappool_assets.lib.curation.curation_report import PATH, CurationPage, write_curation_report
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.matches import MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.unique_pairs import PairSettings, find_unique_pairs
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import IMAGES
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets_tests.lib.test_pool_report import ATTRIBUTE, SCRIPT, Read
from mappool_assets_tests.small_curation import compiled_folder, use_compiled, write_entries
from mappool_assets_tests.small_images import write_images
from mappool_assets_tests.small_lake import A, B, write_maps
from mappool_assets_tests.small_pairs import SmallPool, change_inputs, write_pool

LISTED = ["map", "old", "river", "Rome", "東京 {{ 7 * 7 }}", SCRIPT, ATTRIBUTE, "never seen", "<b>", "x" * 300]
URLS = ["javascript:alert(1)", 'https://a.example/?q="><script>', "http://<b>x/", "https://maps.example/1.png"]
TEXTS = 120
FIRST_T, T, SEEDS = 60.0, 12.0, (5, 0, 2)


def write_hostile_maps(lake: Lake, shard: str) -> None:
    """Write maps whose captions hold all that is listed, what is common more often; some hold nothing of it."""
    random = np.random.default_rng(list(shard.encode()))
    shares = np.array([0.8, 0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.0, 0.1, 0.05])
    texts = [
        " ".join([*(entry for entry, share in zip(LISTED, shares, strict=True) if random.random() < share), f"n{row}"])
        for row in range(TEXTS)
    ]
    texts[7] = f"map line\nbreak\x00\x1b and \u202egnp.exe {'y' * 5000}"
    write_maps(lake, shard, TEXTS, columns={"text": texts, "url": [URLS[row % 4] for row in range(TEXTS)]})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes, all of it made by what makes lakes; texts and addresses are hostile."""
    use_compiled(tmp_path_factory)
    folder = tmp_path_factory.mktemp("made")
    lake, matching = Lake(str(folder / "lake")), MatchSettings(compiled=compiled_folder(tmp_path_factory))
    write_entries(lake, LISTED)
    for shard in (A, B):
        write_hostile_maps(lake, shard)
    outcomes = [*match_shards(match_tasks(lake, [A, B], matching), 1)]
    count_entries(lake, matching)
    outcomes += [*balance_shards(balanced_pool_tasks(lake, [A, B], matching, BalanceSettings(FIRST_T)), 1)]
    assert [outcome.error for outcome in outcomes] == [None] * 4
    find_unique_pairs(lake, folder / "scratch", PairSettings("listed"))
    curate_pairs(lake, CurationSettings(T, SEEDS))
    write_images(lake, A, ["ok", "http_404"] * (TEXTS // 2))
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


@pytest.fixture(scope="module")
def written(made: Path) -> tuple[CurationPage, bytes]:
    lake = Lake(str(made))
    report = write_curation_report(lake)
    return report, lake.read_bytes(report.path)


@pytest.fixture(scope="module")
def page(written: tuple[CurationPage, bytes]) -> Read:
    return Read(written[1].decode())


def page_of(lake: Lake) -> Read:
    write_curation_report(lake)
    return Read(lake.read_bytes(PATH).decode())


# -- what it says ---------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_lake(made: Path, written: tuple[CurationPage, bytes], page: Read) -> None:
    report, html = written
    lake = Lake(str(made))
    pairs, entries = lake.read_table(TABLE).to_pylist(), lake.read_table(ENTRIES_TABLE).to_pylist()
    measures = lake.provenance(TABLE).measures  # type: ignore[union-attr]
    first = [row for row in pairs if SEEDS[0] in row["seeds"]]
    assert (report.path, report.sha256) == (PATH, hashlib.sha256(html).hexdigest())
    assert (report.pairs, report.entries) == (len(first), len(LISTED))
    assert (report.expected_pairs, report.sd_pairs) == (measures["expected_pairs"], measures["sd_pairs"])
    assert report.head_entries == sum(row["unique_texts_estimate"] >= T for row in entries)
    assert report.lost_entries == sum(row["texts"] > 0 and row["curated"] == 0 for row in entries)
    (top,) = [row for row in entries if row["entry"] == "map"]  # a tenth of nine
    assert report.top_share_before == top["texts"] / sum(row["texts"] for row in entries)
    assert report.top_share_after == top["curated"] / sum(row["curated"] for row in entries)
    assert report.top_share_after < report.top_share_before
    tail = [row for row in entries if row["unique_texts_estimate"] < T]
    before = sum(row["unique_texts_estimate"] for row in tail) / sum(row["unique_texts_estimate"] for row in entries)
    assert report.tail_share_before == pytest.approx(before)
    after = sum(row["curated"] for row in tail) / sum(row["curated"] for row in entries)
    assert report.tail_share_after == pytest.approx(after)
    assert 0 < before < after < 1, "the pairs are flatter than the texts"
    assert report.missing == ()
    matching = sum(row["texts"] > 0 for row in entries)
    assert matching == len(LISTED) - 1
    for said in (
        f"{len(first)} {measures['expected_pairs']:,.0f} ± {measures['sd_pairs']:.1f} expected",
        "MetaCLIP's balancing, t = 60 before the images and 12 at last, 3 seeds. Each text drawn by itself.",
        "Captions of maps.",
        "What 3 seeds have in common",
        "5 and 0",
        f"Of 10 entries {matching} match a text; {report.head_entries} are of the head",
        "The most frequent entry has",
        f"All {matching} entries that match a text",
        "× t on average",
        "left by the first draw",
    ):
        assert said in page.words, said


def test_the_way_from_texts_to_pairs_is_that_of_the_lake(made: Path, page: Read) -> None:
    lake = Lake(str(made))
    balanced = [lake.provenance("curation/balanced_pool", shard) for shard in (A, B)]
    dropped = sum(each.rows_dropped["not_drawn"] for each in balanced if each)
    pairs = lake.provenance(TABLE)
    assert pairs is not None
    for said in (f"not drawn {dropped}", f"not drawn {pairs.rows_dropped['not_drawn']}", str(2 * TEXTS)):
        assert said in page.words, said


def test_entries_at_the_ends_are_named_with_their_numbers(made: Path, page: Read) -> None:
    entries = Lake(str(made)).read_table(ENTRIES_TABLE).to_pylist()
    top = max(entries, key=lambda row: row["texts"])
    assert f"map {top['texts']:,} {top['unique_texts_estimate']:,.0f}" in page.words
    assert "東京 {{ 7 * 7 }}" in page.words


def test_nothing_of_a_strangers_gets_out_of_its_place(written: tuple[CurationPage, bytes], page: Read) -> None:
    html = written[1].decode()
    assert page.all("script") == []
    assert SCRIPT in page.words
    assert ATTRIBUTE in page.words
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:image/jpeg;base64,", "https://", "http://"))
    assert {each["href"] for each in page.all("a")} & {"javascript:alert(1)"} == set()
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "x" * 100 not in page.words.replace(" ", ""), "long entries are cut"
    assert not re.search(r"url\((?!#)|@import|<link|<iframe|[\x00\x1b]", html)


def test_the_same_lake_gives_the_same_bytes_wherever_it_lies(lake: Lake, written: tuple[CurationPage, bytes]) -> None:
    report = write_curation_report(lake)
    assert lake.read_bytes(PATH) == written[1]
    assert report == written[0]
    assert report.pictures == written[0].pictures
    assert {name: Image.open(io.BytesIO(png)).format for name, png in report.pictures.items()} == {
        "texts_of_entries": "PNG",
        "drawn_of_entries": "PNG",
    }


def test_images_that_are_stored_are_shown(made: Path, page: Read) -> None:
    first = [row for row in Lake(str(made)).read_table(TABLE).to_pylist() if SEEDS[0] in row["seeds"]]
    fetched = [row for row in first if row["shard"] == A and int(row["uid"][8:], 16) % 2 == 0]
    pictures = page.all("img")
    assert len(pictures) == min(24, len(fetched)) > 5
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)  # type: ignore[union-attr]


# -- what it lacks --------------------------------------------------------------------------------------------


def test_what_is_not_there_is_said(lake: Lake) -> None:
    shutil.rmtree(Path(lake.root) / "mappool/map_images")
    report = write_curation_report(lake)
    assert report.missing == ("Materialise mappool/map_images for these shards to see images.",)
    words = Read(lake.read_bytes(PATH).decode()).words
    assert report.missing[0] in words
    assert "Kept for sure" in words


def test_images_that_cannot_be_read_are_said(lake: Lake) -> None:
    shutil.rmtree(Path(lake.root) / IMAGES)
    page = page_of(lake)
    assert page.all("img") == []
    assert "not readable" in page.words


def test_one_draw_of_one_text_an_image_is_told_as_such(lake: Lake) -> None:
    curate_pairs(lake, CurationSettings(T, policy="image"))
    words = page_of(lake).words
    assert "1 seed. One text an image." in words
    assert "in common" not in words
    assert "another one draws" not in words


def test_chances_that_the_first_pass_spent_are_said(lake: Lake) -> None:
    made = curate_pairs(lake, CurationSettings(200.0)).made
    assert f"{made.measures['capped']:,} pairs (" in page_of(lake).words


def test_pairs_of_other_unique_pairs_than_the_lakes_say_so(lake: Lake) -> None:
    change_inputs(lake, UNIQUE_PAIRS, others=True)
    assert "materialise curation/curated_pairs again" in page_of(lake).words


def test_without_pairs_there_is_a_page_and_without_the_table_none(tmp_path: Path) -> None:
    lake, pool = Lake(str(tmp_path / "lake")), SmallPool.make(50, 3)
    with pytest.raises(MissingInput, match="Materialise curation/curated_pairs first"):
        write_curation_report(lake)
    write_pool(lake, pool, [])
    curate_pairs(lake, CurationSettings())
    report = write_curation_report(lake)
    assert (report.pairs, report.top_share_after, report.tail_share_after) == (0, 0.0, 0.0)
    assert "There are no pairs." in Read(lake.read_bytes(PATH).decode()).words


def test_entries_of_other_pairs_are_refused(lake: Lake) -> None:
    lake.delete(PATH)
    change_inputs(lake, ENTRIES_TABLE, t=13.0)
    with pytest.raises(SourceChanged, match="Materialise curation/curated_pairs again"):
        write_curation_report(lake)
    assert not lake.exists(PATH)


# -- the reports that it stands on ----------------------------------------------------------------------------


def report(lake: Lake, name: str, **bound: object) -> list[dict]:
    return sql_files.run(lake, f"reports/{name}", **bound).to_pylist()


def test_draws_and_overlaps_are_those_of_the_pairs(made: Path) -> None:
    lake = Lake(str(made))
    of_seed = {
        seed: {row["uid"] for row in lake.read_table(TABLE).to_pylist() if seed in row["seeds"]} for seed in SEEDS
    }
    measures = lake.provenance(TABLE).measures  # type: ignore[union-attr]
    draws = report(lake, "curated_draws")
    assert [(row["seed"], row["pairs"]) for row in draws] == [(seed, len(of_seed[seed])) for seed in SEEDS]
    for row in draws:
        off = (row["pairs"] - measures["expected_pairs"]) / measures["sd_pairs"]
        assert row["deviations"] == pytest.approx(off)
    overlaps = report(lake, "curated_overlaps")
    assert [(row["seed"], row["other_seed"]) for row in overlaps] == [(5, 0), (5, 2), (0, 2)]
    for row in overlaps:
        one, other = of_seed[row["seed"]], of_seed[row["other_seed"]]
        assert row["pairs"] == len(one & other)
        assert row["overlap"] == pytest.approx(len(one & other) / len(one | other))
        off = (row["pairs"] - measures["expected_together"]) / measures["sd_together"]
        assert row["deviations"] == pytest.approx(off)


def test_draws_of_one_seed_and_of_none_have_no_overlap(lake: Lake) -> None:
    curate_pairs(lake, CurationSettings(1e9))
    (row,) = report(lake, "curated_draws")
    assert (row["sd_pairs"], row["deviations"]) == (0.0, None), "all are kept for sure"
    assert report(lake, "curated_overlaps") == []


def test_the_sample_is_the_first_by_uid_of_those_that_are_wanted(made: Path) -> None:
    lake = Lake(str(made))
    rows = sorted(
        (row for row in lake.read_table(TABLE).to_pylist() if SEEDS[0] in row["seeds"]), key=lambda row: row["uid"]
    )
    assert [row["uid"] for row in report(lake, "curated_sample")] == [row["uid"] for row in rows[:20]]
    for is_sure in (True, False):
        wanted = [row["uid"] for row in rows if (row["p"] >= 0.9995) == is_sure]
        assert [row["uid"] for row in report(lake, "curated_sample", is_sure=is_sure, pairs=9)] == wanted[:9] != []
    fetched = report(lake, "curated_sample", is_fetched=True, pairs=1000)
    assert {row["is_fetched"] for row in fetched} == {True}
    assert {row["uid"] for row in fetched} == {row["uid"] for row in report(lake, "curated_sample", pairs=1000)
                                               if row["is_fetched"]}  # fmt: skip
    assert fetched[0]["matched"] == next(row["matched"] for row in rows if row["uid"] == fetched[0]["uid"])


# -- charts ---------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
ZIPF = 1e6 / np.arange(1, 30_001)
CHARTS = {
    "entries": lambda: curation_charts.entries_chart(ZIPF.round(), np.minimum(ZIPF, 200).round(), 200),
    "one entry": lambda: curation_charts.entries_chart([7], [3], 3.5),
    "nothing drawn": lambda: curation_charts.entries_chart([7, 9], [0, 0], 20_000),
    "no entries": lambda: curation_charts.entries_chart([], [], 20_000),
    "kept": lambda: curation_charts.kept_chart(ZIPF, RANDOM.poisson(np.minimum(ZIPF, 200)), 200),
    "nothing kept": lambda: curation_charts.kept_chart([0.0, 2.5], [0, 0], 20_000),
    "nothing": lambda: curation_charts.kept_chart([], [], 20_000),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_takes_colours_and_font_from_the_page_and_nothing_from_elsewhere(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = as_svg(CHARTS[name](), name)
    for forbidden in ("<style", "<script", "font-family", "<metadata", "<!--", "<image"):
        assert forbidden not in svg
    assert re.findall(r"(?<!\()#[0-9a-fA-F]{6}\b", svg) == [], "a colour of its own"
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', svg) == []
    assert len(svg) < 100_000


def test_the_chart_holds_both_ends_of_the_counts_and_t() -> None:
    axes = curation_charts.entries_chart(ZIPF, np.minimum(ZIPF, 200), 200).axes[0]
    before, after, line = axes.get_lines()
    assert (before.get_xdata()[0], before.get_xdata()[-1]) == (1, 30_000)
    assert (before.get_ydata()[0], before.get_ydata()[-1]) == (ZIPF[0], ZIPF[-1])
    assert after.get_ydata()[0] == 200
    assert list(line.get_ydata()) == [200, 200]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_page_of_a_hundred_seeds_names_some(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, SmallPool.make(400, 10))
    curate_pairs(lake, CurationSettings(10.0, tuple(range(100))))
    words = page_of(lake).words
    assert "The first 15 of 4950." in words
    assert dataclasses.asdict(write_curation_report(lake))["pairs"] == report(lake, "curated_draws")[0]["pairs"]
