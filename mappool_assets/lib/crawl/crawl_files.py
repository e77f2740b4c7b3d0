"""The WARC or WAT files of a crawl, found where they are listed: by the crawl's name, by a path list, in a folder.

Common Crawl publishes for each crawl one list a kind of file, ``crawl-data/<crawl>/warc.paths.gz``: a line a file, each
a path from the root of the store (https://commoncrawl.org/get-started). What a list says is a stranger's word: a line
names a file below that root or nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mappool_assets.lib.crawl.bounded_inflate import GZIP_MAGIC, gunzipped
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceUnavailable
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged, s3_refusal

COMMON_CRAWL = "https://data.commoncrawl.org/"
CRAWL_NAME = re.compile(r"CC-MAIN-\d{4}(?:-\d{2,4})?")
CRAWL_FOLDER = re.compile(r"(?:^|/)crawl-data/(?P<crawl>[\w.-]+)/", re.ASCII)
LIST_FILE = re.compile(r".*(?:\.paths|\.txt)(?:\.gz)?")
CRAWL_FILE = re.compile(r"(?P<key>[0-9A-Za-z](?:[\w-]|\.(?!\.)){0,199}?)\.warc(?P<wat>\.wat)?(?:\.gz)?", re.ASCII)
FOLDER_NAME = re.compile(r"[\w=+-][\w.=+-]*", re.ASCII)
MAX_LIST_BYTES = 64 << 20  # the longest of Common Crawl's lists has 100,000 lines of 140 bytes: 14 MB
KINDS = ("warc", "wat")


@dataclass(frozen=True)
class CrawlFile:
    """One file of a crawl.

    Attributes
    ----------
    crawl_file : str
        Its key: the base name without ``.warc.gz`` or ``.warc.wat.gz``; the same for a WARC and its WAT.
    kind : str
        ``warc`` or ``wat``.
    crawl : str
        The crawl's name, or "" where its path does not say.
    path : str
        From the root of the store, or from the folder.
    url : str
        Address for :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
    """

    crawl_file: str
    kind: str
    crawl: str
    path: str
    url: str


@dataclass(frozen=True)
class CrawlListing:
    """What a source lists.

    Attributes
    ----------
    source : str
        What was listed, as it was asked for.
    files : list of CrawlFile
        By key.
    dropped : dict of str to int
        Lines or files that are not among them, by reason: ``no_crawl_file`` (another kind of file, such as the parquet
        files of an index), ``other_kind`` (a WAT where WARCs are asked for, or the reverse), ``outside_root`` (an
        address, an absolute path or one with ``..``), ``odd_path`` (characters no crawl's paths have),
        ``listed_twice``, ``key_seen_before`` (in another folder), ``not_sampled``.
    """

    source: str
    files: list[CrawlFile]
    dropped: dict[str, int]


class _Found(NamedTuple):
    root: str  # ends with a slash
    paths: Iterable[str]


def list_crawl(
    source: str,
    storage: Storage,
    *,
    kind: str = "warc",
    sample: int | None = None,
    seed: int = 0,
    root: str | None = None,
) -> CrawlListing:
    """List a crawl's files.

    Parameters
    ----------
    source : str
        A crawl's name, such as ``CC-MAIN-2024-22``; the address of a path list, gzipped or not (``https://…``,
        ``s3://….paths.gz``, a local file); or a folder or ``s3://bucket/prefix`` that holds the files at any depth.
    kind : {"warc", "wat"}
        Which files.
    sample : int, optional
        Take at most so many, chosen by the hash of key and seed: a larger sample holds every smaller one, and a file
        that is added to the list changes the sample by one file at most.
    seed : int
        Of the sample.
    root : str, optional
        Where the paths of a list begin: for a crawl's name Common Crawl's server, for a list what precedes its own
        ``crawl-data/``, or else its folder. Name it for a list that was copied elsewhere.

    Raises
    ------
    BadSetting
        No such source, or no file of this kind in it.
    SourceUnavailable
        The source did not answer; what is known of it stays known.
    """
    if kind not in KINDS or (sample is not None and sample < 1):
        raise BadSetting(
            "The crawl cannot be listed in this way",
            where=source,
            rule=f"a kind of {', '.join(KINDS)} and a sample of at least one file, or None for all",
            got=f"kind {kind!r}, sample {sample}",
            action="Correct the setting.",
        )
    found = _find(source, storage, kind, root)
    dropped: Counter[str] = Counter()
    files = _files(found, kind, source, dropped)
    if not files:
        raise _no_crawl(source, f"no {kind} file, {dict(dropped)}")
    kept = sorted(sorted(files, key=lambda file: _rank(file, seed))[:sample], key=lambda file: file.crawl_file)
    dropped["not_sampled"] = len(files) - len(kept)
    return CrawlListing(source, kept, {reason: n for reason, n in sorted(dropped.items()) if n})


def _rank(file: CrawlFile, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{file.crawl_file}".encode(), digest_size=16).digest()


def _files(found: _Found, kind: str, source: str, dropped: Counter[str]) -> list[CrawlFile]:
    """Return the files that paths name, by key; count the other paths."""
    crawl = source if CRAWL_NAME.fullmatch(source) else ""
    files: dict[str, CrawlFile] = {}
    for path in found.paths:
        named = CRAWL_FILE.fullmatch(path.rpartition("/")[2])
        reason = _refusal(path)
        if reason is None and named is not None:
            if ("wat" if named["wat"] else "warc") != kind:
                reason = "other_kind"
            elif named["key"] in files:
                reason = "listed_twice" if files[named["key"]].path == path else "key_seen_before"
        if reason is not None or named is None:
            dropped[reason or "no_crawl_file"] += 1
            continue
        folder = CRAWL_FOLDER.search(path)
        name = folder["crawl"] if folder else crawl
        files[named["key"]] = CrawlFile(named["key"], kind, name, path, f"{found.root}{path}")
    return list(files.values())


def _refusal(path: str) -> str | None:
    """Return why a path is none below the root, or None."""
    parts = path.split("/")
    if "://" in path or path.startswith("/") or ".." in parts:
        return "outside_root"
    return None if all(FOLDER_NAME.fullmatch(part) for part in parts) else "odd_path"


# -- where the paths come from --------------------------------------------------------------------------------------


def _find(source: str, storage: Storage, kind: str, root: str | None) -> _Found:
    """Return a source's root and the paths below it."""
    if CRAWL_NAME.fullmatch(source):
        base = f"{(root or COMMON_CRAWL).rstrip('/')}/"
        return _Found(base, _listed_paths(f"{base}crawl-data/{source}/{kind}.paths.gz", storage))
    if not source.strip():
        raise _no_crawl(repr(source), "nothing")  # not the present folder, which is what an empty path means
    try:
        scheme = urlsplit(source).scheme
    except ValueError as error:
        raise _no_crawl(source, str(error)) from error
    if scheme in ("http", "https") or (scheme == "s3" and LIST_FILE.fullmatch(source)) or Path(source).is_file():
        return _Found(f"{(root or _root_of(source)).rstrip('/')}/", _listed_paths(source, storage))
    if scheme == "s3":
        return _Found(f"{source.rstrip('/')}/", _s3_paths(source, storage))
    if not Path(source).is_dir():
        raise _no_crawl(source, "no such file or folder")
    folder = Path(source).absolute()
    files = (Path(inside, name) for inside, _, names in os.walk(folder) for name in names)
    return _Found(f"{folder}/", sorted(file.relative_to(folder).as_posix() for file in files))


def _root_of(source: str) -> str:
    """Return where a list's paths begin: what precedes its own ``crawl-data/``, or its folder."""
    address = source if "://" in source else str(Path(source).absolute())
    inside = address.find("/crawl-data/")
    return address[:inside] if inside >= 0 else address.rpartition("/")[0]


def _listed_paths(url: str, storage: Storage) -> Iterator[str]:
    """Yield the lines of a path list that are not empty."""
    try:
        with open_ranged(url, storage) as file:
            content = file.read(0, min(file.size, MAX_LIST_BYTES + 1))
    except (MissingInput, BadSetting, IsADirectoryError) as error:
        raise _no_crawl(url, str(error)) from error
    if content.startswith(GZIP_MAGIC):
        content = _inflated(content, url)
    if len(content) > MAX_LIST_BYTES:
        raise _no_crawl(url, f"a list of more than {MAX_LIST_BYTES} bytes")
    for line in content.decode("utf-8", "replace").split("\n"):
        if line.strip():
            yield line.strip()


def _inflated(content: bytes, url: str) -> bytes:
    """Return what a gzipped list holds, or the first bytes of one that is too long."""
    pieces: list[bytes] = []
    inflated_bytes = 0
    try:
        for piece in gunzipped(content):
            pieces.append(piece)
            inflated_bytes += len(piece)
            if inflated_bytes > MAX_LIST_BYTES:
                break
    except zlib.error as error:
        raise _no_crawl(url, f"a damaged gzip file: {error}") from error
    return b"".join(pieces)


def _s3_paths(source: str, storage: Storage) -> Iterator[str]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    client = boto3.client("s3", endpoint_url=storage.s3_endpoint)
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from (entry["Key"][len(prefix) :] for entry in page.get("Contents", []))
    except client.exceptions.NoSuchBucket as error:
        raise _no_crawl(source, str(error)) from error
    except (BotoCoreError, ClientError) as error:
        raise (s3_refusal(source, error) or _not_listed(source, error)) from error


def _no_crawl(source: str, got: str) -> BadSetting:
    return BadSetting(
        "There is no crawl at this address",
        where=source,
        rule="WARC or WAT files by a crawl's name, a path list, a folder or an S3 prefix",
        got=got,
        action="Name a crawl (CC-MAIN-2024-22), or the address of its warc.paths.gz or wat.paths.gz, or of the files.",
    )


def _not_listed(source: str, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        "The crawl cannot be listed",
        where=source,
        rule="a listing",
        got=f"{type(error).__name__}: {error}",
        action="Try again later; the files known so far stay.",
    )
