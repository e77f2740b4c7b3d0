"""Xet without a server: hf_xet writes to a ``local://`` folder, whose shards say which file has which sha256.

The layout of a shard, measured with hf_xet 1.8: records of 48 bytes after a header of 48. A file is a record (hash,
flags, number of entries), its entries (each with its length), as many verification records where flag 31 is set, and
where flag 30 is a record that begins with the sha256. A record of 0xff bytes ends the files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

RECORD = 48
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30

DOWNLOAD = """
import json, sys
import hf_xet
endpoint, token, expires, files = json.loads(sys.argv[1])
with hf_xet.XetSession().new_file_download_group(
    endpoint=endpoint, token=token, token_expiry_unix_secs=expires
) as group:
    for xet_hash, size, path in files:
        group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), path)
"""


def local_store(folder: Path) -> tuple[str, str, int]:
    """Return the address of a local store, a token for it, and until when that is valid (Unix time)."""
    return f"local://{folder}", "any", int(time.time()) + 3600


def files_of_store(folder: Path) -> dict[str, tuple[str, int]]:
    """Return Xet's hash and the size in bytes of each file in a local store, by the file's sha256."""
    found: dict[str, tuple[str, int]] = {}
    for shard in (folder / "xet" / "xorbs" / "shards").glob("*.mdb"):
        content, place = shard.read_bytes(), RECORD
        while (name := content[place : place + 32]) != b"\xff" * 32:
            flags, entries = number(content, place + 32), number(content, place + 36)
            size = sum(number(content, place + RECORD * (1 + n) + 36) for n in range(entries))
            place += RECORD * (1 + entries * (2 if flags & HAS_VERIFICATION else 1))
            if flags & HAS_SHA256:
                found[as_hex(content[place : place + 32])] = as_hex(name), size
                place += RECORD
    return found


def number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "little")


def as_hex(name: bytes) -> str:
    """Return a hash as Xet writes it: four little-endian numbers of 64 bits."""
    return b"".join(name[start : start + 8][::-1] for start in range(0, 32, 8)).hex()


def read_files(folder: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Return those files, by sha256, that a local store has.

    They are read from a copy of the store, for who uploads may have its index locked, and by another process, for
    hf_xet writes a log to the home folder unless the environment says otherwise before it is imported.
    """
    known = files_of_store(folder)
    found = {sha256: known[sha256] for sha256 in wanted if sha256 in known}
    if not found:
        return {}
    with tempfile.TemporaryDirectory() as copied:
        shutil.copytree(folder / "xet" / "xorbs", Path(copied) / "store" / "xet" / "xorbs")
        files = [(xet_hash, size, str(Path(copied) / sha256)) for sha256, (xet_hash, size) in found.items()]
        program = [sys.executable, "-c", DOWNLOAD, json.dumps([*local_store(Path(copied) / "store"), files])]
        environment = {**os.environ, "HF_XET_LOG_DEST": str(Path(copied) / "log")}
        subprocess.run(program, env=environment, check=True)
        return {sha256: (Path(copied) / sha256).read_bytes() for sha256 in found}
