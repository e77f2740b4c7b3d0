"""A file by its address: a path, ``http(s)://…``, ``s3://bucket/key``, ``hf://datasets/owner/name@<commit>/path``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import s3_filesystem
from mappool_assets.lib.ranged_file.base import RangedFile, Storage, changed, missing, unavailable
from mappool_assets.lib.ranged_file.http import HttpFile, open_on_hub


def open_ranged(url: str, storage: Storage) -> RangedFile:
    """Open an address for reading by ranges.

    Raises
    ------
    MissingInput
        There is no such file.
    BadSetting
        An address of another form, or a server without ranges.
    """
    file = _open(url, storage)
    if storage.request_cost_bytes is not None:
        file.request_cost_bytes = storage.request_cost_bytes
    return file


def _open(url: str, storage: Storage) -> RangedFile:
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        return HttpFile(url, url, storage)
    if scheme == "s3":
        return S3File(url, storage)
    if scheme == "hf":
        return open_on_hub(url, storage)
    return LocalFile(str(Path(url)))


class LocalFile(RangedFile):
    """A file on this machine."""

    request_cost_bytes = 16 * 1024  # a system call against copying from the page cache
    requests_at_a_time = 1

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise missing(path) from None
        status = os.fstat(self._descriptor)
        super().__init__(path, status.st_size, local_version(status))

    def _read(self, start: int, length: int) -> bytes:
        pieces = []
        while length and (piece := os.pread(self._descriptor, length, start)):
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_unchanged(self) -> None:
        """Raise where somebody wrote to the open file."""
        version = local_version(os.fstat(self._descriptor))
        if version != self.version:
            raise changed(self.url, f"version {self.version}", f"version {version}")

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def local_version(status: os.stat_result) -> str:
    """Return the version of a local file: size and modification time (ns)."""
    return f"{status.st_size}-{status.st_mtime_ns}"


class S3File(RangedFile):
    """An object in S3 or a store that speaks its protocol; retries are the AWS SDK's own."""

    request_cost_bytes = 64 * 1024  # ~20 ms at ~50 MB/s, sixteen at a time
    requests_at_a_time = 16

    def __init__(self, url: str, storage: Storage) -> None:
        self._endpoint = storage.s3_endpoint
        head = self._head(url)
        super().__init__(url, head["ContentLength"], head["ETag"].strip('"'))
        self._file = s3_filesystem(storage.s3_endpoint).open_input_file(url.removeprefix("s3://"))

    def _head(self, url: str) -> Mapping[str, Any]:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            return boto3.client("s3", endpoint_url=self._endpoint).head_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise missing(url) from None
            raise (s3_refusal(url, error) or unavailable(url, str(error))) from error

    def check_unchanged(self) -> None:
        """Raise where another object lies there now."""
        version = self._head(self.url)["ETag"].strip('"')
        if version != self.version:
            raise changed(self.url, f"ETag {self.version}", version)

    def _read(self, start: int, length: int) -> bytes:
        try:
            return self._file.read_at(length, start)
        except OSError as error:
            raise unavailable(self.url, str(error)) from error

    def close(self) -> None:
        """Close the input file."""
        self._file.close()


def s3_refusal(url: str, error: Exception) -> BadSetting | None:
    """Return the error of credentials that are missing or not enough, which no retry helps; None for other errors."""
    from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

    is_refused = isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403)
    if not is_refused and not isinstance(error, NoCredentialsError | PartialCredentialsError):
        return None
    return BadSetting(
        "S3 refuses access",
        where=url,
        rule="credentials that may list and read it, from the usual AWS chain",
        got=str(error),
        action="Set them up (aws configure, an instance role, AWS_PROFILE) or ask for the permission.",
    )
