"""The corpus as a DataComp subset file: the pool's own uids, which DataComp's resharder cuts its shards by.

The format is DataComp's (``resharder.py``, ``load_subset``): a ``.npy`` of dtype ``u8,u8``, each uid split into its two
64-bit halves, sorted. It is opened with ``numpy.load(…, mmap_mode="r")`` and searched with ``numpy.searchsorted``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.publish.corpus import Corpus
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets.lib.publish.published_files import PublishedFile, made_from

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

    The sort spills to disk, beside ``file`` lie for a while 16 bytes a row more, and a batch of them is in memory.

    Raises
    ------
    BadShard
        A uid is not 32 hex digits.
    SourceChanged
        A shard was filtered anew since the corpus was read.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".uids-") as folder:
        halves = Path(folder) / "halves.parquet"
        taken_down = [(shard.shard, uid) for shard in corpus.shards for uid in shard.taken_down]
        sql_files.run(
            lake,
            "exports/datacomp_subset",
            file=str(halves),
            shards=[shard.shard for shard in corpus.shards],
            taken_down_shards=[shard for shard, _ in taken_down],
            taken_down_uids=[uid for _, uid in taken_down],
        )
        _check_unchanged(lake, corpus)
        with pq.ParquetFile(halves) as sorted_halves:
            rows = _write_npy(sorted_halves, file)
    return PublishedFile(SUBSET, rows, file.stat().st_size, sha256_of(file), subset_made_from(corpus))


def _write_npy(halves: pq.ParquetFile, file: Path) -> int:
    rows = halves.metadata.num_rows
    header = {"descr": np.lib.format.dtype_to_descr(SUBSET_DTYPE), "fortran_order": False, "shape": (rows,)}
    with file.open("wb") as npy:
        np.lib.format.write_array_header_1_0(npy, header)
        for batch in halves.iter_batches(ROWS_A_BATCH):
            if batch["high"].null_count:
                raise _no_uid(batch["refused_shard"][0].as_py(), batch["refused_uid"][0].as_py())
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
            where=f"mappool/shard_maps {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}",
            rule=f"{len(corpus.shards)} shards as they were when the corpus was read",
            got=f"{len(changed)} that were made from something else since",
            action="Publish again.",
        )


def _no_uid(shard: str, uid: str | None) -> BadShard:
    return BadShard(
        "A uid cannot be split into two 64-bit halves",
        where=f"mappool/shard_maps {shard}",
        rule="32 hex digits, as CommonPool's uids are",
        got=repr(uid)[:100],
        action="Publish from a pool with such uids; filter the shard again if it was damaged.",
    )
