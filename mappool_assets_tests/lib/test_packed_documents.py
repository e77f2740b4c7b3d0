"""Packed documents: every page has a row, images are asked for once, what was packed is read again in its order."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged, SourceUnavailable
from mappool_assets.lib.image_download.downloads import Download, download_images
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_facts import inspect_image
from mappool_assets.lib.map_images.outage import OUTAGE_ROWS
from mappool_assets.lib.packed_documents import packs
from mappool_assets.lib.packed_documents.pack_task import VOCABULARY
from mappool_assets.lib.packed_documents.packed_document import (
    Gap,
    ImagePart,
    PackedDocument,
    PackedImage,
    TextPart,
)
from mappool_assets.lib.packed_documents.packed_documents import (
    FAILURES_TABLE,
    TABLE,
    pack_documents,
    packed_document_tasks,
)
from mappool_assets.lib.packed_documents.packs import FORMS, PACKS, PackReader, PackWriter, stored_packs
from mappool_assets.lib.packed_documents.page_tar import from_tar, to_tar
from mappool_assets.lib.packed_documents.reading import read_packed, read_packed_tar
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets.lib.web_documents.clip_tokens import clip_tokenizer
from mappool_assets_tests.image_web import RULES, image
from mappool_assets_tests.loopback_server import answer
from mappool_assets_tests.odd_images import PAGE, jpeg_of_claimed_size
from mappool_assets_tests.page_web import W2, Page, PageWeb, W, page_web
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_engine import fetch_in_turn
from mappool_assets_tests.small_lake import folder_bytes

OBEYS = dataclasses.replace(RULES, obeys_opt_out=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[PageWeb]:
    with page_web(tmp_path) as web:
        yield web


def sha256(number: int) -> str:
    return hashlib.sha256(image(number)).hexdigest()


def sound(web: PageWeb, crawl_file: str = W) -> None:
    """What holds of a crawl file that was packed, whatever happened before."""
    rows = web.ledger(crawl_file)
    packed = {document.document_id: document for document in web.packed(crawl_file)}
    assert list(packed) == [row["document_id"] for row in rows if row["status"] == "ok"]
    for row in rows:
        ok = [image for image in row["images"] if image["outcome"] == "ok"]
        if row["status"] != "ok":
            assert (ok, row["pack"], row["parts"], row["gaps"]) == ([], None, None, None)
            continue
        document = packed[row["document_id"]]
        assert (document.url, document.language) == (row["url"], row["language"])
        assert hashlib.sha256(to_tar(document)).hexdigest() == row["sha256"]
        for stored, listed in zip(document.images, ok, strict=True):
            assert {**listed, **stored._asdict()} == {**listed, "data": stored.data}
            assert hashlib.sha256(stored.data).hexdigest() == listed["sha256"]
        assert (len(document.parts), len(document.gaps)) == (row["parts"], row["gaps"])
        assert row["text_tokens"] == sum(len(p.token_ids) for p in document.parts if isinstance(p, TextPart))
    assert set(stored_packs(web.lake, crawl_file)) == {row["pack"] for row in rows if row["pack"]}
    made = web.lake.provenance(TABLE, crawl_file)
    assert made is not None
    assert made.rows_in == len(rows) == made.rows_kept + sum(made.rows_dropped.values())
    assert not [path for path in web.scratch.rglob("*") if path.is_file()]


# -- a first run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_page_is_read_again_as_it_was(web: PageWeb, form: str) -> None:
    web.write_pages(
        ["Old maps", 0, "of Rome", "and of Köln 東京", 1, ("audio", "https://x.example/a.mp3"), "The end"],
        ["A page of words"],
        [("video", "https://x.example/v.mp4"), "A film"],
        [2],
    )
    report = web.pack(form=form)

    first, last = web.packed()
    assert list(first.sequence()) == ["Old maps", image(0), "of Rome", "and of Köln 東京", image(1), "The end"]
    assert [(image.file, image.url) for image in first.images] == [("0.png", web.url(0)), ("1.jpg", web.url(1))]
    assert first.parts[1] == ImagePart(0, 1, "alt 1")
    text = "Old maps\nof Rome\nand of Köln 東京\nThe end"
    texts = [part for part in first.parts if isinstance(part, TextPart)]
    assert [text[part.start : part.end] for part in texts] == text.split("\n")
    assert [list(part.token_ids) for part in texts] == list(map(SimpleTokenizer().encode, text.split("\n")))
    assert (last.parts, last.gaps, last.language) == ((ImagePart(0, 0, "alt 0"),), (), None)

    assert [row["status"] for row in web.ledger()] == ["ok", "no_image", "ok"], "a page of words is not interleaved"
    facts = inspect_image(image(1))._asdict()
    found = web.ledger()[0]["images"][1]
    assert (found["position"], found["attempts"], found["file"]) == (4, 1, f"1.{facts.pop('extension')}")
    assert {**found, **facts} == found
    assert (report.rows_in, report.rows_kept, report.rows_dropped) == (3, 2, {"no_image": 1})
    assert (report.images, report.images_tried, report.images_to_retry) == ({"ok": 3}, 3, 0)
    assert report.image_bytes == sum(len(image(number)) for number in range(3))
    assert report.contact_sheet is not None
    assert report.contact_sheet.startswith(b"\x89PNG")
    made = web.lake.provenance(TABLE, W)
    assert made is not None
    assert (made.fingerprint, made.origin) == (report.fingerprint, {"source": "made up"})
    sound(web)


def test_a_tar_holds_tars_of_images_and_three_small_files(web: PageWeb) -> None:
    web.write_pages(["Old maps", 0, "of Rome", 1], [("video", "https://x.example/v")], ["Ä", 2])
    web.pack()
    assert list(web.packs()) == ["00000.tar"]
    with tarfile.open(fileobj=io.BytesIO(web.packs()["00000.tar"])) as outer:
        headers = outer.getmembers()
        inner = outer.extractfile(headers[0]).read()
    assert [header.name for header in headers] == ["000000000.tar", "000000002.tar"]
    with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
        headers += tar.getmembers()
    assert list(members) == ["0.png", "1.jpg", "page.json", "page.txt", "token.ids"]
    assert (members["0.png"], members["1.jpg"]) == (image(0), image(1)), "a JPEG by its content, whatever its address"
    assert members["page.txt"] == b"Old maps\nof Rome\n"
    encode = SimpleTokenizer().encode
    lines = [encode("Old maps"), [VOCABULARY], encode("of Rome"), [VOCABULARY + 1]]
    assert members["token.ids"].decode() == "".join(" ".join(map(str, line)) + "\n" for line in lines)
    assert json.loads(members["page.json"]) == {
        "document_id": f"{W}:0",
        "url": "https://pages.example/0",
        "language": None,
        "tokenizer": "clip",
        "vocabulary": VOCABULARY,
        "parts": [{"start": 0, "end": 8}, {"image": 0, "position": 1, "alt": "alt 1"},
                  {"start": 9, "end": 16}, {"image": 1, "position": 3, "alt": "alt 3"}],
        "images": [{"file": f"{n}.{extension}", "url": web.url(n), "mime": f"image/{mime}", "width": 48, "height": 40,
                    "bytes": len(image(n)), "sha256": sha256(n)}
                   for n, extension, mime in ((0, "png", "png"), (1, "jpg", "jpeg"))],
        "gaps": [],
    }  # fmt: skip
    assert {(h.mtime, h.uid, h.gid, h.uname, h.gname, h.mode, h.type) for h in headers} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }


def test_the_vocabulary_is_clips() -> None:
    assert SimpleTokenizer().vocab_size == VOCABULARY


def test_webdataset_reads_the_outer_and_the_inner_tars(web: PageWeb, tmp_path: Path) -> None:
    web.write_pages(["Old maps", 0, "of Rome", 1], ["Ä", 2])
    web.pack()
    outer = Path(web.lake.root) / PACKS / W / "00000.tar"
    pages = list(webdataset.WebDataset(str(outer), shardshuffle=False))
    assert [page["__key__"] for page in pages] == ["000000000", "000000001"]
    inner = tmp_path / "page.tar"
    inner.write_bytes(pages[0]["tar"])
    samples = {sample.pop("__key__"): sample for sample in webdataset.WebDataset(str(inner), shardshuffle=False)}
    assert list(samples) == ["0", "1", "page", "token"]
    assert (samples["0"]["png"], samples["1"]["jpg"]) == (image(0), image(1))
    assert samples["page"]["txt"].decode() == "Old maps\nof Rome\n"
    assert json.loads(samples["page"]["json"])["document_id"] == f"{W}:0"
    assert samples["token"]["ids"].split(b"\n")[1] == b"%d" % VOCABULARY


def test_every_image_that_is_not_there_leaves_a_gap_with_its_reason(web: PageWeb) -> None:
    web.busy = {3}
    addresses = [web.server.url + "/none", "ftp://maps.example/2", web.server.serve("/page", PAGE),
                 web.server.serve("/bomb", jpeg_of_claimed_size())]  # fmt: skip
    dead, scheme, html, bomb = (("image", address) for address in addresses)
    web.write_pages([dead, "a", scheme, html, "b", 0, 3, bomb], [dead, 3])
    report = web.pack(images_a_page=9)
    (document,) = web.packed()
    assert list(document.sequence()) == ["a", "b", image(0)]
    assert [(gap.part, gap.position, gap.reason) for gap in document.gaps] == [
        (0, 0, "http_404"), (1, 2, "bad_scheme"), (1, 3, "not_an_image"), (3, 6, "http_503"), (3, 7, "too_many_pixels"),
    ]  # fmt: skip
    assert document.gaps[0] == Gap(0, 0, addresses[0], "alt 0", "http_404")
    assert web.outcomes()[1] == ["http_404", "http_503"]
    assert all(image["detail"] for row in web.ledger() for image in row["images"] if image["outcome"] != "ok")
    assert (report.rows_in, report.rows_dropped) == (2, {"no_image_fetched": 1})
    assert report.images == {
        "bad_scheme": 1, "http_404": 1, "http_503": 1, "not_an_image": 1, "ok": 1, "too_many_pixels": 1,
    }  # fmt: skip
    assert (report.images_tried, report.images_to_retry) == (6, 1)
    sound(web)


def test_of_a_page_of_forty_images_five_are_asked_for(web: PageWeb) -> None:
    web.write_pages([item for number in range(40) for item in (number, f"map {number}")])
    report = web.pack()
    assert web.asked() == list(range(5))
    (document,) = web.packed()
    assert [gap.reason for gap in document.gaps] == ["over_limit"] * 35
    assert [gap.part for gap in document.gaps[:2]] == [10, 11]
    assert list(document.sequence())[:4] == [image(0), "map 0", image(1), "map 1"]
    assert report.images == {"ok": 5}
    sound(web)


def test_one_that_fails_is_not_replaced_by_the_sixth(web: PageWeb) -> None:
    web.busy = {1}
    web.write_pages([*range(7)])
    web.pack()
    assert web.asked() == [0, 1, 2, 3, 4]
    assert [(gap.position, gap.reason) for gap in web.packed()[0].gaps] == [
        (1, "http_503"), (5, "over_limit"), (6, "over_limit"),
    ]  # fmt: skip


def test_an_image_that_stands_at_many_places_is_one(web: PageWeb) -> None:
    again = ("image", web.url(0).replace("http:", "HTTP:") + "#again")
    web.write_pages([0, "a", again, "b", 1, 0, 2], ["c", 2, again, 3])
    web.pack(images_a_page=2)
    assert web.asked() == [0, 1, 2], "each once, on whatever page"
    first, second = web.packed()
    assert [part.image for part in first.parts if isinstance(part, ImagePart)] == [0, 0, 1, 0]
    assert [len(first.images), len(second.images)] == [2, 2]
    assert (second.images[1].url, second.images[1].data) == (web.url(0), image(0))
    assert [gap.url for gap in first.gaps] == [web.url(2)], "the same on another page is another choice"
    sound(web)


def test_no_text_can_feign_an_image(web: PageWeb) -> None:
    forged = [str(VOCABULARY), f"{VOCABULARY + 1}", "<end_of_text>", "0.jpg", "\x00 49408 \x7f", "page.txt"]
    web.write_pages([*forged, 0])
    web.pack()
    (document,) = web.packed()
    assert list(document.sequence()) == [*forged, image(0)]
    *texts, place = document.parts
    assert isinstance(place, ImagePart)
    assert all(max(part.token_ids) < VOCABULARY for part in texts)


def test_blank_texts_are_no_parts(web: PageWeb) -> None:
    web.write_pages(["", 0, "", "a", "", "", "b"], [""])
    web.pack()
    (document,) = web.packed()
    assert list(document.sequence()) == [image(0), "a", "b"]
    sound(web)


def test_pages_that_keep_their_images_from_us_are_left_alone(web: PageWeb) -> None:
    words = ("noimageai", "noai", "noimageindex", "noindex", "none")
    web.write_pages(*(Page([number, "a"], [word]) for number, word in enumerate(words)), Page([5], ["nofollow"]))
    report = web.pack(rules=OBEYS)
    assert web.asked() == [5]
    assert report.rows_dropped == {"opted_out": 5}
    assert web.outcomes()[:5] == [[]] * 5
    sound(web)
    assert web.pack(rules=RULES).rows_kept == 6, "the switch is the fetcher's"


def test_an_image_that_its_server_keeps_from_us_is_a_gap(web: PageWeb) -> None:
    web.server.routes["/kept"] = lambda handler: answer(handler, 200, image(1), X_Robots_Tag="noimageai")
    web.write_pages([("image", web.server.url + "/kept"), 0])
    web.pack(rules=OBEYS)
    assert web.outcomes() == [["opted_out", "ok"]]


def test_the_real_engine_does_the_same_as_the_small_one(web: PageWeb) -> None:
    web.busy = {3}
    dead = ("image", web.server.url + "/none")
    for crawl_file in (W, W2):
        web.write_pages([0, "a", 3, dead], [1, 0], ["b", ("image", web.server.serve("/p", PAGE))],
                        crawl_file=crawl_file)  # fmt: skip
    web.pack()
    web.pack(W2, engine=download_images)
    assert web.outcomes(W2) == web.outcomes()
    for document, other in zip(web.packed(), web.packed(W2), strict=True):
        assert dataclasses.replace(other, document_id=document.document_id) == document
    sound(web, W2)


def test_a_crawl_file_without_pages(web: PageWeb) -> None:
    web.write_pages()
    assert web.pack().rows_in == 0
    assert web.pack().is_reused
    sound(web)


# -- what is packed is what is read -------------------------------------------------------------------------------

LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
IDS = st.lists(st.integers(0, VOCABULARY - 1), max_size=4).map(tuple)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@st.composite
def documents(draw: st.DrawFn) -> PackedDocument:
    data = draw(st.lists(st.binary(min_size=1, max_size=600), min_size=1, max_size=3))
    images = tuple(
        PackedImage(f"{n}.png", draw(NAMES), "image/png", 3, 2, len(d), hashlib.sha256(d).hexdigest(), d)
        for n, d in enumerate(data)
    )
    texts = st.builds(TextPart, LINES, st.integers(0, 99), st.integers(0, 99), IDS)
    places = st.builds(ImagePart, st.integers(0, len(images) - 1), st.integers(0, 99), st.none() | NAMES)
    gaps = st.builds(Gap, st.integers(0, 9), st.integers(0, 99), NAMES, st.none() | NAMES, NAMES)
    return PackedDocument(
        draw(NAMES), draw(NAMES), draw(st.none() | NAMES), "clip", VOCABULARY,
        tuple(draw(st.lists(texts | places, max_size=6))), images, tuple(draw(st.lists(gaps, max_size=2))),
    )  # fmt: skip


@given(documents())
def test_a_tar_restores_any_document(document: PackedDocument) -> None:
    data = to_tar(document)
    assert from_tar(data, "here") == document
    assert to_tar(from_tar(data, "here")) == data


@pytest.mark.parametrize("form", FORMS)
def test_packs_restore_any_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(packs, "ROW_GROUP_BYTES", 500)
    monkeypatch.setattr(packs, "OPEN_PACKS", 2)
    lake = Lake(str(tmp_path))

    @settings(max_examples=25)
    @given(st.lists(documents(), max_size=7), st.integers(1, 8))
    def restores(packed: list[PackedDocument], documents_a_pack: int) -> None:
        written = []
        for _ in range(2):
            with PackWriter(lake, W, form, documents_a_pack, 0) as writer:
                places = [writer.add(number, document) for number, document in enumerate(packed)]
            written.append([lake.read_bytes(f"{PACKS}/{W}/{name}") for name in dict.fromkeys(p.pack for p in places)])
        assert written[0] == written[1]
        assert len(written[0]) == -(-len(packed) // documents_a_pack)
        with PackReader(lake, W) as reader:
            assert [reader.read(place) for place in places] == packed
            assert [reader.read(place) for place in reversed(places)] == packed[::-1]
        if form == "tar":
            files = [tmp_path / PACKS / W / name for name in dict.fromkeys(place.pack for place in places)]
            assert [document for file in files for document in read_packed_tar(file)] == packed

    restores()


def some_document() -> PackedDocument:
    images = tuple(
        PackedImage(f"{n}.png", f"u{n}", "image/png", 48, 40, len(image(n)), sha256(n), image(n)) for n in range(2)
    )
    ids = tuple(clip_tokenizer().ids("A map").tolist())
    parts = (ImagePart(0, 0, None), TextPart("A map", 0, 5, ids), ImagePart(1, 2, "x"))
    return PackedDocument("d", "u", "en", "clip", VOCABULARY, parts, images, ())


def changed(data: bytes, name: str, change: Callable[[bytes], bytes | None]) -> bytes:
    """Return a tar with a member changed, or left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar, tarfile.open(fileobj=buffer, mode="w") as other:
        for member in tar:
            content = tar.extractfile(member).read()
            content = change(content) if member.name == name else content
            if content is not None:
                member.size = len(content)
                other.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("page.txt", lambda _: b""),
        ("page.txt", lambda text: text + b"more\n"),
        ("page.txt", lambda text: text[:-1]),
        ("page.txt", lambda _: b"\xff\n"),
        ("token.ids", lambda ids: ids.replace(b"49408", b"49410")),
        ("token.ids", lambda ids: ids.replace(b"49408", b"49409")),
        ("token.ids", lambda ids: b"\n".join(ids.split(b"\n")[1:])),
        ("token.ids", lambda ids: ids.replace(b"49408", b"-1")),
        ("token.ids", lambda ids: ids.replace(b"49408", b"x")),
        ("page.json", lambda _: b"{}"),
        ("page.json", lambda _: b"[]"),
        ("page.json", lambda record: record.replace(b'"width"', b'"breadth"')),
        ("1.png", lambda data: data[:-1]),
        ("1.png", lambda _: None),
        ("token.ids", lambda _: None),
    ],
)
def test_a_tar_whose_files_contradict_each_other_is_refused(name: str, change: Callable) -> None:
    with pytest.raises(BadShard, match="cannot be read"):
        from_tar(changed(to_tar(some_document()), name, change), "here")


