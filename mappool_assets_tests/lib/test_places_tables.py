"""Keyword lists, tables with a mapping, Natural Earth and Linked Places."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.place import places_of
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.places_table import read_places
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.s3_server import serve_s3


def read(source, place_filter=PlaceFilter(), storage=Storage(), wants_alternates=True):  # noqa: B008  frozen
    found = read_places([source], place_filter, storage, wants_alternates=wants_alternates, progress=lambda *step: None)
    assert found.counts.rows_in == found.rows.num_rows + sum(found.counts.dropped.values())
    return found


def places(source, **kwargs):
    return list(places_of(read(source, **kwargs).rows))


# -- keywords -----------------------------------------------------------------------------------------------------

KEYWORDS = (
    "# the article's district\n"
    "grand central terminal\tmidtown east\tunited states\r\n"
    "\n"
    "St. John's, Newfoundland\n"
    "  the  bund \tshanghai\n"
    "a\tb\tc\td\n"
    "grand central terminal\tmidtown east\tunited states\n"
    "\tnowhere\n"
)


def test_keywords_have_their_context_after_tabs(tmp_path):
    (tmp_path / "list.txt").write_text(KEYWORDS, encoding="utf-8-sig")
    found = read(f"keywords:{tmp_path / 'list.txt'}")
    rows = [(place.name, place.admin1, place.country, place.country_name) for place in places_of(found.rows)]
    assert rows == [
        ("grand central terminal", "midtown east", "united states", "united states"),
        ("St. John's, Newfoundland", None, None, None),
        ("the bund", "shanghai", None, None),
    ]
    assert found.counts.dropped == {"fields_4": 1, "duplicate_place_id": 1, "no_name": 1}
    assert found.counts.examples["fields_4"] == ["list.txt, line 6"]
    ids = found.rows["place_id"].to_pylist()
    assert all(len(place_id) == len("keyword:") + 16 and place_id.startswith("keyword:") for place_id in ids)


def test_a_keyword_keeps_its_id_wherever_it_stands(tmp_path):
    (tmp_path / "a.txt").write_text("x\ny\tz\n")
    (tmp_path / "b.txt").write_text("y\tz\nother\nx\n")
    first, second = (
        {place.name: place.place_id for place in places(f"keywords:{tmp_path / file}")} for file in ("a.txt", "b.txt")
    )
    assert first == {name: second[name] for name in "xy"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Besançon".encode("latin-1"), "UnicodeDecodeError"),
        (b"x" * 70_000, "longer than 65,536 bytes"),
        (b"# nothing\n\n", "a keyword a line.*0 rows"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, data, message):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(BadSetting, match=message):
        read(f"keywords:{tmp_path / 'list.txt'}")


# -- tables with a mapping ----------------------------------------------------------------------------------------


def test_columns_of_a_fields_name_need_no_mapping(tmp_path):
    text = 'id,name,country,latitude,longitude,alternates,other\n7,"Paris, ""Ville""",FR,48.85,2.35,Lutèce; Paname;,x\n'
    (tmp_path / "p.csv").write_text(text)
    (place,) = places(f"csv:{tmp_path / 'p.csv'}")
    assert (place.place_id, place.name, place.country_name) == ("csv:7", 'Paris, "Ville"', "France")
    assert (place.latitude, place.longitude) == (48.85, 2.35)
    assert place.alternates == (("Lutèce", "alternate"), ("Paname", "alternate"))


def test_a_mapping_says_which_column_is_what(tmp_path):
    text = "Nr;Ort;Land;Breite;Länge;früher\n1;Gdańsk;PL;54,3;18.6;Danzig\n2;Wrocław;PL;51.1;17.0;Breslau;Vratislav\n"
    text += '3;"Two\nlines";PL;1;2;\n'
    (tmp_path / "p.csv").write_text(text, encoding="utf-8-sig")
    found = read(
        f"csv:{tmp_path / 'p.csv'}?delimiter=;&id=Nr&name=Ort&country=Land&historic=fr%C3%BCher&latitude=Breite"
        "&longitude=L%C3%A4nge"
    )
    assert found.counts.dropped == {"fields_7": 1, "latitude_not_a_number": 1}
    assert found.counts.examples == {"fields_7": ["p.csv, line 3"], "latitude_not_a_number": ["csv:1"]}
    assert [place.name for place in places_of(found.rows)] == ["Two lines"]


