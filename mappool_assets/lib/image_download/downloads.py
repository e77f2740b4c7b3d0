"""Download images by address: one outcome a request, in their order, from a folder that survives a kill.

img2dataset fetches and stores, in a process group of its own; what it did is judged by what lies there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadSetting, BadShard
from mappool_assets.lib.image_download.engine import Engine
from mappool_assets.lib.image_download.guarded_opener import FAILED, disguised, reason_and_detail
from mappool_assets.lib.image_download.sub_shards import SubShards
from mappool_assets.lib.lake import replacing
from mappool_assets.lib.web.web_fetch import FetchRules

REQUESTS = pa.schema([("key", pa.string()), ("url", pa.string()), ("sha256", pa.string())])
# A sub-shard ends with its slowest address, up to the deadline, and its process fetches nothing else meanwhile: larger
# ones wait less often; of smaller ones a kill costs less, and their images come sooner.
ROWS_A_SUB_SHARD = 1000
KEYS_SHOWN = 5
UNUSABLE_IN_PATHS = ("*", "?", "[", "::")  # img2dataset opens and lists through fsspec, which reads more into them


class Download(NamedTuple):
    """What became of a request.

    Attributes
    ----------
    key : str
        The request's.
    reason : str
        ``ok``; a reason of :class:`~mappool_assets.lib.web.web_fetch.FetchRefused`; ``hash_changed``: not the file that
        was asked for; ``download_failed``: whatever else, see ``detail``.
    detail : str
        A sentence for people on the reason; empty where ok.
    data : bytes or None
        The file as served, whatever it is; None where not ok.
    """

    key: str
    reason: str
    detail: str
    data: bytes | None


def download_images(
    requests: pa.Table, work: Path, rules: FetchRules, *, processes: int = 1, threads: int = 32
) -> Iterator[Download]:
    """Return an iterator over exactly one :class:`Download` a request, in the order of the requests.

    Downloading begins with the first that is taken and ends, with all its processes, when the iterator is closed.

    Parameters
    ----------
    requests : pyarrow.Table
        Columns ``key`` (string, unique), ``url`` (string; null gives ``bad_url``) and ``sha256`` (string, 64 hex
        digits; null where any file will do).
    work : Path
        A folder for these requests alone; made if need be, to be removed by the caller. Called again with the same
        requests, after a kill for instance, what is finished is not asked for again.
    rules : FetchRules
        What holds for every address, redirects included.
    processes, threads : int
        img2dataset's processes, and the addresses that each asks at once. A process holds, until they are written, at
        most ``2 × threads`` files up to 4 MiB and 256 MiB of larger ones (or two of them, if that is more).

    Raises
    ------
    BadShard
        A key is missing or not unique.
    BadSetting
        The folder has been used for other requests, or its name cannot be used.
    DownloadBroken
        While iterating: img2dataset ended twice without having finished.
    """
    requests = requests.select(REQUESTS.names).cast(REQUESTS)
    _check_keys(requests["key"])
    work = work.absolute()
    _check_name(work)
    requests_file = _kept_requests(requests, work)
    sub_shards = SubShards(work / f"images_by_{ROWS_A_SUB_SHARD}", requests.num_rows, ROWS_A_SUB_SHARD)
    job = {
        "rules": dataclasses.asdict(rules),
        "requests": str(requests_file),
        "output": str(sub_shards.folder),
        "row_count": sub_shards.row_count,
        "rows_each": sub_shards.rows_each,
        "processes": processes,
        "threads": threads,
    }
    engine = Engine(sub_shards, json.dumps(job).encode() + b"\n", log=work / "log.txt")
    return _downloads(requests, sub_shards, engine)


def _downloads(requests: pa.Table, sub_shards: SubShards, engine: Engine) -> Iterator[Download]:
    with engine:
        for index in range(len(sub_shards)):
            rows = requests.slice(index * sub_shards.rows_each, sub_shards.rows_each).to_pylist()
            for row, result in zip(rows, engine.wait_for(index).results(), strict=True):
                yield Download(row["key"], *_judged(row["url"], row["sha256"], result))


def _judged(url: str | None, sha256: str | None, result: bytes | str | None) -> tuple[str, str, bytes | None]:
    if url is None:
        return "bad_url", "there is no address", None
    if result is None:
        return FAILED, "img2dataset lost the row; its log says why", None
    if isinstance(result, str):
        return *reason_and_detail(result), None
    found = hashlib.sha256(result).hexdigest()
    if sha256 is not None and found != sha256.lower():
        return "hash_changed", f"the sha256 of what is served now is {found}", None
    return "ok", "", result


def _kept_requests(requests: pa.Table, work: Path) -> Path:
    """Write the requests for img2dataset to read, or compare them with those that were written before."""
    file = work / "requests.parquet"
    if not file.exists():
        urls = pa.array([url if url is None else disguised(url) for url in requests["url"].to_pylist()], pa.string())
        with replacing(file) as temporary:
            pq.write_table(requests.append_column("disguised_url", urls), temporary)
    elif pq.read_table(file, columns=requests.column_names) != requests:
        raise BadSetting(
            "The folder holds another download",
            where=str(work),
            rule="a folder for one list of requests alone",
            got="other requests than those that it was used for before",
            action="Remove the folder, or give another.",
        )
    return file


def _check_keys(keys: pa.ChunkedArray) -> None:
    if keys.null_count or pc.count_distinct(keys).as_py() != len(keys):
        counts = pc.value_counts(keys).to_pylist()
        found = [(c["values"], c["counts"]) for c in counts if c["values"] is None or c["counts"] > 1]
        raise BadShard(
            "Downloads cannot be told apart",
            where="the column key of the requests",
            rule="keys that are there and unique",
            got=", ".join(f"{key!r} {times} times" for key, times in found[:KEYS_SHOWN]),
            action="Drop the rows that are there twice.",
        )


def _check_name(work: Path) -> None:
    found = [characters for characters in UNUSABLE_IN_PATHS if characters in str(work)]
    if found:
        raise BadSetting(
            "The folder's name cannot be used",
            where=str(work),
            rule=f"a path without any of {' '.join(UNUSABLE_IN_PATHS)}",
            got=" ".join(found),
            action="Give another folder.",
        )
