"""Indexes, services and a browser for all tests of the service; not to be changed."""

import pytest

from mappool_assets_tests import loopback_server
from mappool_assets_tests.serve.devtools import Page, browsing
from mappool_assets_tests.serve.picture_world import build_picture_world
from mappool_assets_tests.serve.running_service import RunningService, running
from mappool_assets_tests.serve.small_index import SmallIndex, build_once


@pytest.fixture(scope="session")
def small_index(tmp_path_factory) -> SmallIndex:
    return build_once(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="session")
def served(small_index) -> RunningService:
    with running(small_index.settings) as service:
        yield service


@pytest.fixture(scope="session")
def world(small_index, tmp_path_factory) -> RunningService:
    with loopback_server.running() as web:
        settings = build_picture_world(tmp_path_factory.mktemp("pictures"), small_index, web)
        with running(settings) as service:
            yield service


@pytest.fixture(scope="session")
def browser(world, tmp_path_factory) -> Page:
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, world) -> Page:
    """The page as it is first seen."""
    browser.problems.clear()
    browser.resize(1280, 900)
    browser.go(world.url + "/")
    browser.wait_for("document.querySelectorAll('#examples a').length > 3")
    yield browser
    assert browser.problems == []
