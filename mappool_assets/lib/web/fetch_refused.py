"""Why a file was not fetched: whatever went wrong, as one kind of error; and when to try again."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpcore2
import httpx2

from mappool_assets.lib.web.guarded_network import BadCertificate, BadHost, BlockedAddress, NoSuchHost, seconds_left

ATTEMPTS = 3  # the first try and two retries: more seldom helps with dead hosts, of which the web is full
FIRST_BACKOFF_SECONDS = 0.5  # doubled each time, where the server names no Retry-After
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})

T = TypeVar("T")


class FetchRefused(Exception):
    """A file that was not fetched.

    Attributes
    ----------
    reason : str
        One of ``bad_scheme`` (not http or https), ``bad_url`` (cannot be parsed), ``blocked_address`` (not a public
        one), ``http_<code>`` (any answer but 200), ``too_large``, ``timeout``, ``connection`` (no or a broken
        answer), ``too_many_redirects``, ``bad_encoding`` (a content encoding that was not asked for and is not gzip
        or deflate, or a broken one); where sites are asked for their wishes also ``robots_txt`` (disallowed by the
        site's robots.txt), ``robots_unreachable`` (which the site failed to serve, so that nothing is allowed) and
        ``opted_out`` (by X-Robots-Tag).
    url, detail : str
        The address asked for, and a sentence for people.
    is_transient : bool
        Whether trying again may help.
    retry_after_seconds : float or None
        How long to wait before that, where the server said so or the same answer is certain until then.
    """

    def __init__(
        self,
        reason: str,
        url: str,
        detail: str,
        is_transient: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, url, detail, is_transient, retry_after_seconds)
        self.reason, self.url, self.detail = reason, url, detail
        self.is_transient, self.retry_after_seconds = is_transient, retry_after_seconds

    def __str__(self) -> str:
        return f"{self.url} was not fetched ({self.reason}): {self.detail}"


class NoConnection(FetchRefused):
    """No connection was made, so nothing was asked: there can be no such host, it refuses, or must not be dialled."""


@contextlib.contextmanager
def refusing(url: str) -> Iterator[None]:
    """Turn what connections, answers and addresses raise into :class:`FetchRefused`."""
    try:
        yield
    except BlockedAddress as error:
        raise NoConnection("blocked_address", url, str(error)) from None
    except BadHost as error:
        raise NoConnection("bad_url", url, str(error)) from None
    except (NoSuchHost, BadCertificate) as error:
        raise NoConnection("connection", url, str(error)) from None
    except httpcore2.ConnectError as error:
        raise NoConnection("connection", url, str(error), True) from None
    except httpcore2.ProxyError as error:
        raise NoConnection("connection", url, f"the egress proxy answered {error}", True) from None
    except httpcore2.TimeoutException as error:
        raise FetchRefused("timeout", url, str(error) or "no answer in time", True) from None
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise FetchRefused("connection", url, str(error) or type(error).__name__, True) from None
    except zlib.error as error:
        raise FetchRefused("bad_encoding", url, str(error)) from None
    except (httpx2.InvalidURL, httpcore2.LocalProtocolError, ValueError) as error:
        raise FetchRefused("bad_url", url, str(error)) from None


def retried(attempt: Callable[[], T]) -> T:
    """Call until it works, is refused for good or does not fit this thread's deadline; thrice at most."""
    for number in range(ATTEMPTS - 1):
        try:
            return attempt()
        except FetchRefused as refusal:
            wait = refusal.retry_after_seconds or FIRST_BACKOFF_SECONDS * 2**number
            if not refusal.is_transient or wait >= seconds_left():
                raise
        time.sleep(wait)
    return attempt()
