import errno
import itertools
import os
import subprocess
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib import image_sources
from mappool_assets.lib.image_sources import READERS, open_images
from mappool_assets.lib.web.web_fetch import FetchRules, WebFetcher
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.loopback_server import answer, running

RULES = FetchRules(max_bytes=100_000, deadline_seconds=2.0, allow_private_addresses=True)


@pytest.fixture
def fetcher():
    with WebFetcher(RULES) as web_fetcher:
        yield web_fetcher


@pytest.fixture
def server():
    with running() as served:
        yield served


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(0)) if content is None else content)
    return str(path)


def opened(fetcher, *sources):
    return [(image.source, image.error) for image in open_images(sources, fetcher)]


def test_a_file_becomes_rgb_pixels(tmp_path, fetcher):
    path = write(tmp_path / "a.png", encoded(picture(3)))
    (image,) = open_images([path], fetcher)
    assert (image.source, image.error, image.detail) == (path, None, "")
    assert (np.asarray(image.image) == np.asarray(picture(3))).all()
    (same,) = open_images([Path(path)], fetcher)
    assert same.source == path


def test_a_folder_is_all_files_below_it_by_name_whatever_their_suffix(tmp_path, fetcher):
    wanted = ["A.PNG", "b", "b.txt", "c/a.png", "c/b/a.jpg", "c/z.png", "d.png", "ünï.png"]
    for name in reversed(wanted):
        write(tmp_path / name)
    for hidden in (".hidden.png", ".git/a.png", "c/.DS_Store"):
        write(tmp_path / hidden)
    (tmp_path / "empty").mkdir()
    assert opened(fetcher, str(tmp_path)) == [(str(tmp_path / name), None) for name in wanted]


def test_the_order_is_that_of_the_sources(tmp_path, fetcher, server):
    late = write(tmp_path / "late" / "a.png")

    def slow(handler):
        time.sleep(0.3)
        answer(handler, 200, encoded(picture(1)))

    server.routes["/slow"] = slow
    sources = [late, f"{server.url}/slow", str(tmp_path / "late"), late, "nowhere.png"]
    assert opened(fetcher, *sources) == [
        (late, None), (f"{server.url}/slow", None), (late, None), (late, None), ("nowhere.png", "not_found"),
    ]  # fmt: skip


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path, fetcher):
    good = write(tmp_path / "good.png")
    wide = Image.new("1", (90_000, 2_000))
    refused = {
        write(tmp_path / "page.png", b"<html>"): "not_an_image",
        write(tmp_path / "cut.png", encoded(picture(0))[:200]): "not_an_image",
        write(tmp_path / "none.png", b""): "not_an_image",
        write(tmp_path / "bomb.png", encoded(wide)): "too_many_pixels",
        str(tmp_path / "absent.png"): "not_found",
        str(tmp_path / ("a" * 300)): "unreadable",
        "nul\0.png": "unreadable",
        f"{good}/inside": "unreadable",
        "": "not_a_file",
    }
    sources = list(itertools.chain.from_iterable((source, good) for source in refused))
    expected = itertools.chain.from_iterable(((source, error), (good, None)) for source, error in refused.items())
    assert opened(fetcher, *sources) == list(expected)
    for image in open_images(refused, fetcher):
        assert image.detail


def test_pipes_devices_and_broken_links_are_no_images_and_hold_nothing_up(tmp_path, fetcher):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "absent")
    write(tmp_path / "good.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "good.png")
    assert opened(fetcher, str(tmp_path), "/dev/zero") == [
        (str(tmp_path / "broken"), "not_found"),
        (str(tmp_path / "good.png"), None),
        (str(tmp_path / "link.png"), None),
        (str(tmp_path / "pipe"), "not_a_file"),
        ("/dev/zero", "not_a_file"),
    ]


def test_linked_folders_are_entered_only_where_they_are_named(tmp_path, fetcher):
    write(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    assert opened(fetcher, str(tmp_path)) == [(str(tmp_path / "real/a.png"), None)]
    assert opened(fetcher, str(tmp_path / "linked")) == [(str(tmp_path / "linked/a.png"), None)]


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, fetcher, monkeypatch):
    write(tmp_path / "a" / "a.png")
    write(tmp_path / "b" / "b.png")
    listed = os.listdir

    def refusing(folder):  # to be refused by the system itself one must not be root
        if Path(folder).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "listdir", refusing)
    assert opened(fetcher, str(tmp_path)) == [
        (str(tmp_path / "a"), "unreadable"),
        (str(tmp_path / "b" / "b.png"), None),
    ]


