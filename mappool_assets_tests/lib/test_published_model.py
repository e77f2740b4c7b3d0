import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput, SourceUnavailable
from mappool_assets.lib.publish.model_publisher import publish_model
from mappool_assets.lib.publish.published_files import sha256sums
from mappool_assets.lib.publish.targets import model_target
from mappool_assets.lib.published_model import (
    CONFIG_NAME,
    PARITY_NAME,
    READ_NAMES,
    describe_encoder,
    load_published_model,
    read_model,
)
from mappool_assets_tests.hub_double import Fault
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.small_model import small_model

__all__ = ["small_model"]  # the fixture


@pytest.fixture(scope="module")
def files(small_model):
    return small_model.files()


def with_sums(files):
    """The files with checksums that fit, so that what is inside is judged."""
    others = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    return others | {"SHA256SUMS": sha256sums({n: hashlib.sha256(c).hexdigest() for n, c in others.items()})}


def with_config(files, **changes):
    return with_sums(files | {CONFIG_NAME: json.dumps(json.loads(files[CONFIG_NAME]) | changes).encode()})


def test_a_folder_is_read_from_the_four_files_alone(files, tmp_path):
    for name in READ_NAMES:
        (tmp_path / name).write_bytes(files[name])
    published = load_published_model(str(tmp_path))
    assert published.record.classifier.kind == "svm_poly"
    assert published.parity_difference <= 1e-4


