"""The corpus as a DataComp subset file: the pool's own uids, which DataComp's resharder cuts its shards by.

Whatever else has uids is written the same way (:func:`write_subset`).

The format is DataComp's (``resharder.py``, ``load_subset``): a ``.npy`` of dtype ``u8,u8``, each uid split into its two
64-bit halves, sorted. It is opened with ``numpy.load(…, mmap_mode="r")`` and searched with ``numpy.searchsorted``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.publish.corpus import Corpus
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets.lib.publish.published_files import SHARD_MAPS, PublishedFile, made_from

SUBSET = "datacomp_subset"  # the file's name without suffix, and that of its record
SUBSET_PATH = f"{SUBSET}.npy"
SUBSET_DTYPE = np.dtype("<u8,<u8")
FORMAT = {"version": 1}  # raise it when the same corpus gives other bytes
ROWS_A_BATCH = 1 << 18  # 4 MB


def subset_made_from(corpus: Corpus) -> str:
    """Return the fingerprint of what decides the subset file's bytes."""
    return fingerprint({"files": [[shard.shard, made_from(shard)] for shard in corpus.shards], "format": FORMAT})


def write_datacomp_subset(lake: Lake, corpus: Corpus, file: Path) -> PublishedFile:
    """Write the uids of a corpus, one entry a published row; same corpus, same bytes.

    Time, memory and disk are those of :func:`write_subset`.

    Raises
    ------
    BadShard
        A uid is not 32 hex digits.
    SourceChanged
        A shard was filtered anew since the corpus was read.
    """
    taken_down = [(shard.shard, uid) for shard in corpus.shards for uid in shard.taken_down]
    bound = {
        "shards": [shard.shard for shard in corpus.shards],
        "taken_down_shards": [shard for shard, _ in taken_down],
        "taken_down_uids": [uid for _, uid in taken_down],
    }
    rows = write_subset(lake, "exports/datacomp_subset", SHARD_MAPS, file, **bound)
    _check_unchanged(lake, corpus)
    return PublishedFile(SUBSET, rows, file.stat().st_size, sha256_of(file), subset_made_from(corpus))


def write_subset(lake: Lake, statement: str, table: str, file: Path, **bound: Any) -> int:
    """Write the uids that a statement gives, in its order; return how many.

    The sort spills to disk, beside ``file`` lie for a while 16 bytes a row more, and a batch of them is in memory.

    Parameters
    ----------
    statement : str
        Name of one that copies to the parquet ``$file``: ``high`` and ``low``, the halves of each uid, sorted; both
        null, and first, where ``refused_uid`` of ``refused_shard`` has none.
    table : str
        Where the uids are, for the error.
    **bound
        The statement's other parameters.

    Raises
    ------
    BadShard
        A uid is not 32 hex digits.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".uids-") as folder:
        halves = Path(folder) / "halves.parquet"
        sql_files.run(lake, statement, file=str(halves), **bound)
        with pq.ParquetFile(halves) as sorted_halves:
            return _write_npy(sorted_halves, table, file)


def _write_npy(halves: pq.ParquetFile, table: str, file: Path) -> int:
    rows = halves.metadata.num_rows
    header = {"descr": np.lib.format.dtype_to_descr(SUBSET_DTYPE), "fortran_order": False, "shape": (rows,)}
    with file.open("wb") as npy:
        np.lib.format.write_array_header_1_0(npy, header)
        for batch in halves.iter_batches(ROWS_A_BATCH):
            if batch["high"].null_count:
                raise _no_uid(table, batch["refused_shard"][0].as_py(), batch["refused_uid"][0].as_py())
            pairs = np.empty(batch.num_rows, SUBSET_DTYPE)
            pairs["f0"], pairs["f1"] = batch["high"].to_numpy(), batch["low"].to_numpy()
            npy.write(pairs.tobytes())
    return rows


def _check_unchanged(lake: Lake, corpus: Corpus) -> None:
    """Hold the shards, after their uids were read, against what they were before."""
    changed = sql_files.run(
        lake,
        "checks/shard_maps_filtered_again",
        shards=[shard.shard for shard in corpus.shards],
        fingerprints=[shard.fingerprint for shard in corpus.shards],
    )["shard"].to_pylist()
    if changed:
        raise SourceChanged(
            "Shards were filtered again while their uids were being published",
            where=f"{SHARD_MAPS} {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}",
            rule=f"{len(corpus.shards)} shards as they were when the corpus was read",
            got=f"{len(changed)} that were made from something else since",
            action="Publish again.",
        )


def _no_uid(table: str, shard: str, uid: str | None) -> BadShard:
    return BadShard(
        "A uid cannot be split into two 64-bit halves",
        where=f"{table} {shard}",
        rule="32 hex digits, as CommonPool's uids are",
        got=repr(uid)[:100],
        action="Publish from a pool with such uids; filter the shard again if it was damaged.",
    )
