import csv
import json

import pytest

from mappool_assets.lib.classification_lines import Tally, csv_line, json_line, text_line
from mappool_assets.lib.image_classifier import ClassifiedImage

MAP = ClassifiedImage("scans/a.png", True, 1.25)
OTHER = ClassifiedImage("scans/b, c.png", False, -0.125)
BROKEN = ClassifiedImage("scans/d.png", error="not_an_image", detail='it says "<html>"')
ALL = [MAP, OTHER, BROKEN, BROKEN]


def test_text_is_in_columns():
    assert [text_line(image) for image in ALL[:3]] == [
        "map                   1.250  scans/a.png",
        "not a map            -0.125  scans/b, c.png",
        "not_an_image                 scans/d.png",
    ]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("a\nmap 9.9 b.png", r"a\nmap 9.9 b.png"),
        ("\x1b[2Jgone.png", r"\x1b[2Jgone.png"),
        ("right\u202eto left.png", r"right\u202eto left.png"),
        ("caf\udce9.png", r"caf\udce9.png"),
        ("Zürich 地図.png", "Zürich 地図.png"),
    ],
)
def test_a_source_cannot_forge_a_line(source, shown):
    line = text_line(ClassifiedImage(source, True, 1.0))
    assert line.endswith(f"  {shown}")
    assert line.encode()


def test_json_is_one_ascii_object_a_line():
    for image in [*ALL, ClassifiedImage("caf\udce9\n.png", True, 0.1)]:
        line = json_line(image)
        assert line.isascii()
        assert "\n" not in line
        assert ClassifiedImage(**json.loads(line)) == image


def test_csv_is_read_back_whatever_the_names():
    odd = ClassifiedImage('a "b",\nc.png', False, 0.1)
    latin = ClassifiedImage("caf\udce9.png", True, 2.0)
    lines = list(Tally().lines([*ALL, odd, latin], "csv"))
    rows = list(csv.DictReader("\n".join(lines).splitlines(keepends=True)))
    assert [row["source"] for row in rows] == [*(image.source for image in ALL), odd.source, r"caf\udce9.png"]
    assert [row["is_map"] for row in rows] == ["true", "false", "", "", "false", "true"]
    assert [row["score"] for row in rows] == ["1.25", "-0.125", "", "", "0.1", "2.0"]
    assert rows[2]["detail"] == BROKEN.detail
    assert csv_line(MAP) == "scans/a.png,true,1.25,,"


@pytest.mark.parametrize(("form", "lines"), [("text", 4), ("csv", 5), ("json", 4)])
def test_counts_add_up_in_every_form(form, lines):
    tally = Tally()
    assert len(list(tally.lines(ALL, form))) == lines
    assert tally.summary() == "4 images: 1 maps, 1 not maps, 2 not read (not_an_image 2)"


def test_lines_come_as_their_images_come():
    def images():
        yield MAP
        raise KeyboardInterrupt

    tally = Tally()
    lines = tally.lines(images(), "text")
    assert next(lines) == text_line(MAP)
    with pytest.raises(KeyboardInterrupt):
        next(lines)
    assert tally.summary() == "1 images: 1 maps, 0 not maps, 0 not read"
