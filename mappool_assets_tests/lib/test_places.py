"""Filter, checks and addresses: what becomes of a row, whatever source it comes from."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.checked_places import LONGEST_NAME, checked_places
from mappool_assets.lib.places.country_names import COUNTRY_NAMES
from mappool_assets.lib.places.place import ALTERNATES, PLACE_SCHEMA, Place, RowCounts, places_of
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.sources import PlaceSource

BERLIN = {
    "place_id": "x:1",
    "name": "Berlin",
    "admin1": "Berlin",
    "country": "DE",
    "feature_class": "P",
    "feature_code": "PPLC",
    "latitude": "52.52",
    "longitude": "13.41",
    "population": "3426354",
}


def checked(*rows, place_filter=PlaceFilter(), **types):  # noqa: B008  frozen
    raw = {field: pa.array([row.get(field) for row in rows], types.get(field)) for field in (rows[0] or BERLIN)}
    counts = RowCounts()
    table = checked_places(raw, place_filter, counts)
    assert table.schema == PLACE_SCHEMA
    assert counts.rows_in == table.num_rows + sum(counts.dropped.values())
    return list(places_of(table)), counts


def refused(**changes):
    places, counts = checked(BERLIN, {**BERLIN, "place_id": "x:2", **changes})
    assert [place.place_id for place in places] == ["x:1"]
    return dict(counts.dropped)


def test_a_row_becomes_a_place():
    (place,), _ = checked(BERLIN)
    assert place == Place(
        "x:1", "Berlin", (), "Berlin", None, "DE", "Germany", "P", "PPLC", 52.52, 13.41, 3426354
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"latitude": "north"}, "latitude_not_a_number"),
        ({"latitude": "nan"}, "latitude_not_a_number"),
        ({"longitude": "inf"}, "longitude_not_a_number"),
        ({"longitude": "1,5"}, "longitude_not_a_number"),
        ({"population": "many"}, "population_not_a_number"),
        ({"population": "1e300"}, "population_out_of_range"),
        ({"latitude": "90.001"}, "latitude_out_of_range"),
        ({"longitude": "-180.5"}, "longitude_out_of_range"),
        ({"latitude": ""}, "latitude_missing"),
        ({"longitude": None}, "longitude_missing"),
        ({"place_id": None}, "no_place_id"),
        ({"place_id": "x" * 501}, "place_id_too_long"),
        ({"name": ""}, "no_name"),
        ({"name": " \t\u00a0\x00"}, "no_name"),
        ({"name": None}, "no_name"),
        ({"name": "x" * (LONGEST_NAME + 1)}, "name_too_long"),
    ],
)
def test_a_row_that_is_no_place_is_dropped_with_its_reason(changes, reason):
    assert refused(**changes) == {reason: 1}


def test_a_row_counts_for_the_first_reason_only():
    assert refused(latitude="x", longitude="y", name="") == {"latitude_not_a_number": 1}


def test_dropped_rows_have_examples_but_not_many():
    _, counts = checked(*({**BERLIN, "place_id": f"x:{n}", "latitude": "91"} for n in range(9)))
    assert counts.dropped == {"latitude_out_of_range": 9}
    assert counts.examples == {"latitude_out_of_range": ["x:0", "x:1", "x:2"]}
    assert "9 latitude_out_of_range (x:0, x:1, x:2)" in str(counts)


@pytest.mark.parametrize(
    ("text", "number"),
    [("+5", 5), (" 7.25 ", 7.25), (".5", 0.5), ("5.", 5), ("1e1", 10), ("-0", 0), ("", None), (None, None)],
)
def test_numbers_are_read_whatever_stands_beside_them(text, number):
    for other in ("1", "north"):  # the second makes Arrow's fast way fail
        rows = ({**BERLIN, "latitude": text, "longitude": text}, {**BERLIN, "latitude": other})
        places, _ = checked(*rows)
        assert places[0].latitude == number


def test_numbers_may_be_numbers():
    row = {**BERLIN, "latitude": 1, "longitude": 2.5, "population": 3.9}
    (place,), _ = checked(row)
    assert (place.latitude, place.longitude, place.population) == (1.0, 2.5, 3)
    assert checked({**row, "latitude": float("nan")})[1].dropped == {"latitude_not_a_number": 1}


def test_coordinates_and_population_may_be_unknown():
    (place,), _ = checked({**BERLIN, "latitude": "", "longitude": "", "population": "-99"})
    assert (place.latitude, place.longitude, place.population) == (None, None, None)


def test_texts_are_cleaned():
    (place,), _ = checked({**BERLIN, "name": " Zu\u0308rich\t\nHB\x1b\u2003 ", "admin1": " "})
    assert (place.name, place.admin1) == ("Zürich HB", None)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8))
def test_any_text_gives_one_clean_line(names):
    rows = [{**BERLIN, "place_id": f"x:{number}", "name": name} for number, name in enumerate(names)]
    places, _ = checked(*rows)
    for place in places:
        assert place.name == place.name.strip() != ""
        assert not any(ord(character) < 32 or ord(character) == 127 for character in place.name)


def test_further_names_are_cleaned_and_keep_their_places():
    names = [
        [{"name": " Lutetia ", "kind": "historic"}, {"name": "", "kind": "alternate"}, {"name": None, "kind": "x"}],
        None,
        [{"name": "x" * 400, "kind": "alternate"}, {"name": "Bombay", "kind": "alternate"}],
    ]
    rows = [{**BERLIN, "place_id": f"x:{i}", "alternates": found} for i, found in enumerate(names)]
    rows[1]["name"] = ""  # dropped: the names of the third must not slide to it
    places, _ = checked(*rows, alternates=ALTERNATES)
    assert [place.alternates for place in places] == [(("Lutetia", "historic"),), (("Bombay", "alternate"),)]


@pytest.mark.parametrize(
    ("country", "name", "expected"),
    [
        ("DE", None, ("DE", "Germany")),
        ("de", "", ("de", "Germany")),
        ("united states", None, ("united states", "united states")),
        (None, "Kosovo", ("Kosovo", "Kosovo")),
        ("GB", "Great Britain", ("GB", "Great Britain")),
        ("ZZ", None, ("ZZ", "ZZ")),
        ("", None, (None, None)),
    ],
)
def test_a_country_has_a_code_and_a_name_where_either_is_known(country, name, expected):
    (place,), _ = checked({**BERLIN, "country": country, "country_name": name})
    assert (place.country, place.country_name) == expected


def test_the_countries_are_those_of_iso_and_kosovo():
    assert len(COUNTRY_NAMES) == 250
    assert all(len(code) == 2 and code.isupper() for code in COUNTRY_NAMES)
    assert len(set(COUNTRY_NAMES.values())) == 250


# -- the filter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place_filter", "reason"),
    [
        (PlaceFilter(bbox=(0, 50, 10, 53)), "outside_bbox"),
        (PlaceFilter(bbox=(170, -90, -170, 90)), "outside_bbox"),
        (PlaceFilter(countries=("FR", "germania")), "other_country"),
        (PlaceFilter(feature_classes=("A",)), "other_feature_class"),
        (PlaceFilter(feature_codes=("PPL", "MT")), "other_feature_code"),
        (PlaceFilter(min_population=3426355), "below_min_population"),
    ],
)
def test_what_the_filter_does_not_want_is_dropped(place_filter, reason):
    places, counts = checked(BERLIN, place_filter=place_filter)
    assert (places, counts.dropped) == ([], {reason: 1})


@pytest.mark.parametrize(
    "place_filter",
    [
        PlaceFilter(),
        PlaceFilter(bbox=(13.41, 52.52, 13.41, 52.52)),
        PlaceFilter(bbox=(10, -90, -170, 90)),
        PlaceFilter(countries=("de",)),
        PlaceFilter(countries=("FR", " Germany ")),
        PlaceFilter(feature_classes=("p",), feature_codes=("pplc", "MT"), min_population=3426354),
    ],
)
def test_what_the_filter_wants_is_kept(place_filter):
    assert len(checked(BERLIN, place_filter=place_filter)[0]) == 1


def test_a_code_also_finds_a_country_by_its_name():
    row = {**BERLIN, "country": "United States"}
    assert len(checked(row, place_filter=PlaceFilter(countries=("US",)))[0]) == 1


def test_without_what_is_asked_for_a_place_is_not_wanted():
    bare = {**BERLIN, "latitude": None, "longitude": None, "population": None, "country": None, "feature_class": None}
    for place_filter, reason in (
        (PlaceFilter(bbox=(-180, -90, 180, 90)), "no_coordinates"),
        (PlaceFilter(min_population=0), "no_population"),
        (PlaceFilter(countries=("DE",)), "other_country"),
        (PlaceFilter(feature_classes=("P",)), "other_feature_class"),
    ):
        assert checked(BERLIN, bare, place_filter=place_filter)[1].dropped == {reason: 1}


def test_boxes_are_those_of_a_slow_comparison():
    angles = np.arange(-180.0, 181, 30)
    longitude, latitude = map(np.array, zip(*itertools.product(angles, angles / 2), strict=True))
    for west, east, south in itertools.product((-180, -90, 0, 150), (-150, 0, 90, 180), (-90, 0)):
        found = PlaceFilter(bbox=(west, south, east, 45)).is_in_box(latitude, longitude)
        slow = [
            (west <= x <= east if west <= east else x >= west or x <= east) and south <= y <= 45
            for x, y in zip(longitude, latitude, strict=True)
        ]
        assert found.tolist() == slow


NAN = float("nan")


@pytest.mark.parametrize(
    "bbox", [(0, 10, 10, 0), (-181, 0, 0, 1), (0, 0, 1, 91), (0, 0, 1), (0, NAN, 1, 1), (0, 0, NAN, 1), (NAN, 0, 1, 1)]
)
def test_a_box_that_is_none_is_refused(bbox):
    with pytest.raises(BadSetting, match="west, south, east, north"):
        PlaceFilter(bbox=bbox)


def test_a_negative_population_is_refused():
    with pytest.raises(BadSetting, match="0 or more"):
        PlaceFilter(min_population=-1)


# -- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind", "path", "options"),
    [
        ("keywords:list.txt", "keywords", "list.txt", {}),
        ("geonames:/data/DE.zip?languages=en,de", "geonames", "/data/DE.zip", {"languages": "en,de"}),
        ("csv:a/b.csv?name=Name%20of%20it&id=nr", "csv", "a/b.csv", {"name": "Name of it", "id": "nr"}),
        ("csv:https://host/x.csv?v=1?name=n", "csv", "https://host/x.csv?v=1", {"name": "n"}),
        ("overture:s3://bucket/x.parquet?", "overture", "s3://bucket/x.parquet", {}),
    ],
)
def test_an_address_says_kind_path_and_options(address, kind, path, options):
    assert PlaceSource.parse(address) == PlaceSource(kind, path, options)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "places.txt",
        "osm:x.pbf",
        "geonames:",
        "geonames:?languages=en",
        "geonames:DE.txt?language=en",
        "keywords:list.txt?name=x",
        "csv:x.csv?nam=x",
        "csv:x.csv?name=",
        "csv:x.csv?name",
        "csv:x.csv?country_name=x",
        "csv:x.csv?delimiter=||",
        "csv:x.csv?delimiter=%22",
        "overture:x.parquet?confidence=2",
        "overture:x.parquet?confidence=high",
        "overture:x.parquet?confidence=nan",
        "https://host/x.csv?v=1",
    ],
)
def test_an_address_that_says_nothing_is_refused(address):
    with pytest.raises(BadSetting, match="source of places cannot be understood"):
        PlaceSource.parse(address)
