"""GeoNames' files, as they are downloaded, damaged and joined."""

import random
import zipfile

import pytest

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.places.place import places_of
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.places_table import read_places
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve

LONDON = {
    "geonameid": "2643743",
    "name": "London",
    "ascii": "London",
    "alternatenames": "Londres,Лондон,LON",
    "latitude": "51.50853",
    "longitude": "-0.12574",
    "feature_class": "P",
    "feature_code": "PPLC",
    "country": "GB",
    "cc2": "",
    "admin1": "ENG",
    "admin2": "GLA",
    "admin3": "",
    "admin4": "",
    "population": "8961989",
    "elevation": "",
    "dem": "25",
    "timezone": "Europe/London",
    "modified": "2026-01-01",
}
READING = {**LONDON, "geonameid": "2639577", "name": 'Reading "town"', "admin2": "D1", "population": "0"}
ADMIN1 = "GB.ENG\tEngland\tEngland\t6269131\nGB.SCT\tScotland\tScotland\t2638360\n"
ADMIN2 = "GB.ENG.GLA\tGreater London\tGreater London\t2648110\n"
COUNTRIES = "# ISO\tISO3\n#another comment\n" + "GB\tGBR\t826\tUK\tBritain\t" + "\t" * 13 + "\n"
NAMES = [  # id, place, language, name, preferred, short, colloquial, historic, from, to
    ("1", "2643743", "fr", "Londres", "1", "", "", "", "", ""),
    ("2", "2643743", "la", "Londinium", "", "", "", "1", "50", "457"),
    ("3", "2643743", "link", "https://en.wikipedia.org/wiki/London", "", "", "", "", "", ""),
    ("4", "2639577", "en", "Reading Town", "", "1", "", "", "", ""),
    ("5", "2643743", "iata", "LON", "", "", "", "", "", ""),
    ("6", "999", "en", "Elsewhere", "", "", "", "", "", ""),
    ("7", "2643743", "en", "The Smoke", "", "", "1", "", "", ""),
    ("8", "2643743", "", "Ludunn", "", "", "", "", "", ""),
    ("9", "2639577", "fr_1793", "Lecture", "", "", "", "", "", ""),
]


def line(row):
    return "\t".join(row.values()) + "\n"


def write(folder, *rows, name="GB.txt", **files):
    (folder / name).write_text("".join(line(row) if isinstance(row, dict) else row for row in rows), encoding="utf-8")
    for file, text in files.items():
        (folder / f"{file}.txt").write_text(text, encoding="utf-8")
    return f"geonames:{folder / name}"


def write_beside(folder):
    names = "".join("\t".join(row) + "\n" for row in NAMES)
    write(folder, name="x", admin1CodesASCII=ADMIN1, admin2Codes=ADMIN2, countryInfo=COUNTRIES, alternateNamesV2=names)


def read(*sources, place_filter=PlaceFilter(), wants_alternates=False, storage=Storage()):  # noqa: B008  frozen
    found = read_places(sources, place_filter, storage, wants_alternates=wants_alternates, progress=lambda *step: None)
    assert found.counts.rows_in == found.rows.num_rows + sum(found.counts.dropped.values())
    return found


def by_name(found):
    return {place.name: place for place in places_of(found.rows)}


def test_a_line_is_a_place_and_quotes_are_text(tmp_path):
    found = read(write(tmp_path, LONDON, READING))
    places = by_name(found)
    assert list(places) == ["London", 'Reading "town"']
    london = places["London"]
    assert (london.place_id, london.latitude, london.longitude) == ("geonames:2643743", 51.50853, -0.12574)
    assert (london.feature_class, london.feature_code, london.population) == ("P", "PPLC", 8961989)
    assert (london.country, london.country_name, london.admin1) == ("GB", "United Kingdom", None)
    assert london.alternates == ()
    assert found.joined == {}


