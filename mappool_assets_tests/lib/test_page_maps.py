"""The maps on pages: each map of page_images has a row, and of duplicates the best is kept, by the slow rule."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.page_maps.page_images import TABLE as PAGE_IMAGES
from mappool_assets.lib.page_maps.page_images import schema
from mappool_assets.lib.page_maps.page_maps import TABLE, find_page_maps

WIDTH = 8
VECTORS = np.linalg.qr(np.random.default_rng(3).standard_normal((WIDTH, WIDTH)))[0].astype(np.float16)
HASHES = [0, 1, 0xFFFF, 0xFFFF0000, 0xF0F0F0F0F0F0]  # the first two are one bit apart, the others far from all


def image(number: int, *, sha: int, side: int = 10, is_map: bool = True, hashed: int = 2, vector: int = 0) -> dict:
    return {
        "document_id": f"file:{number}",
        "page_url": f"https://a.example/{number}",
        "language": "en",
        "image": 0,
        "position": 3,
        "file": "0.png",
        "url": f"https://a.example/{sha}.png",
        "mime": "image/png",
        "width": side,
        "height": 10,
        "bytes": 100,
        "sha256": hashlib.sha256(bytes([sha])).hexdigest(),
        "perceptual_hash": HASHES[hashed],
        "perceptual_hash_mirrored": HASHES[hashed] ^ 0x5555555555555555,
        "alt": None if number % 2 else f"map {number}",
        "text_before": "before",
        "text_after": None,
        "similarity_alt": 0.25,
        "similarity_before": 0.125,
        "similarity_after": None,
        "similarity_distant": None,
        "aesthetic_score": None,
        "map_score": 1.0,
        "is_map": is_map,
        "l14_img": VECTORS[vector],
        "l14_txt": None if number % 2 else VECTORS[0],
    }


def write(lake: Lake, *files: list[dict], classifiers: tuple[str, ...] = ("svm", "svm", "svm")) -> None:
    for number, (rows, classifier) in enumerate(zip(files, classifiers, strict=False)):
        columns = schema(WIDTH)
        arrays = [pa.array([row[field.name] for row in rows], field.type) for field in columns]
        inputs = {"rows": hashlib.sha256(repr(rows).encode()).hexdigest(), "classifier_id": classifier}
        made = Provenance({**inputs, "aesthetic_head": None}, len(rows), len(rows))
        lake.write_table(PAGE_IMAGES, pa.table(arrays, schema=columns), made, f"file-{number}")


def found(lake: Lake, scratch) -> list[dict]:
    find_page_maps(lake, scratch)
    for name in ("page_maps_complete", "page_maps_duplicates_kept_once"):
        assert sql_files.run(lake, f"checks/{name}").num_rows == 0
    return lake.read_table(TABLE).to_pylist()


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def test_maps_alone_have_rows_in_mappools_columns(lake, tmp_path):
    write(lake, [image(0, sha=1, hashed=2, vector=0), image(1, sha=2, is_map=False, hashed=3, vector=1)])
    (row,) = found(lake, tmp_path)
    assert (row["text"], row["original_width"], row["clip_l14_similarity_score"]) == ("map 0", 10, 0.25)
    assert (row["crawl_file"], row["page_url"], row["text_before"]) == ("file-0", "https://a.example/0", "before")
    assert len(row["uid"]) == 32
    assert (row["dropped"], row["duplicate_of"]) == (None, None)
    np.testing.assert_array_equal(np.array(row["l14_img"], np.float16), VECTORS[0])


def test_of_the_same_bytes_on_two_pages_the_first_is_kept(lake, tmp_path):
    write(lake, [image(0, sha=1)], [image(1, sha=1)])
    first, second = found(lake, tmp_path)
    assert (first["dropped"], second["dropped"], second["duplicate_of"]) == (None, "exact_duplicate", first["uid"])


def test_of_look_alikes_the_larger_is_kept(lake, tmp_path):
    write(lake, [image(0, sha=1, hashed=0, vector=0), image(1, sha=2, hashed=1, vector=1, side=20)])
    small, large = found(lake, tmp_path)
    assert (small["dropped"], small["duplicate_of"], large["dropped"]) == ("perceptual_duplicate", large["uid"], None)


def test_nearly_equal_embeddings_are_duplicates(lake, tmp_path):
    write(lake, [image(0, sha=1, hashed=2), image(1, sha=2, hashed=3)])
    assert {row["dropped"] for row in found(lake, tmp_path)} == {None, "embedding_duplicate"}


def test_nothing_is_done_twice_and_a_new_file_is_taken_in(lake, tmp_path):
    write(lake, [image(0, sha=1)])
    made = find_page_maps(lake, tmp_path)
    content = lake.read_bytes(Lake.table_path(TABLE))
    assert find_page_maps(lake, tmp_path) == made
    find_page_maps(lake, tmp_path, force=True)
    assert lake.read_bytes(Lake.table_path(TABLE)) == content
    write(lake, [image(0, sha=1)], [image(1, sha=2, hashed=3, vector=1)])
    assert len(found(lake, tmp_path)) == 2


def test_no_map_at_all_is_an_empty_table(lake, tmp_path):
    write(lake, [image(0, sha=1, is_map=False)])
    assert found(lake, tmp_path) == []


def test_without_scored_images_it_says_what_to_do(lake, tmp_path):
    with pytest.raises(MissingInput, match="Materialise page_images"):
        find_page_maps(lake, tmp_path)


def test_images_that_two_classifiers_scored_are_not_compared(lake, tmp_path):
    write(lake, [image(0, sha=1)], [image(1, sha=2, hashed=3, vector=1)], classifiers=("old", "new"))
    with pytest.raises(SourceChanged, match=r"(?s)'old'.*file-0.*'new'.*file-1.*Materialise page_images"):
        find_page_maps(lake, tmp_path)
    assert lake.partitions(TABLE) == []


drawn = st.tuples(
    st.integers(0, 5), st.booleans(), st.sampled_from([10, 20]), st.integers(0, len(HASHES) - 1), st.integers(0, 3)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(drawn, max_size=6), min_size=1, max_size=3))
def test_what_is_kept_is_what_the_slow_rule_keeps(tmp_path_factory, files):
    """The rule of unique_images: in order of preference, an image is kept unless it resembles one that is kept."""
    folder = tmp_path_factory.mktemp("maps")
    lake, numbers = Lake(str(folder / "lake")), iter(range(100))
    facts = {}  # what an image is follows from its bytes
    rows = [
        [
            image(next(numbers), sha=sha, is_map=fact[0], side=fact[1], hashed=fact[2], vector=fact[3])
            for sha, *mine in file
            for fact in [facts.setdefault(sha, mine)]
        ]
        for file in files
    ]
    write(lake, *rows)
    maps = [row for file in rows for row in file if row["is_map"]]
    by_sha = {row["sha256"]: row for row in reversed(maps)}
    kept: list[dict] = []
    for candidate in sorted(by_sha.values(), key=lambda row: (-row["width"], row["sha256"])):
        if not any(alike(candidate, other) for other in kept):
            kept.append(candidate)
    expected = {row["document_id"] for row in kept}
    assert {row["document_id"] for row in found(lake, folder) if row["dropped"] is None} == expected


def alike(one: dict, other: dict) -> bool:
    bits = [
        (one[left] ^ other[right]).bit_count()
        for left, right in (
            ("perceptual_hash", "perceptual_hash"),
            ("perceptual_hash", "perceptual_hash_mirrored"),
            ("perceptual_hash_mirrored", "perceptual_hash"),
        )
    ]
    return min(bits) <= 2 or float(one["l14_img"].astype(float) @ other["l14_img"].astype(float)) >= 0.98
