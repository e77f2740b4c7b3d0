"""The page of a small lake: what it says, what it lacks, and that nothing of a stranger's gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mappool_assets.lib.duplicates.unique_images import find_unique_images
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import IMAGES
from mappool_assets.lib.pool_report.report import PATH, PoolReport, write_pool_report
from mappool_assets.lib.report_page.page import Gallery, Page, Picture, Section, Table, is_web_address
from mappool_assets_tests.small_images import flat_png, write_images, write_unique_images
from mappool_assets_tests.small_lake import shard_key, write_maps, write_pool

A, B, C = (shard_key(first) for first in "abc")
VOID = {"meta", "img", "br", "hr", "link", "input", "rect", "path", "use"}
SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = '"><img src=x onerror=alert(1)>'


class Read(HTMLParser):
    """A page's elements, its text, and whether they are nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self._open += [] if tag in ("meta", "img") else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def hostile_lake(folder: Path) -> Lake:
    """Three scored shards, the images of one; some captions and addresses are hostile."""
    lake = Lake(str(folder / "lake"))
    write_pool(lake, {A: "", B: "part_7", C: ""})
    texts = [
        SCRIPT,
        ATTRIBUTE,
        "Map of {{ 7 * 7 }}",
        "line\nbreak\x00\x1b and \u202egnp.exe",
        "x" * 5000,
        *["a map"] * 5,
    ]
    urls = [
        "javascript:alert(1)",
        "data:text/html,x",
        'https://a.example/?q="><script>',
        *["http://b.example/1.png"] * 6,
    ]
    urls.append(f"http://<b>{'h' * 500}/")
    write_maps(lake, A, rows=10, columns={"text": texts, "url": urls})
    write_maps(lake, B, rows=4)
    write_maps(lake, C, rows=0)
    write_images(lake, A, ["ok"] * 8 + ["http_404", "robots_txt"])
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return hostile_lake(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[PoolReport, bytes]:
    """The hostile lake's report and page."""
    lake = hostile_lake(tmp_path_factory.mktemp("written"))
    report = write_pool_report(lake)
    return report, lake.read_bytes(report.path)


@pytest.fixture(scope="module")
def page(written: tuple[PoolReport, bytes]) -> Read:
    return Read(written[1].decode())


def page_of(lake: Lake) -> Read:
    return Read(lake.read_bytes(PATH).decode())


def test_the_numbers_are_those_of_the_lake(written: tuple[PoolReport, bytes], page: Read) -> None:
    report, html = written
    assert report.path == "mappool/pool_report/report.html"
    assert (report.shards, report.pairs, report.maps) == (3, 15 + 9 + 5, 14)
    assert (report.shards_with_images, report.images_tried, report.images_fetched, report.dead_links) == (1, 10, 8, 1)
    assert report.unique_images is None
    assert (report.domains, report.top_domains_share) == (5, 1.0)  # a, b, maps.example, a long one, and without host
    assert report.sha256 == hashlib.sha256(html).hexdigest()
    for said in ("14 of 29 pairs in 3 shards were taken for maps: 48.3 %", "80.0 % of 10 links", "threshold 0.35"):
        assert said in page.words
    assert {name: Image.open(io.BytesIO(png)).format for name, png in report.pictures.items()} == {
        "yields": "PNG",
        "sample": "PNG",
    }


def test_shards_without_images_are_named(written: tuple[PoolReport, bytes], page: Read) -> None:
    said = "Only 1 of 3 shards have been asked for their images"
    assert any(said in missing for missing in written[0].missing)
    assert said in page.words


def test_the_same_lake_gives_the_same_bytes_wherever_it_lies(lake: Lake, written: tuple[PoolReport, bytes]) -> None:
    assert write_pool_report(lake) == written[0]
    assert lake.read_bytes(PATH) == written[1]


def test_strangers_texts_stay_texts(written: tuple[PoolReport, bytes], page: Read) -> None:
    html = written[1].decode()
    assert page.all("script") == []
    for shown in (SCRIPT, ATTRIBUTE, "{{ 7 * 7 }}", "line break and"):
        assert shown in page.words
    assert not re.search("[\x00-\x08\x0b-\x1f]", html)
    assert "x" * 200 not in html
    assert "<b>" + "h" * 56 + "…" in page.words
    assert "h" * 200 not in html
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_and_only_web_addresses_are_linked(written: tuple[PoolReport, bytes], page: Read) -> None:
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script" not in policy
    sources = [attributes["src"] or "" for _, attributes in page.elements if "src" in attributes]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attributes for attributes in page.all("a") if not (attributes["href"] or "").startswith("#")]
    assert {link["href"] for link in links} == {"http://b.example/1.png", 'https://a.example/?q="><script>'}
    assert all(set((link["rel"] or "").split()) == {"noreferrer", "noopener", "nofollow"} for link in links)
    css = written[1].decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_the_page_can_be_read_without_seeing_it(page: Read) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(page.all("section")) >= 8
    assert all(image.get("alt") for image in page.all("img"))
    assert all(attributes.get("aria-label") for _, attributes in page.elements if attributes.get("role") == "img")
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(heading.get("scope") for heading in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    contents = [a["href"] for a in page.all("a") if (a["href"] or "").startswith("#")]
    assert contents == [f"#{section['id']}" for section in page.all("section")]


def test_pictures_are_small_and_those_of_the_lake(lake: Lake) -> None:
    write_images(lake, A, image=lambda row: large_png() if row == 0 else flat_png(row))
    write_pool_report(lake)
    for image in page_of(lake).all("img"):
        data = base64.b64decode((image["src"] or "").partition(",")[2])
        opened = Image.open(io.BytesIO(data))
        assert opened.size == (int(image["width"] or 0), int(image["height"] or 0))
        assert opened.width <= 220
        assert opened.height <= 150
    assert "220" in {image["width"] for image in page_of(lake).all("img")}


def large_png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (3000, 1000), "green").save(content, "PNG")
    return content.getvalue()