@pytest.fixture
def deep_folder(tmp_path):
    """A folder of more levels than the interpreter has frames; removed here, as pytest's own way is recursive."""
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_folders_deeper_than_the_interpreters_stack(deep_folder, fetcher):
    write(deep_folder / "e.png")
    assert opened(fetcher, str(deep_folder)) == [(str(deep_folder / "e.png"), None)]


def test_names_that_are_no_utf8(tmp_path, fetcher):
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.png")
    write(Path(path))
    assert opened(fetcher, str(tmp_path)) == [(path, None)]


def test_files_larger_than_any_image_are_not_read_whole(tmp_path, fetcher, monkeypatch):
    monkeypatch.setattr(image_sources, "MAX_FILE_BYTES", 1000)
    large, small = write(tmp_path / "large", b"x" * 1001), write(tmp_path / "small", b"x" * 1000)
    assert opened(fetcher, large, small) == [(large, "too_large"), (small, "not_an_image")]


def test_addresses_are_fetched_under_the_rules(server, fetcher):
    good = server.serve("/map.png", encoded(picture(5)))
    large = server.serve("/large.png", b"x" * 100_001)
    page = server.serve("/page.html", b"<html>")
    server.routes["/elsewhere"] = lambda handler: answer(handler, 302, Location="file:///etc/passwd")
    sources = [good, large, page, f"{server.url}/absent", f"{server.url}/elsewhere", "file:///etc/passwd", "ftp://a/b"]
    assert [error for _, error in opened(fetcher, *sources)] == [
        None, "too_large", "not_an_image", "http_404", "bad_scheme", "bad_scheme", "bad_scheme",
    ]  # fmt: skip


def test_private_addresses_are_not_dialled(server):
    with WebFetcher(FetchRules()) as strict:
        assert opened(strict, server.serve("/map.png", encoded(picture(5)))) == [
            (f"{server.url}/map.png", "blocked_address")
        ]
    assert server.requests == []


def test_an_address_that_never_ends_is_given_up(server):
    stop = threading.Event()

    def dripping(handler):
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b"x")

    server.routes["/drip"] = dripping
    rules = FetchRules(deadline_seconds=0.5, allow_private_addresses=True)
    with WebFetcher(rules) as impatient:
        assert opened(impatient, f"{server.url}/drip") == [(f"{server.url}/drip", "timeout")]
    stop.set()


def test_sources_are_taken_as_answers_are_taken(tmp_path, fetcher):
    path, taken = write(tmp_path / "a.png"), itertools.count()
    images = open_images((path for _ in taken), fetcher)  # sources without end
    for _ in range(5):
        assert next(images).error is None
    images.close()
    assert next(taken) <= 5 + READERS + 1


def test_images_are_let_go_once_they_are_passed(tmp_path, fetcher, monkeypatch):
    path, made = write(tmp_path / "a.png"), []
    decode = image_sources.open_image

    def tracked(data):
        image = decode(data)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(image_sources, "open_image", tracked)
    most = 0
    for _ in open_images([path] * 60, fetcher):
        most = max(most, sum(image() is not None for image in made))
    assert most <= READERS + 2


def test_who_stops_early_leaves_nothing_running(tmp_path, fetcher):
    images = open_images([write(tmp_path / "a.png")] * 50, fetcher)
    next(images)
    images.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("open-image")]
