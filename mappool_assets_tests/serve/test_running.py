"""Health, metrics, limits, heads, other origins, and indexes that change while they are served."""

import base64
import concurrent.futures
import dataclasses
import json
import logging
import socket
import threading

import numpy as np
import pytest
import requests
from safetensors.numpy import save_file

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.retrieval.index_ledger import BadIndex
from mappool_assets.lib.serve.app import build_app
from mappool_assets.lib.serve.limits import ServiceLimits
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests import loopback_server
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.serve.running_service import running
from mappool_assets_tests.serve.small_index import STEP, WIDTH, build_small_index, write_shard
from mappool_assets_tests.small_lake import A, B, C

VECTOR = np.random.default_rng(8).standard_normal(WIDTH).tolist()


def with_limits(small_index, **limits):
    return dataclasses.replace(small_index.settings, limits=ServiceLimits(**limits))


def test_health_tells_indexes_and_the_encoders_state(small_index):
    with running(small_index.settings) as served:
        health = served.get("/health").json()
        assert (health["status"], health["encoder"]["state"]) == ("ok", "not loaded")
        assert health["encoder"]["id"] == small_index.encoder.encoder_id
        assert (health["indexes"]["maps"]["rows"], health["indexes"]["maps"]["shards"]) == (500, 2)
        served.knn(text="a map", num_images=1)
        assert served.get("/health").json()["encoder"]["state"] == "ready"


def test_without_weights_vectors_and_ids_are_still_searched(small_index):
    missing = dataclasses.replace(small_index.settings, loads_at_start=True)
    broken = BrokenEncoder(small_index.encoder.model, "", device="cpu")
    with running(dataclasses.replace(missing, encoder=broken)) as served:
        answer = served.post("/knn-service", {"text": "a map"})
        assert answer.status_code == 503
        assert "encoder" in answer.json()["error"]
        assert len(served.knn(embedding_input=VECTOR, num_images=2)) == 2
        health = served.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "degraded")


@dataclasses.dataclass(frozen=True)
class BrokenEncoder(ClipEncoder):
    """An encoder whose weights are out of reach."""

    def embed_texts(self, texts, dtype=np.float16):
        raise BadModel("The encoder cannot be loaded", where="x", rule="weights", got="none", action="Fetch them.")


def test_metrics_count_and_time(small_index):
    with running(small_index.settings) as served:
        assert "No request yet" in served.get("/metrics-summary").text
        served.knn(text="a map", num_images=3, deduplicate=True, filter="width > 10")
        served.refusal(text="")
        metrics = served.get("/metrics").text
        for line in (
            'mappool_http_answers_total{route="knn",status="200"} 1.0',
            'mappool_http_answers_total{route="knn",status="400"} 1.0',
            'mappool_index_rows{index="maps"} 500.0',
            *(f"{step}_count 1.0" for step in ("knn_index_time", "dedup_time", "filter_time", "metadata_get_time")),
        ):
            assert line in metrics
        assert "Among 2 calls" in served.get("/metrics-summary").text