def test_what_was_not_made_yet_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(MissingInput, match="shard_maps"):
        write_pool_report(lake)
    write_pool(lake, {A: "", B: ""})
    write_maps(lake, A)
    report = write_pool_report(lake)
    assert (report.images_tried, report.images_fetched, report.unique_images) == (0, 0, None)
    assert "sample" not in report.pictures
    for asset in ("mappool/map_images", "mappool/unique_images"):
        assert any(asset in missing for missing in report.missing)
        assert asset in page_of(lake).words


def test_a_pool_without_a_single_map_has_a_page_too(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, {A: ""})
    write_maps(lake, A, rows=0)
    write_images(lake, A)
    report = write_pool_report(lake)
    assert (report.maps, report.domains, report.top_domains_share) == (0, 0, 0.0)
    assert "0 of 5 pairs in 1 shards were taken for maps: 0 %" in page_of(lake).words


def test_a_pool_whose_links_are_all_dead_lacks_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, {A: ""})
    write_maps(lake, A)
    write_images(lake, A, ["http_404"] * 3)
    find_unique_images(lake, tmp_path / "scratch")
    report = write_pool_report(lake)
    assert (report.images_tried, report.images_fetched, report.dead_links, report.unique_images) == (3, 0, 3, 0)
    assert not [missing for missing in report.missing if "aterialise" in missing]
    assert "aterialise" not in page_of(lake).words


@pytest.mark.parametrize("harm", ["removed", "no tar"])
def test_images_that_are_gone_leave_a_note_in_their_place(lake: Lake, harm: str) -> None:
    (tar,) = Path(lake.url(f"{IMAGES}/{A}")).glob("*.tar")
    if harm == "removed":
        tar.unlink()
    else:
        tar.write_bytes(b"no tar" * 1000)
    report = write_pool_report(lake)
    page = page_of(lake)
    assert page.all("img") == []
    assert page.words.count("not readable") == 2 * 8  # on the contact sheet, and beside its score
    assert any("8 of the page's pictures could not be read" in missing for missing in report.missing)
    assert "sample" not in report.pictures


