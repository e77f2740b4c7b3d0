"""How the Hub double answers: who may ask what, repositories, their trees and references."""

from __future__ import annotations

import base64
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlencode

import yaml

from mappool_assets_tests import hub_transfers, hub_xet
from mappool_assets_tests.hub_answers import Answer, HubError, as_json
from mappool_assets_tests.hub_repository import (
    Commit,
    Repository,
    path_entries,
    tree_entries,
    with_last_commit,
)

if TYPE_CHECKING:
    from mappool_assets_tests.hub_double import HubDouble

PAGE_OF_TREE = 1000  # entries
PAGE_OF_EXPANDED_TREE = 50
PAGE_OF_COMMITS = 50

# Revision and path arrive as one segment each, their slashes as %2F; only ``resolve`` takes a path of many.
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?)?")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
LFS = re.compile(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/(batch|verify)")
STORAGE = re.compile(r"/lfs-storage/((?:datasets/)?[^/]+/[^/]+)/([0-9a-f]{64})")

WRITES = {"preupload", "commit", "branch", "tag", "xet-write-token"}

# The Hub takes these names only; the whole list has some 80.
LICENSES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "odbl", "other", "unknown"}


@dataclass
class Call:
    """A request to the double, with its path as it came."""

    hub: HubDouble
    method: str
    raw_path: str
    headers: Message
    body: bytes

    def answer(self) -> Answer:
        """Return the Hub's answer; 501, which no client repeats, where the double itself fails."""
        try:
            answer = self._route()
        except HubError as error:
            answer = error.answer()
        except Exception:
            traceback.print_exc()
            answer = HubError(501, f"The double failed: {sys.exception()!r}").answer()
        if self.raw_path.startswith("/api/"):  # the Hub tells on each answer what is left of the quota
            answer.headers |= {
                "RateLimit": '"api";r=999;t=300',
                "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
            }
        return answer

    def _route(self) -> Answer:
        path = self.raw_path.partition("?")[0]
        fixed: dict[tuple[str, str], Callable[[], Answer]] = {
            ("POST", "/api/repos/create"): self._create,
            ("DELETE", "/api/repos/delete"): self._delete,
            ("GET", "/api/whoami-v2"): self._whoami,
            ("POST", "/api/validate-yaml"): self._validate_yaml,
        }
        if (self.method, path) in fixed:
            return fixed[self.method, path]()
        if found := STORAGE.fullmatch(path):
            return hub_transfers.storage(self, *found.groups())
        if found := LFS.fullmatch(path):
            repository = self._repository((found[1] or "") + found[2], is_write=True)
            return (hub_transfers.lfs_batch if found[3] == "batch" else hub_transfers.lfs_verify)(self, repository)
        if found := RESOLVE.fullmatch(path):
            repository = self._repository((found[1] or "") + found[2])
            return hub_transfers.resolve(self, repository, unquote(found[3]), unquote(found[4]))
        if found := API.fullmatch(path):
            name = ("datasets/" if found[1] == "datasets" else "") + found[2]
            return self._api(name, found[3] or "", *(unquote(part or "") for part in found.groups()[3:]))
        raise HubError(404, "Sorry, we can't find the page you are looking for.")

    def _api(self, name: str, action: str, first: str, second: str) -> Answer:
        calls: dict[tuple[str, str], Callable[[Repository], Answer]] = {
            ("GET", ""): lambda found: self._info(found, "main"),
            ("GET", "revision"): lambda found: self._info(found, first),
            ("GET", "tree"): lambda found: self._tree(found, first, second),
            ("GET", "refs"): self._refs,
            ("GET", "commits"): lambda found: self._commits(found, first),
            ("GET", "auth-check"): lambda found: as_json({}),
            ("GET", "xet-write-token"): self._xet_token,
            ("POST", "paths-info"): lambda found: self._paths_info(found, first),
            ("POST", "preupload"): lambda found: hub_transfers.preupload(self, found, first),
            ("POST", "commit"): lambda found: hub_transfers.commit(self, found, first),
            ("POST", "branch"): lambda found: self._create_branch(found, first),
            ("DELETE", "branch"): lambda found: self._delete_ref(found.branches, first),
            ("POST", "tag"): lambda found: self._create_tag(found, first),
            ("DELETE", "tag"): lambda found: self._delete_ref(found.tags, first),
        }
        if (self.method, action) not in calls:
            raise HubError(404, "Sorry, we can't find the page you are looking for.")
        is_write = action in WRITES or first == "write"
        return calls[self.method, action](self._repository(name, is_write=is_write))

    # Who may do what

    @property
    def _rights(self) -> str:
        """What the token allows; empty without one."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token, "")

    def _repository(self, name: str, *, is_write: bool = False) -> Repository:
        """Return a repository that the token may see, or change."""
        rights, found = self._rights, self.hub.repos.get(name)
        if found is None or (found.is_private and not (rights and found.namespace == self.hub.owner)):
            if rights:
                raise HubError(404, "Repository not found", "RepoNotFound")
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        if is_write and not rights:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        if is_write:
            self._check_may_write(found.namespace)
        return found

    def _check_may_write(self, namespace: str) -> None:
        if not self._rights:
            raise HubError(401, "Invalid username or password.")
        if self._rights != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if namespace != self.hub.owner:
            raise HubError(403, f'Forbidden: you don\'t have the rights to write under the namespace "{namespace}"')

    # Repositories

    def _named(self) -> tuple[str, dict]:
        """Return the repository that a body names, and the body; checks that the token may write there."""
        asked = json.loads(self.body)
        namespace = asked.get("organization") or self.hub.owner
        self._check_may_write(namespace)
        return ("datasets/" if asked.get("type") == "dataset" else "") + f"{namespace}/{asked['name']}", asked

    def _create(self) -> Answer:
        name, asked = self._named()
        url = {"url": f"{self.hub.url}/{name}", "name": name.removeprefix("datasets/")}
        with self.hub.lock:
            if name in self.hub.repos:
                return as_json({"error": "You already created this repo", **url}, 409)
            self.hub.create(name, is_private=asked.get("visibility") == "private")
        return as_json(url)

    def _delete(self) -> Answer:
        name, _ = self._named()
        self._repository(name, is_write=True)
        self.hub.repos.pop(name, None)
        return as_json({})

    def _whoami(self) -> Answer:
        if not self._rights:
            raise HubError(401, "Invalid username or password.")
        token = {"displayName": "a token", "role": self._rights}
        who = {
            "type": "user",
            "id": "1",
            "name": self.hub.owner,
            "fullname": self.hub.owner,
            "isPro": False,
            "orgs": [],
        }
        return as_json({**who, "auth": {"type": "access_token", "accessToken": token}})

    def _validate_yaml(self) -> Answer:
        found = re.match(r"---\r?\n(.*?)\r?\n---", json.loads(self.body)["content"], re.DOTALL)
        errors, warnings = [], []
        try:
            card = yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError as error:
            card, errors = {}, [str(error)]
        if not card and not errors:
            warnings.append("empty or missing yaml metadata in repo card")
        licence = (card or {}).get("license")
        if licence is not None and licence not in LICENSES:
            errors.append(f'"license" must be one of {sorted(LICENSES)}')
        texts = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
        return as_json(texts, 400 if errors else 200)

    def _info(self, repository: Repository, revision: str) -> Answer:
        commit = repository.at(revision)
        siblings: list[dict] = [{"rfilename": path} for path in commit.files]
        if self._flag("blobs"):
            for sibling, entry in zip(siblings, path_entries(commit, commit.files), strict=True):
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if lfs := entry.get("lfs"):
                    sibling["lfs"] = {**lfs, "sha256": lfs["oid"]}
        dates = {"lastModified": commit.date, "createdAt": next(iter(repository.commits.values())).date}
        counts = {"downloads": 0, "likes": 0, "gated": False, "disabled": False, "tags": []}
        who = {"id": repository.repo_id, "author": repository.namespace, "private": repository.is_private}
        return as_json({"_id": "1", **who, "sha": commit.oid, **dates, **counts, "siblings": siblings})

    def _refs(self, repository: Repository) -> Answer:
        def refs(kind: str, found: Mapping[str, str]) -> list[dict]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in found.items()]

        both = {"branches": refs("heads", repository.branches), "tags": refs("tags", repository.tags)}
        return as_json({**both, "converts": [], "pullRequests": []})

    def _create_branch(self, repository: Repository, name: str) -> Answer:
        with self.hub.lock:
            if name in repository.branches:
                raise HubError(409, "Reference already exists")
            start = json.loads(self.body or b"{}").get("startingPoint", "main")
            repository.branches[name] = repository.at(start).oid
        return as_json({})

    def _create_tag(self, repository: Repository, revision: str) -> Answer:
        tag = json.loads(self.body)["tag"]
        with self.hub.lock:
            if tag in repository.tags:
                raise HubError(409, "Tag reference exists already")
            repository.tags[tag] = repository.at(revision).oid
        return as_json({})

    def _delete_ref(self, refs: dict[str, str], name: str) -> Answer:
        if name not in refs:
            raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
        if name == "main":
            raise HubError(403, "Forbidden: main cannot be deleted")
        del refs[name]
        return as_json({})

    def _xet_token(self, repository: Repository) -> Answer:
        endpoint, token, expires = hub_xet.local_store(self.hub.xet_folder)
        headers = {"X-Xet-Cas-Url": endpoint, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
        return as_json({"casUrl": endpoint, "accessToken": token, "exp": expires}, **headers)

    # Trees

    def _tree(self, repository: Repository, revision: str, folder: str) -> Answer:
        commit = repository.at(revision)
        after = base64.urlsafe_b64decode(self.asked("cursor")).decode()
        entries = tree_entries(commit, folder, is_recursive=self._flag("recursive"))
        entries = [entry for entry in entries if entry["path"] > after]
        size = PAGE_OF_EXPANDED_TREE if self._flag("expand") else PAGE_OF_TREE
        page = [self._expanded(repository, commit, entry) for entry in entries[:size]]
        if len(entries) <= size:
            return as_json(page)
        return self._page(page, cursor=base64.urlsafe_b64encode(page[-1]["path"].encode()).decode())

    def _paths_info(self, repository: Repository, revision: str) -> Answer:
        asked = parse_qs(self.body.decode())
        commit = repository.at(revision)
        entries = path_entries(commit, asked.get("paths", []))
        if asked.get("expand", ["false"])[0].lower() == "true":
            entries = [with_last_commit(repository, commit, entry) for entry in entries]
        return as_json(entries)

    def _expanded(self, repository: Repository, commit: Commit, entry: dict) -> dict:
        return with_last_commit(repository, commit, entry) if self._flag("expand") else entry

    def _commits(self, repository: Repository, revision: str) -> Answer:
        page = int(self.asked("p") or "0")
        history = repository.history(revision)[page * PAGE_OF_COMMITS :]
        found = [
            {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
            for c in history[:PAGE_OF_COMMITS]
        ]
        return as_json(found) if len(history) <= PAGE_OF_COMMITS else self._page(found, p=str(page + 1))

    def _page(self, found: list, **where: str) -> Answer:
        path, _, query = self.raw_path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()} | where
        return as_json(found, Link=f'<{self.hub.url}{path}?{urlencode(asked)}>; rel="next"')

    def asked(self, name: str) -> str:
        return parse_qs(self.raw_path.partition("?")[2]).get(name, [""])[0]

    def _flag(self, name: str) -> bool:
        return self.asked(name).lower() in {"true", "1"}
