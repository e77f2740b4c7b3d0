"""Overture's places: the schema of its releases, written by hand."""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.place import places_of
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.places_table import read_places
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve

BBOX = pa.struct([(edge, pa.float32()) for edge in ("xmin", "xmax", "ymin", "ymax")])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("geometry", pa.binary()),
        ("bbox", BBOX),
        ("names", pa.struct([("primary", pa.string()), ("common", pa.map_(pa.string(), pa.string()))])),
        ("categories", pa.struct([("primary", pa.string()), ("alternate", pa.list_(pa.string()))])),
        ("taxonomy", pa.struct([("primary", pa.string()), ("hierarchy", pa.list_(pa.string()))])),
        ("confidence", pa.float64()),
        (
            "addresses",
            pa.list_(pa.struct([(name, pa.string()) for name in ("freeform", "locality", "region", "country")])),
        ),
        ("websites", pa.list_(pa.string())),
    ]
)


def point(longitude, latitude, order="<"):
    return struct.pack(f"{order}BIdd", order == "<", 1, longitude, latitude)


def row(number, longitude=-73.977, latitude=40.752, **changes):
    x, y = np.float32(longitude), np.float32(latitude)
    return {
        "id": f"{number:032x}",
        "geometry": point(longitude, latitude),
        "bbox": {"xmin": np.nextafter(x, -999), "xmax": np.nextafter(x, 999), "ymin": y, "ymax": y},
        "names": {"primary": f"Place {number}", "common": [("es", f"Lugar {number}"), ("fr", f"Lieu {number}")]},
        "categories": {"primary": "train_station", "alternate": []},
        "taxonomy": None,
        "confidence": 0.9,
        "addresses": [
            {"freeform": "89 E 42nd St", "locality": "New York", "region": "US-NY", "country": "US"},
            {"freeform": None, "locality": "Elsewhere", "region": None, "country": "CA"},
        ],
        "websites": None,
        **changes,
    }


def write(folder, *rows, drop=(), group_rows=None, schema=SCHEMA):
    table = pa.Table.from_pylist(list(rows), schema=schema).drop_columns(list(drop))
    pq.write_table(table, folder / "o.parquet", row_group_size=group_rows)
    return f"overture:{folder / 'o.parquet'}"


def read(source, place_filter=PlaceFilter(), wants_alternates=False):  # noqa: B008  frozen
    found = read_places(
        [source], place_filter, Storage(), wants_alternates=wants_alternates, progress=lambda *step: None
    )
    assert found.counts.rows_in == found.rows.num_rows + sum(found.counts.dropped.values())
    return found


def test_a_row_is_a_place(tmp_path):
    (place,) = places_of(read(write(tmp_path, row(7))).rows)
    assert (place.place_id, place.name) == (f"overture:{7:032x}", "Place 7")
    assert (place.longitude, place.latitude) == (-73.977, 40.752)  # the point's, not the box's float32
    assert (place.admin1, place.country, place.country_name) == ("New York", "US", "United States")
    assert (place.feature_code, place.population, place.alternates) == ("train_station", None, ())


def test_translations_are_further_names(tmp_path):
    source = write(tmp_path, row(1), row(2, names={"primary": "Two", "common": None}), row(3))
    first, second, third = places_of(read(source, wants_alternates=True).rows)
    assert first.alternates == (("Lugar 1", "alternate"), ("Lieu 1", "alternate"))
    assert second.alternates == ()
    assert third.alternates == (("Lugar 3", "alternate"), ("Lieu 3", "alternate"))
    assert next(places_of(read(source + "?languages=fr", wants_alternates=True).rows)).alternates == (
        ("Lieu 1", "alternate"),
    )


def test_places_lack_what_their_rows_lack(tmp_path):
    rows = [
        row(1, addresses=None, categories=None, taxonomy={"primary": "museum", "hierarchy": []}),
        row(2, addresses=[]),
        row(3, geometry=point(1, 2, ">")),
        row(4, geometry=b"POINT (1 2)", bbox={"xmin": 1.0, "xmax": 2.0, "ymin": 3.0, "ymax": 4.0}),
        row(5, geometry=None, bbox=None),
        row(6, names=None),
        row(7, names={"primary": "", "common": None}),
        row(8, longitude=200),
    ]
    found = read(write(tmp_path, *rows))
    places = list(places_of(found.rows))
    assert (places[0].feature_code, places[0].admin1, places[0].country) == ("museum", None, None)
    assert (places[1].admin1, places[1].feature_code) == (None, "train_station")
    assert [(place.longitude, place.latitude) for place in places[2:]] == [(1, 2), (1.5, 3.5), (None, None)]
    assert found.counts.dropped == {"no_name": 2, "longitude_out_of_range": 1}