def test_codes_get_the_names_of_the_files_beside(tmp_path):
    write_beside(tmp_path)
    found = read(write(tmp_path, LONDON, READING, {**LONDON, "geonameid": "3", "name": "Glasgow", "admin1": "SCT"}))
    places = by_name(found)
    assert (places["London"].admin1, places["London"].admin2) == ("England", "Greater London")
    assert (places['Reading "town"'].admin1, places['Reading "town"'].admin2) == ("England", None)
    assert places["Glasgow"].admin1 == "Scotland"
    assert places["London"].country_name == "Britain"
    assert found.joined["admin2Codes.txt"] == {"rows": 1, "dropped": {}}
    (origin,) = found.origin.values()
    assert [part.split(" ")[0] for part in origin.split(", ")] == [
        "GB.txt", "admin1CodesASCII.txt", "admin2Codes.txt", "countryInfo.txt",
    ]  # fmt: skip


def test_further_names_are_those_of_the_file_of_names(tmp_path):
    write_beside(tmp_path)
    source = write(tmp_path, LONDON, READING)
    places = by_name(read(source, wants_alternates=True))
    assert places["London"].alternates == (
        ("Londres", "alternate"), ("Londinium", "historic"), ("The Smoke", "alternate"), ("Ludunn", "alternate"),
    )  # fmt: skip
    assert places['Reading "town"'].alternates == (("Reading Town", "alternate"), ("Lecture", "historic"))
    places = by_name(read(source + "?languages=en,la", wants_alternates=True))
    assert places["London"].alternates == (("Londinium", "historic"), ("The Smoke", "alternate"))


def test_the_file_of_names_may_be_zipped(tmp_path):
    write_beside(tmp_path)
    with zipfile.ZipFile(tmp_path / "alternateNamesV2.zip", "w") as archive:
        archive.write(tmp_path / "alternateNamesV2.txt", "alternateNamesV2.txt")
        archive.writestr("iso-languagecodes.txt", "ISO 639-3\tISO 639-2\n")
    plain = read(write(tmp_path, LONDON), wants_alternates=True)
    (tmp_path / "alternateNamesV2.txt").unlink()
    assert read(write(tmp_path, LONDON), wants_alternates=True).rows.equals(plain.rows)


def test_without_it_they_are_those_of_the_file_itself(tmp_path):
    source = write(tmp_path, LONDON)
    (place,) = by_name(read(source, wants_alternates=True)).values()
    assert place.alternates == (("Londres", "alternate"), ("Лондон", "alternate"), ("LON", "alternate"))
    with pytest.raises(BadSetting, match=r"alternateNamesV2 beside it.*languages are asked for"):
        read(source + "?languages=en", wants_alternates=True)


def test_a_line_of_eighteen_fields_is_dropped_and_named(tmp_path):
    short = line(LONDON).replace("\tEurope/London", "")
    long = line(LONDON).rstrip("\n") + "\tmore\n"
    found = read(write(tmp_path, LONDON, short, READING, long, "\n", "words\n"))
    assert found.rows.num_rows == 2
    assert found.counts.dropped == {"fields_18": 1, "fields_20": 1, "fields_1": 1}
    assert found.counts.examples["fields_18"] == ["GB.txt, line 2"]
    assert found.counts.examples["fields_20"] == ["GB.txt, line 4"]


def test_a_line_end_within_a_name_breaks_that_line_alone(tmp_path):
    broken = {**LONDON, "geonameid": "7", "name": "Lon\ndon"}
    found = read(write(tmp_path, broken, LONDON))
    assert found.counts.dropped == {"fields_2": 1, "fields_18": 1}
    assert found.rows.num_rows == 1


def test_where_every_line_is_wrong_the_error_says_the_rule(tmp_path):
    with pytest.raises(BadSetting, match=r"3 fields_18 \(GB.txt, line 1, GB.txt, line 2, GB.txt, line 3\)"):
        read(write(tmp_path, *[line(LONDON).replace("\tEurope/London", "")] * 3))
    with pytest.raises(BadSetting, match="2 fields_3"):
        read(write(tmp_path, "id,name\tx\ty\n" * 2))


