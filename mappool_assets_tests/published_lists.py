"""What every reader of a published dataset relies on, at every moment."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath


def named_files(tree: Mapping[str, bytes]) -> set[str]:
    """Return all files that the lists and records of a published dataset name."""
    named = set()
    for part, names in json.loads(tree.get("file_list.json", b"{}")).items():
        named |= {f"{part}/{name}.parquet" for name in names}
    named |= {line.split("  ", 1)[1] for line in tree.get("SHA256SUMS", b"").decode().splitlines()}
    for path in map(PurePosixPath, tree):
        if path.match("provenance/*.csv") and path.stem != "datacomp_subset":
            rows = csv.DictReader(io.StringIO(tree[str(path)].decode()))
            named |= {f"{path.stem}/{row['shard']}.parquet" for row in rows}
    if "provenance/datacomp_subset.csv" in tree:
        named.add("datacomp_subset.npy")
    return named


def assert_lists_name_only_what_is_there(tree: Mapping[str, bytes]) -> None:
    assert named_files(tree) - tree.keys() == set()