@pytest.mark.parametrize("length", [0, 300, 3000, 6000])
def test_a_tar_that_is_cut_is_refused(tmp_path: Path, length: int) -> None:
    data = to_tar(some_document())
    if length < 6000:
        with pytest.raises(BadShard):
            from_tar(data[:length], "here")
    with PackWriter(Lake(str(tmp_path)), W, "tar", 9, 0) as writer:
        writer.add(0, some_document())
        end = writer.add(1, some_document()).offset - tarfile.BLOCKSIZE
    file = tmp_path / PACKS / W / "00000.tar"
    whole = file.read_bytes()
    assert len(list(read_packed_tar(file))) == 2
    for cut in (whole[:length], whole[:end]):
        file.write_bytes(cut)
        with pytest.raises(BadShard):
            list(read_packed_tar(file))


def test_what_is_not_there_cannot_be_read(web: PageWeb, tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        list(read_packed(web.lake, W))
    with pytest.raises(FileNotFoundError):
        list(read_packed_tar(tmp_path / "none.tar"))
    web.write_pages([0])
    web.pack()
    web.lake.delete(f"{PACKS}/{W}/00000.tar")
    with pytest.raises(MissingInput, match="A pack is not where the ledger says"):
        web.packed()


# -- later runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_second_run_finds_everything_done(web: PageWeb, form: str) -> None:
    web.write_pages([0, 1], [2])
    first, before = web.pack(form=form), folder_bytes(Path(web.lake.root))
    web.asked()
    second = web.pack(form=form)
    assert web.asked() == []
    assert folder_bytes(Path(web.lake.root)) == before
    assert second == dataclasses.replace(first, images_tried=0, is_reused=True, contact_sheet=None)


@pytest.mark.parametrize("form", FORMS)
def test_what_may_come_later_is_asked_for_until_the_limit(web: PageWeb, form: str) -> None:
    pack = partial(web.pack, form=form, documents_a_pack=2)
    web.write_pages([0, 1, "a"], [2], [3, 4], [5], [6, ("image", web.server.url + "/none")])
    web.busy = {1, 3, 4, 6}
    assert pack().images_to_retry == 4
    assert web.asked() == [0, 1, 2, 3, 4, 5, 6]
    assert [row["pack"] for row in web.ledger()] == [f"00000.{form}", f"00000.{form}", None, f"00001.{form}", None]
    first = web.packs()

    assert pack().images_to_retry == 4
    assert web.asked() == [1, 3, 4, 6]
    assert web.packs() == first, "a fruitless run writes no pack"

    web.busy = {1, 4}
    report = pack()
    assert (web.asked(), report.images_tried, report.images_to_retry) == ([1, 3, 4, 6], 4, 0)
    assert web.packs().keys() == {f"00000.{form}", f"00001.{form}", f"00002.{form}"}
    assert all(web.packs()[name] == first[name] for name in first), "of what they hold nothing has changed"
    assert [[image["attempts"] for image in row["images"]] for row in web.ledger()] == [
        [1, 3],
        [1],
        [3, 3],
        [1],
        [3, 1],
    ]
    assert [next(document.sequence()) for document in web.packed()] == [image(n) for n in (0, 2, 3, 5, 6)]
    assert pack().is_reused
    sound(web)

    web.busy = set()
    assert pack(max_attempts=4).images_tried == 2
    assert web.outcomes() == [["ok"] * 2, ["ok"], ["ok"] * 2, ["ok"], ["ok", "http_404"]]
    assert [row["pack"] for row in web.ledger()] == [f"0000{n}.{form}" for n in (3, 3, 4, 1, 4)], (
        "the packs of documents that have one more image are written anew, with all that they hold"
    )
    assert list(web.packed()[0].sequence()) == [image(0), image(1), "a"]
    sound(web)


def test_a_later_run_ends_as_one_in_which_all_went_well(web: PageWeb, tmp_path: Path) -> None:
    web.write_pages([0, 1], [2])
    web.busy = {1}
    web.pack()
    web.busy = set()
    web.pack()
    other = web.elsewhere(tmp_path / "other")
    other.write_pages([0, 1], [2])
    other.pack()
    assert list(web.packs().values()) == list(other.packs().values())


def test_what_was_given_up_is_asked_for_by_force_and_under_other_rules(web: PageWeb) -> None:
    web.write_pages([0, 1], [2])
    web.busy = {1}
    gone = web.server.routes.pop("/2.png")
    web.pack(max_attempts=1)
    web.asked()
    assert web.pack(max_attempts=1).is_reused
    assert web.pack(max_attempts=1, force=True).images_tried == 2
    assert web.asked() == [1, 2]
    web.server.routes["/2.png"], web.busy = gone, set()
    report = web.pack(max_attempts=1, rules=dataclasses.replace(RULES, max_bytes=10**6))
    assert web.asked() == [1, 2]
    assert report.images == {"ok": 3}
    sound(web)


@pytest.mark.parametrize(
    "changed", [{"form": "parquet"}, {"images_a_page": 1}, {"documents_a_pack": 1}, {"images_a_page": 3}]
)
def test_other_settings_pack_anew_what_is_there(web: PageWeb, changed: dict[str, Any]) -> None:
    web.write_pages([0, 1, "a", 2], [3, 0])
    web.pack(images_a_page=2)
    web.asked()
    web.pack(**{"images_a_page": 2, **changed})
    assert web.asked() == ([2] if changed == {"images_a_page": 3} else [])
    assert not set(web.packs()) & {"00000.tar", "00000.parquet"}
    assert len(web.packs()) == (2 if "documents_a_pack" in changed else 1)
    sound(web)


def test_pages_made_anew_keep_the_images_that_they_still_have(web: PageWeb) -> None:
    web.busy = {4}
    web.write_pages([0, 1], ["b", 2], [4])
    web.pack()
    web.asked()
    web.write_pages(["new"], ["b", 2, 3], [1], [4])
    web.pack()
    assert web.asked() == [3, 4]
    assert [list(document.sequence()) for document in web.packed()] == [["b", image(2), image(3)], [image(1)]]
    sound(web)


def test_other_code_fetches_everything_anew(web: PageWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    web.write_pages([0], [1])
    web.pack()
    monkeypatch.setattr("mappool_assets.lib.packed_documents.pack_task.CODE_VERSION", "next")
    assert web.pack().images_tried == 2
    assert web.packs().keys() == {"00001.tar"}
    sound(web)


def test_a_proxy_is_no_rule_and_is_not_recorded(web: PageWeb) -> None:
    web.write_pages([0])
    web.pack()
    rules = dataclasses.replace(RULES, egress_proxy="http://user:secret@127.0.0.1:9", user_agent="mappool-assets/99")
    assert web.pack(rules=rules).is_reused


@pytest.mark.parametrize("form", FORMS)
def test_packs_that_have_gone_are_fetched_again_as_far_as_no_other_has_the_image(web: PageWeb, form: str) -> None:
    web.write_pages([0, 1], [1, 2], [3])
    web.pack(form=form, documents_a_pack=1)
    web.lake.delete(f"{PACKS}/{W}/00001.{form}")
    before = web.packs()
    web.asked()
    web.pack(form=form, documents_a_pack=1)
    assert web.asked() == [2], "1 lies in the first pack too"
    assert web.packs().keys() == {f"00000.{form}", f"00002.{form}", f"00003.{form}"}
    assert all(web.packs()[name] == data for name, data in before.items())
    sound(web)


@pytest.mark.parametrize(
    ("form", "fault", "fetched"),
    [
        ("tar", "cut", [3]),
        ("tar", "an image", [3]),
        ("tar", "a text", []),
        ("tar", "another file", [0, 1, 3]),
        ("parquet", "cut", [0, 1, 3]),
        ("parquet", "another file", [0, 1, 3]),
    ],
)
def test_by_force_what_is_damaged_is_found_and_made_anew(
    web: PageWeb, form: str, fault: str, fetched: list[int]
) -> None:
    web.write_pages([0, 1, "a text"], [3])
    web.pack(form=form)
    before = web.packs()[f"00000.{form}"]
    file = Path(web.lake.root) / PACKS / W / f"00000.{form}"
    cut = before.find(image(3)) + 50
    file.write_bytes(
        {
            "cut": before[:cut],
            "an image": before[:cut] + bytes([before[cut] ^ 1]) + before[cut + 1 :],
            "a text": before.replace(b"a text\n", b"a lext\n"),
            "another file": bytes(10240),
        }[fault]
    )
    web.asked()
    assert web.pack(form=form).is_reused, "without force nobody reads what is there"
    if fault != "a text":
        with pytest.raises(BadShard, match="force"):
            web.pack(form=form, images_a_page=4)
    assert web.asked() == []
    assert web.pack(form=form, force=True).images == {"ok": 3}
    assert web.asked() == fetched
    assert web.packs() == {f"00001.{form}": before}
    sound(web)


# -- the take-down list -------------------------------------------------------------------------------------------


def test_what_is_on_the_list_is_not_fetched(web: PageWeb) -> None:
    web.write_pages([0, 1], [2, 3], Page([4], url="https://owner.example/page"), [5])
    listed = TakeDown(
        urls=frozenset({web.url(0).replace("http", "HTTP"), "https://owner.example/page"}),
        sha256s=frozenset({sha256(2), sha256(5)}),
    )
    report = web.pack(take_down=listed)
    assert web.asked() == [1, 2, 3, 5], "that 2 and 5 are on it is seen by their content alone"
    assert web.outcomes() == [["taken_down", "ok"], ["taken_down", "ok"], [], ["taken_down"]]
    assert report.rows_dropped == {"no_image_fetched": 1, "taken_down": 1}
    assert web.pack(take_down=listed).is_reused
    sound(web)


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_on_the_list_is_removed_and_can_come_back(web: PageWeb, form: str) -> None:
    pack = partial(web.pack, form=form, documents_a_pack=2)
    web.write_pages([0, 1], [2], [3, 4, 0], [5], [6], [7])
    pack()
    web.asked()
    before = web.packs()
    listed = TakeDown(urls=frozenset({web.url(0), "https://pages.example/3"}), sha256s=frozenset({sha256(1)}))
    report = pack(take_down=listed)
    assert web.asked() == []
    assert report.rows_dropped == {"no_image_fetched": 1, "taken_down": 1}
    assert web.packs().keys() == {f"00002.{form}", f"00003.{form}"}
    assert web.packs()[f"00002.{form}"] == before[f"00002.{form}"], "a pack that loses nothing keeps its bytes"
    if form == "tar":
        contents = b"".join(web.packs().values())
        assert [image(number) in contents for number in range(8)] == [number not in (0, 1, 5) for number in range(8)]
    assert [gap.reason for document in web.packed() for gap in document.gaps] == ["taken_down"]
    sound(web)

    pack()
    assert web.asked() == [0, 1, 5]
    assert web.outcomes() == [["ok"] * 2, ["ok"], ["ok"] * 3, ["ok"], ["ok"], ["ok"]]
    sound(web)


def test_a_list_that_names_nothing_here_changes_no_data_version(web: PageWeb) -> None:
    web.write_pages([0])
    first, before = web.pack(), web.packs()
    second = web.pack(take_down=TakeDown(urls=frozenset({"https://other.example/"})))
    assert (second.is_reused, second.fingerprint, web.packs()) == (False, first.fingerprint, before)


# -- where it lies, and what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_lake_may_be_a_bucket(tmp_path: Path, form: str) -> None:
    with serve_s3("pages") as endpoint, page_web(tmp_path, Lake("s3://pages/lake", endpoint)) as web:
        web.busy = {1}
        web.write_pages([0, 1], ["a", 2], [3])
        web.pack(form=form, documents_a_pack=2)
        web.busy = set()
        taken_down = TakeDown(sha256s=frozenset({sha256(3)}))
        assert web.pack(form=form, documents_a_pack=2, take_down=taken_down).rows_kept == 2
        assert web.pack(form=form, documents_a_pack=2, take_down=taken_down).is_reused
        assert stored_packs(web.lake, W) == [f"00002.{form}"]
        sound(web)


def test_a_file_that_fails_is_recorded_and_the_others_go_on(web: PageWeb) -> None:
    web.write_pages([0], crawl_file=W2)
    tasks = packed_document_tasks(web.lake, [W, W2], web.pack_settings())
    outcomes = {o.task.key: o for o in pack_documents([dataclasses.replace(t, engine=answering) for t in tasks], 1)}
    assert isinstance(outcomes[W].error, MissingInput)
    assert outcomes[W2].result is not None
    assert web.lake.read_table(FAILURES_TABLE, W).to_pylist()[0]["error"] == "MissingInput"
    web.write_pages([0])
    web.pack()
    assert web.lake.partitions(FAILURES_TABLE) == []


def test_workers_share_the_files(web: PageWeb) -> None:
    for crawl_file in (W, W2):
        web.write_pages([0], crawl_file=crawl_file)  # without a text no worker loads the tokenizer
    tasks = packed_document_tasks(web.lake, [W, W2], web.pack_settings(), engine=fetch_in_turn)
    assert [outcome.error for outcome in pack_documents(tasks, workers=2)] == [None, None]
    assert all(len(web.packed(crawl_file)) == 1 for crawl_file in (W, W2))


@pytest.mark.parametrize("table", ["documents", "interleaved"])
def test_documents_made_anew_meanwhile_are_not_packed(web: PageWeb, table: str) -> None:
    web.write_pages([0])
    (task,) = packed_document_tasks(web.lake, [W], web.pack_settings(), engine=answering)
    (outcome,) = pack_documents([dataclasses.replace(task, sources={**task.sources, table: "0"})], 1)
    assert isinstance(outcome.error, SourceChanged)
    assert web.lake.partitions(TABLE) == []


def answering(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
    """An engine that has an image for every address."""
    for number, key in enumerate(requests["key"].to_pylist()):
        yield Download(key, "ok", "", image(number))


def reasons(*given: str) -> Callable[..., Iterator[Download]]:
    """An engine that gives these reasons."""

    def engine(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
        for key, reason in zip(requests["key"].to_pylist(), given, strict=True):
            yield Download(key, reason, "because", None)

    return engine


def test_where_nobody_answers_no_attempt_is_counted(web: PageWeb) -> None:
    silence = ["connection", "timeout", "robots_unreachable", "download_failed"] * (OUTAGE_ROWS // 4)
    web.write_pages(*([number] for number in range(OUTAGE_ROWS)))
    with pytest.raises(SourceUnavailable, match="network, resolver and egress proxy"):
        web.pack(engine=reasons(*silence))
    assert (web.lake.partitions(TABLE), list(web.scratch.glob("*/*"))) == ([], [])
    assert web.pack(engine=reasons(*silence[1:], "http_404")).images_to_retry == OUTAGE_ROWS - 1, "somebody answered"
    assert web.pack(engine=reasons(*silence[1:])).images_tried == OUTAGE_ROWS - 1, "the dead being dead is no news"


def test_a_second_run_on_a_file_is_refused_and_the_first_goes_on(web: PageWeb) -> None:
    web.write_pages([0])

    def engine(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
        with pytest.raises(BadSetting, match="Another run"):
            web.pack()
        yield from answering(requests)

    assert web.pack(engine=engine).rows_kept == 1
    sound(web)


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_images(web: PageWeb, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(packs, "ROW_GROUP_BYTES", 10**6)

    def engine(requests: pa.Table, *_: object, **__: object) -> Iterator[Download]:
        for number, key in enumerate(requests["key"].to_pylist()):
            yield Download(
                key, "ok", "", image(1) + b"%06d" % number + bytes(300_000)
            )  # a JPEG may go on after its end

    peaks = []
    for crawl_file, count in ((W, 20), (W2, 80)):
        pages = [[("image", f"https://pages.example/{page}/{number}") for number in range(2)] for page in range(count)]
        web.write_pages(*pages, crawl_file=crawl_file)
        tracemalloc.start()
        assert web.pack(crawl_file, engine=engine, form=form).images == {"ok": 2 * count}
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2_000_000, "120 more images of 300 kB"


@pytest.mark.parametrize(
    ("setting", "got"), [({"form": "zip"}, "zip"), ({"images_a_page": 0}, "0"), ({"documents_a_pack": -1}, "-1")]
)
def test_settings_out_of_range_are_refused(web: PageWeb, setting: dict[str, Any], got: str) -> None:
    with pytest.raises(BadSetting, match=got):
        web.pack_settings(**setting)
