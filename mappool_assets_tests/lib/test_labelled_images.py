import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.errors import BadSetting, BadTrainingSet
from mappool_assets.lib.labelled_images import find_labelled_images
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher
from mappool_assets_tests.labelled_pictures import encoded, picture, write_classes
from mappool_assets_tests.loopback_server import answer, running


@pytest.fixture
def fetcher():
    with WebFetcher(replace(FetchRules(), allow_private_addresses=True)) as web_fetcher:
        yield web_fetcher


def found(address, fetcher):
    return [(image.name, image.label) for image in find_labelled_images(str(address), fetcher, "map")]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_per_class(tmp_path, fetcher):
    write_classes(tmp_path, images_per_class=2)
    write(tmp_path / "map" / "deeper" / "notes.txt", "no image, but counted later")
    write(tmp_path / "map" / ".DS_Store", "hidden")
    write(tmp_path / ".git" / "config", "hidden")
    write(tmp_path / "README.md", "beside the classes")
    assert found(tmp_path, fetcher) == [
        ("map/00000.png", "map"),
        ("map/00001.png", "map"),
        ("map/deeper/notes.txt", "map"),
        ("photo/10000.png", "photo"),
        ("photo/10001.png", "photo"),
    ]
    first = find_labelled_images(str(tmp_path), fetcher, "map")[0]
    assert first.read() == encoded(picture(0))


@pytest.mark.parametrize("column", ["path", "url", "image"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_paths_and_urls(tmp_path, fetcher, column, suffix):
    write(tmp_path / "files" / "b.png", "b")
    with running() as server:
        columns = {
            column: [server.serve("/a.png", b"fetched"), "files/b.png"],
            "label": ["map", "photo"],
            "other": [1, 2],
        }
        table = pa.table(columns)
        if suffix == ".csv":
            pa.csv.write_csv(table, tmp_path / "table.csv")
        else:
            pq.write_table(table, tmp_path / "table.parquet")
        images = find_labelled_images(str(tmp_path / f"table{suffix}"), fetcher, "map")
        assert {image.label: image.read() for image in images} == {"map": b"fetched", "photo": b"b"}


def test_order_is_by_name_whatever_the_tables_order(tmp_path, fetcher):
    table = write(tmp_path / "t.csv", "path,label\nc,map\na,photo\nb,map\na,map\n")
    assert found(table, fetcher) == [("a", "map"), ("a", "photo"), ("b", "map"), ("c", "map")]


def test_labels_may_be_numbers_and_na_is_a_name(tmp_path, fetcher):
    table = write(tmp_path / "t.csv", "path,label\na,1\nNA,map\n")
    assert found(table, fetcher) == [("NA", "map"), ("a", "1")]


def test_what_cannot_be_read_is_known_when_it_is_read(tmp_path, fetcher):
    table = write(tmp_path / "t.csv", "path,label\ngone.png,map\nftp://example.org/a,photo\n")
    other_scheme, gone = find_labelled_images(str(table), fetcher, "map")
    with pytest.raises(FileNotFoundError):
        gone.read()
    with pytest.raises(FetchRefused):
        other_scheme.read()


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("path,label\n", "", "no labelled images"),
        ("path,label\na,map\nb,map\n", "", "one class"),
        ("path,label\na,photo\nb,chart\n", "", "searched for is missing"),
        ("file,label\na,map\n", "", "lacks a column"),
        ("path,class\na,map\n", "", "lacks a column"),
        ("path,label\na,map\nb,\n", "row 2", "incomplete"),
        ("path,label\n,map\nb,photo\n", "row 1", "incomplete"),
        ("path,label\na,map,one too many\n", "", "cannot be read"),
        ("", "", "cannot be read"),
    ],
)
def test_bad_tables_say_what_is_wrong_and_where(tmp_path, fetcher, text, where, what):
    table = write(tmp_path / "t.csv", text)
    with pytest.raises(BadTrainingSet, match=what) as caught:
        find_labelled_images(str(table), fetcher, "map")
    assert str(table) in caught.value.where
    assert where in caught.value.where


def test_bad_parquet_tables(tmp_path, fetcher):
    broken = write(tmp_path / "broken.parquet", "no parquet")
    with pytest.raises(BadTrainingSet, match="cannot be read"):
        find_labelled_images(str(broken), fetcher, "map")
    pq.write_table(pa.table({"image": [{"bytes": b"a"}], "label": ["map"]}), tmp_path / "structs.parquet")
    with pytest.raises(BadTrainingSet, match="cannot be read"):
        find_labelled_images(str(tmp_path / "structs.parquet"), fetcher, "map")
    pq.write_table(pa.table({"path": ["a", "b"], "label": ["map", None]}), tmp_path / "null.parquet")
    with pytest.raises(BadTrainingSet, match="row 2"):
        find_labelled_images(str(tmp_path / "null.parquet"), fetcher, "map")