@pytest.mark.parametrize("name", READ_NAMES)
def test_a_missing_file_is_named(name, small_model, tmp_path):
    (small_model.publish(tmp_path / "published") / name).unlink()
    with pytest.raises(MissingInput, match=f"published/{name}"):
        load_published_model(str(tmp_path / "published"))
    with pytest.raises(MissingInput):
        load_published_model(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", [name for name in READ_NAMES if name != "SHA256SUMS"])
@pytest.mark.parametrize("position", [0, 300, -1])
def test_a_changed_byte_is_noticed(name, position, files):
    damaged = bytearray(files[name])
    damaged[position] ^= 1
    with pytest.raises(BadModel, match=f"here/{name}.*SHA-256"):
        read_model(files | {name: bytes(damaged)}, "here")


@pytest.mark.parametrize("sums", [b"", b"\xff\xfe", b"no checksum\n"])
def test_foreign_checksums_prove_nothing(sums, files):
    with pytest.raises(BadModel, match="SHA-256 None"):
        read_model(files | {"SHA256SUMS": sums}, "here")


def test_a_model_that_scores_otherwise_is_refused(files):
    arrays = load(files[PARITY_NAME])
    arrays["scores"] += 2e-4
    with pytest.raises(BadModel, match="does not score as it did where it was made"):
        read_model(with_sums(files | {PARITY_NAME: save(arrays)}), "here")


def test_a_changed_threshold_is_another_classifier(files):
    with pytest.raises(BadModel, match="numbers that make svm_poly-"):
        read_model(with_config(files, threshold=-3.0), "here")


@pytest.mark.parametrize("config", [b"", b"{", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"format": "other"}'])
def test_foreign_configurations_are_refused(config, files):
    with pytest.raises(BadModel, match=r"here/config\.json"):
        read_model(with_sums(files | {CONFIG_NAME: config}), "here")


PREPROCESSING = {"size": [32, 32]}


@pytest.mark.parametrize(
    "encoder",
    [
        None,
        [],
        {},
        {"encoder_id": "other", "model": None, "pretrained": None, "preprocessing": PREPROCESSING},
        {"encoder_id": "ID", "model": "ViT-L-14", "pretrained": "openai", "preprocessing": PREPROCESSING},
        {"encoder_id": "ID", "model": "local-dir:/etc", "pretrained": None, "preprocessing": PREPROCESSING},
        {"encoder_id": "ID", "model": 7, "pretrained": None, "preprocessing": PREPROCESSING},
        {"encoder_id": "ID", "model": None, "pretrained": None, "preprocessing": PREPROCESSING, "code": "x"},
    ],
)
def test_only_the_classifiers_own_encoder_can_be_named(encoder, files, small_model):
    if isinstance(encoder, dict) and encoder.get("encoder_id") == "ID":
        encoder = encoder | {"encoder_id": small_model.encoder.encoder_id}
    with pytest.raises(BadModel, match=r"here/config\.json"):
        read_model(with_config(files, encoder=encoder), "here")


def test_encoders_are_described_without_their_weights():
    described = describe_encoder(ClipEncoder("ViT-B-16-SigLIP", "webli"))
    assert (described.encoder_id, described.model) == ("ViT-B-16-SigLIP/webli", "ViT-B-16-SigLIP")
    assert described.preprocessing["resize_mode"] == "squash"
    assert described.preprocessing["mean"] == [0.5, 0.5, 0.5]
    with pytest.raises(BadSetting, match="no such encoder"):
        describe_encoder(ClipEncoder("ViT-L-14", "nobody"))


# -- the Hub ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


def test_what_is_published_on_the_hub_is_read_from_there(files, hub):
    publish_model(files, model_target("hf://owner/maps", hub_endpoint=hub.url))
    published = load_published_model("hf://owner/maps", hub.url)
    assert published.record.classifier.threshold == 0
    downloaded = {request.path.rpartition("/")[2] for request in hub.requests if "/resolve/" in request.path}
    assert downloaded == set(READ_NAMES)


def test_a_revision_stays_what_it_was(files, hub):
    first = publish_model(files, model_target("hf://owner/maps", hub_endpoint=hub.url)).version
    arrays = load(files[PARITY_NAME])
    arrays["scores"] += 1.0
    publish_model(with_sums(files | {PARITY_NAME: save(arrays)}), model_target("hf://owner/maps", hub_endpoint=hub.url))
    assert load_published_model(f"hf://owner/maps@{first}", hub.url).parity_difference == 0
    with pytest.raises(BadModel, match="difference of 1"):
        load_published_model("hf://owner/maps", hub.url)


def test_a_model_that_was_read_once_is_read_without_the_hub(files, hub):
    publish_model(files, model_target("hf://owner/maps", hub_endpoint=hub.url))
    load_published_model("hf://owner/maps", hub.url)
    hub.faults.extend(Fault("GET", "/api/models", 503) for _ in range(20))
    assert load_published_model("hf://owner/maps", hub.url)


def test_models_that_are_not_there(hub):
    hub.create("owner/empty")
    hub.commit("owner/empty", {"README.md": b"nothing yet"})
    with pytest.raises(MissingInput, match="no such model on the Hub"):
        load_published_model("hf://owner/absent", hub.url)
    with pytest.raises(MissingInput, match="owner/empty/SHA256SUMS"):
        load_published_model("hf://owner/empty", hub.url)
    with pytest.raises(MissingInput, match="no such model on the Hub"):
        load_published_model("hf://owner/empty@v9", hub.url)


def test_a_hub_that_does_not_answer(hub):
    hub.create("owner/maps")
    hub.faults.extend(Fault("GET", "/api/models", 503) for _ in range(20))
    with pytest.raises(SourceUnavailable, match="The Hub does not answer"):
        load_published_model("hf://owner/maps", hub.url)
    with running() as server:
        gone = server.url
    with pytest.raises(SourceUnavailable, match="The Hub does not answer"):
        load_published_model("hf://owner/maps", gone)


@pytest.mark.parametrize(
    "address",
    [
        "hf://owner",
        "hf://datasets/owner/maps",
        "hf://owner/maps/more",
        "s3://bucket/model",
        "hf://-a-/b..c",
        "hf://a/b@",
    ],
)
def test_addresses_of_another_form(address):
    with pytest.raises(BadSetting, match="address of the model"):
        load_published_model(address)


def test_arrays_that_no_classifier_has_are_refused(files):
    arrays = load(files["model.safetensors"])
    model = save({"support_vectors": np.zeros((2, 2), np.float32), "threshold": arrays["intercept"]})
    digest = hashlib.sha256(model).hexdigest()
    with pytest.raises(BadModel):
        read_model(with_config(files | {"model.safetensors": model}, model_sha256=digest), "here")
