"""The images of packed pages: scores by the slow formula, one row an image, whatever stands beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadModel, BadShard, MissingInput
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_parity import exact_scores
from mappool_assets.lib.packed_documents.packed_document import ImagePart, PackedDocument, PackedImage, TextPart
from mappool_assets.lib.packed_documents.packs import PACKS
from mappool_assets.lib.packed_documents.page_tar import to_tar
from mappool_assets.lib.page_maps.image_scores import DISTANT_TEXTS, as_embedded, groups, image_scorer, surroundings
from mappool_assets.lib.page_maps.page_images import FAILURES_TABLE, TABLE, page_image_tasks, score_page_images
from mappool_assets_tests.labelled_pictures import encoded
from mappool_assets_tests.page_web import PageWeb, W, page_web
from mappool_assets_tests.small_model import SmallModel, dark, light, small_model  # noqa: F401  a fixture

TEXTS = [f"The {name} sheet of the atlas" for name in ("first", "second", "third", "fourth", "fifth")]


def packed_image(number: int, data: bytes) -> PackedImage:
    sha256 = hashlib.sha256(data).hexdigest()
    return PackedImage(f"{number}.png", f"https://a.example/{number}.png", "image/png", 48, 40, len(data), sha256, data)


def document(*parts: str | int, name: str = "page") -> PackedDocument:
    """A page: a str is a line of text, an int an image of that number, even ones light."""
    numbers = sorted({part for part in parts if isinstance(part, int)})
    files = [encoded((dark if number % 2 else light)(number)) for number in numbers]
    images = tuple(itertools.starmap(packed_image, enumerate(files)))
    placed = tuple(
        TextPart(part, 0, len(part), ())
        if isinstance(part, str)
        else ImagePart(numbers.index(part), place, f"alt {part}")
        for place, part in enumerate(parts)
    )
    return PackedDocument(name, f"https://a.example/{name}", "en", "clip", 49_408, placed, images, ())


def scorer(model: SmallModel, head: Path | None = None):
    return image_scorer(model.lake, model.encoder, head)


# -- around an image ------------------------------------------------------------------------------------------------


def test_the_nearest_lines_are_beside_an_image_and_the_others_distant():
    page = document(TEXTS[0], TEXTS[1], 4, TEXTS[2], 2, TEXTS[3])
    assert surroundings(page, 1)[:4] == (2, "alt 4", TEXTS[1], TEXTS[2])
    assert surroundings(page, 1).distant == (TEXTS[0], TEXTS[3])
    assert surroundings(page, 0).before == TEXTS[2]


def test_an_image_alone_has_no_text_beside_it():
    assert surroundings(document(0), 0) == (0, "alt 0", None, None, ())


def test_an_image_that_stands_twice_is_where_it_stands_first():
    assert surroundings(document(TEXTS[0], 0, TEXTS[1], 0, TEXTS[2]), 0).position == 1


def test_distant_lines_are_few_and_evenly_spaced():
    lines = [f"line {number}" for number in range(100)]
    distant = surroundings(document(0, *lines), 0).distant
    assert len(distant) == DISTANT_TEXTS
    assert (distant[0], distant[-1]) == ("line 1", "line 99")
    gaps = np.diff([int(text.split()[1]) for text in distant])
    assert gaps.max() - gaps.min() <= 1


def test_groups_are_whole_documents_with_enough_images():
    pages = [document(*range(count), name=str(count)) for count in (1, 1, 3, 1)]
    assert [[len(page.images) for page in group] for group in groups(iter(pages), 3)] == [[1, 1, 3], [1]]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_slow_formula(small_model, tmp_path):  # noqa: F811
    dimension = small_model.encoder.dimension
    weight, bias = np.linspace(-1, 1, dimension, dtype=np.float32), np.float32(5)
    head = tmp_path / "head.safetensors"
    metadata = {"encoder_id": small_model.encoder.encoder_id}
    head.write_bytes(save({"weight": weight, "bias": np.array([bias])}, metadata))
    pages = [document(TEXTS[0], 0, TEXTS[1], TEXTS[2], 1, TEXTS[3]), document(2, TEXTS[4])]
    rows = scorer(small_model, head).rows(pages)
    assert [(row["document_id"], row["image"]) for row in rows] == [("page", 0), ("page", 1), ("page", 0)]
    for row, (page, number) in zip(rows, [(pages[0], 0), (pages[0], 1), (pages[1], 0)], strict=True):
        vector = small_model.encoder.embed_images([open_image(page.images[number].data)])[0]
        np.testing.assert_array_equal(row["l14_img"], vector)

        def cosine(text: str, vector: np.ndarray = vector) -> float:
            return float(small_model.encoder.embed_texts([text], np.float32)[0] @ vector.astype(np.float32))

        around = surroundings(page, number)
        for name, texts in (("alt", [around.alt]), ("before", [around.before]), ("after", [around.after]),
                            ("distant", around.distant)):  # fmt: skip
            expected = [cosine(text) for text in texts if text]
            assert row[f"similarity_{name}"] == (pytest.approx(np.mean(expected), abs=1e-6) if expected else None)
        model = scorer(small_model).classifier.classifier
        assert row["map_score"] == pytest.approx(exact_scores(model, vector[None])[0], abs=1e-6)
        assert row["is_map"] == (row["map_score"] > model.threshold)
        unit = vector.astype(float) / np.linalg.norm(vector.astype(float))
        assert row["aesthetic_score"] == pytest.approx(unit @ weight + bias, abs=1e-6)
        assert row["mime"] == "image/png"


def test_a_row_does_not_depend_on_the_documents_beside_it(small_model):  # noqa: F811
    pages = [document(TEXTS[number], number, TEXTS[-1], name=str(number)) for number in range(5)]
    together = scorer(small_model).rows(pages)
    alone = [row for page in pages for row in scorer(small_model).rows([page])]
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_an_image_that_is_no_longer_decoded_loses_no_other(small_model):  # noqa: F811
    page = document(TEXTS[0], 0, TEXTS[1], 1)
    sound, other = page.images
    broken = packed_image(0, sound.data[:100])
    refused, row = scorer(small_model).rows([dataclasses.replace(page, images=(broken, other))])
    assert isinstance(refused, ImageRefused)
    assert refused.reason == "not_an_image"
    assert (row["image"], row["sha256"]) == (1, other.sha256)


def test_an_image_that_is_not_the_one_packed_is_damage(small_model):  # noqa: F811
    page = document(TEXTS[0], 0)
    changed = page.images[0]._replace(data=encoded(dark(9)))
    with pytest.raises(BadShard, match="with force"):
        scorer(small_model).rows([dataclasses.replace(page, images=(changed,))])


def test_a_text_is_embedded_as_far_as_the_encoder_sees_it(small_model):  # noqa: F811
    long = " ".join(f"sheet {number}  of\tthe ATLAS&amp;map" for number in range(100))
    assert len(as_embedded(long)) < len(long)
    whole, cut = small_model.encoder.embed_texts([long, as_embedded(long)])
    np.testing.assert_array_equal(whole, cut)


def test_a_page_of_one_endless_word_costs_no_more(small_model):  # noqa: F811
    letters = np.random.default_rng(1).choice(list("abcdefghijklmnopqrstuvwxyz"), 20_000)
    began = time.process_time()
    (row,) = scorer(small_model).rows([document("".join(letters), 0, TEXTS[0])])
    assert time.process_time() - began < 5  # 0.3 s; 20 s where the tokenizer is given all of it
    assert len(row["text_before"]) == 20_000


def test_a_head_of_another_encoder_is_refused(small_model, tmp_path):  # noqa: F811
    head = tmp_path / "head.safetensors"
    weight = np.zeros(small_model.encoder.dimension, np.float32)
    head.write_bytes(save({"weight": weight, "bias": np.zeros(1, np.float32)}, {"encoder_id": "another"}))
    with pytest.raises(BadModel, match="another"):
        scorer(small_model, head)


def test_a_head_of_several_outputs_is_refused(small_model, tmp_path):  # noqa: F811
    head = tmp_path / "head.safetensors"
    weight = np.zeros((2, small_model.encoder.dimension // 2), np.float32)
    metadata = {"encoder_id": small_model.encoder.encoder_id}
    head.write_bytes(save({"weight": weight, "bias": np.zeros(1, np.float32)}, metadata))
    with pytest.raises(BadModel, match="weights of shape"):
        scorer(small_model, head)


# -- a crawl file -----------------------------------------------------------------------------------------------------


@pytest.fixture
def web(small_model, tmp_path):  # noqa: F811
    """Pages in a lake of their own, with images of the kinds that the classifier tells apart."""
    with page_web(tmp_path) as web:
        for number in range(4):
            web.server.serve(f"/{number}.png", encoded((dark if number % 2 else light)(number)))
        yield web


def score(web: PageWeb, model: SmallModel, force: bool = False):
    tasks = page_image_tasks(web.lake, [W], scorer(model))
    (outcome,) = score_page_images(tasks, scorer(model), force)
    if outcome.error:
        raise outcome.error
    return outcome.result


def test_each_image_of_a_packed_page_has_a_row(web, small_model):  # noqa: F811
    web.write_pages([TEXTS[0], 0, TEXTS[1], 1], [TEXTS[2], 2, TEXTS[3], 0], [TEXTS[4]])
    web.pack()
    report = score(web, small_model)
    rows = web.lake.read_table(TABLE, W).to_pylist()
    images = [(page.document_id, image.sha256) for page in web.packed() for image in page.images]
    assert [(row["document_id"], row["sha256"]) for row in rows] == images
    assert (report.rows_in, report.rows_kept, report.maps) == (4, 4, sum(row["is_map"] for row in rows))
    assert report.contact_sheet is not None
    for row, same in itertools.product(rows, rows):
        if row["sha256"] == same["sha256"]:
            assert row["map_score"] == same["map_score"]


def test_what_is_scored_is_not_scored_again_until_the_pages_change(web, small_model):  # noqa: F811
    web.write_pages([TEXTS[0], 0])
    web.pack()
    first = score(web, small_model)
    content = web.lake.read_bytes(Lake.table_path(TABLE, W))
    again = score(web, small_model)
    assert (first.is_reused, again.is_reused, again.maps) == (False, True, first.maps)
    assert score(web, small_model, force=True).is_reused is False
    assert web.lake.read_bytes(Lake.table_path(TABLE, W)) == content
    web.write_pages([TEXTS[0], 0, 1])
    web.pack()
    assert score(web, small_model).rows_in == 2


def test_an_attempt_in_vain_at_another_image_is_no_reason_to_score_again(web, small_model):  # noqa: F811
    web.busy.add(5)
    web.write_pages([TEXTS[0], 0, TEXTS[1], 5])
    web.pack()
    score(web, small_model)
    web.pack()
    assert [image["attempts"] for image in web.ledger()[0]["images"]] == [1, 2]
    assert score(web, small_model).is_reused
    assert sql_files.run(web.lake, "checks/page_maps_of_these_packs").num_rows == 0
    web.busy.clear()
    web.pack()
    (stale,) = sql_files.run(web.lake, "checks/page_maps_of_these_packs").to_pylist()
    assert stale["crawl_file"] == W
    assert score(web, small_model).rows_in == 2
    assert sql_files.run(web.lake, "checks/page_maps_of_these_packs").num_rows == 0


def test_a_file_without_packed_pages_fails_alone_and_is_recorded(web, small_model):  # noqa: F811
    with pytest.raises(MissingInput, match="packed_documents"):
        score(web, small_model)
    assert web.lake.partitions(FAILURES_TABLE) == [W]


def test_images_that_are_no_longer_decoded_are_counted(web, small_model):  # noqa: F811
    web.write_pages([TEXTS[0], 0, TEXTS[1], 1], [TEXTS[2], 2])
    web.pack()
    page = web.packed()[0]
    data = page.images[0].data[:60].ljust(page.images[0].bytes, b"\0")
    broken = page.images[0]._replace(data=data, sha256=hashlib.sha256(data).hexdigest())
    (pack,) = (Path(web.lake.root) / PACKS / W).iterdir()
    changed = to_tar(dataclasses.replace(page, images=(broken, page.images[1])))
    pack.write_bytes(pack.read_bytes().replace(to_tar(page), changed))
    report = score(web, small_model)
    assert (report.rows_in, report.rows_kept, report.rows_dropped) == (3, 2, {"not_an_image": 1})
    assert score(web, small_model).rows_dropped == {"not_an_image": 1}
    assert sql_files.run(web.lake, "checks/rows_accounted", table=TABLE, partitions=[W]).num_rows == 0


def test_pages_without_any_image_give_an_empty_table(web, small_model):  # noqa: F811
    web.write_pages([TEXTS[0]])
    web.pack()
    assert score(web, small_model).rows_in == 0
    assert web.lake.read_table(TABLE, W).num_rows == 0