def test_rows_without_id_get_one_from_what_they_say(tmp_path):
    (tmp_path / "p.tsv").write_text('id\tname\tcountry\n\tA "b\tFR\n9\tB\tFR\n\tA "b\tDE\n\tA "b\tFR\n')
    found = read(f"csv:{tmp_path / 'p.tsv'}")
    ids = found.rows["place_id"].to_pylist()
    assert (len(set(ids)), ids[1], found.counts.dropped) == (3, "csv:9", {"duplicate_place_id": 1})
    (tmp_path / "p.jsonl").write_text('{"name": "A \\"b", "country": "FR", "population": null}\n')
    (place,) = places(f"jsonl:{tmp_path / 'p.jsonl'}")
    assert place.place_id.removeprefix("jsonl:") == ids[0].removeprefix("csv:")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("title,country\nx,FR\n", "", r"no column 'name' among country, title"),
        ("name\nx\n", "?population=people", r"no column 'people' among name"),
        ("name,name\nx,y\n", "", "the column 'name' twice"),
        ("name," + "x" * 200_000 + "\nx,y\n", "", "a header that is none"),
        ("", "", "no line with the names"),
        ("name\n", "", "0 rows"),
        ('name\n"x\n' + "y\n" * 5_000_000, "", "quotation mark that is never closed|No place is left"),
        ("name\nBesançon\n", "", "UTF"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, options, message):
    encoding = "latin-1" if "ç" in text else "utf-8"
    (tmp_path / "p.csv").write_text(text, encoding=encoding)
    with pytest.raises(BadSetting, match=message):
        read(f"csv:{tmp_path / 'p.csv'}{options}")


def test_json_lines_need_not_all_have_the_same_keys(tmp_path):
    rows = [
        {"name": "A", "country": "FR", "population": 7},
        {"id": 12, "name": "B", "alternates": ["b1", None, "b2"], "historic": "b3;b4", "latitude": 1, "longitude": 2.5},
        {"name": {"en": "C"}},
        {"title": "D"},
        ["E"],
        {"name": "F\ud800"},
    ]
    lines = [json.dumps(row) for row in rows] + ["{", "", '{"name": ' + "[" * 10_000]
    (tmp_path / "p.jsonl").write_text("\n".join(lines), encoding="utf-8-sig")
    found = read(f"jsonl:{tmp_path / 'p.jsonl'}")
    first, second = places_of(found.rows)
    assert (first.name, first.population, first.latitude) == ("A", 7, None)
    assert (second.place_id, second.latitude, second.longitude) == ("jsonl:12", 1, 2.5)
    assert second.alternates == tuple((f"b{i}", "alternate" if i < 3 else "historic") for i in range(1, 5))
    assert found.counts.dropped == {"not_json": 3, "not_a_text": 2, "no_name": 1}
    assert found.counts.examples["not_json"][0] == "p.jsonl, row 5"


def test_json_lines_must_have_what_is_mapped(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"name": "A"}\n{"name": "B", "lat": 4}\n')
    with pytest.raises(BadSetting, match="no column 'latt' among"):
        read(f"jsonl:{tmp_path / 'p.jsonl'}?latitude=latt")
    (tmp_path / "p.jsonl").write_text('{"name": "' + "x" * 2**20 + '"}')
    with pytest.raises(BadSetting, match="line 1 is longer than"):
        read(f"jsonl:{tmp_path / 'p.jsonl'}")


def test_tables_may_lie_in_a_bucket(tmp_path):
    import boto3

    with serve_s3("places") as endpoint:
        boto3.client("s3", endpoint_url=endpoint).put_object(Bucket="places", Key="a/p.csv", Body=b"name\nOslo\n")
        (place,) = places("csv:s3://places/a/p.csv", storage=Storage(s3_endpoint=endpoint))
    assert place.name == "Oslo"


# -- Natural Earth ------------------------------------------------------------------------------------------------

TOKYO = {
    "NE_ID": 1159151609, "NAME": "Tokyo", "NAMEALT": "Tōkyō|Edo", "ADM0NAME": "Japan", "ADM1NAME": "Tokyo",
    "ISO_A2": "JP", "FEATURECLA": "Admin-0 capital", "LATITUDE": 35.68, "LONGITUDE": 139.75, "POP_MAX": 35676000,
    "SCALERANK": 0,
}  # fmt: skip
PRISTINA = {
    **TOKYO, "NE_ID": -99, "NAME": "Pristina", "NAMEALT": None, "ADM0NAME": "Kosovo", "ADM1NAME": None,
    "ISO_A2": "-99", "LATITUDE": 42.67, "LONGITUDE": 21.17, "POP_MAX": -99,
}  # fmt: skip


