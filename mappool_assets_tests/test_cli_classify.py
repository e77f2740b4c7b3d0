"""``mappool classify`` as people type it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mappool_assets.cli import main
from mappool_assets_tests.hub_double import WRITE, HubDouble, without_xet
from mappool_assets_tests.labelled_pictures import encoded
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.small_model import light, small_model, write_pictures

__all__ = ["small_model"]  # the fixture


@pytest.fixture
def here(small_model, tmp_path, monkeypatch):
    """A folder to type in, with pictures and a published model."""
    small_model.publish(tmp_path / "model")
    write_pictures(tmp_path / "scans", 2, first_seed=700)
    monkeypatch.chdir(tmp_path)
    for name in ("MAPPOOL_LAKE", "MAPPOOL_ALLOW_PRIVATE_ADDRESSES", "MAPPOOL_ENCODER_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAPPOOL_DEVICE", "cpu")
    return tmp_path


def classify(*arguments):
    return main(["classify", *map(str, arguments)])


def with_model(small_model):
    return "--model", "model", "--encoder", small_model.encoder.model


def test_one_line_an_image_and_the_counts_at_the_end(here, small_model, capsys):
    assert classify("scans", *with_model(small_model)) == 0
    out, err = capsys.readouterr()
    assert [(line[:9].strip(), line.split()[-1]) for line in out.splitlines()] == [
        ("map", "scans/map/000.png"), ("map", "scans/map/001.png"),
        ("not a map", "scans/other/000.png"), ("not a map", "scans/other/001.png"),
    ]  # fmt: skip
    assert err.splitlines()[-1] == "4 images: 2 maps, 2 not maps, 0 not read"


def test_images_that_cannot_be_read_are_told_counted_and_change_the_status(here, small_model, capsys):
    (here / "scans/map/page.png").write_text("<html>")
    assert classify("scans/map", "absent.png", *with_model(small_model)) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["map", "map", "not_an_image", "not_found"]
    assert err.splitlines()[-1] == "4 images: 2 maps, 0 not maps, 2 not read (not_an_image 1, not_found 1)"


def test_json_and_csv(here, small_model, capsys):
    assert classify("scans", "--json", *with_model(small_model)) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["is_map"] for answer in answers] == [True, True, False, False]
    assert classify("scans", "--csv", *with_model(small_model)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "source,is_map,score,error,detail"
    assert lines[1] == f"scans/map/000.png,true,{answers[0]['score']},,"
    assert len(lines) == 5


def test_addresses_only_where_they_are_public(here, small_model, capsys, monkeypatch):
    with running() as server:
        url = server.serve("/map.png", encoded(light(3)))
        assert classify(url, *with_model(small_model)) == 1
        assert capsys.readouterr().out.split()[0] == "blocked_address"
        monkeypatch.setenv("MAPPOOL_ALLOW_PRIVATE_ADDRESSES", "1")
        assert classify(url, *with_model(small_model)) == 0
        assert capsys.readouterr().out.split()[::2] == ["map", url]


def test_without_a_model_the_lakes_classifier_answers(here, small_model, capsys, monkeypatch):
    monkeypatch.setenv("MAPPOOL_LAKE", small_model.lake.root)
    assert classify("scans", "--encoder", small_model.encoder.model) == 0
    of_lake = capsys.readouterr().out
    (here / ".env").write_text(f"MAPPOOL_ENCODER_MODEL={small_model.encoder.model}\n")
    assert classify("scans", "--model", "lake") == 0
    assert capsys.readouterr().out == of_lake
    assert classify("scans", *with_model(small_model)) == 0
    assert capsys.readouterr().out == of_lake


def test_a_model_on_the_hub(here, small_model, capsys, monkeypatch):
    without_xet(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", WRITE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "cache"))
    with HubDouble(here) as hub:
        monkeypatch.setenv("MAPPOOL_HUB_ENDPOINT", hub.url)
        hub.create("owner/maps")
        hub.commit("owner/maps", {path.name: path.read_bytes() for path in (here / "model").iterdir()})
        options = "--model", "hf://owner/maps", "--encoder", small_model.encoder.model
        assert classify("scans/map", *options) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["map", "map"]
        assert classify("scans", "--model", "hf://owner/absent") == 2
        assert "no such model on the Hub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "IMAGE"),
        (("a.png", "--csv", "--json"), "not allowed with"),
        (("a.png", "--colour"), "unrecognized arguments"),
    ],
)
def test_calls_that_are_wrong(here, arguments, told, capsys):
    with pytest.raises(SystemExit) as left:
        classify(*arguments)
    assert left.value.code == 2
    assert told in capsys.readouterr().err


def test_models_that_cannot_be_used(here, small_model, capsys):
    assert classify("scans", "--model", "absent") == 2
    assert "A file of the published model is not there" in capsys.readouterr().err
    assert classify("scans", "--model", "s3://bucket/model") == 2
    assert classify("scans") == 2  # no lake here
    assert "mappool/classifier first" in capsys.readouterr().err
    assert classify("scans", "--model", "model") == 2
    assert "local-dir:FOLDER" in capsys.readouterr().err
    (here / "model/config.json").write_text("{}")
    assert classify("scans", *with_model(small_model)) == 2
    assert "SHA-256" in capsys.readouterr().err


def test_names_that_the_terminal_cannot_show_and_readers_that_leave(here, small_model):
    names = ["caf\udce9.png", "two\nlines.png", "地図.png", *(f"地図{number:03d}.png" for number in range(40))]
    Path("names").mkdir()
    for name in names:
        (Path("names") / name).write_bytes(encoded(light(1)))
    options = shlex.join(with_model(small_model))
    # the first process tells its status on stderr, which the pipe does not take
    command = f"({shlex.quote(sys.executable)} -m mappool_assets.cli classify names {options}; echo $? >&2) | head -n 3"
    environment = {"PYTHONIOENCODING": "ascii", "MAPPOOL_DEVICE": "cpu", "PATH": "/usr/bin:/bin", "HOME": str(here)}
    run = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert [line.split()[-1] for line in run.stdout.splitlines()] == [
        r"names/caf\udce9.png", r"names/two\nlines.png", r"names/\u5730\u56f3.png",
    ]  # fmt: skip
    assert "Traceback" not in run.stderr
    assert run.stderr.split()[-1] == "1"
