"""A pool's shards, found where they lie: a Hub dataset, a folder, an S3 prefix or an HTTP listing.

Layouts (facts of DataComp's repositories): flat, or one level of ``part_*/``; each shard is ``KEY.parquet`` and
``KEY.npz``.
"""

from __future__ import annotations

import html.parser
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from mappool_assets.lib.errors import BadSetting, SourceUnavailable
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.http import HUB_ADDRESS
from mappool_assets.lib.ranged_file.stores import local_version, open_ranged, s3_refusal

SHARD_FILE = re.compile(r"(?:(?P<part>part_[^/]+)/)?(?P<key>[0-9A-Za-z_-]+)\.(?P<kind>parquet|npz)")
LISTING_WORKERS = 16  # HTTP listings carry no sizes: one small request a file


@dataclass(frozen=True)
class PoolShard:
    """One shard: two row-aligned files.

    Attributes
    ----------
    shard : str
        Its key: the file name without suffix (32 hex digits in CommonPool).
    part : str
        The source's folder (``part_…``), or "" in a flat pool.
    parquet_url, npz_url : str
        Addresses for :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
    parquet_bytes, npz_bytes : int
        Sizes.
    parquet_version, npz_version : str
        Change when the content does: LFS sha256 (Hub), ETag (HTTP, S3), size and modification time (folder).
    """

    shard: str
    part: str
    parquet_url: str
    npz_url: str
    parquet_bytes: int
    npz_bytes: int
    parquet_version: str
    npz_version: str


@dataclass(frozen=True)
class PoolListing:
    """What a source holds.

    Attributes
    ----------
    source : str
        The address that was listed.
    revision : str
        The Hub commit it was pinned to; "" where the store has no revisions (each file's version then stands).
    shards : list of PoolShard
        Whole shards, by key.
    dropped : dict of str to int
        What is no whole shard, by reason: ``without_npz``, ``without_parquet``, ``key_seen_before`` (in another part).
    """

    source: str
    revision: str
    shards: list[PoolShard]
    dropped: dict[str, int]


class _File(NamedTuple):
    path: str
    url: str
    size: int
    version: str


def list_pool(source: str, storage: Storage) -> PoolListing:
    """List a pool.

    Parameters
    ----------
    source : str
        ``hf://datasets/owner/name[@revision]`` (the revision is resolved to a commit and pinned), a folder,
        ``s3://bucket/prefix`` or the address of an HTTP directory listing.

    Raises
    ------
    BadSetting
        No such source, or no shard in it.
    SourceUnavailable
        The source did not answer; what is known of it stays known.
    """
    scheme = urlsplit(source).scheme
    listers: dict[str, Callable[[str, Storage], tuple[str, list[_File]]]] = {
        "hf": _list_hub,
        "s3": _list_s3,
        "http": _list_http,
        "https": _list_http,
    }
    revision, files = listers.get(scheme, _list_folder)(source, storage)
    shards, dropped = _pair(files)
    if not shards:
        raise _no_pool(source, f"{len(files)} shard files, {dict(dropped)}")
    return PoolListing(source, revision, shards, dict(sorted(dropped.items())))


def _pair(files: list[_File]) -> tuple[list[PoolShard], Counter[str]]:
    """Join parquet and npz by key; count what has no partner or repeats a key of another part."""
    pairs: dict[tuple[str, str], dict[str, _File]] = {}
    for file in sorted(files):
        match = SHARD_FILE.fullmatch(file.path)
        assert match is not None
        pairs.setdefault((match["key"], match["part"] or ""), {})[match["kind"]] = file
    shards: dict[str, PoolShard] = {}
    dropped: Counter[str] = Counter()
    for (key, part), pair in sorted(pairs.items()):
        if len(pair) == 1:
            dropped["without_npz" if "parquet" in pair else "without_parquet"] += 1
        elif key in shards:
            dropped["key_seen_before"] += 1
        else:
            parquet, npz = pair["parquet"], pair["npz"]
            shards[key] = PoolShard(
                key, part, parquet.url, npz.url, parquet.size, npz.size, parquet.version, npz.version
            )
    return list(shards.values()), dropped


