from __future__ import annotations

import pytest

from mappool_assets.lib.retry_after import LONGEST_WAIT_SECONDS, retry_after_seconds

NOON = "Wed, 21 Oct 2015 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "86400"}, LONGEST_WAIT_SECONDS),
        ({"Retry-After": "Wed, 21 Oct 2015 12:00:30 GMT", "Date": NOON}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 11:00:00 GMT", "Date": NOON}, 0.0),
        ({"Retry-After": "Thu, 22 Oct 2015 12:00:00 GMT", "Date": NOON}, LONGEST_WAIT_SECONDS),
        ({"Retry-After": "Wed, 21 Oct 2015 12:00:30 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 12:00:30 -0000", "Date": NOON}, None),
        ({"Retry-After": "soon", "Date": NOON}, None),
        ({"Retry-After": "-1", "Date": NOON}, None),
        ({"Retry-After": "٣", "Date": NOON}, 3.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=0;t=9999'}, LONGEST_WAIT_SECONDS),
        ({"RateLimit": '"api";r=10;t=55'}, None),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 7.0),
    ],
    ids=str,
)
def test_the_wait_is_what_the_server_asks_up_to_a_bound(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


def test_an_absurd_time_zone_is_no_date():
    assert retry_after_seconds({"Retry-After": "Mon, 01 Jan 2024 00:00:00 +9999999999999999999999999"}) is None
