import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import load

from mappool_assets.lib import model_parity
from mappool_assets.lib.classifier_store import MODEL_PATH, classifier_record, store_classifier
from mappool_assets.lib.classifiers import DEFAULT_SETTINGS, fit_candidates
from mappool_assets.lib.decision import KINDS
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel, MissingInput
from mappool_assets.lib.evaluation import accuracy_markdown, evaluate, wilson_interval
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.publish.model_card import ModelCardSettings
from mappool_assets.lib.publish.model_files import model_files
from mappool_assets.lib.published_model import READ_NAMES, read_model
from mappool_assets.lib.train_classifier import EMBEDDINGS_TABLE, EVALUATION, read_splits
from mappool_assets.lib.training_set import TRAINING_SET
from mappool_assets.lib.vectors import as_vectors
from mappool_assets_tests.small_model import SmallModel, small_model

__all__ = ["small_model"]  # the fixture

WIDTH = 8
CARD = ModelCardSettings(address="hf://someone/maps", title="Karten", license="mit")


@pytest.fixture(scope="module")
def files(small_model):
    return small_model.files()


@functools.cache
def labelled():
    random = np.random.default_rng(5)
    is_map = np.arange(120) % 2 == 0
    vectors = random.standard_normal((120, WIDTH)) + 0.8 * is_map[:, None]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return vectors, is_map, np.arange(120) % 5 < 3


@functools.cache
def fitted(kind):
    vectors, is_map, trains = labelled()
    names = {"encoder_id": "ViT-L-14/openai", "training_set_id": "labelled"}
    return fit_candidates(vectors[trains], is_map[trains], kinds=[kind], **names)[0].classifier


def named_model(folder, kind="svm_poly", threshold=0.0):
    """A lake whose classifier was trained on what is called ViT-L-14/openai; its weights are not needed."""
    vectors, is_map, trains = labelled()
    split = np.where(trains, "training", "evaluation")
    table = pa.table({"split": split, "is_map": is_map, "embedding": as_vectors(vectors)})
    lake = Lake(str(folder))
    made = Provenance({"encoder_id": "ViT-L-14/openai", "training_set_id": "labelled"}, 120, 120)
    lake.write_table(EMBEDDINGS_TABLE, table, made)
    classifier = dataclasses.replace(fitted(kind), threshold=threshold)
    evaluations = tuple(evaluate(c, vectors[~trains], is_map[~trains])[0] for c in (fitted("centroid_l2"), classifier))
    settings = fingerprint(dataclasses.asdict(DEFAULT_SETTINGS))
    inputs = {"training_embeddings": made.fingerprint, "settings": settings}
    store_classifier(lake, ClassifierRecord(classifier, evaluations, inputs))
    return SmallModel(lake, ClipEncoder())


def card_of(files):
    header, text = files["README.md"].decode().removeprefix("---\n").split("\n---\n", 1)
    return yaml.safe_load(header), text


def test_the_files_and_their_checksums(files, tmp_path):
    assert list(files) == [
        "model.safetensors", "parity.safetensors", "model.skops", "config.json", "README.md", "SHA256SUMS",
    ]  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout.count(": OK")) == (0, 5)


def test_the_model_is_the_lakes_byte_for_byte_with_its_screen(small_model, files):
    assert files["model.safetensors"] == small_model.lake.read_bytes(MODEL_PATH)
    read = read_model(files, "here")
    stored = classifier_record(small_model.lake)
    assert read.record.classifier.classifier_id == stored.classifier.classifier_id
    assert read.record.evaluations == stored.evaluations
    assert read.record.screen.screen_id == stored.screen.screen_id
    assert read.parity_difference == 0


def test_the_configuration_says_all_that_another_program_needs(small_model, files):
    config = json.loads(files["config.json"])
    assert config["encoder"] == {
        "encoder_id": small_model.encoder.encoder_id,
        "model": None,
        "pretrained": None,
        "preprocessing": {
            "size": [32, 32], "mode": "RGB", "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28],
            "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
        },
    }  # fmt: skip
    assert (config["kind"], config["threshold"], config["parameters"]["degree"]) == ("svm_poly", 0.0, 3)
    assert config["labels"] == {"map": "score > threshold", "not a map": "any other score"}
    assert config["training_set_id"] == classifier_record(small_model.lake).classifier.training_set_id
    assert {evaluation["method"] for evaluation in config["evaluations"]} == set(KINDS)


