"""Download 2,000 images of 60 kB with ``download_images``, against img2dataset as MapPool's card has it.

Both are given two processes of 32 threads and sub-shards of the same size, verify each sha256 and keep the files as
served; each time begins with a fresh interpreter, so that its imports count. The server is a process of its own on
loopback and answers at once: nothing is waited for, so that what is compared is the cost of an image. Memory is the
proportional set size, what is shared counted once, of all processes of one side together, the reader of
``download_images`` included, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from harness.verdict import Claim, conclude, print_table

from mappool_assets.lib.image_download.downloads import ROWS_A_SUB_SHARD, download_images
from mappool_assets.lib.web.web_fetch import FetchRules

LEAST_SPEED = 0.8  # of plain img2dataset
LEAST_MEMORY_SAVED = 1.0
IMAGE_BYTES = 60_000
PROCESSES, THREADS = 2, 32
SAMPLING_SECONDS = 0.1
SPAWN = multiprocessing.get_context("spawn")


class Run(NamedTuple):
    """What one side took for all images."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    receiver, sender = SPAWN.Pipe(duplex=False)
    server = SPAWN.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    requests = make_requests(f"http://127.0.0.1:{receiver.recv()}", arguments.images)
    runs: dict[str, list[Run]] = {"plain img2dataset": [], "download_images": []}
    for _ in range(arguments.repeats):
        runs["plain img2dataset"].append(measure(run_plain, requests))
        runs["download_images"].append(measure(run_ours, requests))
    medians = {name: sorted(times)[len(times) // 2] for name, times in runs.items()}
    print_table(
        f"{arguments.images:,} images of {IMAGE_BYTES / 1000:.0f} kB, {PROCESSES} processes of {THREADS} threads, "
        f"median of {arguments.repeats}",
        ["", "seconds", "images/s", "CPU seconds", "peak MB"],
        [
            [
                name,
                f"{run.seconds:.1f}",
                f"{arguments.images / run.seconds:.0f}",
                f"{run.cpu_seconds:.1f}",
                f"{run.peak_bytes / 1e6:,.0f}",
            ]
            for name, run in medians.items()
        ],
    )
    plain, ours = medians["plain img2dataset"], medians["download_images"]
    conclude(
        Claim("image_download_memory", plain.peak_bytes / ours.peak_bytes, LEAST_MEMORY_SAVED),
        Claim("image_download", plain.seconds / ours.seconds, LEAST_SPEED),
    )


def run_plain(requests: pa.Table, folder: Path) -> None:
    """Call img2dataset itself, as MapPool's card does."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read when it is imported, by its processes too
    import img2dataset

    pq.write_table(requests, folder / "requests.parquet")
    img2dataset.download(
        url_list=str(folder / "requests.parquet"),
        input_format="parquet",
        url_col="url",
        verify_hash=["sha256", "sha256"],
        compute_hash="sha256",
        disable_all_reencoding=True,
        processes_count=PROCESSES,
        thread_count=THREADS,
        number_sample_per_shard=ROWS_A_SUB_SHARD,
        output_format="webdataset",
        output_folder=str(folder / "images"),
    )
    tables = [pq.read_table(file, columns=["status"]) for file in (folder / "images").glob("*.parquet")]
    assert Counter(pa.concat_tables(tables)["status"].to_pylist()) == {"success": requests.num_rows}


def run_ours(requests: pa.Table, folder: Path) -> None:
    """Take every download."""
    rules = FetchRules(allow_private_addresses=True)
    downloads = download_images(requests, folder / "work", rules, processes=PROCESSES, threads=THREADS)
    assert Counter(download.reason for download in downloads) == {"ok": requests.num_rows}


def measure(run: Callable[[pa.Table, Path], None], requests: pa.Table) -> Run:
    """Run one side in a fresh interpreter, in a folder of its own, and watch all its processes."""
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        process = SPAWN.Process(target=run, args=(requests, Path(folder)))
        began = time.perf_counter()
        process.start()
        assert process.pid is not None
        peak, cpu_seconds = 0, dict[int, float]()
        while process.is_alive():
            family = family_of(process.pid)
            peak = max(peak, sum(map(proportional_bytes, family)))
            cpu_seconds |= {pid: max(cpu_seconds.get(pid, 0.0), used_seconds(pid)) for pid in family}
            process.join(SAMPLING_SECONDS)
        seconds = time.perf_counter() - began
    assert process.exitcode == 0, "the run failed, see above"
    return Run(seconds, sum(cpu_seconds.values()), peak)


def family_of(ancestor: int) -> list[int]:
    """Return a process and all below it."""
    parents = {int(path.name): stat_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    family = [ancestor]
    for member in family:  # grows while it is read
        family += [pid for pid, fields in parents.items() if fields and int(fields[1]) == member]
    return family


def proportional_bytes(pid: int) -> int:
    """Return the memory of a process, its share of what others have too; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def used_seconds(pid: int) -> float:
    """Return the CPU that a process has used so far, without its children."""
    fields = stat_of(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def stat_of(pid: int) -> list[str]:
    """Return what ``/proc`` says of a process after its name: state, parent, …; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def make_requests(server: str, images: int) -> pa.Table:
    names = [str(index) for index in range(images)]
    return pa.table(
        {
            "key": names,
            "url": [f"{server}/{name}" for name in names],
            "sha256": [hashlib.sha256(image_of(name)).hexdigest() for name in names],
        }
    )


def image_of(name: str) -> bytes:
    """Return bytes that neither side decodes, another file for each name."""
    return name.encode().ljust(IMAGE_BYTES, b"\xff")


def serve(port: Connection) -> None:
    """Answer every GET on a free port of loopback."""
    asyncio.run(_serve(port))


async def _serve(port: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Images, "127.0.0.1", 0, backlog=256)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Images(asyncio.Protocol):
    """A few lines of HTTP, so that the server takes little of the cores that are measured."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            name = request.split()[1].decode().removeprefix("/")
            head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {IMAGE_BYTES}\r\n\r\n"
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.write(head.encode() + image_of(name))
            if b"connection: close" in request.lower():
                self._transport.close()


if __name__ == "__main__":
    main()
