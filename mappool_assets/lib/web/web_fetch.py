"""Fetch files from hostile web addresses: public addresses only, bounded in bytes, time and redirects.

Addresses are checked where the connection is made (:mod:`~mappool_assets.lib.web.guarded_network`), so redirects are
too. Environment variables (proxies, ``.netrc``) are ignored: a proxy would dial on our behalf, unchecked by us; one
may be named in the rules.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field

import httpx2

from mappool_assets.lib.retry_after import asked_seconds
from mappool_assets.lib.web.egress_proxy import parse_proxy
from mappool_assets.lib.web.fetch_refused import ATTEMPTS, TRANSIENT_STATUSES, FetchRefused, refusing, retried
from mappool_assets.lib.web.guarded_network import deadline_after
from mappool_assets.lib.web.robots import RobotsFiles, product_token
from mappool_assets.lib.web.robots_tag import opt_out
from mappool_assets.lib.web.web_connections import WebConnections, first_bytes

USER_AGENT = f"mappool-assets/{importlib.metadata.version('mappool-assets')}"


@dataclass(frozen=True)
class FetchRules:
    """Bounds of one fetch, and whose wishes it heeds.

    Attributes
    ----------
    max_bytes : int
        Largest file, after decompression. Default 32 MiB: our choice, above any image on an ordinary page.
    deadline_seconds : float
        Total time a file, with redirects, waits, retries and robots.txt. A third of it without a byte ends an attempt;
        a robots.txt has a third of it in all.
    max_redirects : int
        Redirects followed in one attempt.
    allow_private_addresses : bool
        Whether loopback, private and other non-global addresses may be dialled; for tests and local mirrors.
    user_agent : str
        Names us to the operators of the servers. Begins with the product token by which robots.txt and X-Robots-Tag
        name us: letters, ``-`` and ``_`` (RFC 9309 §2.2.1), then the end, a slash or a space.
    egress_proxy : str or None
        ``http://[user:password@]host:port``: a proxy that makes all connections, and resolves the names: which address
        it dials is for its operator to check. We refuse only what is not public by its spelling: IP addresses,
        ``localhost`` and other names that are local by definition. Its own address may be private. It is in no error,
        ``repr`` or log, as it may hold a password.
    obeys_robots : bool
        Whether an address, of the file or of a redirect to it, is asked for only where its site's robots.txt allows it
        (:mod:`~mappool_assets.lib.web.robots`).
    obeys_opt_out : bool
        Whether an image, or a redirect to it, that X-Robots-Tag keeps from us is left unread
        (:mod:`~mappool_assets.lib.web.robots_tag`).

    Raises
    ------
    BadSetting
        A user agent or a proxy of another form.
    """

    max_bytes: int = 32 * 1024 * 1024
    deadline_seconds: float = 30.0
    max_redirects: int = 5
    allow_private_addresses: bool = False
    user_agent: str = USER_AGENT
    egress_proxy: str | None = field(default=None, repr=False)
    obeys_robots: bool = False
    obeys_opt_out: bool = False

    def __post_init__(self) -> None:
        product_token(self.user_agent)
        if self.egress_proxy is not None:
            parse_proxy(self.egress_proxy)


class WebFetcher:
    """Fetch files under :class:`FetchRules`; a context manager, safe to share between threads."""

    def __init__(self, rules: FetchRules) -> None:
        self.rules = rules
        self._token = product_token(rules.user_agent)
        share = rules.deadline_seconds / ATTEMPTS
        self._web = WebConnections(rules.user_agent, share, rules.allow_private_addresses, rules.egress_proxy)
        self._robots = RobotsFiles(self._web, self._token, share)

    def __enter__(self) -> WebFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._web.close()

    def get(self, url: str, max_bytes: int | None = None) -> bytes:
        """Return the body of a 200 answer.

        Parameters
        ----------
        url : str
            The file's address.
        max_bytes : int or None
            Instead of that of the rules.

        Raises
        ------
        FetchRefused
            The file cannot, or must not, be fetched.
        """
        most = self.rules.max_bytes if max_bytes is None else max_bytes
        with deadline_after(self.rules.deadline_seconds):
            return retried(lambda: self._attempt(url, most))

    def _attempt(self, url: str, max_bytes: int) -> bytes:
        def ask_robots(hop: httpx2.URL) -> None:
            if self.rules.obeys_robots:
                self._robots.check(hop, url)

        def heed_opt_out(answer: httpx2.Response) -> None:
            if self.rules.obeys_opt_out and (directive := opt_out(answer.headers, self._token)):
                raise FetchRefused("opted_out", url, f"{answer.url} says {directive} in X-Robots-Tag")

        follow = self._web.following(url, self.rules.max_redirects, before=ask_robots, at_redirect=heed_opt_out)
        with refusing(url), follow as answer:
            if answer.status_code != 200:
                raise FetchRefused(
                    f"http_{answer.status_code}",
                    url,
                    f"the server answered {answer.status_code}",
                    answer.status_code in TRANSIENT_STATUSES,
                    asked_seconds(answer.headers),
                )
            heed_opt_out(answer)
            return _body(url, answer, max_bytes)


def _body(url: str, answer: httpx2.Response, max_bytes: int) -> bytes:
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise FetchRefused("too_large", url, f"{length} bytes, more than {max_bytes}")
    body = first_bytes(answer, max_bytes + 1)
    if len(body) > max_bytes:
        raise FetchRefused("too_large", url, f"more than {max_bytes} bytes")
    return body
