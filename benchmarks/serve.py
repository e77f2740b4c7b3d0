"""Whether the search service stays quick and small under many clients.

    python benchmarks/serve.py [--rows 1000000] [--clients 16] [--seconds 60] [--lake FOLDER]

Clients of clip-retrieval's kind, each a thread of another process with a connection of its own, send searches one after
the other, as fast as they are answered: vectors of texts and of images, 40 results, most of them with the removal of
duplicates, every tenth with a filter, every tenth for the metadata of 40 ids. Rows lie in clusters on a cone, texts on
another, as CLIP's do. The service is ``mappool serve`` itself; its encoder is never asked, so memory is CLIP aside.

The rival of a latency is the service's own median: p95 at most ten times as long. Memory is flat where the last third
of the time holds at most a tenth more than the middle third.

``--lake`` keeps the index in a folder, or takes the one that is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import requests
from harness.verdict import Claim, conclude, print_table

from mappool_assets.lib.lake import Lake, Provenance

DIMENSION = 768
CLUSTERS = 500
ROWS_A_SHARD = 10_000
ROWS_A_GROUP = 1024  # as shard_maps are written
QUERIES = 2_000
RESULTS = 40  # ClipClient's default
LATE = 0.95

MOST_P95_OF_MEDIAN = 10.0
MOST_GROWTH = 1.10
MOST_BYTES = 600_000_000  # at a million rows
STARTS_WITHIN_SECONDS = 120
ENCODER_ID = "ViT-L-14/openai"  # of the index; its weights are in reach or not, it is never asked


class Answered(NamedTuple):
    """One request: what it was, how long it took, and what went wrong."""

    kind: str
    seconds: float
    error: str


def main() -> None:
    arguments = _arguments()
    with contextlib.ExitStack() as stack:
        folder = arguments.lake or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mappool-benchmark-")))
        write_index(folder, arguments.rows)
        url, process, started = stack.enter_context(running_service(folder))
        memory = stack.enter_context(watching_memory(process))
        requests.post(f"{url}/knn-service", json={"embedding_input": queries(1)[0].tolist()}, timeout=60)
        memory.clear()
        answers = ask(url, arguments.rows, arguments.clients, arguments.seconds)
        peak = peak_bytes(process)
    report(arguments, answers, memory, peak, started)


# -- the index ------------------------------------------------------------------------------------------------


def write_index(folder: Path, rows: int) -> None:
    """Write ``shard_maps`` and the index over them, where there are none."""
    from mappool_assets.lib.retrieval.image_index import build_image_index

    lake = Lake(str(folder))
    for number in range(-(-rows // ROWS_A_SHARD)):
        shard = f"{number:032x}"
        if not lake.exists(lake.table_path("mappool/shard_maps", shard)):
            write_shard(lake, shard, min(ROWS_A_SHARD, rows - number * ROWS_A_SHARD), number)
    began = time.perf_counter()
    build_image_index(lake, encoder_id=ENCODER_ID)
    print(f"index over {rows:,} rows: {time.perf_counter() - began:.0f} s", flush=True)


def write_shard(lake: Lake, shard: str, rows: int, number: int) -> None:
    """Write one shard's maps: vectors in clusters, captions and addresses of the usual length."""
    from mappool_assets.lib.shard_filter import output_schema

    of_images, _, clusters = _world()
    random = np.random.default_rng([1, number])
    vectors = of_images + 0.7 * clusters[random.integers(0, CLUSTERS, rows)] + random.standard_normal((rows, DIMENSION))
    column = _unit(vectors).astype(np.float16).ravel()
    columns = {
        "uid": [f"{number:016x}{row:016x}" for row in range(rows)],
        "url": [f"https://site{row % 977}.example/{number:05d}/{row:05d}/a-long-name.jpg" for row in range(rows)],
        "text": [f"Map {row} of the district and what is around it, sheet {number}" for row in range(rows)],
        "original_width": random.integers(100, 4000, rows),
        "original_height": random.integers(100, 4000, rows),
        "sha256": [random.bytes(32).hex() for _ in range(rows)],
        "l14_img": pa.FixedSizeListArray.from_arrays(pa.array(column), DIMENSION),
        "l14_txt": pa.FixedSizeListArray.from_arrays(pa.array(column), DIMENSION),
        "clip_l14_similarity_score": random.random(rows).astype(np.float32),
        "map_score": random.random(rows).astype(np.float32),
    }
    table = pa.table(columns, schema=output_schema(DIMENSION))
    with lake.table_writer("mappool/shard_maps", table.schema, shard) as writer:
        for start in range(0, rows, ROWS_A_GROUP):
            writer.write(table.slice(start, ROWS_A_GROUP))
        writer.provenance = Provenance({"shard": shard, "seed": number}, rows, rows)


def queries(count: int) -> np.ndarray:
    """Return unit vectors, every second one a text's, off the images' cone."""
    of_images, of_texts, clusters = _world()
    random = np.random.default_rng(2)
    centres = np.where(np.arange(count)[:, np.newaxis] % 2, of_images, of_texts)
    noise = 0.7 * random.standard_normal((count, DIMENSION))
    return _unit(centres + 0.6 * clusters[random.integers(0, CLUSTERS, count)] + noise).astype(np.float32)