def test_an_empty_file_is_no_source(tmp_path):
    for text in ("", "\n\n"):
        with pytest.raises(BadSetting, match=r"No place is left.*0 rows"):
            read(write(tmp_path, text))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "FR.txt").write_bytes(line({**LONDON, "name": "Besançon", "alternatenames": ""}).encode("latin-1"))
    with pytest.raises(BadSetting, match=r"tab-separated UTF-8.*invalid UTF8"):
        read(f"geonames:{tmp_path / 'FR.txt'}")
    (tmp_path / "FR.txt").write_bytes(line(LONDON).encode("utf-16"))
    with pytest.raises(BadSetting):
        read(f"geonames:{tmp_path / 'FR.txt'}")


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path):
    assert read(write(tmp_path, "\ufeff", LONDON)).rows["place_id"].to_pylist() == ["geonames:2643743"]


def test_a_place_that_is_there_twice_is_kept_once(tmp_path):
    found = read(write(tmp_path, LONDON, READING, {**LONDON, "name": "Lundun"}))
    assert [place.name for place in places_of(found.rows)] == ["London", 'Reading "town"']
    assert found.counts.dropped == {"duplicate_place_id": 1}
    assert found.counts.examples["duplicate_place_id"] == ["geonames:2643743"]


def test_the_same_place_of_two_sources_is_kept_once(tmp_path):
    first = write(tmp_path, LONDON, name="a.txt")
    second = write(tmp_path, LONDON, READING, name="b.txt")
    found = read(first, second)
    assert found.rows.num_rows == 2
    assert found.counts.dropped == {"duplicate_place_id": 1}
    assert set(found.origin) == {first, second}


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingInput, match=r"nowhere\.txt"):
        read(f"geonames:{tmp_path / 'nowhere.txt'}")
    with pytest.raises(BadSetting, match="IsADirectoryError"):
        read(f"geonames:{tmp_path}")


def random_rows(count, seed=0):
    chance = random.Random(seed)
    return [
        {
            **LONDON,
            "geonameid": str(number),
            "name": chance.choice(["Paris", " Köln ", "", "x" * 301, "São Paulo"]),
            "latitude": chance.choice(["91", "x", "", f"{chance.uniform(-90, 90):.4f}", "-12.5"]),
            "longitude": chance.choice(["", f"{chance.uniform(-180, 180):.4f}", "12.5"]),
            "country": chance.choice(["FR", "DE", ""]),
            "population": chance.choice(["", "0", "9000", "-5", "lots"]),
            "feature_class": chance.choice("PAT"),
        }
        for number in range(count)
    ]


def slow_outcome(row, place_filter):
    """The obvious way: one row after another, one rule after another."""
    numbers = {}
    for name in ("latitude", "longitude", "population"):
        try:
            numbers[name] = float(row[name]) if row[name] else None
        except ValueError:
            return f"{name}_not_a_number"
    latitude, longitude, people = numbers.values()
    people = None if people is not None and people < 0 else people
    for name, limit in (("latitude", 90), ("longitude", 180)):
        if numbers[name] is not None and abs(numbers[name]) > limit:
            return f"{name}_out_of_range"
    if (latitude is None) != (longitude is None):
        return "latitude_missing" if latitude is None else "longitude_missing"
    west, south, east, north = place_filter.bbox
    if latitude is None:
        return "no_coordinates"
    if not (west <= longitude <= east and south <= latitude <= north):
        return "outside_bbox"
    if row["country"] not in place_filter.countries:
        return "other_country"
    if row["feature_class"] not in place_filter.feature_classes:
        return "other_feature_class"
    if people is None:
        return "no_population"
    if people < place_filter.min_population:
        return "below_min_population"
    name = row["name"].strip()
    return (name and ("name_too_long" if len(name) > 300 else None)) or (None if name else "no_name")


def test_rows_fare_as_in_a_slow_loop(tmp_path):
    rows = random_rows(20_000)
    place_filter = PlaceFilter((-90, -80, 100, 80), ("FR",), ("P", "A"), (), 0)
    found = read(write(tmp_path, *rows), place_filter=place_filter)
    outcomes = [slow_outcome(row, place_filter) for row in rows]
    kept = [f"geonames:{row['geonameid']}" for row, outcome in zip(rows, outcomes, strict=True) if outcome is None]
    assert found.rows["place_id"].to_pylist() == kept
    dropped = {reason: outcomes.count(reason) for reason in sorted(set(outcomes) - {None})}
    assert dict(sorted(found.counts.dropped.items())) == dropped
    assert len(dropped) >= 10