def test_the_recorded_preprocessing_is_the_one_that_open_clip_uses(small_model, files):
    import open_clip

    model, _ = open_clip.create_model_from_pretrained(small_model.encoder.model)
    used = open_clip.get_model_preprocess_cfg(model)
    recorded = json.loads(files["config.json"])["encoder"]["preprocessing"]
    size = used["size"] if isinstance(used["size"], list | tuple) else [used["size"]] * 2
    assert recorded == json.loads(json.dumps(used | {"size": size}))


def test_no_file_tells_where_it_was_made(small_model, files):
    folder = str(small_model.lake.root).removesuffix("/lake").encode()
    assert len(folder) > 10
    assert [name for name, content in files.items() if folder in content] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_classifier_gives_the_same_bytes_wherever_its_lake_lies(kind, tmp_path):
    assert named_model(tmp_path / "lake", kind).files() == named_model(tmp_path / "other", kind).files()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_read_back(kind, tmp_path):
    files = named_model(tmp_path / "lake", kind, threshold=0.25).files()
    read = read_model(files, "here")
    assert (read.record.classifier.kind, read.record.classifier.threshold) == (kind, 0.25)
    assert (read.encoder.model, read.encoder.pretrained) == ("ViT-L-14", "openai")
    preprocessing = read.encoder.preprocessing
    assert (preprocessing["size"], preprocessing["interpolation"]) == ([224, 224], "bicubic")
    assert preprocessing["mean"] == [0.48145466, 0.4578275, 0.40821073]  # as CLIP's own repository has it
    text = card_of(files)[1]
    assert "over 0.25 is a map" in text.replace("\n", " ")
    assert ("support vectors" in text) == (kind == "svm_poly")
    assert ("| C | 1 |" in text) == (kind in ("svm_poly", "logistic_regression"))


def test_parity_embeddings_are_those_of_evaluation_images_from_lowest_to_highest_score(tmp_path):
    model = named_model(tmp_path / "lake")
    arrays = load(model.files()["parity.safetensors"])
    held_out = read_splits(model.lake)[EVALUATION].embeddings
    assert {row.tobytes() for row in arrays["embeddings"]} <= {row.tobytes() for row in held_out}
    scores = classifier_record(model.lake).classifier.scores(held_out)
    assert arrays["scores"][[0, -1]] == pytest.approx([scores.min(), scores.max()], abs=1e-6)
    assert len(arrays["scores"]) == model_parity.ROWS
    assert (arrays["scores"] > 0).any()
    assert (arrays["scores"] < 0).any()


def test_where_the_embeddings_are_others_by_now_random_ones_stand_in(tmp_path):
    model = named_model(tmp_path / "lake")
    table = model.lake.read_table(EMBEDDINGS_TABLE)
    inputs = {"encoder_id": "ViT-L-14/openai", "training_set_id": "another"}
    model.lake.write_table(EMBEDDINGS_TABLE, table, Provenance(inputs, table.num_rows, table.num_rows))
    files = model.files()
    arrays = load(files["parity.safetensors"])
    assert (arrays["embeddings"] == model_parity.seeded_unit_vectors(WIDTH)).all()
    assert "not known any more" in card_of(files)[1]
    assert "random unit vectors" in card_of(files)[1]
    shutil.rmtree(tmp_path / "lake" / EMBEDDINGS_TABLE)
    assert model.files() == files