def _world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    world = np.random.default_rng(20_240)
    of_images, of_texts = world.standard_normal((2, DIMENSION))
    return of_images, of_texts, world.standard_normal((CLUSTERS, DIMENSION))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# -- the service ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_service(lake: Path) -> Iterator[tuple[str, int, float]]:
    """Start the service; yield its address, its process and the seconds until it answered."""
    began = time.perf_counter()
    code = (
        "from pathlib import Path\n"
        "from mappool_assets.lib.encoder import ClipEncoder\n"
        "from mappool_assets.lib.lake import Lake\n"
        "from mappool_assets.lib.serve.server import serve\n"
        "from mappool_assets.lib.serve.settings import ServiceSettings\n"
        f"serve(ServiceSettings({{'maps': Lake({str(lake)!r})}}, ClipEncoder(), port=0, loads_at_start=False))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"running on (http://\S+:\d+)", line):
                break
        else:
            raise RuntimeError("the service did not start")
        threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
        requests.get(f"{found[1]}/health", timeout=STARTS_WITHIN_SECONDS).raise_for_status()
        yield found[1], process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def watching_memory(process: int) -> Iterator[list[int]]:
    """Note the memory that a process holds, of its own and of mapped files, five times a second."""
    noted: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            noted.append(_status(process, "VmRSS"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield noted
    is_over.set()
    thread.join()


def peak_bytes(process: int) -> int:
    """Return the most memory that a process ever held."""
    return _status(process, "VmHWM")


def _status(process: int, name: str) -> int:
    with contextlib.suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", (Path("/proc") / str(process) / "status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


# -- the clients ----------------------------------------------------------------------------------------------


def ask(url: str, rows: int, clients: int, seconds: float) -> list[Answered]:
    """Let clients ask at once for some seconds; return all that was answered."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        return [Answered(*answer) for answer in pool.apply(_ask_from_threads, (url, rows, clients, seconds))]


def _ask_from_threads(url: str, rows: int, clients: int, seconds: float) -> list[tuple[str, float, str]]:
    answers: list[tuple[str, float, str]] = []
    vectors = queries(QUERIES)
    bodies = [_body(number, vector, rows) for number, vector in enumerate(vectors)]
    end = time.perf_counter() + seconds
    threads = [threading.Thread(target=_client, args=(url, number, bodies, end, answers)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _body(number: int, vector: np.ndarray, rows: int) -> tuple[str, str, bytes]:
    if number % 10 == 9:
        shards, of_shard = np.divmod(np.random.default_rng(number).integers(0, rows, RESULTS), ROWS_A_SHARD)
        ids = (shards * 2**32 + of_shard).tolist()
        return "metadata", "/metadata", json.dumps({"ids": ids, "indice_name": "maps"}).encode()
    fields = {
        "text": None, "image": None, "image_url": None, "embedding_input": vector.tolist(),
        "deduplicate": number % 3 > 0, "use_safety_model": True, "use_violence_detector": True, "indice_name": "maps",
        "use_mclip": False, "aesthetic_score": 9, "aesthetic_weight": 0.5, "modality": "image",
        "num_images": RESULTS, "num_result_ids": RESULTS,
    }  # fmt: skip
    if number % 10 == 8:
        fields["filter"] = f"width >= {1000 + number % 5 * 500} and text contains 'sheet'"
        return "filtered search", "/knn-service", json.dumps(fields).encode()
    return "search", "/knn-service", json.dumps(fields).encode()


def _client(
    url: str, first: int, bodies: list[tuple[str, str, bytes]], end: float, answers: list[tuple[str, float, str]]
) -> None:
    with requests.Session() as session:
        number = first * 97
        while (began := time.perf_counter()) < end:
            kind, path, body = bodies[number % len(bodies)]
            number += 1
            try:
                answer = session.post(url + path, data=body, timeout=60)
                is_sound = answer.status_code == 200 and len(answer.json()) > 0
                error = "" if is_sound else f"{answer.status_code} {answer.text[:80]}"
            except requests.RequestException as problem:
                error = type(problem).__name__
            answers.append((kind, time.perf_counter() - began, error))


# -- the report -----------------------------------------------------------------------------------------------


def report(
    arguments: argparse.Namespace, answers: list[Answered], memory: list[int], peak: int, started: float
) -> None:
    """Print figures and claims."""
    rows = []
    for kind in sorted({answer.kind for answer in answers}):
        seconds = sorted(answer.seconds for answer in answers if answer.kind == kind)
        errors = sum(bool(answer.error) for answer in answers if answer.kind == kind)
        rows.append([kind, len(seconds), *(f"{1000 * _quantile(seconds, at):.1f}" for at in (0.5, LATE, 1)), errors])
    title = f"{arguments.clients} clients, {arguments.seconds:g} s, {arguments.rows:,} rows; started in {started:.1f} s"
    print_table(title, ["", "answers", "median ms", "p95 ms", "longest ms", "errors"], rows)
    third = max(len(memory) // 3, 1)
    middle, last = statistics.median(memory[third : 2 * third] or memory), statistics.median(memory[-third:])
    print(f"memory: {middle / 1e6:,.0f} MB, then {last / 1e6:,.0f} MB; most ever {peak / 1e6:,.0f} MB")
    print(f"{len(answers) / arguments.seconds:.0f} answers a second; {os.cpu_count()} cores shared with the clients")
    searches = sorted(answer.seconds for answer in answers)
    errors = [answer.error for answer in answers if answer.error]
    for error in sorted(set(errors))[:5]:
        print("error:", error)
    late = _quantile(searches, LATE) / _quantile(searches, 0.5)
    conclude(
        Claim("serve_without_error", float(not errors), 1.0),
        Claim("serve_memory_flat", MOST_GROWTH * middle / last, 1.0),
        Claim("serve_memory", MOST_BYTES / peak, 1.0),
        Claim("serve_p95", MOST_P95_OF_MEDIAN / late, 1.0),
    )


def _quantile(ascending: list[float], at: float) -> float:
    return ascending[min(int(at * len(ascending)), len(ascending) - 1)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--lake", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