def test_folders_without_classes(tmp_path, fetcher):
    with pytest.raises(BadTrainingSet, match="no labelled images"):
        find_labelled_images(str(tmp_path), fetcher, "map")
    write(tmp_path / "map" / "a.png", "a")
    (tmp_path / "photo").mkdir()
    with pytest.raises(BadTrainingSet, match="one class"):
        find_labelled_images(str(tmp_path), fetcher, "map")


@pytest.mark.parametrize(
    "address", ["nowhere", "a.txt", "hf://datasets/owner", "hf://models/a/b", "hf://datasets/a/b@"]
)
def test_addresses_of_no_known_form(tmp_path, fetcher, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt", "text")
    with pytest.raises(BadSetting, match=address.split("/")[-1]):
        find_labelled_images(address, fetcher, "map")


# -- the Hub, from a double on the loopback interface ---------------------------------------------------------------

COMMIT = "0123456789012345678901234567890123456789"
FILE = "data/train-00000-of-00001.parquet"

# In a process of its own: the Hub's address is read from the environment when the client is imported.
LIST_IMAGES = """
import sys
from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.labelled_images import find_labelled_images
from mappool_assets.lib.web.web_fetch import FetchRules, WebFetcher
with WebFetcher(FetchRules()) as fetcher:
    for address in sys.argv[1:]:
        try:
            for image in find_labelled_images(address, fetcher, "map"):
                print(image.name, image.label, hashlib.sha256(image.read()).hexdigest())
        except MappoolError as error:
            print(type(error).__name__, error.where, error.what, sep="|")
"""


def list_images_of_hub(endpoint, home, *addresses):
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    program = [sys.executable, "-c", "import hashlib" + LIST_IMAGES, *addresses]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def serve_dataset(server, name, revision, body):
    """Serve what the client asks for when it loads a dataset of one file."""

    def as_json(document):
        return lambda handler: answer(handler, 200, json.dumps(document).encode(), Content_Type="application/json")

    about = {"id": name, "_id": "1", "sha": COMMIT, "siblings": [{"rfilename": FILE}], "private": False, "gated": False,
             "disabled": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
    file = {"type": "file", "path": FILE, "size": len(body), "oid": "0" * 40}
    folder = {"type": "directory", "path": "data", "oid": "1" * 40}
    tree = f"/api/datasets/{name}/tree/{COMMIT}"
    server.routes |= {
        f"/api/datasets/{name}/revision/{revision}": as_json(about),
        f"/api/datasets/{name}/revision/{COMMIT}": as_json(about),
        f"{tree}?recursive=false&expand=false": as_json([folder]),
        f"{tree}/data?recursive=false&expand=false": as_json([file]),
        f"/datasets/{name}/resolve/{COMMIT}/{FILE}": lambda handler: answer(
            handler, 200, body, ETag='"0"', X_Repo_Commit=COMMIT
        ),
    }


def parquet_of(labels, column="label"):
    import datasets

    features = {"image": datasets.Image(), column: datasets.ClassLabel(names=["photo", "map"])}
    images = [{"bytes": encoded(picture(seed)), "path": None} for seed in range(len(labels))]
    buffer = io.BytesIO()
    rows = datasets.Dataset.from_dict({"image": images, column: labels}, datasets.Features(features))
    rows.to_parquet(buffer)
    return buffer.getvalue()


def test_a_dataset_of_the_hub(tmp_path):
    with running() as server:
        serve_dataset(server, "some-one/maps.v1", "v2", parquet_of([0, 1, 1]))
        serve_dataset(server, "some-one/gaps", "v2", parquet_of([0, 1, -1]))
        serve_dataset(server, "some-one/columns", "v2", parquet_of([0, 1], column="kind"))
        server.routes["/api/datasets/some-one/gone/revision/v2"] = lambda handler: answer(
            handler, 404, X_Error_Code="RepoNotFound"
        )
        addresses = [f"hf://datasets/some-one/{name}@v2" for name in ("maps.v1", "gaps", "columns", "gone")]
        lines = list_images_of_hub(server.url, tmp_path, *addresses)
    assert lines == [
        *(
            f"train/{seed:08d} {label} {hashlib.sha256(encoded(picture(seed))).hexdigest()}"
            for seed, label in enumerate(["photo", "map", "map"])
        ),
        f"BadTrainingSet|{addresses[1]}, split train, row 3|A row has no label",
        f"BadTrainingSet|{addresses[2]}, split train|The dataset's columns do not fit",
        f"BadTrainingSet|{addresses[3]}|There is no such dataset, or it is private",
    ]


def test_a_hub_that_does_not_answer_is_no_bad_training_set(tmp_path):
    with running() as server:
        server.routes["/api/datasets/some/maps"] = lambda handler: answer(handler, 503)
        lines = list_images_of_hub(server.url, tmp_path, "hf://datasets/some/maps")
    assert lines == ["SourceUnavailable|hf://datasets/some/maps|The Hub does not answer"]


def test_a_local_folder_that_hides_a_dataset_is_found(tmp_path, fetcher, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "some" / "maps", images_per_class=1)
    with pytest.raises(BadTrainingSet, match="hides the dataset"):
        find_labelled_images("hf://datasets/some/maps", fetcher, "map")
