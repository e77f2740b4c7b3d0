import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load, save

from mappool_assets.lib.classifier_store import (
    DOCUMENT_PATH,
    MODEL_PATH,
    classifier_record,
    store_classifier,
)
from mappool_assets.lib.decision import CENTROID, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier
from mappool_assets.lib.errors import BadModel, MissingInput
from mappool_assets.lib.evaluation import evaluate
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_file import (
    DOCUMENT_NAME,
    MODEL_NAME,
    ClassifierRecord,
    from_bytes,
    load_classifier,
    save_classifier,
    to_bytes,
)

WIDTH = 4
SHAPES = {
    CENTROID: {"map_centroid": (WIDTH,), "non_map_centroid": (WIDTH,)},
    LOGISTIC_REGRESSION: {"coefficients": (WIDTH,), "intercept": (1,)},
    MLP: {"weights_0": (WIDTH, 3), "bias_0": (3,), "weights_1": (3, 1), "bias_1": (1,)},
    SVM: {"support_vectors": (5, WIDTH), "dual_coefficients": (5,), "intercept": (1,)},
}


def record(kind=SVM, seed=0, **changes):
    random = np.random.default_rng(seed)
    arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES[kind].items()}
    if kind == SVM:
        arrays["dual_coefficients"] = random.standard_normal(5)
    fields = {
        "parameters": {"degree": 3, "gamma": 1 / 3, "coef0": 0.0} if kind == SVM else {},
        "encoder_id": "ViT-L-14/openai",
        "training_set_id": "Kartensammlung Zürich",
        "threshold": 0.1,
    }
    classifier = MapClassifier(kind, arrays, **(fields | changes))
    embeddings = random.standard_normal((9, WIDTH)).astype(np.float16)
    evaluation = evaluate(classifier, embeddings, np.arange(9) % 2 == 0)[0]
    return ClassifierRecord(classifier, (evaluation,), {"code_version": "1", "chosen": kind})


def pair(folder):
    return (folder / MODEL_NAME).read_bytes(), (folder / DOCUMENT_NAME).read_bytes()


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_saved_is_loaded(kind, tmp_path):
    saved = record(kind)
    save_classifier(saved, tmp_path / "new")
    loaded = load_classifier(tmp_path / "new")
    assert loaded.classifier.classifier_id == saved.classifier.classifier_id
    assert loaded.evaluations == saved.evaluations
    assert loaded.inputs == saved.inputs
    for name, array in saved.classifier.arrays.items():
        assert loaded.classifier.arrays[name].dtype == array.dtype
        assert (loaded.classifier.arrays[name] == array).all()
    embeddings = np.random.default_rng(1).standard_normal((50, WIDTH)).astype(np.float16)
    assert (loaded.classifier.scores(embeddings) == saved.classifier.scores(embeddings)).all()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [DOCUMENT_NAME, MODEL_NAME]


def test_same_classifier_same_bytes_in_another_process():
    program = (
        "import hashlib; from mappool_assets.lib.model_file import to_bytes;"
        "from mappool_assets_tests.lib.test_model_file import record;"
        "print([hashlib.sha256(b).hexdigest() for b in to_bytes(record())])"
    )
    here = str([hashlib.sha256(content).hexdigest() for content in to_bytes(record())])
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == here


def test_another_program_can_read_the_files():
    model, document = to_bytes(record())
    fields = json.loads(document)
    assert fields["kind"] == SVM
    assert fields["threshold"] == 0.1
    assert fields["dimension"] == WIDTH
    assert fields["model_sha256"] == hashlib.sha256(model).hexdigest()
    assert "seconds" not in document.decode()
    assert "Zürich" in document.decode()
    arrays = load(model)
    assert arrays["support_vectors"].shape == (5, WIDTH)
    header = json.loads(model[8 : 8 + int.from_bytes(model[:8], "little")])
    described = json.loads(header["__metadata__"]["mappool_assets"])
    assert described == {name: fields[name] for name in described}
    assert {"encoder_id", "threshold", "parameters", "training_set_id"} <= set(described)


@pytest.mark.parametrize("position", [0, 9, 200, -1])
def test_a_changed_byte_in_the_model_is_noticed(position):
    model, document = to_bytes(record())
    damaged = bytearray(model)
    damaged[position] ^= 1
    with pytest.raises(BadModel, match="one of the two was replaced or damaged"):
        from_bytes(bytes(damaged), document, where="folder")


@pytest.mark.parametrize("kept_bytes", [0, 5, 100])
def test_truncated_models_are_noticed(kept_bytes):
    model, document = to_bytes(record())
    with pytest.raises(BadModel, match="Train it again"):
        from_bytes(model[:kept_bytes], document, where="folder")