def _list_folder(source: str, storage: Storage) -> tuple[str, list[_File]]:
    root = Path(source)
    if not root.is_dir():
        raise _no_pool(source, "no such folder")
    files = []
    for path in [*root.glob("*.*"), *root.glob("part_*/*.*")]:
        relative = path.relative_to(root).as_posix()
        if SHARD_FILE.fullmatch(relative):
            status = path.stat()
            files.append(_File(relative, str(path.absolute()), status.st_size, local_version(status)))
    return "", files


def _list_hub(source: str, storage: Storage) -> tuple[str, list[_File]]:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    found = HUB_ADDRESS.fullmatch(source.rstrip("/"))
    if found is None or found["path"]:
        raise _no_pool(source, "an address that cannot be read")
    api = HfApi(endpoint=storage.hub_endpoint)
    try:
        commit = api.dataset_info(found["repo"], revision=found["revision"], expand=["sha"]).sha
        tree = list(api.list_repo_tree(found["repo"], repo_type="dataset", revision=commit, recursive=True))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _no_pool(source, str(error).splitlines()[0]) from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise _not_listed(source, error) from error
    return str(commit), [
        _File(
            entry.path,
            f"hf://datasets/{found['repo']}@{commit}/{entry.path}",
            entry.size,
            entry.lfs.sha256 if entry.lfs else entry.blob_id,
        )
        for entry in tree
        if isinstance(entry, RepoFile) and SHARD_FILE.fullmatch(entry.path)
    ]


def _list_s3(source: str, storage: Storage) -> tuple[str, list[_File]]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    client = boto3.client("s3", endpoint_url=storage.s3_endpoint)
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        objects = [entry for page in pages for entry in page.get("Contents", [])]
    except client.exceptions.NoSuchBucket as error:
        raise _no_pool(source, str(error)) from error
    except (BotoCoreError, ClientError) as error:
        raise (s3_refusal(source, error) or _not_listed(source, error)) from error
    return "", [
        _File(entry["Key"][len(prefix) :], f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"'))
        for entry in objects
        if SHARD_FILE.fullmatch(entry["Key"][len(prefix) :])
    ]


class _Links(html.parser.HTMLParser):
    """Collects the targets of links, as Apache, nginx and Python's http.server list folders."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets.extend(value for name, value in attrs if name == "href" and value)


def _list_http(source: str, storage: Storage) -> tuple[str, list[_File]]:
    root = f"{source.rstrip('/')}/"
    paths = [path for path in _http_paths(root, root) if SHARD_FILE.fullmatch(path)]

    def stat(path: str) -> _File:
        with open_ranged(urljoin(root, path), storage) as file:
            return _File(path, file.url, file.size, file.version)

    with ThreadPoolExecutor(LISTING_WORKERS) as pool:
        return "", list(pool.map(stat, paths))


def _http_paths(root: str, folder: str) -> Iterator[str]:
    """Yield the paths below ``root`` that a folder's page links to, one level of ``part_*/`` included."""
    import httpx2

    try:
        page = httpx2.get(folder, follow_redirects=True, timeout=60)
        page.raise_for_status()
    except httpx2.HTTPError as error:
        raise _not_listed(root, error) from error
    links = _Links()
    links.feed(page.text)
    for target in sorted({urljoin(folder, link) for link in links.targets}):
        path = unquote(urlsplit(target.removeprefix(root)).path)
        if not target.startswith(folder) or target == folder:
            continue
        if folder == root and re.fullmatch(r"part_[^/]+/", path):
            yield from _http_paths(root, target)
        else:
            yield path


def _no_pool(source: str, got: str) -> BadSetting:
    return BadSetting(
        "There is no pool at this address",
        where=source,
        rule="KEY.parquet and KEY.npz files, flat or in part_*/",
        got=got,
        action="Set MAPPOOL_POOL to hf://datasets/owner/name, a folder, s3://bucket/prefix or an HTTP listing.",
    )


def _not_listed(source: str, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        "The pool cannot be listed",
        where=source,
        rule="a listing",
        got=f"{type(error).__name__}: {error}",
        action="Try again later; the shards known so far stay.",
    )
