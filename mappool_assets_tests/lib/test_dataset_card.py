from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from huggingface_hub import DatasetCard

from mappool_assets.lib.evaluation import Evaluation, accuracy_table
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.publish.corpus import Corpus, CorpusShard, read_corpus
from mappool_assets.lib.publish.dataset_card import CardSettings, dataset_card, public_address
from mappool_assets.lib.publish.published_files import published_schema
from mappool_assets.lib.screen_audit import ScreenAudit
from mappool_assets_tests.small_lake import SOURCE, shard_key, write_maps, write_pool

SHARD = CorpusShard("a1", "part_a", 1_000_000, 7_000, "f1", SOURCE, "0123abcd", "svm-1", 0.35)
SVM = Evaluation(
    method="svm_poly",
    classifier_id="svm-1",
    threshold=0.35,
    rows=2480,
    true_positives=1220,
    false_positives=17,
    true_negatives=1223,
    false_negatives=20,
    accuracy=0.985,
    accuracy_low=0.9794,
    accuracy_high=0.9891,
    precision=0.986,
    recall=0.984,
    average_precision=0.998,
)
CORPUS = Corpus((SHARD,), {"b2": "not scored yet"}, {"not_a_map": 990_000, "null_url": 3_000}, (SVM,))


def card(corpus: Corpus = CORPUS, settings: CardSettings | None = None) -> str:
    return dataset_card(corpus, published_schema(768), 21_500_000, settings or CardSettings())


def with_shards(*shards: CorpusShard) -> Corpus:
    return dataclasses.replace(CORPUS, shards=shards)


