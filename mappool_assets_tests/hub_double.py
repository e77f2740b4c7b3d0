"""A double of the Hugging Face Hub on loopback: what huggingface_hub 2.4 calls with Xet off, and faults on demand.

    with HubDouble(tmp_path) as hub:
        api = HfApi(endpoint=hub.url, token=WRITE)
        hub.faults.append(Fault("POST", "/commit/", status=503, is_done=True))

Repositories go by ``datasets/owner/name`` or, models, by ``owner/name``. Where the client tells errors apart by the
scheme (a 401 means "no such repository" on https only), the double sends the header that makes both the same.
"""

from __future__ import annotations

import hmac
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import huggingface_hub.constants
import pytest

from mappool_assets.lib.lake import replacing
from mappool_assets_tests import hub_xet
from mappool_assets_tests.hub_answers import Answer
from mappool_assets_tests.hub_calls import Call
from mappool_assets_tests.hub_repository import Commit, File, Repository

OWNER = "owner"
WRITE, READ = "token-that-writes", "token-that-reads"


@dataclass
class Fault:
    """What happens, once, to a request that matches.

    Attributes
    ----------
    method, path : str
        The request's method, and a regular expression searched in its path with %-escapes decoded.
    status : int, optional
        Answered in place of the true answer.
    headers : dict
        Of that answer, such as ``Retry-After`` or ``RateLimit``.
    is_done : bool
        The request takes effect before it is answered with ``status``, or not answered.
    is_cut : bool
        The connection is closed without an answer.
    before : callable, optional
        Called with the double before the request is looked at.
    skip : int
        So many matching requests pass before it.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    is_done: bool = False
    is_cut: bool = False
    before: Callable[[HubDouble], object] = lambda hub: None
    skip: int = 0


def rate_limited(method: str, path: str, seconds: int = 0) -> Fault:
    """Answer 429 as the Hub does: with the seconds after which the window begins anew."""
    return Fault(method, path, 429, {"RateLimit": f'"api";r=0;t={seconds}'})


def other_writer(repo: str, files: Mapping[str, bytes | None]) -> Fault:
    """Let somebody else commit files just before the next commit of a repository."""
    path = f"/{re.escape(repo.removeprefix('datasets/'))}/commit/"
    return Fault("POST", path, before=lambda hub: hub.commit(repo, files, "Someone else's"))


def deleted(repo: str, method: str, path: str) -> Fault:
    """Let somebody delete the repository just before a request."""
    return Fault(method, path, before=lambda hub: hub.repos.pop(repo, None))


@dataclass
class Request:
    """A request, and how it was answered (0: not at all); bytes are those of the bodies."""

    method: str
    path: str  # with its query, escapes decoded
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    has_token: bool = False


class HubDouble:
    """The Hub of one user, :data:`OWNER`, whose tokens are :data:`WRITE` and :data:`READ`.

    Parameters
    ----------
    folder : Path
        Where large file storage keeps its objects.

    Attributes
    ----------
    url : str
        The endpoint.
    storage_url : str
        Where signed addresses point: another origin, as with the Hub, for the client treats redirects to its own
        otherwise.
    owner : str
        Whose tokens they are; the double serves, but does not let write to, other users' repositories.
    repos : dict of Repository
        By name; ``create``, ``commit`` and ``repos.pop`` change them behind the client's back.
    tokens : dict
        What a token may: ``read`` or ``write``.
    requests : list of Request
        All that came, in the order in which they were answered.
    faults : list of Fault
        Still to happen; of several that match a request the first does.
    before_commit, after_commit : callable
        Called with the number of the commit request (from 1), before it is looked at and before it is answered. A
        ``HubError`` that ``before_commit`` raises is the answer: a client killed there has sent no commit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lfs-storage"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.xet_folder = folder / "xet-storage"
        self.url = self.storage_url = ""
        self.owner = OWNER
        self.repos: dict[str, Repository] = {}
        self.tokens = {WRITE: "write", READ: "read"}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.before_commit: Callable[[int], object] = lambda number: None
        self.after_commit: Callable[[int], object] = lambda number: None
        self.lock = threading.RLock()
        self._repositories_made = 0
        self._commit_requests = 0

    def __enter__(self) -> HubDouble:
        self._servers = [_Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self})) for _ in range(2)]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def create(self, repo: str, *, is_private: bool = False) -> Repository:
        """Make a repository, with the Hub's own first commit."""
        self._repositories_made += 1
        self.repos[repo] = Repository(repo, is_private, self._repositories_made)
        return self.repos[repo]

    def commit(self, repo: str, files: Mapping[str, bytes | None], title: str = "Change") -> Commit:
        """Commit regular files to ``main``; None removes one."""
        with self.lock:
            repository = self.repos[repo]
            new = {path: File.regular(content) for path, content in files.items() if content is not None}
            kept = {path: file for path, file in repository.head.files.items() if path not in files}
            return repository.commit("main", kept | new, title, author="someone")

    def tree(self, repo: str, revision: str = "main") -> dict[str, str]:
        """Return the sha256 of each file, by path."""
        return {path: file.sha256 for path, file in self.repos[repo].at(revision).files.items()}

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Return the content of each file, by path."""
        return {path: file.read() for path, file in self.repos[repo].at(revision).files.items()}

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests had this method and a path in which the regular expression is found."""
        return sum(r.method == method and re.search(path, r.path) is not None for r in list(self.requests))

    def take_fault(self, request: Request) -> Fault | None:
        """Return the fault of a request, which is used up then."""
        with self.lock:
            for fault in self.faults:
                if fault.method == request.method and re.search(fault.path, request.path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    self.faults.remove(fault)
                    return fault
        return None

    def count_commit_request(self) -> int:
        with self.lock:
            self._commit_requests += 1
            return self._commit_requests

    def stored(self, sha256: str) -> Path:
        """Return where large file storage has an object."""
        return self.folder / sha256

    def store(self, repo: str, sha256: str, content: bytes) -> None:
        """Take an object of a repository into large file storage."""
        with self.lock, replacing(self.stored(sha256)) as temporary:  # a client may send one content twice at a time
            temporary.write_bytes(content)
        self.repos[repo].stored.add(sha256)

    def fetch_from_xet(self, repo: str, wanted: set[str]) -> None:
        """Take objects of a repository from the local Xet store, as far as they are there."""
        for sha256, content in hub_xet.read_files(self.xet_folder, wanted).items():
            self.store(repo, sha256, content)

    def signature(self, repo: str, sha256: str) -> str:
        """Return what makes the address of an object valid without a token."""
        return hmac.new(self.url.encode(), f"{repo}/{sha256}".encode(), "sha256").hexdigest()

    def signed(self, repo: str, sha256: str) -> str:
        """Return the address of an object."""
        return f"{self.storage_url}/lfs-storage/{repo}/{sha256}?X-Signature={self.signature(repo, sha256)}"


def without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client upload and download over HTTP, here and in processes that are started."""
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # read from the environment at import


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients that are killed hang up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms between its headers and its body
    hub: HubDouble

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self._read_body()
        request = Request(self.command, unquote(self.path), bytes_in=len(content))
        request.has_token = "Authorization" in self.headers
        fault = self.hub.take_fault(request) or Fault("", "")
        fault.before(self.hub)
        is_replaced = bool(fault.status or fault.is_cut)
        answer = Answer()
        if fault.is_done or not is_replaced:
            answer = Call(self.hub, self.command, self.path, self.headers, content).answer()
        if fault.status:
            answer = Answer(fault.status, b'{"error": "Injected"}', dict(fault.headers))
        request.status = 0 if fault.is_cut else answer.status
        request.bytes_out = 0 if fault.is_cut or self.command == "HEAD" else len(answer.body)
        self.hub.requests.append(request)
        if fault.is_cut:
            self.close_connection = True
        else:
            self._send(answer)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)
