"""What a geo subset was made from, in one JSON document, and the same subset made again from it.

``geo_subset/manifest.json`` lies beside the tables. It names every input by what it is, none by where it lies: a lake
with the same prompts and maps gives the same ``geo_images``, byte for byte, and so the same manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mappool_assets.lib.errors import BadSetting, MappoolError, SourceChanged
from mappool_assets.lib.geo_subset import geo_images, place_counts
from mappool_assets.lib.geo_subset.geo_sources import made_of
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.places.place_queries import GENERIC_QUERIES
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets.lib.retrieval.neighbour_tasks import (
    QUERIES,
    SHARD_MAPS,
    NeighbourSettings,
    NeighbourTask,
    neighbour_tasks,
    provenances,
)
from mappool_assets.lib.retrieval.neighbours import find_shard_neighbours, merge_or_find_again

PATH = "geo_subset/manifest.json"
FORMAT, VERSION = "mappool-assets geo subset", 1
BATCH_PROMPTS = 4096
KEYS = {
    "encoder_id",
    "place_queries",
    "generic_queries",
    "safety_head_sha256",
    "pool",
    "shard_maps",
    "retrieval",
    "selection",
    "code_versions",
    "result",
}
_RETRIEVAL = tuple(field.name for field in fields(NeighbourSettings))
_SELECTION = tuple(field.name for field in fields(GeoSettings))


def write_manifest(lake: Lake) -> dict[str, Any]:
    """Write the manifest of the lake's geo subset and return it.

    Raises
    ------
    MissingInput
        There are no images of places.
    SourceChanged
        The images are not those of the lake's neighbours, the neighbours not those of its prompts, or the counts of
        places not those of the images.
    """
    images, neighbours, queries = (made_of(lake, table) for table in (geo_images.TABLE, NEIGHBOURS, QUERIES))
    _check("place_counts", images.fingerprint, made_of(lake, place_counts.TABLE).inputs["geo_images"])
    _check("neighbours", images.inputs["neighbours"], neighbours.fingerprint)
    _check("place_queries", neighbours.inputs["place_queries"], queries.fingerprint)
    generic = lake.provenance(GENERIC_QUERIES) if images.inputs["generic_queries"] else None
    _check("generic_queries", images.inputs["generic_queries"], generic.fingerprint if generic else None)
    pool = lake.provenance("mappool/pool_shards")
    shards: Mapping[str, str] = neighbours.inputs["shards"]
    document = {
        "format": FORMAT,
        "format_version": VERSION,
        "encoder_id": neighbours.inputs["encoder_id"],
        "place_queries": _prompts(lake, QUERIES),
        "generic_queries": _prompts(lake, GENERIC_QUERIES) if generic else None,
        "safety_head_sha256": images.inputs["safety_head"],
        "pool": {"revision": pool.origin.get("revision") if pool else None, "classifiers": _classifiers(lake, shards)},
        "shard_maps": dict(sorted(shards.items())),
        "retrieval": {name: neighbours.inputs[name] for name in _RETRIEVAL},
        "selection": {name: images.inputs[name] for name in _SELECTION},
        "code_versions": _code_versions(lake),
        "result": {
            "rows_in": images.rows_in,
            "rows_kept": images.rows_kept,
            "rows_dropped": dict(images.rows_dropped),
            "sha256": {table: _sha256(lake, table) for table in (geo_images.TABLE, place_counts.TABLE)},
        },
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    with lake.writing(PATH) as file:
        file.write_bytes(text.encode())
    return document


def read_manifest(content: bytes, where: str = PATH) -> dict[str, Any]:
    """Parse a manifest; :class:`BadSetting` where it is none, or of another version."""
    try:
        document = json.loads(content)
        found = (document["format"], document["format_version"])
        missing = KEYS - document.keys() if found == (FORMAT, VERSION) else set()
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(where, f"{type(error).__name__}: {error}") from error
    if found != (FORMAT, VERSION):
        raise _unreadable(where, f"{found[0]!r}, version {found[1]!r}")
    if missing:
        raise _unreadable(where, f"nothing on {', '.join(sorted(missing))}")
    for name, expected in (("retrieval", _RETRIEVAL), ("selection", _SELECTION), ("shard_maps", None)):
        if not isinstance(document[name], dict) or (expected and set(document[name]) != set(expected)):
            raise _unreadable(where, f"{name} {_short(document[name])}")
    _settings(document, where)
    return document


def repeat_geo_subset(
    lake: Lake,
    manifest: Mapping[str, Any],
    scratch: Path,
    *,
    workers: int = 1,
    safety_head: Path | None = None,
) -> dict[str, Any]:
    """Make the geo subset that a manifest describes, from a lake that holds its prompts and maps.

    Returns
    -------
    dict
        The manifest of what was made, which is also written: equal to the one given, but for the pool's revision where
        the lake has no listing of the pool.

    Raises
    ------
    SourceChanged
        The lake's inputs, or the code, are not those of the manifest; or, which would be an error of ours, the result
        has other bytes.
    """
    queries = made_of(lake, QUERIES)
    _check("encoder_id", manifest["encoder_id"], queries.inputs.get("encoder_id"))
    _check("place_queries", manifest["place_queries"], _prompts(lake, QUERIES))
    generic = _prompts(lake, GENERIC_QUERIES) if lake.provenance(GENERIC_QUERIES) else None
    _check("generic_queries", manifest["generic_queries"], generic)
    _check("safety_head_sha256", manifest["safety_head_sha256"], _file_sha256(safety_head))
    shards = list(manifest["shard_maps"])
    for shard, made in zip(shards, provenances(lake, SHARD_MAPS, shards), strict=True):
        _check(f"shard_maps {shard}", manifest["shard_maps"][shard], made.fingerprint if made else None)
    retrieval, selection = _settings(manifest, PATH)
    tasks = neighbour_tasks(lake, shards, retrieval)
    _find(tasks, workers)
    merge_or_find_again(tasks, lambda again: _find(again, workers, force=True))
    geo_images.find_geo_images(lake, scratch, selection, safety_head=safety_head)
    made_again = write_manifest(lake)
    for name in ("code_versions", "result"):
        _check(name, manifest[name], made_again[name])
    return made_again


def _find(tasks: Sequence[NeighbourTask], workers: int, *, force: bool = False) -> None:
    for outcome in find_shard_neighbours(tasks, workers=workers, force=force):
        if outcome.error is not None:
            raise outcome.error


def _settings(manifest: Mapping[str, Any], where: str) -> tuple[NeighbourSettings, GeoSettings]:
    try:
        return NeighbourSettings(**manifest["retrieval"]), GeoSettings(**manifest["selection"])
    except (TypeError, AttributeError) as error:  # values of another type
        raise _unreadable(where, f"settings that are none: {error}") from error


def _code_versions(lake: Lake) -> dict[str, str]:
    tables = (QUERIES, NEIGHBOURS, geo_images.TABLE, place_counts.TABLE)
    versions = {table: made_of(lake, table).inputs.get("code_version") for table in tables}
    return {table: version for table, version in versions.items() if version is not None}


def _classifiers(lake: Lake, shards: Mapping[str, str]) -> list[str]:
    found = {made.inputs.get("classifier_id") for made in provenances(lake, SHARD_MAPS, shards) if made}
    return sorted(name for name in found if name)


def _prompts(lake: Lake, table: str) -> dict[str, Any]:
    """Return what tells prompts and their vectors: the same encoder on another device gives slightly other vectors."""
    made, prompts, vectors = made_of(lake, table), hashlib.sha256(), hashlib.sha256()
    with lake.open_table(table) as file:
        names = [name for name in ("place_id", "prompt") if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_PROMPTS, columns=[*names, "vector"]):
            for row in zip(*(batch[name].to_pylist() for name in names), strict=True):
                prompts.update(f"{json.dumps(row, ensure_ascii=False)}\n".encode())
            vectors.update(batch["vector"].flatten().to_numpy().astype("<f4").tobytes())
    return {
        "fingerprint": made.fingerprint,
        "rows": made.rows_kept,
        "prompts_sha256": prompts.hexdigest(),
        "vectors_sha256": vectors.hexdigest(),
    }


def _sha256(lake: Lake, table: str) -> str:
    with lake.filesystem.open_input_stream(lake.table_path(table)) as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _file_sha256(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def _check(name: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise SourceChanged(
            "The lake is not the one that the geo subset was made from",
            where=name,
            rule=_short(expected),
            got=_short(found),
            action="Take the prompts, maps and code of the manifest, or make a new geo subset.",
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:299]}…"


def _unreadable(where: str, got: str) -> MappoolError:
    return BadSetting(
        "The manifest cannot be read",
        where=where,
        rule=f"{FORMAT}, version {VERSION}",
        got=got,
        action="Give the manifest.json of a geo subset, or the code that wrote it.",
    )
