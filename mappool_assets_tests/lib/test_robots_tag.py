import httpx2
import pytest

from mappool_assets.lib.web.robots_tag import opt_out


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([""], None),
        (["noai"], "noai"),
        (["NoImageAI"], "noimageai"),
        (["noindex, nofollow"], "noindex"),
        (["nofollow,noimageindex"], "noimageindex"),
        (["none"], "none"),
        (["all"], None),
        (["nofollow, noarchive, max-snippet: 10"], None),
        (["nofollow", "noai"], "noai"),
        # of somebody else
        (["otherbot: noai"], None),
        (["otherbot: noai, noindex, noimageai"], None),
        (["otherbot/2.1: noindex"], None),
        (["otherbot: noai", "noindex"], "noindex"),
        (["noindex, otherbot: nofollow"], "noindex"),
        # of ours
        (["ours: noai"], "noai"),
        (["OURS: NOAI"], "noai"),
        (["ours:nofollow,noindex"], "noindex"),
        (["ours/1.0: noindex"], "noindex"),
        (["*: noai"], "noai"),
        (["otherbot: nofollow, ours: noai"], "noai"),
        (["ours: nofollow, otherbot: noai"], None),
        (["ours-images: noai"], None),
        # directives with values are no user agents
        (["unavailable_after: 25 Jun 2027 15:00:00 PST, noai"], "noai"),
        (["noindex, unavailable_after: 25 Jun 2027"], "noindex"),
        (["unavailable_after: Friday, 25-Jun-27 15:00:00 UTC, noindex"], "noindex"),
        (["unavailable_after: 2027-06-25T15:00:00Z, noai"], "noai"),
        (["unavailable_after: 25 Jun 2027 15:00:00 PST"], None),
        (["max-snippet:20, max-image-preview: large, noimageai"], "noimageai"),
        (["max-image-preview: none"], None),
        (["max-image-preview:none, max-video-preview: -1"], None),
        (["ours: max-image-preview: none"], None),
        (["ours: unavailable_after: 25 Jun 2027 15:00:00 PST, noai"], "noai"),
        (["otherbot: unavailable_after: 25 Jun 2027 15:00:00 PST, noai"], None),
        # as some servers write them
        (["noindex nofollow"], "noindex"),
        (["nofollow;noai"], "noai"),
        (["noai:"], "noai"),
        (["ours: noai: true"], "noai"),
        ([",, ,noai,"], "noai"),
        (["noaim, xnoai, noindexing"], None),
        ([": noai"], None),
    ],
)
def test_finds_the_directives_that_are_for_us(headers, found):
    assert opt_out(httpx2.Headers([("X-Robots-Tag", value) for value in headers]), "ours") == found


def test_other_headers_say_nothing():
    assert opt_out(httpx2.Headers({"Robots": "noai", "X-Robots": "noindex"}), "ours") is None


def test_bytes_that_are_no_text_spoil_only_their_own_word():
    assert opt_out(httpx2.Headers([(b"X-Robots-Tag", b"\xff\xfe, noai")]), "ours") == "noai"