def test_the_header_is_what_the_hub_expects() -> None:
    data = DatasetCard(card(), ignore_metadata_errors=False).data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["size_categories"] == ["1K<n<10K"]
    assert data["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "part_*/*.parquet"}]}
    ]


def test_the_headers_features_are_those_that_datasets_sees_in_the_files() -> None:
    from datasets import Features

    features = DatasetCard(card()).data.to_dict()["dataset_info"]["features"]
    assert Features._from_yaml_list(features) == Features.from_arrow_schema(published_schema(768))


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (75_000_000, "10M<n<100M"), (10**9, "n>1B")],
)
def test_size_categories(rows: int, category: str) -> None:
    text = card(with_shards(dataclasses.replace(SHARD, rows_kept=rows)))
    assert DatasetCard(text).data.to_dict()["size_categories"] == [category]


def test_counts_and_coverage_are_the_lakes() -> None:
    text = card()
    assert "7,000 links" in text
    assert "1 of 2 known shards of the pool are in it (50.0%)" in text
    assert "| kept as maps | 7,000 | 0.70% |" in text
    assert "| dropped: not a map | 990,000 | 99.00% |" in text
    assert f"| `{SOURCE}` | `0123abcd` | `svm-1` | 0.35 | 1 | 7,000 |" in text
    assert "21.5 MB" in text


def test_the_header_says_nothing_that_a_commit_before_the_card_would_belie() -> None:
    assert set(DatasetCard(card()).data.to_dict()["dataset_info"]) == {"features"}


def test_rows_taken_down_are_counted_and_those_published_are_stated() -> None:
    shard = dataclasses.replace(SHARD, taken_down=tuple(f"{n:032x}" for n in range(2000)))
    corpus = dataclasses.replace(with_shards(shard), rows_dropped={**CORPUS.rows_dropped, "taken_down": 2000})
    text = card(corpus)
    assert corpus.rows_in == corpus.row_count + sum(corpus.rows_dropped.values())
    assert "5,000 links" in text
    assert "| dropped: taken down | 2,000 | 0.20% |" in text
    assert f"| `{SOURCE}` | `0123abcd` | `svm-1` | 0.35 | 1 | 5,000 |" in text
    assert "2,000 entries are kept out" in text
    assert f"{0:032x}" not in text
    assert "No entry is kept out" in card()


def test_what_the_screen_may_have_cost_is_bounded_by_its_sample() -> None:
    screened = dataclasses.replace(SHARD, screen_id="cubic-1", screen_refused=400_000, screen_sampled=2_000)
    other = dataclasses.replace(screened, shard="a2", screen_missed=1)
    text = card(with_shards(screened, other))
    # One map in a sample of 4,000: the root of P(at most 1 of 4,000) = 0.05 is 0.1185 %, of 800,000 refused rows 949.
    assert "| `cubic-1` | 2 | 800,000 | 4,000 | 1 | 0.119 % | 949 |" in text
    assert "no screen" not in text

    text = card(with_shards(dataclasses.replace(screened, screen_sampled=0), SHARD))
    assert "| no screen | 1 | 0 | 0 | 0 | 0 % | 0 |\n| `cubic-1` | 1 | 400,000 | 0 | 0 | 100 % | 400,000 |" in text


def test_without_a_screen_the_card_says_so() -> None:
    assert "There was no screen" in card()
    assert "missed at most" not in card()


def test_the_subset_file_is_stated() -> None:
    assert "| `datacomp_subset.npy` | " in card()
    assert "`resharder.py --subset-file`" in card()


def test_every_column_is_explained_with_its_type() -> None:
    text = card()
    for field in published_schema(768):
        assert f"| `{field.name}` | {'float16 × 768' if field.name.startswith('l14') else ''}" in text


def test_accuracy_comes_with_its_interval_and_its_limits() -> None:
    text = card()
    assert "2,480 labelled images" in text
    assert "98.5 (97.9–98.9)" in text
    assert "among the evaluation images 50.00% are maps" in text
    assert "0.70% were taken for maps" in text


@pytest.mark.parametrize(
    "evaluations", [(), (dataclasses.replace(SVM, classifier_id="svm-2"),)], ids=["none", "another"]
)
def test_no_accuracy_is_claimed_for_a_classifier_that_was_not_evaluated(evaluations: tuple[Evaluation, ...]) -> None:
    text = card(dataclasses.replace(CORPUS, evaluations=evaluations))
    assert "take its accuracy as unknown" in text
    assert "98.5" not in text


def test_a_mixture_of_thresholds_is_told() -> None:
    other = dataclasses.replace(SHARD, shard="a2", threshold=0.5, revision=None, rows_kept=10)
    assert "not all filtered alike" not in card(with_shards(SHARD, SHARD))
    text = card(with_shards(SHARD, other))
    assert "not all filtered alike" in text
    assert f"| `{SOURCE}` | an earlier one | `svm-1` | 0.5 | 1 | 10 |" in text


@pytest.mark.parametrize(
    ("source", "address"),
    [
        (SOURCE, SOURCE),
        ("/home/me/secret project/pool", "local folder pool"),
        ("file:///home/me/pool", "local folder pool"),
        ("s3://bucket/pool", "s3://bucket/pool"),
        ("https://me:token@pool.org/small/?X-Signature=1", "https://pool.org/small/"),
    ],
)
def test_only_the_public_part_of_an_address_is_published(source: str, address: str) -> None:
    assert public_address(source) == address
    text = card(with_shards(dataclasses.replace(SHARD, source=source)))
    assert f"`{address}`" in text
    for private in ("/home", "me:token", "Signature"):
        assert private not in text


def test_settings_are_used() -> None:
    text = card(settings=CardSettings("me/atlas", "Atlas", "atlas@example.org"))
    assert 'load_dataset("me/atlas"' in text
    assert "# Atlas\n" in text
    assert "Ask through atlas@example.org" in text
    assert DatasetCard(text).data.to_dict()["pretty_name"] == "Atlas"


def test_the_lakes_own_counts_of_the_screen_are_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_pool(lake, {shard_key("a"): "", shard_key("b"): ""})
    write_maps(lake, shard_key("a"))
    maps = write_maps(lake, shard_key("b"))
    made = lake.provenance("mappool/shard_maps", shard_key("b"))
    assert made is not None
    measures = {"screen": {"refused": 7, "sampled": 5, "missed": 1}}
    screened = dataclasses.replace(made, inputs={**made.inputs, "screen_id": "cubic-1"}, measures=measures)
    lake.write_table("mappool/shard_maps", maps, screened, shard_key("b"))
    assert read_corpus(lake).by_screen() == {None: (1, ScreenAudit()), "cubic-1": (1, ScreenAudit(7, 5, 1))}


def test_the_lakes_own_table_of_accuracies_is_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_pool(lake, {shard_key("a"): ""})
    write_maps(lake, shard_key("a"))
    assert read_corpus(lake).evaluations == ()
    table = accuracy_table([SVM])
    table = table.append_column("is_chosen", pa.array([True]))
    lake.write_table("mappool/classifier_evaluation", table, Provenance({}, 1, 1))
    assert read_corpus(lake).evaluations == (SVM,)