def write_natural_earth(folder, form):
    rows = [TOKYO, PRISTINA]
    if form == "csv":
        cells = [[str("" if value is None else value) for value in row.values()] for row in rows]
        path = folder / "ne.csv"
        path.write_text("\n".join(",".join(row) for row in [list(TOKYO), *cells]) + "\n")
    elif form == "geojson":
        path = folder / "ne.geojson"
        features = []
        for row in rows:
            properties = {key.lower(): value for key, value in row.items() if key not in ("LATITUDE", "LONGITUDE")}
            geometry = {"type": "Point", "coordinates": [row["LONGITUDE"], row["LATITUDE"]]}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    elif form == "zip":
        write_natural_earth(folder, "csv")
        path = folder / "ne.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(folder / "ne.csv", "inside/ne.csv")
            archive.writestr("ne.VERSION.txt", "5.1.2")
    else:
        path = folder / "ne.parquet"
        table = pa.Table.from_pylist(rows)
        floats = table["NE_ID"].cast(pa.float64())
        table = table.set_column(0, "NE_ID", floats).append_column("geometry", pa.array([b"1", b"2"]))
        pq.write_table(table, path)
    return f"natural_earth:{path}"


@pytest.mark.parametrize("form", ["csv", "geojson", "parquet", "zip"])
def test_populated_places_are_the_same_in_every_form(tmp_path, form):
    tokyo, pristina = places(write_natural_earth(tmp_path, form))
    assert (tokyo.place_id, tokyo.name, tokyo.admin1) == ("natural_earth:1159151609", "Tokyo", "Tokyo")
    assert (tokyo.country, tokyo.country_name, tokyo.feature_class) == ("JP", "Japan", "P")
    assert (tokyo.feature_code, tokyo.population) == ("Admin-0 capital", 35676000)
    assert (tokyo.latitude, tokyo.longitude) == (35.68, 139.75)
    assert tokyo.alternates == (("Tōkyō", "alternate"), ("Edo", "alternate"))
    assert (pristina.country, pristina.country_name, pristina.population) == ("Kosovo", "Kosovo", None)
    assert pristina.alternates == ()
    assert len(pristina.place_id.removeprefix("natural_earth:")) == 16


@pytest.mark.parametrize("geometries", [5, {"type": "Point"}, "Point", [], [5], True])
def test_a_geometry_of_another_form_gives_no_position(tmp_path, geometries):
    collection = {"type": "GeometryCollection", "geometries": geometries}
    feature = {"type": "Feature", "properties": {"NAME": "Tokyo", "ADM0NAME": "Japan"}, "geometry": collection}
    (tmp_path / "ne.geojson").write_text(json.dumps({"features": [feature]}))
    (tokyo,) = places(f"natural_earth:{tmp_path / 'ne.geojson'}")
    assert (tokyo.name, tokyo.latitude) == ("Tokyo", None)


def test_another_table_is_not_natural_earth(tmp_path):
    (tmp_path / "ne.csv").write_text("NAME,country\nTokyo,Japan\n")
    with pytest.raises(BadSetting, match="no column 'ADM0NAME'"):
        read(f"natural_earth:{tmp_path / 'ne.csv'}")
    with zipfile.ZipFile(tmp_path / "ne.zip", "w") as archive:
        archive.writestr("ne.shp", "x")
        archive.writestr("ne.dbf", "x")
    with pytest.raises(BadSetting, match=r"got ne.shp, ne.dbf"):
        read(f"natural_earth:{tmp_path / 'ne.zip'}")
    for text in ("[]", "{", '{"features": 5}', "\xff"):
        (tmp_path / "ne.geojson").write_bytes(text.encode("latin-1"))
        with pytest.raises(BadSetting, match=r"no JSON|no list of features"):
            read(f"natural_earth:{tmp_path / 'ne.geojson'}")
    (tmp_path / "ne.parquet").write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(BadSetting, match="Natural Earth's populated places"):
        read(f"natural_earth:{tmp_path / 'ne.parquet'}")


# -- Linked Places ------------------------------------------------------------------------------------------------

