import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged, SourceUnavailable
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import LocalFile, open_ranged
from mappool_assets_tests import range_server
from mappool_assets_tests.range_server import changed, fine, reset_after, serve, status, whole_file
from mappool_assets_tests.s3_server import serve_s3

CONTENT = os.urandom(10_000)
QUICK = Storage(attempts=3, first_wait_seconds=0.01, read_deadline_seconds=0.5)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    with serve(tmp_path) as running:
        yield running


def opened(server, storage=QUICK):
    return open_ranged(f"{server.url}/file.bin", storage)


def test_a_local_file_gives_exact_ranges_and_refuses_others(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    with open_ranged(str(path), QUICK) as file:
        assert file.size == len(CONTENT)
        assert file.read(7, 100) == CONTENT[7:107]
        assert file.read(len(CONTENT), 0) == b""
        assert file.bytes_read == 100
        with pytest.raises(SourceChanged, match="10000"):
            file.read(9_999, 2)
    with pytest.raises(MissingInput):
        open_ranged(str(tmp_path / "other"), QUICK)


def test_a_stream_over_ranges_reads_as_the_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)

    @given(st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 5_000))))
    def reads_agree(steps):
        with LocalFile(str(path)) as file, path.open("rb") as plain:
            stream = file.as_stream(64)
            for position, length in steps:
                assert stream.seek(position) == plain.seek(position)
                assert stream.read(length) == plain.read(length)

    reads_agree()


def test_http_ranges_and_size_without_reading_the_file(server):
    with opened(server) as file:
        assert file.size == len(CONTENT)
        assert file.read(5_000, 1_234) == CONTENT[5_000:6_234]
    assert server.bytes_sent == 1_235


@pytest.mark.parametrize(
    "fault",
    [
        status(429, Retry_After="0"),
        status(503),
        status(429, Retry_After=format_datetime(datetime.now(UTC) - timedelta(hours=1))),
        reset_after(0),
        reset_after(700),
    ],
)
def test_passing_faults_are_overcome(server, fault):
    server.faults = [fine, fault]
    with opened(server) as file:
        assert file.read(100, 2_000) == CONTENT[100:2_100]


def test_a_broken_connection_is_resumed_where_it_stopped(server):
    server.faults = [fine, *[reset_after(500)] * 5]  # more breaks than attempts, each with progress
    with opened(server) as file:
        assert file.read(0, 3_000) == CONTENT[:3_000]
    assert server.requests[-1].endswith("bytes=2500-2999")
    assert server.bytes_sent == 3_001


def test_a_slow_drip_is_cut_and_resumed(server):
    server.faults = [fine, range_server.drip(0.1)]
    with opened(server) as file:
        assert file.read(0, 1_000) == CONTENT[:1_000]


def test_a_server_that_stays_down_is_named(server):
    server.faults = [fine, *[status(503)] * 10]
    with opened(server) as file, pytest.raises(SourceUnavailable, match=r"HTTP 503, 3 times in a row"):
        file.read(0, 10)


def test_a_server_without_ranges_is_refused_not_misread(server):
    server.faults = [fine, whole_file]
    with opened(server) as file, pytest.raises(BadSetting, match="does not answer byte ranges"):
        file.read(10, 10)


def test_changed_content_is_refused(server):
    server.faults = [fine, changed]
    with opened(server) as file, pytest.raises(SourceChanged, match="ETag"):
        file.read(10, 10)


def test_an_absent_and_an_empty_file(server):
    with pytest.raises(MissingInput):
        open_ranged(f"{server.url}/absent", QUICK)
    (server.root / "empty").touch()
    with open_ranged(f"{server.url}/empty", QUICK) as file:
        assert file.size == 0


def test_a_signed_address_is_reused_and_resolved_anew_when_it_expires(server):
    def redirect(handler):
        if "resolve" not in handler.path:
            return False
        handler.answer(302, b"", {"Location": f"{server.url}/file.bin?signature=1"})
        return True

    class Always(list):
        def pop(self, index):
            return redirect

        def __bool__(self):
            return True

    server.faults = Always()
    with open_ranged(f"{server.url}/resolve/main/file.bin", QUICK) as file:
        assert file.read(0, 10) + file.read(10, 10) == CONTENT[:20]
        assert sum("resolve" in request for request in server.requests) == 1
        expired = [status(403)]
        server.faults = type("Once", (Always,), {"pop": lambda self, i: expired.pop() if expired else redirect})()
        assert file.read(20, 10) == CONTENT[20:30]
        assert sum("resolve" in request for request in server.requests) == 2


def test_s3_ranges_and_version():
    with serve_s3("pool") as endpoint:
        client, storage = boto3.client("s3", endpoint_url=endpoint), Storage(s3_endpoint=endpoint)
        etag = client.put_object(Bucket="pool", Key="a/file.bin", Body=CONTENT)["ETag"]
        with open_ranged("s3://pool/a/file.bin", storage) as file:
            assert (file.size, file.version) == (len(CONTENT), etag.strip('"'))
            assert file.read(300, 40) == CONTENT[300:340]
        with pytest.raises(MissingInput):
            open_ranged("s3://pool/a/absent", storage)


def test_the_cost_of_a_request_can_be_set(tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    with open_ranged(str(tmp_path / "file.bin"), Storage()) as file:
        assert file.request_cost_bytes == LocalFile.request_cost_bytes
    with open_ranged(str(tmp_path / "file.bin"), Storage(request_cost_bytes=7)) as file:
        assert file.request_cost_bytes == 7


def chunked(handler, pieces):
    """Answer with a range in chunks, which need not end where it does."""
    first, last = handler.asked
    handler.send_response(206)
    size = len(CONTENT)
    for name, value in {
        "ETag": handler.etag,
        "Content-Range": f"bytes {first}-{last}/{size}",
        "Transfer-Encoding": "chunked",
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.close_connection = True
    return True


def test_a_range_that_came_whole_is_taken_however_its_answer_ends(server):
    def without_end(handler):
        first, last = handler.asked
        return chunked(handler, [CONTENT[first : last + 1]])  # and no last chunk

    def with_more_than_was_asked_for(handler):
        first, last = handler.asked
        return chunked(handler, [CONTENT[first : last + 1], *[b"x" * 10_000] * 50])

    for fault in (without_end, with_more_than_was_asked_for):
        with opened(server) as file:
            server.faults = [fault]
            server.requests.clear()
            assert file.read(10, 500) == CONTENT[10:510]
            assert len(server.requests) == 1


def test_without_an_etag_the_date_tells_a_change(server):
    def dated(date):
        def fault(handler):
            handler.answer(206, CONTENT[:1], {"Content-Range": f"bytes 0-0/{len(CONTENT)}", "Last-Modified": date})
            return True

        return fault

    monday, tuesday = "Mon, 02 Nov 2026 08:00:00 GMT", "Tue, 03 Nov 2026 08:00:00 GMT"
    server.faults = [dated(monday), dated(monday), dated(tuesday)]
    with opened(server) as file:
        assert file.version == monday
        assert file.read(0, 1) == CONTENT[:1]
        with pytest.raises(SourceChanged):
            file.read(0, 1)


@pytest.mark.parametrize("headers", [{}, {"Location": "http://[::1/"}, {"Location": "ftp://127.0.0.1/file.bin"}])
def test_a_redirect_to_nowhere_is_a_clear_error(server, headers):
    def fault(handler):
        handler.answer(302, b"", headers)
        return True

    server.always = fault
    with pytest.raises((SourceUnavailable, SourceChanged)):
        opened(server)
