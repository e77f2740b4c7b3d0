"""``mappool serve`` as people type it."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import requests

from mappool_assets.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to type in."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MAPPOOL_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_it_starts_answers_and_stops(small_index, here):
    environment = {**os.environ, "MAPPOOL_ENCODER_MODEL": small_index.encoder.model, "MAPPOOL_ENCODER_PRETRAINED": ""}
    command = [sys.executable, "-m", "mappool_assets.cli", "serve", "--port", "0", "--device", "cpu",
               "--index", f"old={small_index.lake.root}", "--index", f"new={small_index.lake.root}"]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                break
        assert requests.get(found[1] + "/indices-list", timeout=20).json() == ["old", "new"]
        answer = requests.post(found[1] + "/knn-service", data='{"text": "a private matter"}', timeout=60)
        assert len(answer.json()) == 40
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "knn 200" in log
        assert "private" not in log
        assert "root" not in log, "open_clip's own steps"
    finally:
        process.kill()
        process.wait()


def test_an_address_that_is_taken_is_told(small_index, here, capsys, monkeypatch):
    monkeypatch.setenv("MAPPOOL_ENCODER_MODEL", small_index.encoder.model)
    monkeypatch.setenv("MAPPOOL_ENCODER_PRETRAINED", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--device", "cpu", "--index", f"maps={small_index.lake.root}"]) == 1
    assert f"cannot listen there [127.0.0.1, port {port}]" in capsys.readouterr().err


def test_without_an_index_it_says_what_to_make(here, capsys):
    assert main(["serve"]) == 1
    assert "Materialise the asset geo_subset/image_index first" in capsys.readouterr().err


@pytest.mark.parametrize("indexes", [["maps"], ["=lake"], ["maps="], ["a=x", "a=y"]])
def test_an_index_needs_a_name_and_a_lake(here, capsys, indexes):
    assert main(["serve", *(part for index in indexes for part in ("--index", index))]) == 1
    assert "NAME=LAKE" in capsys.readouterr().err


def test_an_index_of_another_encoder_is_not_served(small_index, here, capsys):
    assert main(["serve", "--index", f"maps={small_index.lake.root}"]) == 1
    assert "different encoders" in capsys.readouterr().err


def test_importing_the_command_line_stays_light():
    code = "import sys, mappool_assets.cli; print([m for m in ('torch', 'faiss', 'uvicorn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_it_starts_within_five_seconds_without_weights(small_index):
    code = (
        "import time; began = time.perf_counter()\n"
        "from mappool_assets.lib.serve.app import build_app\n"
        "from mappool_assets.lib.serve.settings import ServiceSettings\n"
        "from mappool_assets.lib.encoder import ClipEncoder\n"
        "from mappool_assets.lib.lake import Lake\n"
        f"build_app(ServiceSettings({{'m': Lake({small_index.lake.root!r})}}, "
        f"ClipEncoder({small_index.encoder.model!r}, ''), loads_at_start=False))\n"
        "import sys, resource; usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(usage.ru_utime + usage.ru_stime, 'torch' in sys.modules)"
    )
    seconds, has_torch = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert float(seconds) < 5  # of CPU: another process may hold the machine
    assert has_torch == "False"
