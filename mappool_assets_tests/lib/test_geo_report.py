"""The page about places: what it says, what it lacks, and that nothing of a stranger's gets out of its place."""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.evaluation import wilson_interval
from mappool_assets.lib.geo_subset import geo_charts
from mappool_assets.lib.geo_subset.geo_images import TABLE, find_geo_images
from mappool_assets.lib.geo_subset.geo_report import PATH, GeoReport, write_geo_report
from mappool_assets.lib.geo_subset.place_labels import read_labels
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings
from mappool_assets_tests.geo_lake import (
    SHARDS,
    find_neighbours,
    place,
    write_classifier,
    write_generic,
    write_places,
    write_shard,
)
from mappool_assets_tests.lib.test_pool_report import ATTRIBUTE, SCRIPT, Read
from mappool_assets_tests.small_images import write_images

PLACES = [
    place(1, place=SCRIPT, country="GB"),
    place(2, place=ATTRIBUTE, country="<b>"),
    place(3, place="東京 {{ 7 * 7 }}", latitude=None, longitude=None, country=None),
    place(4, place="x" * 500),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes; names, captions and addresses are hostile."""
    folder = tmp_path_factory.mktemp("made")
    lake = Lake(str(folder / "lake"))
    write_classifier(lake)
    write_places(lake, PLACES)
    urls = ["javascript:alert(1)", 'https://a.example/?q="><script>', "http://<b>x/"]
    write_shard(lake, SHARDS[0], 40, text=[SCRIPT, ATTRIBUTE] * 20, url=[urls[row % 3] for row in range(40)])
    write_shard(lake, SHARDS[1], 40)
    write_generic(lake, ["a map"])
    find_neighbours(lake, NeighbourSettings(k=30, row_filter="text != '<script>'"), SHARDS[:2])
    find_geo_images(lake, folder / "scratch", GeoSettings(most_a_domain=12))
    write_images(lake, SHARDS[0], ["ok", "http_404"] * 20)
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


@pytest.fixture(scope="module")
def labels(made: Path) -> dict[str, bool]:
    kept = [row for row in Lake(str(made)).read_table(TABLE).to_pylist() if row["dropped"] is None]
    return {row["uid"]: number % 4 > 0 for number, row in enumerate(kept[:20])} | {"nobody": True}


@pytest.fixture(scope="module")
def written(made: Path, labels: dict[str, bool]) -> tuple[GeoReport, bytes]:
    lake = Lake(str(made))
    report = write_geo_report(lake, labels=labels)
    return report, lake.read_bytes(report.path)


@pytest.fixture(scope="module")
def page(written: tuple[GeoReport, bytes]) -> Read:
    return Read(written[1].decode())


def test_the_numbers_are_those_of_the_lake(made: Path, written: tuple[GeoReport, bytes], page: Read) -> None:
    report, html = written
    rows = Lake(str(made)).read_table(TABLE).to_pylist()
    kept = [row for row in rows if row["dropped"] is None]
    counts = [sum(row["place_id"] == each["place_id"] for row in kept) for each in PLACES]
    domains = sorted({row["domain"] for row in kept})
    assert (report.places, report.images, report.places_without_images) == (4, len(kept), counts.count(0))
    assert (report.mean_images, report.median_images) == (np.mean(counts), np.median(counts))
    assert (report.domains, report.top_domains_share) == (len(domains), 1.0)
    assert (report.labelled, report.precision) == (20, 0.75)
    assert report.sha256 == hashlib.sha256(html).hexdigest()
    assert report.missing == ()
    low, high = wilson_interval(15, 20)
    for said in (
        f"{len(kept):,} images for 4 places",
        f"15 of 20 labelled images show their place: 75.0 %, 95 % interval {100 * low:.1f} – {100 * high:.1f} %",
        "Labels of images that were not returned: 1.",
        "1 of 4 places have no position",
        "44,992",
        "37.88 %",
        "up to 30 images a prompt",
        "where text != '<script>'",
        "at most 12 of a domain",
    ):
        assert said in page.words, said


def test_the_steps_from_asked_to_returned_are_those_of_the_counts(made: Path, page: Read) -> None:
    counts = Lake(str(made)).read_table("geo_subset/place_counts").to_pylist()
    for name in ("requested", "retrieved", "best_here", "after_duplicates", "returned"):
        assert f"{sum(row[name] for row in counts):,}" in page.words


def test_nothing_of_a_strangers_gets_out_of_its_place(written: tuple[GeoReport, bytes], page: Read) -> None:
    html = written[1].decode()
    assert page.all("script") == []
    assert SCRIPT in page.words
    assert "東京 {{ 7 * 7 }}" in page.words
    for attributes in (attributes for _, attributes in page.elements):
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:image/jpeg;base64,", "https://", "http://"))
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "x" * 100 not in page.words.replace(" ", ""), "long names are cut"
    assert not re.search(r"url\((?!#)|@import|<link|<iframe", html)


def test_the_same_lake_gives_the_same_bytes(lake: Lake, labels: dict[str, bool], written) -> None:
    report = write_geo_report(lake, labels=labels)
    assert lake.read_bytes(PATH) == written[1]
    assert report.pictures == written[0].pictures
    assert set(report.pictures) == {"yields", "map"}


def test_pictures_of_fetched_images_stand_under_their_places(page: Read) -> None:
    pictures = page.all("img")
    assert 4 <= len(pictures) <= 4 * 8
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)  # type: ignore[union-attr]


def test_what_is_not_there_is_said(lake: Lake, tmp_path: Path) -> None:
    shutil.rmtree(Path(lake.root) / "mappool/map_images")
    lake.delete("geo_subset/generic_queries/all.parquet")
    write_places(lake, [{**row, "latitude": None, "longitude": None} for row in PLACES])
    find_neighbours(lake, NeighbourSettings(k=30), SHARDS[:2])
    find_geo_images(lake, tmp_path / "scratch")
    report = write_geo_report(lake)
    assert report.missing == (
        "Materialise mappool/map_images for shards of these images to see some.",
        "No place has a position: give a source with latitude and longitude.",
        "Give generic prompts to see margins to them.",
        "Give a file of labels (uid, label) to see this.",
    )
    assert (report.labelled, report.precision) == (0, None)
    assert set(report.pictures) == {"yields"}
    words = Read(lake.read_bytes(PATH).decode()).words
    assert all(missing in words for missing in report.missing)


def test_images_that_cannot_be_read_are_said(lake: Lake) -> None:
    shutil.rmtree(Path(lake.root) / "mappool/images")
    write_geo_report(lake)
    page = Read(lake.read_bytes(PATH).decode())
    assert page.all("img") == []
    assert "not readable" in page.words


def test_one_is_told_of_as_one(tmp_path: Path) -> None:
    assert "1 images" not in (words := words_of_a_few_places(tmp_path))
    assert "1 image, fetched." in words
    assert "images, all of them fetched." in words
    assert "1 has none." in words
    assert "Countries" not in words, "no place has one"


def words_of_a_few_places(folder: Path) -> str:
    """Return the words of a page of six places without countries, of which one has no image and one has one."""
    lake = Lake(str(folder / "lake"))
    write_classifier(lake)
    write_places(lake, [place(number, country=None) for number in range(1, 7)])
    write_shard(lake, SHARDS[0], 12)
    find_neighbours(lake, NeighbourSettings(k=12), SHARDS[:1])
    find_geo_images(lake, folder / "scratch")
    write_images(lake, SHARDS[0], ["ok"] * 12)
    counts = [row["returned"] for row in lake.read_table("geo_subset/place_counts").to_pylist()]
    assert counts.count(0) == counts.count(1) == 1, counts
    write_geo_report(lake)
    return Read(lake.read_bytes(PATH).decode()).words


def test_a_places_name_is_written_in_its_own_direction(written: tuple[GeoReport, bytes]) -> None:
    assert "<h3><bdi>東京 {{ 7 * 7 }}</bdi></h3>" in written[1].decode()


def test_places_without_any_image_have_a_page(lake: Lake, tmp_path: Path) -> None:
    find_neighbours(lake, NeighbourSettings(k=30, min_similarity=1.0), SHARDS[:2])
    find_geo_images(lake, tmp_path / "scratch")
    report = write_geo_report(lake, labels={"nobody": True})
    assert (report.places, report.places_without_images, report.images, report.domains) == (4, 4, 0, 0)
    assert report.precision is None
    assert "No label is of an image that was returned; there are 1." in report.missing


def test_a_page_of_images_of_other_neighbours_says_so(lake: Lake) -> None:
    find_neighbours(lake, NeighbourSettings(k=5), SHARDS[:2])
    write_geo_report(lake)
    assert "materialise geo_subset/geo_images again" in Read(lake.read_bytes(PATH).decode()).words


def test_without_images_of_places_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="Materialise geo_subset/geo_images first"):
        write_geo_report(Lake(str(tmp_path / "lake")))


# -- labels ---------------------------------------------------------------------------------------------------


def test_labels_are_read_whatever_their_spelling() -> None:
    content = "\ufeffuid,who,label\na,me,yes\nb,me,0\nc,,TRUE\nd,x,no\na,you,1\n".encode()
    assert read_labels(content, "labels.csv") == {"a": True, "b": False, "c": True, "d": False}
    assert read_labels(b"uid,label\n", "labels.csv") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "columns uid, label"),
        (b"uid,is_right\na,1\n", "columns uid, is_right"),
        (b"uid,label\na,perhaps\n", r"line 2.*'perhaps'"),
        (b"uid,label\n,1\n", r"line 2.*a uid"),
        (b"uid,label\na\n", r"line 2"),
        (b"uid,label\na,1\na,0\n", r"line 3.*another one of a"),
        (b"uid,label\n\xff,1\n", "CSV in UTF-8"),
        (b'uid,label\n"a,1\n', "CSV in UTF-8"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        read_labels(content, "labels.csv")


# -- charts ---------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
CHARTS = {
    "yields": lambda: geo_charts.yields_chart(RANDOM.integers(0, 1000, 1096)),
    "one place": lambda: geo_charts.yields_chart([7]),
    "margins": lambda: geo_charts.margins_chart({"to other places": {-3: 2, 5: 9}, "to generic prompts": {40: 1}}),
    "one margin": lambda: geo_charts.margins_chart({"to other places": {0: 1}}),
    "world": lambda: geo_charts.places_map(
        RANDOM.uniform(-180, 180, 300), RANDOM.uniform(-90, 90, 300), RANDOM.integers(0, 1000, 300)
    ),
    "one point": lambda: geo_charts.places_map([-73.97], [40.75], [500]),
    "no images": lambda: geo_charts.places_map([1.0, 2.0], [3.0, 80.0], [0, 0]),
    "many places": lambda: geo_charts.places_map(
        RANDOM.uniform(5, 11, 5000), RANDOM.uniform(45, 48, 5000), RANDOM.integers(0, 9, 5000)
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_takes_colours_and_font_from_the_page_and_nothing_from_elsewhere(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = as_svg(CHARTS[name](), name)
    for forbidden in ("<style", "<script", "font-family", "<metadata", "<!--", "<image"):
        assert forbidden not in svg
    assert re.findall(r"(?<!\()#[0-9a-fA-F]{6}\b", svg) == [], "a colour of its own"
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', svg) == []
    assert len(svg) < 700_000


@pytest.mark.parametrize("most", [1, 2, 20, 40, 1000])
def test_images_of_a_place_are_whole_numbers(most: int) -> None:
    axes = geo_charts.yields_chart(RANDOM.integers(0, most, 75)).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    assert len(axes.get_xticks()) <= 11


@pytest.mark.parametrize(
    ("longitudes", "latitudes"),
    [([-73.97], [40.75]), ([-180, 180], [-90, 90]), ([5, 11], [45, 48]), ([0, 0], [-90, 90])],
)
def test_a_map_holds_its_places_and_no_more_than_the_earth(longitudes: list, latitudes: list) -> None:
    left, right, bottom, top = geo_charts.extent(np.array(longitudes, float), np.array(latitudes, float))
    assert -180 <= left <= min(longitudes) <= max(longitudes) <= right <= 180
    assert -90 <= bottom <= min(latitudes) <= max(latitudes) <= top <= 90
    assert left < right
    assert bottom < top


def test_images_of_a_grids_cells_are_all_of_them() -> None:
    x, y, images = RANDOM.uniform(5, 11, 5000), RANDOM.uniform(45, 48, 5000), RANDOM.integers(0, 9, 5000).astype(float)
    centre_x, _, sums = geo_charts._cells(x, y, images, (5, 11, 45, 48))
    assert sums.sum() == images.sum()
    assert len(centre_x) <= 90 * 45
    assert centre_x.min() > 5
    assert centre_x.max() < 11