def with_model(document: bytes, model: bytes, **changes) -> bytes:
    """A document that vouches for a model, so that what is inside is judged."""
    fields = json.loads(document) | {"model_sha256": hashlib.sha256(model).hexdigest()} | changes
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"not safetensors at all",
        pickle.dumps({"support_vectors": [1]}),
        save({"embedding.weight": np.ones((3, 3), np.float32)}),
        save(dict(record(CENTROID).classifier.arrays)),
    ],
)
def test_foreign_models_are_refused(foreign):
    document = to_bytes(record())[1]
    with pytest.raises(BadModel):
        from_bytes(foreign, with_model(document, foreign), where="folder")


def test_arrays_of_two_widths_are_refused():
    arrays = dict(record(CENTROID).classifier.arrays) | {"map_centroid": np.ones(WIDTH + 1, np.float32)}
    model = save(arrays)
    with pytest.raises(BadModel, match="shape that fits the other arrays"):
        from_bytes(model, with_model(to_bytes(record(CENTROID))[1], model), where="folder")


def test_a_width_other_than_the_embeddings_is_refused(tmp_path):
    save_classifier(record(), tmp_path)
    with pytest.raises(BadModel, match=r"rows of 4 numbers, made by ViT-L-14/openai; got shape \(2, 512\)"):
        load_classifier(tmp_path).classifier.scores(np.zeros((2, 512), np.float16))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"format": "mappool-assets map classifier", "format_version": 99}',
    ],
)
def test_foreign_documents_are_refused(document):
    with pytest.raises(BadModel, match=r"folder/classifier\.json"):
        from_bytes(to_bytes(record())[0], document, where="folder")


@pytest.mark.parametrize("field", ["kind", "parameters", "threshold", "encoder_id", "evaluations", "inputs"])
def test_missing_fields_are_refused(field):
    model, document = to_bytes(record())
    fields = json.loads(document)
    del fields[field]
    with pytest.raises(BadModel, match=field):
        from_bytes(model, json.dumps(fields).encode(), where="folder")


@pytest.mark.parametrize(
    "change",
    [{"threshold": 0.2}, {"encoder_id": "other"}, {"parameters": {"degree": 2, "gamma": 1 / 3, "coef0": 0.0}}],
)
def test_edited_documents_are_refused(change):
    model, document = to_bytes(record())
    with pytest.raises(BadModel, match="numbers that make svm_poly-"):
        from_bytes(model, with_model(document, model, **change), where="folder")


@pytest.mark.parametrize("change", [{"parameters": [3]}, {"threshold": "high"}, {"evaluations": [{}]}, {"kind": 7}])
def test_documents_with_wrong_types_are_refused(change):
    model, document = to_bytes(record())
    with pytest.raises(BadModel):
        from_bytes(model, with_model(document, model, **change), where="folder")


def test_missing_files_say_so(tmp_path):
    with pytest.raises(MissingInput, match=r"classifier\.json"):
        load_classifier(tmp_path)
    save_classifier(record(), tmp_path)
    (tmp_path / MODEL_NAME).unlink()
    with pytest.raises(MissingInput, match=r"model\.safetensors"):
        load_classifier(tmp_path)


def test_the_lake_keeps_one(tmp_path):
    lake = Lake(str(tmp_path))
    with pytest.raises(MissingInput, match="Materialise the asset mappool/classifier first"):
        classifier_record(lake)
    for seed in (0, 1):
        store_classifier(lake, record(seed=seed))
        assert classifier_record(lake).classifier.classifier_id == record(seed=seed).classifier.classifier_id
    assert classifier_record(lake).inputs == {"code_version": "1", "chosen": SVM}
    assert pair(tmp_path / "mappool/classifier") == to_bytes(record(seed=1))


@pytest.mark.parametrize("path", [MODEL_PATH, DOCUMENT_PATH])
def test_a_kill_between_the_two_writes_leaves_nothing_that_loads(path, tmp_path):
    lake = Lake(str(tmp_path))
    store_classifier(lake, record(seed=0))
    new = dict(zip((MODEL_PATH, DOCUMENT_PATH), to_bytes(record(seed=1)), strict=True))
    (tmp_path / path).write_bytes(new[path])
    with pytest.raises(BadModel, match="one of the two was replaced"):
        classifier_record(lake)


def test_the_document_is_written_last(tmp_path):
    class StopsBeforeDocument(Lake):
        def writing(self, path):
            if path == DOCUMENT_PATH:
                raise KeyboardInterrupt
            return super().writing(path)

    with pytest.raises(KeyboardInterrupt):
        store_classifier(StopsBeforeDocument(str(tmp_path)), record())
    assert (tmp_path / MODEL_PATH).is_file()
    with pytest.raises(MissingInput):
        classifier_record(Lake(str(tmp_path)))


def test_a_threshold_alone_makes_another_model():
    first = record()
    other = dataclasses.replace(first.classifier, threshold=0.5)
    assert to_bytes(dataclasses.replace(first, classifier=other))[0] != to_bytes(first)[0]
