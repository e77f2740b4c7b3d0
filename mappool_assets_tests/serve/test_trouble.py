"""What goes wrong beside the requests: the encoder, the lake's storage, clients that do not read."""

import asyncio
import dataclasses
import json

import numpy as np

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.serve.app import build_app
from mappool_assets.lib.serve.limits import ServiceLimits
from mappool_assets_tests.serve.running_service import running
from mappool_assets_tests.serve.small_index import WIDTH, build_small_index

VECTOR = [1.0] * WIDTH


@dataclasses.dataclass(frozen=True)
class LargeEncoder(ClipEncoder):
    """An encoder that needs more memory than the device has."""

    def embed_texts(self, texts, dtype=np.float16):
        raise RuntimeError("CUDA out of memory")


def test_an_encoder_that_fails_in_pytorchs_way_is_not_said_to_be_starting(small_index):
    broken = LargeEncoder(small_index.encoder.model, "", device="cpu")
    with running(dataclasses.replace(small_index.settings, loads_at_start=True, encoder=broken)) as served:
        answer = served.post("/knn-service", {"text": "a map"})
        assert (answer.status_code, answer.json()["got"]) == (503, "RuntimeError: CUDA out of memory")
        assert served.get("/health").json()["encoder"]["state"] == "failed: The encoder cannot be used"


def test_health_of_a_lake_that_cannot_be_read_is_json(tmp_path):
    small = build_small_index(tmp_path)
    with running(small.settings) as served:
        (tmp_path / "lake/mappool/map_images").write_text("no folder")
        health = served.get("/health")
        assert (health.status_code, health.json()["error"]) == (503, "The lake cannot be read")


def test_answers_that_nobody_reads_are_held_up_to_a_bound(small_index):
    """Called as a server calls it, which waits before it takes the next part of an answer."""

    async def ask(app, answered, read):
        statuses, body = [], json.dumps({"embedding_input": VECTOR, "num_images": 500}).encode()

        async def send(message):
            statuses.extend([message["status"]] if "status" in message else [])
            answered.set()
            await read.wait()

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/knn-service", "headers": [], "query_string": b""}
        await app(scope, receive, send)
        return statuses[0]

    async def ask_while_another_does_not_read():
        app = build_app(dataclasses.replace(small_index.settings, limits=ServiceLimits(unsent_bytes=1000)))
        answered, read, now = asyncio.Event(), asyncio.Event(), asyncio.Event()
        now.set()
        unread = asyncio.create_task(ask(app, answered, read))
        await answered.wait()
        assert await ask(app, now, now) == 503
        read.set()
        assert await unread == 200
        return await ask(app, now, now)

    assert asyncio.run(ask_while_another_does_not_read()) == 200
