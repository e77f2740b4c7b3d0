"""A repository of the Hugging Face Hub as a publish target.

One group of files is one commit on top of the commit that was last seen, so readers see a group whole or not at all.
Whatever goes wrong on the way, the repository's own tree says what is still to be done.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mappool_assets.lib.errors import BadSetting, TargetChanged
from mappool_assets.lib.publish.hub_client import HubClient, Overtaken, Patience, Trouble
from mappool_assets.lib.publish.publish_target import ANY_PATH, FILES_PER_COMMIT, NewFile

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

# The Hub writes this file itself: into a new repository, and when a file of a new kind goes to large file storage.
ATTRIBUTES = ".gitattributes"

NAMED_PATHS = 5  # that an error names; a rewritten corpus may concern thousands


class HubTarget:
    """A repository of the Hub as a publish target: created when absent, at its first commit.

    The token comes from where the Hub's client looks (``HF_TOKEN``, ``hf auth login``) and goes nowhere else.

    Another writer's commit in the meantime is kept, and ours put on top, unless it concerns what is published.

    Parameters
    ----------
    repo_id : str
        ``user/name`` or ``organisation/name``.
    endpoint : str, optional
        Address of a server that speaks the Hub's protocol; the client's own default (``HF_ENDPOINT``,
        huggingface.co) where None.
    is_private : bool
        Whether a repository that is created is private, which the Hub leaves to its owner to change: nothing gets
        public by mistake. Has no effect on one that is there.
    repo_type : str
        ``dataset`` or ``model``.
    patience : Patience
        How long the Hub is waited for.

    Raises
    ------
    BadSetting
        The name is none of the Hub's.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        endpoint: str | None = None,
        is_private: bool = True,
        repo_type: str = "dataset",
        patience: Patience | None = None,
    ) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint)
        self._repo: dict[str, Any] = {"repo_id": _checked(repo_id), "repo_type": repo_type}
        self._is_private = is_private
        self._owned = ANY_PATH
        self._head: str | None = None
        self.url = f"{self._api.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
        self._hub = HubClient(self._api.endpoint, self.url, patience or Patience())

    @property
    def revision(self) -> str | None:
        """The commit that was last seen or made; None before :meth:`tree`, and where there is no repository."""
        return self._head

    def tree(self, owned: re.Pattern[str] = ANY_PATH) -> dict[str, str]:
        """Return the checksum of each file at the head of ``main``, which is pinned; empty without a repository.

        Files in large file storage go by their sha256, the others by the SHA-1 of their Git blob.

        Raises
        ------
        BadSetting, SourceUnavailable
            The Hub refuses, or does not answer.
        """
        self._owned = owned
        self._head = self._current_head()
        return self._tree_at(self._head)

    def read(self, path: str) -> bytes:
        """Return a file of the pinned commit."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        url = hf_hub_url(**self._repo, filename=path, revision=self._head, endpoint=self._api.endpoint)

        def ask() -> bytes:
            response = get_session().get(url, headers=build_hf_headers())  # which a redirect elsewhere does not get
            hf_raise_for_status(response)
            return response.content

        return self._hub.answer(ask)

    def put(self, files: Mapping[str, NewFile]) -> None:
        """Add or replace files, in one commit; the Hub advises 100 at most.

        Raises
        ------
        TargetChanged
            Somebody else changed published files since :meth:`tree`, or the repository is gone.
        BadSetting, SourceUnavailable
            The Hub refuses, or does not answer.
        """
        self._commit(files)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files in this order, :data:`FILES_PER_COMMIT` a commit; errors as of :meth:`put`."""
        left = list(paths)
        for start in range(0, len(left), FILES_PER_COMMIT):
            self._commit(dict.fromkeys(left[start : start + FILES_PER_COMMIT]))

    def finish(self, version: str) -> None:
        """Tag the commit that was last seen or made, unless the tag is there: the same content, published before."""
        if self._head is None:
            return
        refs = self._hub.answer(lambda: self._api.list_repo_refs(**self._repo))
        if version not in (tag.name for tag in refs.tags):
            # A tag whose answer was lost is there at the next try.
            self._hub.answer(
                lambda: self._api.create_tag(**self._repo, tag=version, revision=self._head, exist_ok=True)
            )

    def _commit(self, changes: Mapping[str, NewFile | None]) -> None:
        """Commit files, None removing one, until the repository holds them so."""
        if self._head is None:
            self._create()
        tries = self._hub.tries()
        while changes:
            try:
                self._head = self._hub.once(functools.partial(self._send, changes))
                return
            except Trouble as trouble:
                tries.wait(trouble)
            changes = self._still_to_do(changes)

    def _send(self, changes: Mapping[str, NewFile | None]) -> str:
        """Upload and commit once; return the commit. What large file storage has already is not uploaded."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationDelete(path, is_folder=False)
            if file is None
            else CommitOperationAdd(path, path_or_fileobj=file.content)
            for path, file in changes.items()
        ]
        with _no_progress_bars():
            made = self._api.create_commit(
                **self._repo, operations=operations, commit_message=_message(changes), parent_commit=self._head
            )
        first = operations[0]
        if isinstance(first, CommitOperationAdd) and not first._is_committed:
            # The client commits nothing, and asks for no parent, where the head already has all of it: it has moved.
            raise Overtaken("another commit brought the same files")
        return made.oid

    def _still_to_do(self, changes: Mapping[str, NewFile | None]) -> dict[str, NewFile | None]:
        """Pin the head that is there now, and return those changes that it lacks.

        Raises
        ------
        TargetChanged
            Somebody else changed published files.
        """
        head = self._current_head()
        if head == self._head:
            return dict(changes)
        if head is None:
            raise self._hub.gone("no repository")
        before, after = self._tree_at(self._head), self._tree_at(head)
        left = {path: file for path, file in changes.items() if not _is_as_wanted(after.get(path), file)}
        differ = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        done = changes.keys() - left.keys()
        self._refuse_if_ours(differ - done, left)
        self._head = head
        return left

    def _create(self) -> None:
        """Create the repository, and refuse one that somebody filled since it was asked for."""
        self._hub.answer(lambda: self._api.create_repo(**self._repo, private=self._is_private, exist_ok=True))
        head = self._current_head()
        self._refuse_if_ours(self._tree_at(head), ())
        self._head = head

    def _refuse_if_ours(self, changed: Iterable[str], being_put: Collection[str]) -> None:
        ours = sorted(p for p in changed if p in being_put or (self._owned.fullmatch(p) and p != ATTRIBUTES))
        if ours:
            others = f" and {len(ours) - NAMED_PATHS} others" if len(ours) > NAMED_PATHS else ""
            raise TargetChanged(
                "Somebody else changed published files while they were published",
                where=self.url,
                rule="one publisher at a time",
                got=f"a commit that concerns {', '.join(ours[:NAMED_PATHS])}{others}",
                action="Stop the other one, then publish again: what differs from the lake is replaced.",
            )

    def _current_head(self) -> str | None:
        """Return the newest commit of ``main``; None where there is no repository."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def ask() -> str | None:
            try:
                only: Any = ["sha"]  # else the answer lists all of the repository's files
                return self._api.repo_info(**self._repo, expand=only).sha
            except RepositoryNotFoundError as error:
                if error.response.status_code != 404:  # 401: without a token a private one looks the same
                    raise
                return None

        return self._hub.answer(ask)

    def _tree_at(self, revision: str | None) -> dict[str, str]:
        from huggingface_hub.hf_api import RepoFile

        if revision is None:
            return {}
        entries = self._hub.answer(
            lambda: list(self._api.list_repo_tree(**self._repo, recursive=True, revision=revision))
        )
        tree = {e.path: e.lfs.sha256 if e.lfs else e.blob_id for e in entries if isinstance(e, RepoFile)}
        if ".gitignore" in tree:
            raise BadSetting(
                "The repository leaves files out",
                where=self.url,
                rule="no .gitignore: the Hub's client silently commits nothing that it names",
                got=".gitignore",
                action="Remove it from the repository.",
            )
        return tree


def _checked(repo_id: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    got = repr(repo_id)
    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") == 1:
            return repo_id
    except HFValidationError as error:
        got = str(error)
    raise BadSetting(
        "The name of a repository cannot be used",
        where="repo_id",
        rule="user/name, of letters, digits, '-', '_' and '.'",
        got=got,
        action="Correct the name.",
    )


def _is_as_wanted(checksum: str | None, file: NewFile | None) -> bool:
    return checksum is None if file is None else file.has_checksum(checksum)


def _message(changes: Mapping[str, NewFile | None]) -> str:
    """Say what a commit does; the same changes give the same words."""
    verb = "Remove" if None in changes.values() else "Publish"
    first, *others = itertools.islice(changes, 2)
    return f"{verb} {first}" + (f" and {len(changes) - 1} more" if others else "")


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep the client's bars out of logs; they come back where they were on."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
