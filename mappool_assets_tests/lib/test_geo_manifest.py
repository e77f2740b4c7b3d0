from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.geo_subset import geo_images
from mappool_assets.lib.geo_subset import manifest as manifests
from mappool_assets.lib.geo_subset.geo_images import find_geo_images
from mappool_assets.lib.geo_subset.geo_report import write_geo_report
from mappool_assets.lib.geo_subset.manifest import PATH, read_manifest, repeat_geo_subset, write_manifest
from mappool_assets.lib.geo_subset.place_counts import write_place_counts
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.places.place_queries import GENERIC_QUERIES as GENERIC
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES, NeighbourSettings
from mappool_assets_tests.geo_lake import (
    ENCODER,
    SHARDS,
    find_neighbours,
    place,
    write_classifier,
    write_generic,
    write_places,
    write_shard,
)
from mappool_assets_tests.small_lake import folder_bytes

INPUTS = ("mappool", QUERIES, GENERIC)
OUTPUTS = ("geo_subset/neighbours", "geo_subset/geo_images", "geo_subset/place_counts", PATH)


INCOMPLETE = json.dumps({"format": manifests.FORMAT, "format_version": manifests.VERSION}).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes."""
    folder = tmp_path_factory.mktemp("made")
    lake = Lake(str(folder / "lake"))
    write_classifier(lake)
    write_places(lake, [place(number) for number in range(1, 5)])
    for shard in SHARDS:
        write_shard(lake, shard)
    write_generic(lake, ["a map"])
    find_neighbours(lake, NeighbourSettings(k=20, min_similarity=0.1, row_filter="width > 520"))
    find_geo_images(lake, folder / "scratch", GeoSettings(min_similarity=0.2, most_a_domain=3))
    write_manifest(lake)
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


@pytest.fixture
def inputs_alone(lake: Lake, tmp_path: Path) -> Lake:
    """Another lake that holds what the first was made from."""
    other = Lake(str(tmp_path / "other"))
    for part in INPUTS:
        shutil.copytree(Path(lake.root) / part, Path(other.root) / part)
    return other


def outputs(lake: Lake) -> dict[str, bytes]:
    return {path: content for path, content in folder_bytes(Path(lake.root)).items() if path.startswith(OUTPUTS)}


def test_another_lake_with_the_same_inputs_gives_the_same_bytes(lake: Lake, inputs_alone: Lake, tmp_path: Path) -> None:
    manifest = read_manifest(lake.read_bytes(PATH))
    assert repeat_geo_subset(inputs_alone, manifest, tmp_path / "scratch") == manifest
    assert set(outputs(lake)) == {
        PATH,
        *(f"geo_subset/{table}/all.parquet" for table in ("neighbours", "geo_images", "place_counts")),
    }
    assert outputs(inputs_alone) == outputs(lake)


def test_the_manifest_says_what_decides_the_subset(lake: Lake) -> None:
    manifest = read_manifest(lake.read_bytes(PATH))
    assert manifest["encoder_id"] == ENCODER
    assert list(manifest["shard_maps"]) == sorted(SHARDS)
    assert manifest["retrieval"] == {"k": 20, "min_similarity": 0.1, "row_filter": "original_width > 520"}
    assert manifest["selection"] == {
        "duplicate_similarity": 0.94,
        "min_similarity": 0.2,
        "max_unsafe_score": None,
        "most_a_domain": 3,
    }
    assert (manifest["place_queries"]["rows"], manifest["generic_queries"]["rows"]) == (4, 1)
    assert manifest["result"]["rows_in"] == sum(
        [manifest["result"]["rows_kept"], *manifest["result"]["rows_dropped"].values()]
    )
    assert str(Path(lake.root).parent) not in json.dumps(manifest), "no path of a machine"


def test_the_same_subset_gives_the_same_manifest(lake: Lake) -> None:
    before = lake.read_bytes(PATH)
    write_manifest(lake)
    assert lake.read_bytes(PATH) == before


def changed_prompts(lake: Lake) -> None:
    write_places(lake, [place(1)])


def changed_vectors(lake: Lake) -> None:
    """As another device would: the same prompts and encoder, and so the same fingerprint."""
    made, rows = lake.provenance(QUERIES), lake.read_table(QUERIES)
    assert made is not None
    vectors = rows["vector"].combine_chunks()
    changed = np.nextafter(vectors.flatten().to_numpy(), np.float32(0))
    column = pa.FixedSizeListArray.from_arrays(pa.array(changed), vectors.type.list_size)
    lake.write_table(QUERIES, rows.set_column(rows.column_names.index("vector"), "vector", column), made)


def changed_generic_prompts(lake: Lake) -> None:
    write_generic(lake, ["a photo"])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (changed_prompts, "place_queries"),
        (changed_vectors, "place_queries"),
        (changed_generic_prompts, "generic_queries"),
        (lambda lake: lake.delete(f"{GENERIC}/all.parquet"), "generic_queries"),
        (lambda lake: write_shard(lake, SHARDS[2], revision=2), f"shard_maps {SHARDS[2]}"),
        (lambda lake: lake.delete(f"mappool/shard_maps/{SHARDS[0]}.parquet"), f"shard_maps {SHARDS[0]}"),
    ],
)
def test_other_inputs_are_refused_by_name(lake: Lake, inputs_alone: Lake, tmp_path: Path, change, name: str) -> None:
    change(inputs_alone)
    with pytest.raises(SourceChanged, match=rf"\[{name}\]"):
        repeat_geo_subset(inputs_alone, read_manifest(lake.read_bytes(PATH)), tmp_path / "scratch")
    assert outputs(inputs_alone) == {}


def test_a_head_that_the_manifest_does_not_name_is_refused(lake: Lake, inputs_alone: Lake, tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    head.write_bytes(b"head")
    with pytest.raises(SourceChanged, match="safety_head_sha256"):
        repeat_geo_subset(inputs_alone, read_manifest(lake.read_bytes(PATH)), tmp_path / "scratch", safety_head=head)


def test_another_result_is_told(lake: Lake, inputs_alone: Lake, tmp_path: Path) -> None:
    manifest = read_manifest(lake.read_bytes(PATH))
    manifest["result"]["rows_kept"] += 1
    with pytest.raises(SourceChanged, match=r"\[result\]"):
        repeat_geo_subset(inputs_alone, manifest, tmp_path / "scratch")


def test_a_manifest_is_of_what_the_lake_holds(lake: Lake) -> None:
    find_neighbours(lake, NeighbourSettings(k=5))
    with pytest.raises(SourceChanged, match=r"\[neighbours\]"):
        write_manifest(lake)
    lake.delete("geo_subset/geo_images/all.parquet")
    with pytest.raises(MissingInput, match="Materialise geo_subset/geo_images first"):
        write_manifest(lake)


def killed_before_counting(lake: Lake, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find images anew, and die before the places are counted."""

    def die(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(geo_images, "write_place_counts", die)
        with pytest.raises(InterruptedError):
            find_geo_images(lake, scratch, GeoSettings(min_similarity=0.4))


def test_counts_of_other_images_are_refused_until_they_are_made_anew(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_counting(lake, tmp_path / "scratch", monkeypatch)
    with pytest.raises(SourceChanged, match=r"\[place_counts\]"):
        write_manifest(lake)
    with pytest.raises(SourceChanged, match="Materialise geo_subset/geo_images again"):
        write_geo_report(lake)
    images = find_geo_images(lake, tmp_path / "scratch", GeoSettings(min_similarity=0.4))
    assert write_geo_report(lake).images == images.rows_kept
    assert write_manifest(lake)["result"]["rows_kept"] == images.rows_kept


def test_counts_are_not_made_from_neighbours_written_meanwhile(lake: Lake) -> None:
    images, neighbours = lake.provenance(geo_images.TABLE), lake.provenance("geo_subset/neighbours")
    lake.delete("geo_subset/place_counts/all.parquet")
    find_neighbours(lake, NeighbourSettings(k=5))
    with pytest.raises(SourceChanged, match="written anew while images were chosen"):
        write_place_counts(lake, images, neighbours)
    assert lake.partitions("geo_subset/place_counts") == []


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": "other", "format_version": 1}', b"\xff", INCOMPLETE]
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(BadSetting, match="manifest cannot be read"):
        read_manifest(content)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("retrieval", {"k": 20}),
        ("retrieval", {"k": "20", "min_similarity": None, "row_filter": None}),
        ("retrieval", {"k": 20, "min_similarity": None, "row_filter": ["width"]}),
        ("retrieval", {"k": 20, "min_similarity": None, "row_filter": None, "more": 1}),
        ("retrieval", 5),
        ("selection", {}),
        ("shard_maps", None),
        ("shard_maps", [SHARDS[0]]),
    ],
)
def test_a_manifest_with_a_part_of_another_form_is_refused(lake: Lake, part: str, value: object) -> None:
    with pytest.raises(BadSetting, match="manifest cannot be read"):
        read_manifest(json.dumps({**read_manifest(lake.read_bytes(PATH)), part: value}).encode())


def test_a_manifest_of_a_later_version_is_refused(lake: Lake) -> None:
    later = {**read_manifest(lake.read_bytes(PATH)), "format_version": manifests.VERSION + 1}
    with pytest.raises(BadSetting, match="version 2"):
        read_manifest(json.dumps(later).encode())