LP_TSV = (
    "id\ttitle\ttitle_source\tfclasses\tccodes\tvariants\tparent_name\ttypes\tlon\tlat\tgeowkt\tstart\n"
    'a1\tAleppo\tAtlas "x\tP;A\tSY;TR\tHalab@ar-latn; Beroea@el;حلب\tSyria\tcity\t37.16\t36.2\t\t-300\n'
    "a2\tGhazni\tAtlas\tP\tAF\t\t\ttown\t\t\tPOINT(68.43 33.55)\t900\n"
    "\tNobody\tAtlas\tP\t\t\t\t\t\t\t\t1\n"
    "a4\tRegion\tAtlas\tR\t\t\t\t\t\t\tLINESTRING(1 2, 3 4)\t1\n"
    "a5\tshort\n"
)


def test_lp_tsv_gives_historic_names(tmp_path):
    (tmp_path / "lp.tsv").write_text(LP_TSV)
    found = read(f"linked_places:{tmp_path / 'lp.tsv'}")
    aleppo, ghazni, region = places_of(found.rows)
    assert (aleppo.place_id, aleppo.admin1, aleppo.country_name) == ("linked_places:a1", "Syria", "Syria")
    assert (aleppo.country, aleppo.feature_class, aleppo.feature_code) == ("SY", "P", "city")
    assert aleppo.alternates == tuple((name, "historic") for name in ("Halab", "Beroea", "حلب"))
    assert (aleppo.longitude, aleppo.latitude) == (37.16, 36.2)
    assert (ghazni.longitude, ghazni.latitude, ghazni.alternates) == (68.43, 33.55, ())
    assert (region.longitude, region.country) == (None, None)
    assert found.counts.dropped == {"no_place_id": 1, "fields_2": 1}


def feature(identity, title, **changes):
    return {
        "@id": identity,
        "type": "Feature",
        "properties": {"title": title, "ccodes": ["GB"], "fclasses": ["P"]},
        "names": [
            {"toponym": "Abona", "when": {"timespans": [{"start": {"in": "100"}, "end": {"in": "400"}}]}},
            {"toponym": "Abingdon-on-Thames", "when": {"timespans": [{"start": {"in": "2012"}}]}},
            {"toponym": "Abbendon"},
        ],
        "types": [{"identifier": "aat:300008347", "label": "inhabited places"}],
        "geometry": {
            "type": "GeometryCollection",
            "geometries": [{"type": "Polygon"}, {"type": "Point", "coordinates": [-1.28, 51.67]}],
        },
        "relations": [{"relationType": "gvp:broaderPartitive", "label": "Berkshire"}],
        **changes,
    }


def test_linked_places_format_dates_its_names(tmp_path):
    features = [
        feature("http://x/1", "Abingdon"),
        feature("http://x/2", "Wallingford", geometry=None, names=[], relations=None, types=[{}]),
        feature("http://x/3", "Far", geometry={"type": "Point", "coordinates": [10**400, 1]}),
        feature("http://x/4", 5),
        feature(6, "x"),
        feature("http://x/7", "x", names=[{"toponym": None}, {}]),
        feature("http://x/8", "x", names="y"),
        feature("http://x/9", "\ud800"),
        "no feature",
    ]
    (tmp_path / "lp.jsonld").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read(f"linked_places:{tmp_path / 'lp.jsonld'}")
    abingdon, wallingford = places_of(found.rows)
    assert (abingdon.place_id, abingdon.admin1, abingdon.country) == ("linked_places:http://x/1", "Berkshire", "GB")
    assert abingdon.alternates == (
        ("Abona", "historic"), ("Abingdon-on-Thames", "alternate"), ("Abbendon", "alternate"),
    )  # fmt: skip
    assert (abingdon.longitude, abingdon.latitude) == (-1.28, 51.67)
    assert (abingdon.feature_class, abingdon.feature_code) == ("P", "inhabited places")
    assert (wallingford.longitude, wallingford.alternates, wallingford.admin1) == (None, (), None)
    assert found.counts.dropped == {"longitude_not_a_number": 1, "not_a_feature": 6}


def test_linked_places_of_another_form_are_refused(tmp_path):
    (tmp_path / "lp.xlsx").write_bytes(b"PK")
    with pytest.raises(BadSetting, match=r"a name that ends with \.tsv"):
        read(f"linked_places:{tmp_path / 'lp.xlsx'}")
    (tmp_path / "lp.tsv").write_text("title\tlon\nAleppo\t3\n")
    with pytest.raises(BadSetting, match="no column 'id'"):
        read(f"linked_places:{tmp_path / 'lp.tsv'}")