def test_without_skops_all_else_is_the_same(small_model, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    without = small_model.files()
    assert set(files) - set(without) == {"model.skops"}
    assert b"skops" not in without["README.md"]
    assert b"skops" not in without["SHA256SUMS"]
    assert without["config.json"] == files["config.json"]
    assert read_model({name: without[name] for name in READ_NAMES}, "here")


def test_another_encoder_than_the_classifiers_is_refused(small_model):
    with pytest.raises(BadModel, match=r"another encoder's embeddings.*ViT-L-14/openai"):
        model_files(small_model.lake, ClipEncoder(), CARD)


def test_without_a_classifier_there_is_nothing_to_publish(tmp_path):
    with pytest.raises(MissingInput, match="mappool/classifier first"):
        model_files(Lake(str(tmp_path)), ClipEncoder(), CARD)


# -- the card ---------------------------------------------------------------------------------------------------


def test_the_header_is_what_the_hub_reads(tmp_path):
    model = named_model(tmp_path / "lake")
    header, _ = card_of(model_files(model.lake, model.encoder, CARD))
    assert header["license"] == "mit"
    assert header["library_name"] == "mappool-assets"
    assert header["pipeline_tag"] == "image-classification"
    assert "datasets" not in header
    assert {"maps", "clip", "svm_poly"} <= set(header["tags"])
    (entry,) = header["model-index"]
    assert entry["name"] == "Karten"
    (result,) = entry["results"]
    assert result["task"] == {"type": "image-classification"}
    (evaluation,) = (e for e in classifier_record(model.lake).evaluations if e.method == "svm_poly")
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    for name, value in metrics.items():
        assert value == pytest.approx(getattr(evaluation, name), abs=1e-6)
    assert set(metrics) == set(header["metrics"]) == {"accuracy", "precision", "recall", "average_precision"}


def test_what_the_card_counts_is_what_was_counted(tmp_path):
    model = named_model(tmp_path / "lake")
    _, text = card_of(model_files(model.lake, model.encoder, CARD))
    text_line = text.replace("\n", " ")
    splits = read_splits(model.lake)
    counts = {name: (int(split.is_map.sum()), int((~split.is_map).sum())) for name, split in splits.items()}
    (training, training_others), (maps, others) = counts["training"], counts["evaluation"]
    assert f"Trained on {training} maps and {training_others} other images, evaluated on {maps} and {others}" in text
    assert f"On {maps + others} labelled images that were not trained on, {maps} maps and {others} others" in text_line
    record = classifier_record(model.lake)
    (e,) = (e for e in record.evaluations if e.method == "svm_poly")
    low, high = wilson_interval(e.true_positives, maps)
    assert (
        f"| recall | maps that are called one | {100 * e.recall:.1f} | {100 * low:.1f}–{100 * high:.1f} | "
        f"{e.true_positives} of {maps} |" in text
    )
    assert f"{e.false_positives} of {others} |" in text
    assert accuracy_markdown(record.evaluations, chosen="svm_poly") in text
    assert f"{len(record.classifier.arrays['support_vectors'])} training images (the support vectors)" in text_line
    assert "mappool classify picture.png scans/ https://example.org/map.jpg --model hf://someone/maps\n" in text


def test_a_model_that_calls_nothing_a_map_has_no_precision(tmp_path):
    header, text = card_of(named_model(tmp_path / "lake", threshold=1e6).files())
    metrics = {metric["type"] for metric in header["model-index"][0]["results"][0]["metrics"]}
    assert metrics == {"accuracy", "recall", "average_precision"}
    assert "| precision | maps among what is called a map | – | – | 0 |" in text


@pytest.mark.parametrize(
    ("source", "dataset"),
    [("hf://datasets/someone/maps@v2", "someone/maps"), ("/home/me/pictures", None), ("table.csv", None)],
)
def test_the_training_images_are_named_only_where_they_are_public(source, dataset, tmp_path):
    model = named_model(tmp_path / "lake")
    inputs = {"source": source, "training_set_id": "labelled"}
    model.lake.write_table(TRAINING_SET, pa.table({"name": ["a.png"]}), Provenance(inputs, 1, 1))
    files = model.files()
    header, text = card_of(files)
    assert header.get("datasets") == ([dataset] if dataset else None)
    assert ("https://huggingface.co/datasets/someone/maps)" in text) == (dataset is not None)
    assert b"/home/me" not in b"".join(files.values())
    other = dict(inputs, training_set_id="another")
    model.lake.write_table(TRAINING_SET, pa.table({"name": ["a.png"]}), Provenance(other, 1, 1))
    assert "datasets" not in card_of(model.files())[0]


def test_the_cards_own_python_runs(small_model, files, tmp_path, monkeypatch, capsys):
    from mappool_assets_tests.labelled_pictures import encoded
    from mappool_assets_tests.small_model import light, write_pictures

    small_model.publish(tmp_path / "published")
    write_pictures(tmp_path / "scans", 2, first_seed=900)
    (tmp_path / "picture.png").write_bytes(encoded(light(77)))
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", files["README.md"].decode(), flags=re.DOTALL)
    assert len([line for line in snippet.splitlines() if line]) <= 5
    exec(snippet.replace("local-dir:FOLDER", small_model.encoder.model), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["True", "True", "True", "False", "False"]
    assert lines[0].endswith("None picture.png")
