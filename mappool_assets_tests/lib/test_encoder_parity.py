import hashlib
from dataclasses import replace

import numpy as np
import pytest

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.encoder_parity import ParityReport, measure_parity
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.web.web_fetch import FetchRules, WebFetcher
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.tiny_clip import write_tiny_clip

COUNT = 20


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return ClipEncoder(write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny"), device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def vectors(encoder):
    return encoder.embed_images(picture(seed) for seed in range(COUNT))


@pytest.fixture
def pool(vectors):
    """Rows of a pool whose images are all there."""
    with running() as server:
        rows = []
        for seed in range(COUNT):
            data = encoded(picture(seed))
            rows.append((server.serve(f"/{seed}.png", data), hashlib.sha256(data).hexdigest(), vectors[seed]))
        yield rows


@pytest.fixture
def fetcher():
    with WebFetcher(replace(FetchRules(), allow_private_addresses=True)) as web_fetcher:
        yield web_fetcher


def test_the_encoder_of_the_pool_agrees(encoder, pool, fetcher):
    report = measure_parity(encoder, pool, fetcher)
    assert (report.verdict, report.tried, report.verified, report.refused) == ("agrees", 16, 16, {})
    assert min(report.cosines) > 0.999


def test_another_encoder_disagrees(tmp_path, pool, fetcher):
    other = ClipEncoder(write_tiny_clip(tmp_path / "tiny", seed=1), device="cpu", batch_size=4)
    report = measure_parity(other, pool, fetcher)
    assert report.verdict == "disagrees"
    assert report.verified == 16
    assert max(report.cosines) < 0.99


def test_rows_that_cannot_be_compared_are_counted(encoder, pool, fetcher):
    url, sha256, vector = pool[0]
    base = url.rsplit("/", 1)[0]
    html = b"<html></html>"
    bad = [
        (f"{base}/gone.png", sha256, vector),
        (url, "0" * 64, vector),
        (url, sha256, np.zeros_like(vector)),
        ("ftp://example.org/a.png", sha256, vector),
    ]
    report = measure_parity(encoder, bad + pool, fetcher, wanted=10)
    assert report.refused == {"bad_scheme": 1, "http_404": 1, "sha256_changed": 1, "zero_vector": 1}
    assert (report.tried, report.verified, report.verdict) == (14, 10, "agrees")
    with running() as server:
        page = (server.serve("/page", html), hashlib.sha256(html).hexdigest(), vector)
        assert measure_parity(encoder, [page], fetcher).refused == {"not_an_image": 1}


def test_too_few_images_decide_nothing(encoder, pool, fetcher):
    gone = [(url + ".gone", sha256, vector) for url, sha256, vector in pool]
    report = measure_parity(encoder, pool[:7] + gone, fetcher, at_most=12)
    assert (report.verdict, report.tried, report.verified, report.refused) == ("undecided", 12, 7, {"http_404": 5})
    empty = measure_parity(encoder, [], fetcher)
    assert (empty.verdict, empty.tried) == ("undecided", 0)


def test_rows_are_taken_only_until_there_are_enough(encoder, pool, fetcher):
    rows = iter(pool)
    measure_parity(encoder, rows, fetcher, wanted=9)
    assert len(list(rows)) == COUNT - 9


def test_vectors_of_another_length_are_an_error(encoder, pool, fetcher):
    url, sha256, vector = pool[0]
    with pytest.raises(BadModel, match="length 63"):
        measure_parity(encoder, [(url, sha256, vector[:63])], fetcher)


@pytest.mark.parametrize(
    ("cosines", "verdict"),
    [
        ([1.0] * 7, "undecided"),
        ([1.0] * 8, "agrees"),
        ([0.99] * 9 + [0.1], "agrees"),
        ([0.99] * 8 + [0.989] * 2, "disagrees"),
        ([0.1] * 8, "disagrees"),
        ([float("nan")] * 8, "disagrees"),
    ],
)
def test_the_rule(cosines, verdict):
    assert ParityReport(tuple(cosines), len(cosines)).verdict == verdict
