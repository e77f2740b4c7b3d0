"""Calls of the Hub's client: with a time limit, repeated where the client does not, with errors that say what to do.

``huggingface_hub`` 2.4 repeats by itself what it asks while uploading (preupload, LFS) and pages of trees; commits,
tags, creation, repository info and downloads it tries once, and it waits for an answer for ever.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mappool_assets.lib.errors import BadSetting, SourceUnavailable, TargetChanged
from mappool_assets.lib.retry_after import TRANSIENT_STATUSES, retry_after_seconds

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")

LONGEST_TEXT = 300  # characters of a server's message that an error repeats


@dataclass(frozen=True)
class Patience:
    """How long the Hub is waited for.

    Attributes
    ----------
    attempts : int
        Tries at one call, or one commit. Eight waits double from 1 s to two minutes in all; where the Hub names a
        wait (its rate limits count windows of five minutes), that is waited instead.
    first_wait_seconds : float
        Before the second try, where the Hub names none; doubles each time.
    request_seconds : float
        Longest silence of a connection. The Hub ends a request after 60 s, although a commit may still happen then.
    """

    attempts: int = 8
    first_wait_seconds: float = 1.0
    request_seconds: float = 120.0


class Trouble(Exception):
    """A call that may succeed when it is tried again; a commit may have happened all the same.

    Attributes
    ----------
    wait_seconds : float or None
        What the Hub asked us to wait before.
    """

    def __init__(self, text: str, wait_seconds: float | None = None) -> None:
        super().__init__(text)
        self.wait_seconds = wait_seconds


class Overtaken(Trouble):
    """A commit that was refused because the repository is no longer what it was made for."""


class HubClient:
    """Asks the Hub about one repository.

    Parameters
    ----------
    endpoint : str
        The Hub's address; whatever else answers is a storage that it sends us to.
    where : str
        The repository's address, for messages.
    patience : Patience
        How long it is waited for.
    """

    def __init__(self, endpoint: str, where: str, patience: Patience) -> None:
        self.where = where
        self._endpoint, self._patience = endpoint, patience

    def answer(self, ask: Callable[[], T]) -> T:
        """Return what a call returns, tried again until there is an answer.

        Raises
        ------
        BadSetting
            The Hub refuses: no token, no rights, a name or content it does not take.
        TargetChanged
            The repository, or the commit asked about, is there no more.
        SourceUnavailable
            There was no answer after all tries.
        """
        tries = self.tries()
        while True:
            try:
                return self.once(ask)
            except Trouble as trouble:
                tries.wait(trouble)

    def tries(self) -> Tries:
        """Return a new count of tries."""
        return Tries(self.where, self._patience)

    def once(self, ask: Callable[[], T]) -> T:
        """Try a call once; :class:`Trouble` where trying again may help, else errors as of :meth:`answer`."""
        import httpx2

        self._limit_silence()
        try:
            return ask()
        except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:  # what huggingface_hub and Xet raise
            raise self._understood(error) from None  # their texts repeat signed addresses

    def _limit_silence(self) -> None:
        """Give requests that have no time limit one; the client makes a new session after some errors."""
        from huggingface_hub import get_session

        session = get_session()
        others = [hook for hook in session.event_hooks["request"] if not isinstance(hook, _SilenceLimit)]
        limit = _SilenceLimit(self._patience.request_seconds)
        session.event_hooks = {**session.event_hooks, "request": [*others, limit]}

    def _understood(self, error: Exception) -> Exception:
        """Return the :class:`Trouble` or ``MappoolError`` that an error means; itself where it is not the Hub's."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, HfHubHTTPError):
            return self._of_status(error)
        if isinstance(error, (httpx2.TransportError, json.JSONDecodeError)):  # not JSON: a proxy's page
            return Trouble(f"{type(error).__name__}: {error}")
        if isinstance(error, OfflineModeIsEnabled):
            return self._refusal("The Hub's client is offline", str(error), "Unset HF_HUB_OFFLINE.")
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # of an upload's thread
            return self._understood(error.__cause__)
        if isinstance(error, (ConnectionError, TimeoutError, RuntimeError)):
            return self._of_xet(str(error))
        if isinstance(error, ValueError):  # a card with metadata that the Hub does not take, files that LFS refuses
            return self._refusal("The Hub refuses a file", str(error), "Correct what it says, then publish again.")
        return error

    def _of_status(self, error: HfHubHTTPError) -> Exception:
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

        request, status, got = error.response.request, error.response.status_code, _told(error)
        # A storage refuses signed addresses that have expired (403) and slow senders (400): the Hub signs new ones.
        is_storage = not str(request.url).startswith(f"{self._endpoint}/")
        if status in TRANSIENT_STATUSES or status >= 500 or is_storage:
            return Trouble(got, retry_after_seconds(error.response.headers))
        if status in (409, 412) or isinstance(error, EntryNotFoundError):
            return Overtaken(got)
        if status == 401 and "Authorization" not in request.headers:
            return self._refusal("There is no token for the Hub", got, "Log in (`hf auth login`) or set HF_TOKEN.")
        if status == 401:
            return self._refusal("The Hub does not accept the token", got, "Log in anew (`hf auth login`).")
        if status == 403:
            action = "Use a token that may write to this repository, or name another repository."
            return self._refusal("The token has no right to do this", got, action)
        if isinstance(error, RepositoryNotFoundError):
            return self.gone(got)
        if isinstance(error, RevisionNotFoundError):
            return TargetChanged(
                "The repository's history was rewritten while it was published to",
                where=self.where,
                rule="the commit that publishing began with",
                got=got,
                action="Publish again: only what is missing then is sent.",
            )
        return self._refusal("The Hub refuses", got, "Correct what it says, then publish again.")

    def _of_xet(self, text: str) -> Exception:
        """Xet's errors are built-in ones, and tell an answer's status in their text only."""
        if re.search(r"client error \((401|403)\b", text):
            action = "Use a token that may write to this repository, or log in anew (`hf auth login`)."
            return self._refusal("The token has no right to upload", text[:LONGEST_TEXT], action)
        return Trouble(text[:LONGEST_TEXT])

    def gone(self, got: str) -> TargetChanged:
        """Return the error of a repository that was there before."""
        return TargetChanged(
            "The repository was deleted or renamed while it was published to",
            where=self.where,
            rule="a repository for as long as a publish takes",
            got=got,
            action="Publish again: it is created anew and all files are sent; after a rename, set its new name first.",
        )

    def _refusal(self, what: str, got: str, action: str) -> BadSetting:
        return BadSetting(what, where=self.where, rule="a call that the Hub accepts", got=got, action=action)