def test_more_requests_than_the_limit_are_told_to_come_back(small_index):
    with running(with_limits(small_index, requests=1)) as served:
        with slow_request(served):
            answer = served.post("/knn-service", {"text": "a map"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"] == "The service is busy"
            assert served.get("/health").status_code == 200
        assert len(served.knn(embedding_input=VECTOR)) == 40


class slow_request:
    """A client that sends half a request and no more, until the block is left."""

    def __init__(self, served):
        self._address = served.url.removeprefix("http://").split(":")
        self._served = served

    def __enter__(self):
        self._socket = socket.create_connection((self._address[0], int(self._address[1])))
        self._socket.sendall(b'POST /knn-service HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"text"')
        while "mappool_requests_in_flight 1.0" not in self._served.get("/metrics").text:
            pass
        return self._socket

    def __exit__(self, *_):
        self._socket.close()
        while "mappool_requests_in_flight 0.0" not in self._served.get("/metrics").text:
            pass


def test_a_request_that_takes_too_long_ends(small_index):
    with running(with_limits(small_index, seconds=0.3)) as served, slow_request(served) as connection:
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 503")


def test_many_clients_at_once_get_what_one_gets(served):
    expected = served.knn(embedding_input=VECTOR, num_images=20, deduplicate=True)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(served.knn, embedding_input=VECTOR, num_images=20, deduplicate=True) for _ in range(64)]
        assert all(one.result() == expected for one in asked)


def test_pages_of_other_sites_may_ask_only_where_that_is_set(small_index, served):
    origin = {"Origin": "https://front.example"}
    assert "Access-Control-Allow-Origin" not in served.get("/indices-list", headers=origin).headers
    with running(dataclasses.replace(small_index.settings, is_for_any_origin=True)) as open_to_all:
        answer = open_to_all.get("/indices-list", headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = requests.options(open_to_all.url + "/knn-service", headers=asked, timeout=60)
        assert preflight.status_code == 200


def test_an_address_is_fetched_under_the_rules_where_that_is_enabled(small_index):
    rules = FetchRules(allow_private_addresses=True, deadline_seconds=3)
    with (
        running(dataclasses.replace(small_index.settings, url_rules=rules)) as served,
        loopback_server.running() as web,
    ):
        found = served.knn(image_url=web.serve("/map.png", encoded(picture(3))), num_images=5)
        data = base64.b64encode(encoded(picture(3))).decode()
        assert found == served.knn(image=data, num_images=5)
        assert "http_404" in served.refusal(image_url=web.url + "/nothing")["got"]
        assert "bad_scheme" in served.refusal(image_url="file:///etc/passwd")["got"]
        assert "not_an_image" in served.refusal(image_url=web.serve("/page", b"<html>"))["got"]
    with running(dataclasses.replace(small_index.settings, url_rules=FetchRules())) as served:
        assert "blocked_address" in served.refusal(image_url="http://127.0.0.1:1/")["got"]


@pytest.fixture
def heads(small_index, tmp_path):
    """Heads that remove what lies in one half of the space, and a direction for each score."""
    random = np.random.default_rng(5)
    safety, prompts = random.standard_normal(WIDTH).astype(np.float32), random.standard_normal((2, WIDTH))
    save_file(
        {"weight": safety, "bias": np.zeros(1, np.float32)},
        tmp_path / "safety.safetensors",
        {"encoder_id": small_index.encoder.encoder_id},
    )
    np.save(tmp_path / "violence.npy", prompts.astype(np.float32))
    directions = random.standard_normal((10, WIDTH)).astype(np.float32)
    for score, direction in enumerate(directions):
        np.save(tmp_path / f"rating{score}.npy", direction)
    settings = dataclasses.replace(
        small_index.settings,
        safety_head=tmp_path / "safety.safetensors",
        violence_prompts=tmp_path / "violence.npy",
        aesthetic_directions=tmp_path,
    )
    return settings, safety.astype(float), prompts, directions.astype(float)


def test_heads_remove_and_turn_as_clip_back_does(small_index, heads):
    settings, safety, prompts, directions = heads
    with running(settings) as served:
        answer = served.post("/knn-service", {"embedding_input": VECTOR, "num_images": 50, "use_safety_model": True,
                                              "use_violence_detector": True, "aesthetic_score": 7})  # fmt: skip
        unit = np.array(VECTOR) / np.linalg.norm(VECTOR)
        nearest = small_index.nearest(unit + 0.5 * directions[7])[:50]
        vectors = np.array([row["l14_img"] for row in nearest], dtype=float)
        is_kept = (vectors @ safety <= 0) & (vectors @ prompts[0] >= vectors @ prompts[1])
        expected = [row["id"] for row, kept in zip(nearest, is_kept, strict=True) if kept]
        assert 0 < len(expected) < 50
        assert [one["id"] for one in answer.json()] == expected
        assert "Mappool-Warnings" not in answer.headers
        asked = {"embedding_input": VECTOR, "num_images": 20, "use_safety_model": True, "use_violence_detector": True}
        assert len(served.knn(**asked, refill=True)) == 20


def test_a_head_that_does_not_fit_is_refused_before_anything_is_served(small_index, tmp_path):
    np.save(tmp_path / "violence.npy", np.zeros((2, WIDTH + 1)))
    for violence in (tmp_path / "violence.npy", tmp_path / "absent.npy"):
        with pytest.raises(BadModel, match="head"):
            build_app(dataclasses.replace(small_index.settings, violence_prompts=violence))


def test_an_index_of_another_encoder_is_refused(small_index):
    other = ClipEncoder("ViT-L-14", "openai")
    with pytest.raises(BadModel, match="different encoders"):
        build_app(dataclasses.replace(small_index.settings, encoder=other))


def test_a_lake_without_an_index_is_refused(small_index, tmp_path):
    with pytest.raises(MissingInput, match="no image index"):
        build_app(dataclasses.replace(small_index.settings, indexes={"maps": Lake(str(tmp_path))}))
    with pytest.raises(BadSetting, match="nothing to serve"):
        dataclasses.replace(small_index.settings, indexes={})
    with pytest.raises(BadSetting, match="cannot listen"):
        dataclasses.replace(small_index.settings, port=99_999)


def test_two_indexes_are_served_by_name(small_index, tmp_path):
    other = Lake(str(tmp_path / "other"))
    write_shard(other, C, 30, seed=4)
    build_image_index(other, encoder_id=small_index.encoder.encoder_id)
    both = {"maps": small_index.lake, "other": other}
    with running(dataclasses.replace(small_index.settings, indexes=both)) as served:
        assert served.get("/indices-list").json() == ["maps", "other"]
        found = served.knn(embedding_input=VECTOR, indice_name="other", num_images=40)
        assert len(found) == 30
        assert {one["uid"][:1] for one in found} == {"c"}


def test_an_index_that_was_built_anew_is_taken_up_and_one_out_of_date_is_noticed(tmp_path):
    small = build_small_index(tmp_path)
    with running(small.settings) as served:
        before = served.knn(embedding_input=VECTOR, num_images=400, mode="exact")
        write_shard(small.lake, B, 150, seed=9)  # filtered again, not indexed yet
        assert served.knn(embedding_input=VECTOR, num_images=400, mode="exact") == before  # its file is still open
        with pytest.raises(BadIndex, match="out of date"):
            build_app(small.settings)
        write_shard(small.lake, C, 50, seed=10)
        build_image_index(small.lake, encoder_id=small.encoder.encoder_id)
        assert len(served.knn(embedding_input=VECTOR, num_images=500, mode="exact")) == 500  # not of yesterday's files
        assert served.service.catalogue.refresh() == []
        assert served.get("/health").json()["indexes"]["maps"]["rows"] == 500  # 300, 150, 50
        after = served.knn(embedding_input=VECTOR, num_images=500, mode="exact")
        assert {one["id"] // STEP for one in after} == {0, 1, 2}
        assert {one["uid"][:1] for one in after if one["id"] // STEP == 2} == {"c"}


def test_a_shard_filtered_again_is_not_read_as_what_it_was(tmp_path):
    small = build_small_index(tmp_path)
    with running(small.settings) as served:
        write_shard(small.lake, A, 300, seed=9)
        answer = served.post("/metadata", {"ids": [0]})
        assert answer.status_code == 503
        assert "filtered again" in answer.json()["error"]


def test_weights_load_in_the_background_and_requests_wait_for_them(small_index):
    gate = threading.Event()

    @dataclasses.dataclass(frozen=True)
    class SlowEncoder(ClipEncoder):
        def embed_texts(self, texts, dtype=np.float16):
            assert gate.wait(20)
            return super().embed_texts(texts, dtype)

    slow = SlowEncoder(small_index.encoder.model, "", device="cpu", batch_size=1)
    settings = dataclasses.replace(small_index.settings, encoder=slow, loads_at_start=True)
    with running(settings) as served, concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert served.get("/health").json()["status"] == "starting"
        asked = pool.submit(served.knn, text="a map", num_images=2)
        assert len(served.knn(embedding_input=VECTOR, num_images=2)) == 2
        gate.set()
        assert len(asked.result()) == 2
        assert served.get("/health").json()["status"] == "ok"


def test_queries_are_logged_where_that_is_set(small_index, caplog):
    caplog.set_level(logging.INFO, "mappool.serve")
    with running(dataclasses.replace(small_index.settings, logs_queries=True)) as served:
        served.knn(text="harbour\nknn 200 forged", num_images=1)
    lines = [record.getMessage() for record in caplog.records if record.name == "mappool.serve"]
    assert any("harbour\\nknn" in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_limits_must_be_limits():
    for name in ("body_bytes", "text_characters", "image_pixels", "results", "requests", "seconds"):
        with pytest.raises(BadSetting, match="limit"):
            ServiceLimits(**{name: 0})


def test_answers_are_strict_json_in_utf8(served):
    text = served.post("/knn-service", {"text": "Köln", "num_images": 300}).content.decode("utf-8")

    def fail(name):
        raise AssertionError(name)

    assert "Karte von Köln" in text
    json.loads(text, parse_constant=fail)
