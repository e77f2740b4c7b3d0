"""An index and a service for all tests of the service; not to be changed."""

import pytest

from mappool_assets_tests.serve.running_service import RunningService, running
from mappool_assets_tests.serve.small_index import SmallIndex, build_once


@pytest.fixture(scope="session")
def small_index(tmp_path_factory) -> SmallIndex:
    return build_once(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="session")
def served(small_index) -> RunningService:
    with running(small_index.settings) as service:
        yield service