def test_blocks_do_not_matter(tmp_path, monkeypatch):
    source = write(tmp_path, *random_rows(500), line(LONDON).replace("\tGB", ""))
    whole = read(source)
    monkeypatch.setattr("mappool_assets.lib.places.delimited.BUFFER_BYTES", 2048)
    small = read(source)
    assert small.rows.equals(whole.rows)
    assert small.counts == whole.counts


# -- where files lie ----------------------------------------------------------------------------------------------


def test_a_zipped_file_is_the_same_file(tmp_path):
    plain = read(write(tmp_path, LONDON, READING))
    with zipfile.ZipFile(tmp_path / "GB.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "GeoNames\n")
        archive.write(tmp_path / "GB.txt", "GB.txt")
    zipped = read(f"geonames:{tmp_path / 'GB.zip'}")
    assert zipped.rows.equals(plain.rows)
    assert list(zipped.origin.values()) == list(plain.origin.values())  # the checksum is that of the text


def test_a_file_on_a_server_is_the_same_file_with_what_lies_beside_it(tmp_path):
    write_beside(tmp_path)
    local = read(write(tmp_path, LONDON, READING), wants_alternates=True)
    with serve(tmp_path) as server:
        remote = read(f"geonames:{server.url}/GB.txt", wants_alternates=True)
        assert remote.rows.equals(local.rows)
        with pytest.raises(MissingInput, match=r"FR\.txt"):
            read(f"geonames:{server.url}/FR.txt")


def zip_of(path, *members, damage=lambda data: data):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    path.write_bytes(damage(path.read_bytes()))


def flip_middle(data):
    at = len(data) // 3
    return data[:at] + bytes(byte ^ 255 for byte in data[at : at + 8]) + data[at + 8 :]


@pytest.mark.parametrize(
    ("members", "damage", "message"),
    [
        ([("a.csv", "x")], None, r"one file GB \(.txt\)"),
        ([("a.txt", "x"), ("b.txt", "x")], None, r"got a.txt, b.txt"),
        ([("GB.txt", line(LONDON) * 500)], lambda data: data[: len(data) // 2], "BadZipFile"),
        ([("GB.txt", "".join(map(line, random_rows(500))))], flip_middle, "Bad|error|invalid"),
        ([("GB.txt", "")], lambda data: b"", "BadZipFile"),
    ],
)
def test_an_archive_that_is_none_is_refused(tmp_path, members, damage, message):
    zip_of(tmp_path / "GB.zip", *members, damage=damage or (lambda data: data))
    with pytest.raises(BadSetting, match=message):
        read(f"geonames:{tmp_path / 'GB.zip'}")


def test_a_bomb_is_not_unpacked_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("mappool_assets.lib.places.source_files.MAX_BYTES", 10**6)
    zip_of(tmp_path / "GB.zip", ("GB.txt", line(LONDON) * 20_000))
    with pytest.raises(BadSetting, match="at most 1,000,000 bytes, unpacked"):
        read(f"geonames:{tmp_path / 'GB.zip'}")
    zip_of(tmp_path / "GB.zip", ("GB.txt", "x" * 20 * 10**6))
    monkeypatch.setattr("mappool_assets.lib.places.source_files.MAX_BYTES", 10**9)
    with pytest.raises(BadSetting, match="a line of more than"):
        read(f"geonames:{tmp_path / 'GB.zip'}")


def test_a_file_that_changes_while_it_is_read_is_no_source(tmp_path):
    source = write(tmp_path, *random_rows(50_000))
    changed = []

    def change(*step):
        if not changed:
            changed.append(step)
            with (tmp_path / "GB.txt").open("a") as file:
                file.write(line(LONDON))

    with pytest.raises(SourceChanged, match="changed while it was read"):
        read_places([source], PlaceFilter(), Storage(), wants_alternates=False, progress=change)


def test_no_secret_of_an_address_is_recorded(tmp_path):
    write(tmp_path, LONDON)
    with serve(tmp_path) as server:
        host = server.url.removeprefix("http://")
        found = read(f"geonames:http://user:word@{host}/GB.txt?token=secret?languages=en")
    assert list(found.origin) == [f"geonames:http://{host}/GB.txt?languages=en"]