class Tries:
    """Counts the tries at one thing, and waits between them."""

    def __init__(self, where: str, patience: Patience) -> None:
        self._where, self._left = where, patience.attempts
        self._wait_seconds = patience.first_wait_seconds

    def wait(self, trouble: Trouble) -> None:
        """Wait before the next try; :class:`SourceUnavailable` after the last."""
        self._left -= 1
        if self._left <= 0:
            raise SourceUnavailable(
                "The Hub does not answer",
                where=self._where,
                rule="an answer after several tries",
                got=str(trouble),
                action="Publish again later: what has arrived is not sent again.",
            ) from None
        time.sleep(self._wait_seconds if trouble.wait_seconds is None else trouble.wait_seconds)
        self._wait_seconds *= 2


@dataclass(frozen=True)
class _SilenceLimit:
    """A hook of the session, which gives a request its time limit where it has none."""

    seconds: float

    def __call__(self, request: httpx2.Request) -> None:
        limits = request.extensions.get("timeout") or {}
        if all(limit is None for limit in limits.values()):
            limits = dict.fromkeys(("connect", "read", "write", "pool"), self.seconds)
            request.extensions = {**request.extensions, "timeout": limits}


def _told(error: HfHubHTTPError) -> str:
    """Return an answer's status and message on one line, without the token should a server repeat it."""
    text = " ".join((error.server_message or "no message").split())
    token = error.response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    text = text.replace(token, "(token)") if token else text
    return f"HTTP {error.response.status_code}: {text[:LONGEST_TEXT]}"
