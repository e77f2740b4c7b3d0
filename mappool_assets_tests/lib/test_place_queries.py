"""Prompts with vectors in the lake: what is written, what is not done again, and what is refused."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib.classifier_store import store_classifier
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.places import place_queries, prompt_vectors
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.place_queries import (
    GENERIC_PROMPTS,
    GENERIC_QUERIES,
    PLACE_QUERIES,
    PlaceQuerySettings,
    make_place_queries,
)
from mappool_assets.lib.places.places_table import PLACES
from mappool_assets.lib.places.prompt_vectors import CHUNKS
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings, neighbour_tasks
from mappool_assets.lib.sql_files import run
from mappool_assets_tests.small_lake import folder_bytes
from mappool_assets_tests.tiny_clip import write_tiny_clip

CSV = (
    "id,name,admin1,country,latitude,longitude,population,historic\n"
    "1,London,England,GB,51.5,-0.1,8961989,Londinium\n"
    "2,London,Ontario,CA,43,-81,383822,\n"
    "3,London,England,GB,51.6,-0.2,,\n"
    "4,Paris,,FR,48.9,2.4,2138551,Lutetia\n"
    "5,North,,NO,95,2,1,\n"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [write_tiny_clip(folder / f"tiny{seed}", seed) for seed in (0, 1)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches this small only wait for each other's threads, on a busy machine for seconds."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoder(models):
    return ClipEncoder(models[0], device="cpu", batch_size=4)


class NeverLoaded(ClipEncoder):
    @property
    def _loaded(self):
        raise AssertionError("the encoder was loaded")


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def settings(tmp_path, text=CSV, **changes):
    (tmp_path / "places.csv").write_text(text)
    return PlaceQuerySettings((f"csv:{tmp_path / 'places.csv'}",), **changes)


def vectors_of(table):
    return np.array(table["vector"].to_pylist(), np.float32)


def test_a_row_is_a_prompt_of_a_place_with_its_vector(lake, encoder, tmp_path):
    made = make_place_queries(lake, settings(tmp_path, name_kinds=("name", "historic")), encoder)
    table = lake.read_table(PLACE_QUERIES)
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 64)
    rows = table.drop_columns("vector").to_pylist()
    assert rows[0] == {
        "place_id": "csv:1", "place": "London", "prompt": "London in England, United Kingdom", "prompt_kind": "name",
        "template": "{name} in {admin1}, {country}", "admin1": "England", "country": "GB", "feature_class": None,
        "latitude": 51.5, "longitude": -0.1, "population": 8961989, "homonyms": 3, "same_prompt_places": 2,
        "is_cut": False,
    }  # fmt: skip
    assert [(row["place_id"], row["prompt"], row["prompt_kind"]) for row in rows[1:]] == [
        ("csv:1", "Londinium in England, United Kingdom", "historic"),
        ("csv:2", "London in Ontario, Canada", "name"),
        ("csv:3", "London in England, United Kingdom", "name"),
        ("csv:4", "Paris in France", "name"),
        ("csv:4", "Lutetia in France", "historic"),
    ]
    vectors = vectors_of(table)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors, encoder.embed_texts([row["prompt"] for row in rows], np.float32))
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert made.embedded == 5 + len(GENERIC_PROMPTS)


def test_vectors_are_those_of_open_clip(lake, models, encoder, tmp_path):
    import open_clip
    import torch

    make_place_queries(lake, settings(tmp_path), encoder)
    table = lake.read_table(PLACE_QUERIES)
    model, _ = open_clip.create_model_from_pretrained(models[0])
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(models[0])(table["prompt"].to_pylist())
        expected = model.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(vectors_of(table), expected, atol=1e-6)


def test_every_row_is_accounted_for(lake, encoder, tmp_path):
    chosen = settings(
        tmp_path, templates=("{name}, {country}", "{name}, {country}, {admin1}", "{name}"), name_kinds=("name",),
        place_filter=PlaceFilter(min_population=0),
    )  # fmt: skip
    made = make_place_queries(lake, chosen, encoder)
    for table in (PLACES, PLACE_QUERIES, GENERIC_QUERIES):
        assert run(lake, "checks/rows_accounted", table=table).num_rows == 0
    assert (made.places.rows_in, made.places.rows_kept) == (5, 3)
    assert made.places.rows_dropped == {"latitude_out_of_range": 1, "no_population": 1}
    assert made.places.measures["examples"] == {"latitude_out_of_range": ["csv:5"], "no_population": ["csv:3"]}
    assert (made.place_queries.rows_in, made.place_queries.rows_kept) == (9, 8)
    assert made.place_queries.rows_dropped == {"same_prompt_of_place": 1}  # Paris has no admin level
    assert made.place_queries.measures == {
        "places": 3, "names": {"name": 3}, "names_shared_by_places": 2, "distinct_prompts": 7, "prompts_cut": 0,
    }  # fmt: skip


def test_the_scan_finds_the_encoder_it_expects(lake, encoder, models, tmp_path):
    make_place_queries(lake, settings(tmp_path), encoder)
    arrays = {"coefficients": np.ones(64), "intercept": np.zeros(1)}
    for name, is_fine in ((models[0], True), (models[1], False)):
        encoder_id = ClipEncoder(name).encoder_id
        classifier = MapClassifier(
            LOGISTIC_REGRESSION, arrays, encoder_id=encoder_id, training_set_id="t", threshold=0.0
        )
        store_classifier(lake, ClassifierRecord(classifier, (), {}))
        if is_fine:
            assert neighbour_tasks(lake, [], NeighbourSettings()) == []
        else:
            with pytest.raises(Exception, match="embedded by different encoders"):
                neighbour_tasks(lake, [], NeighbourSettings())


def test_prompts_that_name_no_place_have_vectors_too(lake, encoder, tmp_path):
    chosen = settings(tmp_path, generic_prompts=("a map", "Paris in France", "a map"))
    made = make_place_queries(lake, chosen, encoder)
    table = lake.read_table(GENERIC_QUERIES)
    assert table["prompt"].to_pylist() == ["a map", "Paris in France"]
    np.testing.assert_array_equal(vectors_of(table), encoder.embed_texts(["a map", "Paris in France"], np.float32))
    assert made.generic_queries.inputs["encoder_id"] == encoder.encoder_id
    assert made.generic_queries.rows_dropped == {"same_prompt": 1}
    assert made.embedded == 2 + 2  # the place's prompt took the vector of the generic one


def test_a_prompt_longer_than_the_context_is_marked(lake, encoder, tmp_path):
    long = " ".join(["saint"] * 40)
    made = make_place_queries(lake, settings(tmp_path, f"name,country\n{long},FR\nParis,FR\n"), encoder)
    table = lake.read_table(PLACE_QUERIES)
    assert table["is_cut"].to_pylist() == [True, False]
    assert made.place_queries.measures["prompts_cut"] == 1
    # 16 tokens: begin, 14 of the text, end
    assert encoder.are_cut([" ".join(["saint"] * count) for count in (0, 1, 13, 14, 15, 16)]).tolist() == [
        False, False, False, False, True, True,
    ]  # fmt: skip


# -- again --------------------------------------------------------------------------------------------------------


def test_the_same_places_give_the_same_bytes_in_another_lake(lake, encoder, tmp_path):
    chosen = settings(tmp_path, name_kinds=("name", "historic"))
    make_place_queries(lake, chosen, encoder)
    first = folder_bytes(Path(lake.root))
    assert set(first) == {f"{table}/all.parquet" for table in (PLACES, PLACE_QUERIES, GENERIC_QUERIES)}
    again = Lake(str(tmp_path / "again"))
    # Made in two steps, with the prompts in other batches.
    make_place_queries(again, settings(tmp_path, CSV.replace("4,Paris", "9,Bergen")), encoder)
    make_place_queries(again, settings(tmp_path, name_kinds=("name", "historic")), encoder)
    assert folder_bytes(Path(again.root)) == first


def test_what_is_done_is_not_done_again(lake, models, encoder, tmp_path):
    chosen = settings(tmp_path)
    make_place_queries(lake, chosen, encoder)
    before = folder_bytes(Path(lake.root))
    lazy = NeverLoaded(models[0], device="cpu")
    assert make_place_queries(lake, chosen, lazy).embedded == 0
    assert folder_bytes(Path(lake.root)) == before
    fewer = settings(tmp_path, place_filter=PlaceFilter(countries=("FR", "CA")))
    assert make_place_queries(lake, fewer, lazy).embedded == 0
    assert lake.read_table(PLACE_QUERIES)["place_id"].to_pylist() == ["csv:2", "csv:4"]


def test_only_new_prompts_are_embedded(lake, encoder, tmp_path):
    make_place_queries(lake, settings(tmp_path), encoder)
    made = make_place_queries(lake, settings(tmp_path, name_kinds=("name", "historic")), encoder)
    assert made.embedded == 2
    table = lake.read_table(PLACE_QUERIES)
    np.testing.assert_array_equal(vectors_of(table), encoder.embed_texts(table["prompt"].to_pylist(), np.float32))


def test_another_encoder_embeds_everything(lake, models, encoder, tmp_path):
    make_place_queries(lake, settings(tmp_path), encoder)
    other = ClipEncoder(models[1], device="cpu", batch_size=4)
    made = make_place_queries(lake, settings(tmp_path), other)
    assert made.embedded == 3 + len(GENERIC_PROMPTS)
    table = lake.read_table(PLACE_QUERIES)
    np.testing.assert_array_equal(vectors_of(table), other.embed_texts(table["prompt"].to_pylist(), np.float32))


def test_the_places_alone_decide_whether_prompts_are_worded_anew(lake, encoder, tmp_path):
    first = make_place_queries(lake, settings(tmp_path), encoder)
    same = CSV.replace("95,2,1", "96,2,1") + "7,,,,1,1,1,\n"  # rows that are dropped
    again = make_place_queries(lake, settings(tmp_path, same), encoder)
    assert again.place_queries.fingerprint == first.place_queries.fingerprint
    assert again.places.rows_in == first.places.rows_in + 1
    moved = make_place_queries(lake, settings(tmp_path, CSV.replace("48.9", "48.8")), encoder)
    assert moved.place_queries.fingerprint != first.place_queries.fingerprint
    assert moved.embedded == 0


def test_a_kill_costs_one_chunk(lake, models, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_vectors, "CHUNK_PROMPTS", 2)
    chosen = settings(tmp_path, name_kinds=("name", "historic"), generic_prompts=("a map",))
    whole = Lake(str(tmp_path / "whole"))
    make_place_queries(whole, chosen, encoder)

    class Killed(Exception):
        pass

    def stop_at_four(step, done, total):
        if step == place_queries.EMBEDDING and done == 4:
            raise Killed

    with pytest.raises(Killed):
        make_place_queries(lake, chosen, encoder, progress=stop_at_four)
    assert not lake.exists(lake.table_path(PLACE_QUERIES))
    assert len(lake.partitions(CHUNKS)) == 3  # two of places and the generic prompt
    assert make_place_queries(lake, chosen, encoder).embedded == 1
    assert lake.partitions(CHUNKS) == []
    assert folder_bytes(Path(lake.root)) == folder_bytes(Path(whole.root))


def test_groups_do_not_matter(lake, encoder, tmp_path, monkeypatch):
    chosen = settings(tmp_path, name_kinds=("name", "historic"))
    make_place_queries(lake, chosen, encoder)
    small = Lake(str(tmp_path / "small"))
    monkeypatch.setattr(place_queries, "GROUP_ROWS", 2)
    monkeypatch.setattr(prompt_vectors, "BATCH_ROWS", 2)
    make_place_queries(small, settings(tmp_path), encoder)
    make_place_queries(small, chosen, encoder)
    assert small.read_table(PLACE_QUERIES).equals(lake.read_table(PLACE_QUERIES))


def test_progress_goes_from_rows_to_vectors(lake, encoder, tmp_path):
    told = []
    make_place_queries(lake, settings(tmp_path), encoder, progress=lambda *step: told.append(step))
    assert told[0] == ("places read", 5, None)
    assert [step for step, _ in itertools.groupby(told, key=lambda entry: entry[0])] == [
        "places read", "prompts embedded",
    ]  # fmt: skip
    assert told[-1] == ("prompts embedded", 3, 3)


# -- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ()}, "sources"),
        ({"templates": ()}, "templates"),
        ({"templates": ("a map",)}, "template cannot be used"),
        ({"name_kinds": ()}, "kinds of names"),
        ({"name_kinds": ("nickname",)}, "kinds of names"),
        ({"generic_prompts": ("a map", " ")}, "generic_prompts"),
    ],
)
def test_settings_that_say_nothing_are_refused(changes, message):
    with pytest.raises(BadSetting, match=message):
        PlaceQuerySettings(**{"sources": ("keywords:x",), **changes})


def test_where_nothing_is_left_to_ask_for_the_error_says_why(lake, encoder, tmp_path):
    with pytest.raises(BadSetting, match=r"4 other_country \(csv:1, csv:2, csv:3\)"):
        make_place_queries(lake, settings(tmp_path, place_filter=PlaceFilter(countries=("JP",))), encoder)
    with pytest.raises(BadSetting, match=r"a place with a name of the kinds alternate.*none among 4 places"):
        make_place_queries(lake, settings(tmp_path, name_kinds=("alternate",)), encoder)
    assert not lake.exists(lake.table_path(PLACE_QUERIES))