def test_columns_beside_id_name_and_place_may_be_missing(tmp_path):
    rest = ("categories", "taxonomy", "confidence", "addresses", "websites")
    (place,) = places_of(read(write(tmp_path, row(1), drop=(*rest, "geometry"))).rows)
    assert place.longitude == pytest.approx(-73.977, abs=1e-4)
    (place,) = places_of(read(write(tmp_path, row(1), drop=(*rest, "bbox"))).rows)
    assert place.longitude == -73.977


@pytest.mark.parametrize(
    ("drop", "message"),
    [(("id",), "no id among"), (("names",), "no names.primary"), (("geometry", "bbox"), "no geometry and no bbox")],
)
def test_another_table_is_not_overture(tmp_path, drop, message):
    with pytest.raises(BadSetting, match=message):
        read(write(tmp_path, row(1), drop=drop))


def test_a_damaged_file_is_refused(tmp_path):
    source = write(tmp_path, *(row(number) for number in range(3000)))
    file = tmp_path / "o.parquet"
    whole = file.read_bytes()
    for data in (whole[: len(whole) // 2], b"", whole[:2000] + bytes(2000) + whole[4000:]):
        file.write_bytes(data)
        with pytest.raises(BadSetting, match="Overture's places"):
            read(source)


def test_doubtful_places_are_dropped_on_request(tmp_path):
    source = write(tmp_path, row(1), row(2, confidence=0.3), row(3, confidence=None))
    assert read(source).rows.num_rows == 3
    found = read(source + "?confidence=0.5")
    assert found.rows["name"].to_pylist() == ["Place 1"]
    assert found.counts.dropped == {"low_confidence": 2}


def grid(count=400):
    chance = np.random.default_rng(0)
    longitudes, latitudes = np.sort(chance.uniform(-180, 180, count)), chance.uniform(-90, 90, count)
    return [row(n, *map(float, at)) for n, at in enumerate(zip(longitudes, latitudes, strict=True))]


@pytest.mark.parametrize("bbox", [(-10, -90, 20, 90), (170, -45, -170, 45), (0, 89.9, 1, 90), (-180, -90, 180, 90)])
def test_row_groups_outside_the_box_count_as_outside(tmp_path, bbox):
    rows = grid()
    place_filter = PlaceFilter(bbox=bbox)
    whole = read(write(tmp_path, *rows), PlaceFilter())
    wanted = place_filter.is_in_box(whole.rows["latitude"].to_numpy(), whole.rows["longitude"].to_numpy())
    try:
        found = read(write(tmp_path, *rows, group_rows=20), place_filter)
    except BadSetting:
        assert not wanted.any()
        return
    assert found.rows.equals(whole.rows.filter(pa.array(wanted)))
    assert found.counts.dropped.get("outside_bbox", 0) == int((~wanted).sum())


def test_a_group_whose_statistics_say_nothing_is_read(tmp_path):
    rows = [row(1, longitude=100.0), row(2, bbox=None)]  # the second lies in the box, its group's box does not say
    found = read(write(tmp_path, *rows), PlaceFilter(bbox=(-80, 30, -70, 50)))
    assert found.rows["name"].to_pylist() == ["Place 2"]


def test_from_a_server_only_what_is_wanted_is_read(tmp_path):
    rows = [{**r, "websites": [f"https://{r['id']}.example/{'x' * 2000}{n}"]} for n, r in enumerate(grid())]
    write(tmp_path, *rows, group_rows=20)
    with serve(tmp_path) as server:
        remote = read(f"overture:{server.url}/o.parquet", PlaceFilter(bbox=(-10, -90, 20, 90)))
    local = read(f"overture:{tmp_path / 'o.parquet'}", PlaceFilter(bbox=(-10, -90, 20, 90)))
    assert remote.rows.equals(local.rows)
    assert remote.counts == local.counts
    assert next(iter(local.origin.values())).startswith("o.parquet sha256:")
