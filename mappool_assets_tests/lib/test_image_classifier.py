import dataclasses
import itertools
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib import image_classifier
from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel, BadSetting
from mappool_assets.lib.image_classifier import (
    ClassifiedImage,
    ImageClassifier,
    batch_size_on,
    classify_images,
    load_image_classifier,
)
from mappool_assets.lib.images import open_image
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.labelled_pictures import encoded
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.small_model import dark, light, small_model, write_pictures
from mappool_assets_tests.tiny_clip import write_tiny_clip

__all__ = ["small_model"]  # the fixture


@pytest.fixture(scope="module")
def published(small_model, tmp_path_factory):
    return small_model.publish(tmp_path_factory.mktemp("model") / "published")


@pytest.fixture(scope="module")
def classifier(small_model, published):
    return load_image_classifier(published, encoder=small_model.encoder.model, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 9, first_seed=500)


def test_maps_are_told_from_others(classifier, pictures):
    answers = list(classify_images(classifier, [pictures]))
    assert len(answers) == 18
    for answer in answers:
        assert answer.error is None
        assert answer.is_map == ("/map/" in answer.source) == (answer.score > 0)


def test_a_score_is_that_of_the_lakes_classifier_on_the_image_alone(small_model, classifier, pictures):
    record = classifier_record(small_model.lake)
    for answer in classify_images(classifier, [pictures]):
        vector = small_model.encoder.embed_images([open_image(Path(answer.source).read_bytes())])
        assert answer.score == pytest.approx(record.classifier.scores(vector)[0], abs=1e-5)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 18])
def test_a_score_does_not_depend_on_the_images_beside_it(count, classifier, pictures):
    everything = {answer.source: answer.score for answer in classify_images(classifier, [pictures])}
    some = list(everything)[:count]
    assert {a.source: a.score for a in classify_images(classifier, some)} == {name: everything[name] for name in some}


def test_answers_come_in_the_order_of_the_sources_with_errors_between(classifier, tmp_path, pictures):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good, bad = str(pictures / "map/000.png"), str(tmp_path / "broken.png")
    sources = [bad, good, "absent.png", good, good, good, bad, bad, good, str(tmp_path)]
    answers = list(classify_images(classifier, sources))
    assert [(a.source, a.error) for a in answers] == [
        (bad, "not_an_image"), (good, None), ("absent.png", "not_found"), (good, None), (good, None), (good, None),
        (bad, "not_an_image"), (bad, "not_an_image"), (good, None), (bad, "not_an_image"),
    ]  # fmt: skip
    assert {a.score for a in answers if a.error is None} == {answers[1].score}
    for answer in answers:
        assert (answer.error is None) == (answer.is_map is True) == (answer.score is not None) == (not answer.detail)


def test_addresses_under_the_rules_given(classifier):
    with running() as server:
        sources = [
            server.serve("/light", encoded(light(1))),
            server.serve("/dark", encoded(dark(2))),
            f"{server.url}/x",
        ]
        refused = list(classify_images(classifier, sources))
        assert [answer.error for answer in refused] == ["blocked_address"] * 3
        allowed = list(classify_images(classifier, sources, rules=FetchRules(allow_private_addresses=True)))
    assert [(answer.is_map, answer.error) for answer in allowed] == [(True, None), (False, None), (None, "http_404")]


def test_sources_without_end_are_answered_as_they_come(classifier, pictures):
    taken = itertools.count()
    sources = (pictures / "map/000.png" for _ in taken)
    answers = classify_images(classifier, sources)
    assert all(answer.is_map for answer in itertools.islice(answers, 10))
    answers.close()
    assert next(taken) < 40


def test_errors_without_end_are_answered_too(classifier):
    answers = classify_images(classifier, (f"absent/{n}.png" for n in itertools.count()))
    assert [answer.source for answer in itertools.islice(answers, 600)] == [f"absent/{n}.png" for n in range(600)]
    answers.close()


def test_memory_does_not_grow_with_the_number_of_images(classifier, pictures):
    def peak(count):
        tracemalloc.start()
        for _ in classify_images(classifier, itertools.repeat(pictures / "map/000.png", count)):
            pass
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    peak(20)
    assert peak(400)[0] < peak(40)[0] + 200_000


def test_nothing_asked_nothing_answered(classifier, tmp_path):
    assert list(classify_images(classifier, [])) == []
    assert list(classify_images(classifier, [tmp_path])) == []


def test_where_nothing_can_be_read_the_encoder_is_not_loaded(small_model, published):
    fresh = load_image_classifier(published, encoder=small_model.encoder.model, device="cpu")
    assert list(classify_images(fresh, ["absent.png"])) == [
        ClassifiedImage("absent.png", error="not_found", detail="there is no such file or folder")
    ]
    assert "_loaded" not in vars(fresh.encoder)


def test_images_that_are_in_memory_already(classifier):
    scores = classifier.scores(draw(seed) for seed in range(4) for draw in (light, dark))
    assert scores.dtype == np.float32
    assert (scores > 0).tolist() == [True, False] * 4


def test_the_threshold_is_the_models(small_model, classifier, pictures):
    highest = max(answer.score for answer in classify_images(classifier, [pictures]))
    strict = dataclasses.replace(classifier.classifier, threshold=highest)
    answers = list(classify_images(ImageClassifier(strict, small_model.encoder), [pictures]))
    assert not any(answer.is_map for answer in answers)


def test_another_encoder_is_refused(small_model, published, tmp_path):
    other = write_tiny_clip(tmp_path / "encoder", seed=1)
    with pytest.raises(BadModel, match=r"not those that the classifier was trained on.*encoder-"):
        load_image_classifier(published, encoder=other)
    with pytest.raises(BadModel, match="ViT-L-14/openai"):
        ImageClassifier(classifier_record(small_model.lake).classifier, ClipEncoder())


@pytest.mark.parametrize("encoder", [None, "ViT-L-14", "hf-hub:someone/model"])
def test_an_encoder_in_a_folder_must_be_named(encoder, published):
    with pytest.raises(BadSetting, match=r"local-dir:FOLDER with the weights of encoder-"):
        load_image_classifier(published, encoder=encoder)


def test_another_preparation_of_images_is_refused(small_model, published, monkeypatch):
    monkeypatch.setattr(image_classifier, "preprocessing_of", lambda encoder: {"size": [32, 32], "mode": "RGB"})
    with pytest.raises(BadModel, match="prepares images otherwise"):
        load_image_classifier(published, encoder=small_model.encoder.model)


def test_an_encoder_that_was_moved_is_the_same(small_model, published, tmp_path, pictures):
    moved = shutil.copytree(small_model.encoder.model.removeprefix("local-dir:"), tmp_path / "elsewhere" / "encoder")
    classifier = load_image_classifier(str(published), encoder=f"local-dir:{moved}", device="cpu")
    assert next(classify_images(classifier, [pictures])).is_map


@pytest.mark.parametrize(("device", "images"), [("cpu", 4), ("cuda", 32), ("cuda:1", 32), ("mps", 32)])
def test_batches_by_device(device, images):
    assert batch_size_on(device) == images
