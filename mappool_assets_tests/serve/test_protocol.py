"""clip-retrieval's protocol, as its client and its page speak it, against the slow obvious search."""

import base64

import numpy as np
import pytest

from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.serve.clip_client import Client
from mappool_assets_tests.serve.small_index import STEP, WIDTH

METADATA = {
    "uid", "url", "caption", "original_width", "original_height", "sha256", "clip_l14_similarity_score", "map_score"
}  # fmt: skip


def client(served, **settings):
    plain = {"deduplicate": False, "use_safety_model": False, "use_violence_detector": False, "aesthetic_score": ""}
    return Client(served.url + "/knn-service", "maps", **{**plain, **settings})


def random_vector(seed=0):
    return np.random.default_rng(seed).standard_normal(WIDTH)


def assert_same(found, expected):
    """The same images in the same order, where the order is more than the last bits of a similarity."""
    np.testing.assert_allclose([one["similarity"] for one in found], [one["similarity"] for one in expected], atol=2e-6)
    assert [one["id"] for one in found] == [one["id"] for one in expected]


def test_an_embedding_finds_what_the_slow_search_finds(served, small_index):
    vector = random_vector()
    found = client(served, num_images=30).query(embedding_input=vector.tolist())
    expected = small_index.nearest(vector)[:30]
    assert_same(found, expected)
    for one, row in zip(found, expected, strict=True):
        assert set(one) == METADATA | {"id", "similarity"}
        assert (one["url"], one["caption"], one["uid"]) == (row["url"], row["text"], row["uid"])


def test_a_text_is_encoded_by_the_indexs_encoder(served, small_index):
    vector = small_index.encoder.embed_texts(["old map of Köln"], np.float32)[0]
    found = client(served, num_images=10).query(text="old map of Köln")
    assert_same(found, small_index.nearest(vector)[:10])


def test_an_image_is_encoded_by_the_indexs_encoder(served, small_index, tmp_path):
    (tmp_path / "some.png").write_bytes(encoded(picture(3)))
    vector = small_index.encoder.embed_images([picture(3)])[0]
    found = client(served, num_images=10).query(image=str(tmp_path / "some.png"))
    assert_same(found, small_index.nearest(vector)[:10])


def test_the_clients_defaults_are_answered_though_no_head_is_there(served):
    sent = client(served).fields(text="a map")
    sent |= dict.fromkeys(("deduplicate", "use_safety_model", "use_violence_detector"), True)
    answer = served.post("/knn-service", {**sent, "aesthetic_score": 9, "num_images": 5, "num_result_ids": 5})
    assert answer.status_code == 200
    assert len(answer.json()) == 5
    for name in ("use_safety_model", "use_violence_detector", "aesthetic_score"):
        assert name in answer.headers["Mappool-Warnings"]


def test_results_past_num_images_have_id_and_similarity_alone(served, small_index):
    vector = random_vector(1)
    found = served.knn(embedding_input=vector.tolist(), num_images=3, num_result_ids=12)
    assert_same(found, small_index.nearest(vector)[:12])
    assert [set(one) == {"id", "similarity"} for one in found] == [False] * 3 + [True] * 9


def test_the_pages_request_has_numbers_as_texts_and_fewer_fields(served):
    found = served.knn(
        text="a map", image=None, image_url=None, modality="image", num_images="7", indice_name="maps",
        num_result_ids="9", use_mclip=False, deduplicate=False, use_safety_model=True, aesthetic_score="3",
        aesthetic_weight="0.5",
    )  # fmt: skip
    assert len(found) == 9
    assert "url" in found[6]
    assert "url" not in found[7]


@pytest.mark.parametrize("path", ["/knn-service", "//knn-service", "/knn-service/", "///knn-service//"])
def test_addresses_as_the_page_joins_them(served, path):
    assert len(served.post(path, {"text": "a map", "num_images": 2}).json()) == 2


