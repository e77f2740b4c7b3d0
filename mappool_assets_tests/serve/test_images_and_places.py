"""Images from our own store, and the places that images were found for."""

import concurrent.futures

import pyarrow as pa
import pytest

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_archive import FILES, ArchiveWriter
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.serve.settings import ServiceSettings
from mappool_assets_tests.serve.running_service import running
from mappool_assets_tests.serve.small_index import WIDTH, write_shard
from mappool_assets_tests.small_images import flat_png, write_images
from mappool_assets_tests.small_lake import A, B


@pytest.fixture(scope="module")
def with_images(small_index, tmp_path_factory):
    """A service over a lake of which some images were fetched, and one has a place."""
    lake = Lake(str(tmp_path_factory.mktemp("images") / "lake"))
    for shard in (A, B):
        write_shard(lake, shard, 6, seed=1)
    build_image_index(lake, encoder_id=small_index.encoder.encoder_id)
    write_images(lake, A, ["ok", "ok", "taken_down", "ok", "http_404", "ok"])
    write_images(lake, B, columns={"file": files_of(lake, B), "mime": ["image/png"] * 5 + ["image/svg+xml"]})
    uid = lake.read_table("mappool/shard_maps", B)["uid"][2].as_py()
    place = {"uid": [uid], "place_id": ["geonames:2886242"], "place": ["Köln"], "country": ["DE"],
             "latitude": [50.93], "longitude": [6.95], "rank": pa.array([1], pa.int32())}  # fmt: skip
    lake.write_table("geo_subset/geo_images", pa.table(place), Provenance({}, 1, 1))
    with running(ServiceSettings({"maps": lake}, small_index.encoder, loads_at_start=False)) as service:
        yield service


def files_of(lake, shard):
    """Store images of a shard as files, not as tars; return where they lie."""
    with ArchiveWriter(lake, shard, FILES, 1) as archive:
        uids = lake.read_table("mappool/shard_maps", shard, ["uid"])["uid"].to_pylist()
        return [archive.add(uid, "png", flat_png(100 + number), "", {}) for number, uid in enumerate(uids)]


def found(service):
    return {one["id"]: one for one in service.knn(embedding_input=[1.0] * WIDTH, num_images=12)}


def test_a_place_is_told_of_the_image_it_was_found_for(with_images):
    results = found(with_images)
    place = results[2**32 + 2]
    assert (place["place"], place["country"], place["latitude"]) == ("Köln", "DE", 50.93)
    assert not any("place" in one for image, one in results.items() if image != 2**32 + 2)
    assert with_images.get("/health").json()["indexes"]["maps"]["has_places"]


@pytest.mark.parametrize(("image", "number"), [(0, 0), (5, 5), (2**32 + 1, 101)])
def test_an_image_that_was_fetched_comes_from_our_store(with_images, image, number):
    answer = with_images.get(f"/image/{image}?index=maps")
    assert answer.status_code == 200
    assert answer.content == flat_png(number)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "address", ["2", "4", str(2**32 + 5), "6", "-1", "x", "1e3", "..%2f..%2fetc", str(9 * 2**32), "0?index=other"]
)
def test_an_image_that_is_not_there_is_none(with_images, address):
    answer = with_images.get(f"/image/{address}")
    assert answer.status_code in (400, 404)
    assert "error" in answer.json()


def test_images_that_are_gone_are_an_error_of_the_lake(with_images):
    lake = with_images.settings.indexes["maps"]
    tar = f"mappool/images/{A}/00000.tar"
    content = lake.read_bytes(tar)
    lake.delete(tar)
    try:
        assert with_images.get("/image/0").status_code == 503
    finally:
        with lake.writing(tar) as file:
            file.write_bytes(content)
    assert with_images.get("/image/0").status_code == 200


def test_pictures_that_are_read_slowly_keep_no_search_waiting(with_images):
    index = with_images.service.catalogue.get("maps")
    with concurrent.futures.ThreadPoolExecutor(4) as pool, index.images._lock:  # as while an archive is gone through
        asked = [pool.submit(with_images.get, f"/image/{image}") for image in (0, 1, 3, 5)]
        while "mappool_requests_in_flight 4.0" not in with_images.get("/metrics").text:
            pass
        assert len(found(with_images)) == 12
        assert not any(one.done() for one in asked)
    assert all(one.result().status_code == 200 for one in asked)


def test_a_lake_without_places_and_images_has_none(served):
    health = served.get("/health").json()["indexes"]["maps"]
    assert (health["has_places"], health["has_images"]) == (False, False)
    assert served.get("/image/0").status_code == 404