def test_an_image_that_cannot_be_opened_leaves_a_note_in_its_place(lake: Lake) -> None:
    write_images(lake, A, image=lambda row: b"no image" if row == 0 else flat_png(row))
    write_images(lake, B)
    write_images(lake, C)
    report = write_pool_report(lake)
    page = page_of(lake)
    assert page.words.count("not readable") == 2
    assert "1 of the page's pictures could not be read" in page.words
    assert "sample" in report.pictures
    assert not any("shards have been asked" in missing for missing in report.missing)


def test_duplicates_are_counted_and_the_largest_groups_shown(lake: Lake) -> None:
    uids = lake.read_table("mappool/shard_maps", A)["uid"].to_pylist()
    write_unique_images(
        lake,
        [
            [(A, uids[0], None), (A, uids[1], "exact"), (A, uids[2], "mirrored")],
            *[[(A, uid, None)] for uid in uids[3:7]],
        ],
    )
    report = write_pool_report(lake)
    page = page_of(lake)
    assert report.unique_images == 5
    assert "2 of 7 images (28.6 %) are duplicates" in page.words
    assert "71.4 % of 7 compared" in page.words
    assert any("Only 7 of 8 fetched images were compared" in missing for missing in report.missing)
    group = page.words.partition("A group of 3 images")[2]
    assert group.index("kept") < group.index("same bytes") < group.index("same look, mirrored")
    assert "5 maps (35.7 %) share their caption with another; there are 10 different captions" in page.words


def test_a_page_that_cannot_be_finished_leaves_the_last_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with lake.writing(PATH) as file:
        file.write_text("the last page")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_pool_report(lake)
    assert lake.read_bytes(PATH) == b"the last page"
    assert [file.name for file in (Path(lake.root) / PATH).parent.iterdir()] == ["report.html"]


def test_the_pools_address_is_told_without_secrets(lake: Lake) -> None:
    pool = lake.read_table("mappool/pool_shards")
    made = lake.provenance("mappool/pool_shards")
    assert made is not None
    made.origin["source"] = "/home/me/pool"  # type: ignore[index]
    lake.write_table("mappool/pool_shards", pool, made)
    write_pool_report(lake)
    assert "/home/me" not in page_of(lake).words
    assert "local folder pool" in page_of(lake).words


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://maps.example/1.png", True),
        ("HTTP://maps.example", True),
        ("http://", False),
        ("https:///x", False),
        ("//maps.example/1.png", False),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)//http://x.example", False),
        ("java\nscript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("\x01javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("file:///etc/passwd", False),
        ("http://[::1", False),
        ("http://a.example/ onclick=x", False),
        ("", False),
    ],
)
def test_only_http_with_a_host_becomes_a_link(url: str, is_one: bool) -> None:
    assert is_web_address(url) is is_one
    picture = Picture(None, 0, 0, "", url)
    html = Page("t", "s", (), (Section("a", "A", (Gallery("g", (picture,)),)),)).to_html()
    assert len(Read(html).all("a")) == 1 + is_one


def test_tables_show_bars_dashes_and_strangers_words_apart() -> None:
    table = Table("Shares", {"word": "web", "n": "count", "share": "share"}, [("<b>", 1200, 0.5), ("…", None, None)])
    html = Page("t", "s", (), (Section("a", "A", (table,)),)).to_html()
    page = Read(html)
    assert "<bdi>&lt;b&gt;</bdi>" in html
    assert "1,200" in page.words
    assert page.words.count("–") == 2
    assert [rect["width"] for rect in page.all("rect")] == ["100.0%"]
    with pytest.raises(ValueError, match="shown as colour"):
        _ = Table("", {"x": "colour"}, [(1,)]).cells
    assert Table("", {"x": "count"}, []).cells == []


def test_long_captions_are_cut_and_kept_in_one_line() -> None:
    assert Picture(None, 0, 0, " a\n\tb\x00c ", "").short_caption == "a b c"
    assert len(Picture(None, 0, 0, "wörd " * 1000, "").short_caption) == 160