def test_what_the_page_asks_before_a_search(served):
    assert served.get("/indices-list").json() == ["maps"]
    assert served.get("//indices-list").json() == ["maps"]
    assert served.get("/config.json").json() == {"defaultBackend": served.url, "defaultIndex": "maps"}


def test_metadata_by_ids(served, small_index):
    rows = small_index.rows()
    chosen = [rows[number] for number in (499, 0, 5, 300, 64, 63)]
    found = served.post("/metadata", {"ids": [row["id"] for row in chosen], "indice_name": "maps"}).json()
    assert [one["id"] for one in found] == [row["id"] for row in chosen]
    for one, row in zip(found, chosen, strict=True):
        assert set(one["metadata"]) == METADATA
        assert one["metadata"]["uid"] == row["uid"]
        assert one["metadata"]["caption"] == row["text"]
    assert found[2]["metadata"]["clip_l14_similarity_score"] is None  # NaN, which JSON does not have
    assert served.post("/metadata", {"ids": [str(chosen[0]["id"])]}).json()[0]["metadata"]["uid"] == chosen[0]["uid"]
    assert served.post("/metadata", {"ids": []}).json() == []


def test_duplicates_are_removed_without_refill_as_clip_retrieval_does(served, small_index):
    row = small_index.rows()[0]
    found = served.knn(embedding_input=row["l14_img"], num_images=30, deduplicate=True)
    assert len(found) == 10  # of 30, twenty are copies
    assert found[0]["id"] == row["id"]
    assert len({one["id"] for one in found} & set(range(21))) == 1


def test_refill_asks_until_enough_survive(served, small_index):
    row = small_index.rows()[0]
    found = served.knn(embedding_input=row["l14_img"], num_images=30, deduplicate=True, refill=True)
    assert_same(found, [one for one in small_index.nearest(row["l14_img"]) if one["id"] not in range(1, 21)][:30])
    assert all("url" in one for one in found)


def test_least_similarity_and_refill_end_where_nothing_is_left(served, small_index):
    vector = random_vector(2)
    expected = [one for one in small_index.nearest(vector) if one["similarity"] >= 0.2]
    found = served.knn(embedding_input=vector.tolist(), num_images=400, min_similarity=0.2, refill=True)
    assert 0 < len(found) < 400
    assert_same(found, expected[:400])


def test_a_filter_chooses_before_the_nearest_are(served, small_index):
    vector, text = random_vector(3), "text contains 'Köln' and width >= 2000"
    rows = [row for row in small_index.rows() if "Köln" in row["text"] and row["original_width"] >= 2000]
    found = served.knn(embedding_input=vector.tolist(), num_images=20, filter=text)
    assert_same(found, small_index.nearest(vector, rows)[:20])
    assert served.knn(embedding_input=vector.tolist(), num_images=20, filter=text) == found


def test_several_texts_are_searched_for_by_the_mean_of_their_vectors(served, small_index):
    texts = ["a map of a harbour", "nautical chart"]
    vectors = small_index.encoder.embed_texts(texts, np.float32).astype(np.float64)
    mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
    assert_same(served.knn(texts=texts, num_images=10), small_index.nearest(mean)[:10])


def test_similar_images_by_id(served, small_index):
    row = small_index.rows()[350]
    found = served.knn(image_id=row["id"], num_images=10, mode="exact")
    assert row["id"] == 1 * STEP + 50
    assert_same(found, small_index.nearest(row["l14_img"])[:10])


def test_an_image_may_come_as_a_data_url(served):
    data = base64.b64encode(encoded(picture(3))).decode()
    assert served.knn(image="data:image/png;base64," + data, num_images=4) == served.knn(image=data, num_images=4)


def test_the_first_index_is_searched_where_none_is_named(served):
    assert served.knn(text="a map", indice_name=None) == served.knn(text="a map", indice_name="maps")
    assert served.knn(text="a map", indice_name="") == served.knn(text="a map")
