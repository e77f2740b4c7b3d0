"""Ask web servers for files, directly or through a proxy, and follow where they point."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpcore2
import httpx2

from mappool_assets.lib.web.egress_proxy import parse_proxy, refuse_local_host
from mappool_assets.lib.web.fetch_refused import FetchRefused
from mappool_assets.lib.web.guarded_network import GuardedBackend

MAX_RESOLVER_THREADS = 16
MAX_IDLE_CONNECTIONS = 64  # two for each of the 32 threads that a download has by default
IDLE_SECONDS = 5.0  # as long as Apache waits before it hangs up; nginx waits longer
MAX_PORT = 65535


class WebConnections:
    """Connections to web servers, directly or through a proxy; safe to share between threads.

    Parameters
    ----------
    user_agent : str
        Names us to the operators of the servers.
    stall_seconds : float
        Longest wait for a connection or for the next bytes.
    allow_private_addresses : bool
        Whether other than public addresses may be dialled.
    egress_proxy : str or None
        As of :class:`~mappool_assets.lib.web.web_fetch.FetchRules`.
    """

    def __init__(
        self, user_agent: str, stall_seconds: float, allow_private_addresses: bool, egress_proxy: str | None
    ) -> None:
        self._headers = {"User-Agent": user_agent, "Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
        self._stall_seconds = stall_seconds
        proxy = None if egress_proxy is None else parse_proxy(egress_proxy)
        self._refuses_local_names = proxy is not None and not allow_private_addresses
        self._resolver = ThreadPoolExecutor(MAX_RESOLVER_THREADS, thread_name_prefix="resolve")
        self._pool = _Pool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            proxy=proxy,
            max_connections=None,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(allow_private_addresses or proxy is not None, self._resolver),
        )

    def close(self) -> None:
        """Hang up."""
        self._pool.close()
        self._resolver.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def following(
        self,
        url: str,
        max_redirects: int,
        *,
        before: Callable[[httpx2.URL], None],
        at_redirect: Callable[[httpx2.Response], None],
    ) -> Iterator[httpx2.Response]:
        """Ask for an address and follow redirects to the first answer that is none; its body is still unread.

        Parameters
        ----------
        url : str
            What to ask for.
        max_redirects : int
            Redirects that are followed.
        before, at_redirect : callable
            Called with each address before it is asked for, and with each redirecting answer; raise to stop.

        Raises
        ------
        FetchRefused
            ``bad_scheme``, ``bad_url`` or ``too_many_redirects``.
        httpx2.InvalidURL, Exception
            Of an address, and of the network: :func:`~mappool_assets.lib.web.fetch_refused.refusing` takes them all.
        """
        hop = httpx2.URL(url)
        with self._client() as client:
            for _ in range(max_redirects + 1):
                self._check(hop, url)
                before(hop)
                with contextlib.closing(client.send(client.build_request("GET", hop), stream=True)) as answer:
                    if not answer.has_redirect_location:
                        yield answer
                        return
                    at_redirect(answer)
                    hop = hop.join(answer.headers["Location"])
        raise FetchRefused("too_many_redirects", url, f"more than {max_redirects} redirects")

    def _client(self) -> httpx2.Client:
        """Return a client of one attempt, as some sites send in circles whoever does not return their cookies."""
        transport = _PoolTransport(self._pool)
        return httpx2.Client(transport=transport, trust_env=False, headers=self._headers, timeout=self._stall_seconds)

    def _check(self, hop: httpx2.URL, url: str) -> None:
        if hop.scheme not in ("http", "https"):
            raise FetchRefused("bad_scheme", url, f"{hop.scheme or 'no scheme'} is not http(s)")
        if not hop.raw_host or (hop.port or 0) > MAX_PORT:
            raise FetchRefused("bad_url", url, f"{hop} names no host or port that can be")
        if self._refuses_local_names:
            refuse_local_host(hop.raw_host.decode("ascii"))


class _Pool(httpcore2.ConnectionPool):
    """Forgets a tunnel in which TLS could not begin, which httpcore2 takes for busy for ever (pydantic/httpx2#1175)."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.ConnectionInterface:
        connection = super().create_connection(origin)
        ask = connection.handle_request

        def ask_or_close(request: httpcore2.Request) -> httpcore2.Response:
            try:
                return ask(request)
            except httpcore2.ConnectionNotAvailable:  # busy with another thread's request
                raise
            except BaseException:
                connection.close()
                raise

        connection.handle_request = ask_or_close  # type: ignore[method-assign]
        return connection


class _PoolTransport(httpx2.BaseTransport):
    """httpx2 over connections that stay open when the client of one attempt closes."""

    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; redirects are the caller's."""
        url, host = request.url, request.url.raw_host
        in_brackets = b"[%b]" % host if b":" in host else host  # as a proxy needs them
        answer = self._pool.handle_request(
            httpcore2.Request(
                request.method,
                httpcore2.URL(scheme=url.raw_scheme, host=in_brackets, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                extensions={**request.extensions, "sni_hostname": host.decode("ascii")},
            )
        )
        body = _Body(answer)
        if not answer.extensions["network_stream"].get_extra_info("was_read"):
            body.close()
            raise httpcore2.RemoteProtocolError("more came after the last answer, which would have passed for this one")
        return httpx2.Response(answer.status, headers=answer.headers, stream=body)


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def first_bytes(answer: httpx2.Response, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a body, undoing gzip or deflate (sent by some servers unasked).

    Raises
    ------
    zlib.error
        Another content encoding, or one that is broken.
    """
    pieces, size = [], 0
    for piece in _decoded(answer, limit):
        pieces.append(piece)
        size += len(piece)
        if size >= limit:
            break
    return b"".join(pieces)[:limit]


def _decoded(answer: httpx2.Response, limit: int) -> Iterator[bytes]:
    """Yield the body in pieces; one of ``limit`` bytes may be cut short there, for nobody reads on."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        yield from answer.iter_raw()
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise zlib.error(f"the server sent {encoding} unasked")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib header, whichever is there
    for chunk in answer.iter_raw():
        yield inflate.decompress(chunk, limit)
    if not inflate.eof:
        raise zlib.error(f"the {encoding} stream is cut short")
