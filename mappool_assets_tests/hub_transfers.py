"""How the Hub double takes files and gives them: preupload, large file storage, commit, resolve."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from mappool_assets_tests.hub_answers import Answer, HubError, as_json
from mappool_assets_tests.hub_repository import File, Repository

if TYPE_CHECKING:
    from mappool_assets_tests.hub_calls import Call


def preupload(call: Call, repository: Repository, revision: str) -> Answer:
    """Say which files go to large file storage, and by what name their paths are known already."""
    commit = repository.at(revision)
    modes = []
    for file in json.loads(call.body)["files"]:
        known = commit.files.get(file["path"])
        is_large = commit.sends_to_lfs(file["path"], file["size"], base64.b64decode(file["sample"]))
        mode = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
        modes.append(mode | ({"oid": known.sha256 if known.is_lfs else known.oid} if known else {}))
    return as_json({"files": modes, "commitOid": commit.oid})


def lfs_batch(call: Call, repository: Repository) -> Answer:
    """Give addresses for the objects that the repository has not got yet."""
    objects = []
    for wanted in json.loads(call.body)["objects"]:
        found = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in repository.stored:
            verify = f"{call.hub.url}/{repository.name}.git/info/lfs/objects/verify"
            upload = call.hub.signed(repository.name, wanted["oid"])
            found["actions"] = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
        objects.append(found)
    return as_json({"transfer": "basic", "objects": objects})


def lfs_verify(call: Call, repository: Repository) -> Answer:
    wanted = json.loads(call.body)
    if wanted["oid"] not in repository.stored or call.hub.stored(wanted["oid"]).stat().st_size != wanted["size"]:
        raise HubError(404, "Object does not exist or has another size")
    return as_json({})


def storage(call: Call, repository_name: str, sha256: str) -> Answer:
    """Take or give an object, by its signed address."""
    if call.asked("X-Signature") != call.hub.signature(repository_name, sha256):
        raise HubError(403, "Forbidden: the address is not signed")
    if "Authorization" in call.headers:  # as S3 does
        raise HubError(400, "Only one auth mechanism allowed")
    if call.method != "PUT":
        return content(call, call.hub.stored(sha256).read_bytes(), {"ETag": f'"{sha256}"'})
    if hashlib.sha256(call.body).hexdigest() != sha256 or repository_name not in call.hub.repos:
        raise HubError(400, "The content has another sha256, or its repository is gone")
    call.hub.store(repository_name, sha256, call.body)
    return Answer()


def commit(call: Call, repository: Repository, branch: str) -> Answer:
    """Apply a commit's operations, all or none."""
    number = call.hub.count_commit_request()
    call.hub.before_commit(number)
    lines = [json.loads(line) for line in call.body.splitlines() if line]
    header = lines[0]["value"]
    large = {line["value"]["oid"] for line in lines if line["key"] == "lfsFile"}
    call.hub.fetch_from_xet(repository.name, large - repository.stored)
    with call.hub.lock:
        if branch not in repository.branches:
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        head = repository.at(branch)
        if header.get("parentCommit", head.oid) != head.oid:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines[1:]:
            _apply(call, repository, files, line["key"], line["value"])
        made = repository.commit(branch, files, header["summary"], header["description"], call.hub.owner)
    call.hub.after_commit(number)
    url = f"{call.hub.url}/{repository.name}/commit/{made.oid}"
    return as_json({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})


def _apply(call: Call, repository: Repository, files: dict[str, File], key: str, change: dict) -> None:
    path = change["path"]
    if key == "file":
        files[path] = File.regular(base64.b64decode(change["content"]))
    elif key == "lfsFile":
        sha256 = change["oid"]
        if sha256 not in repository.stored:
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = File.large(sha256, call.hub.stored(sha256))
    elif key in {"deletedFile", "deletedFolder"}:
        below = f"{path.rstrip('/')}/"
        gone = [name for name in files if (name == path if key == "deletedFile" else name.startswith(below))]
        if not gone:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for name in gone:
            del files[name]
    else:
        raise HubError(400, f"Unknown operation: {key}")


def resolve(call: Call, repository: Repository, revision: str, path: str) -> Answer:
    """Give a regular file, or redirect to storage."""
    at = repository.at(revision)
    headers = {"X-Repo-Commit": at.oid, "Accept-Ranges": "bytes"}
    if path not in at.files:
        raise HubError(404, "Entry not found", "EntryNotFound", **headers)
    file = at.files[path]
    if not file.is_lfs:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
        return content(call, file.read(), {**headers, "ETag": f'"{file.oid}"'})
    headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    return Answer(302, b"", {**headers, "Location": call.hub.signed(repository.name, file.sha256)})


def content(call: Call, whole: bytes, headers: dict[str, str]) -> Answer:
    """Give the bytes that ``Range`` asks for, or all."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range", ""))
    if not found or not (found[1] or found[2]):
        return Answer(200, whole, headers)
    size = len(whole)
    first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first >= size or last < first:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    return Answer(206, whole[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{size}"})
