"""The repositories of the Hub double: files at commits, branches, tags, and which files go to large file storage."""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mappool_assets_tests.hub_answers import HubError

# What the Hub writes into a new repository, as its first commit.
MODEL_LFS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
DATASET_LFS = (
    f"{MODEL_LFS} *.avro *.lz4 *.mds *.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg "
    "*.jpeg *.webp *.mp4 *.webm"
)
LFS_FROM_BYTES = 10 * 2**20  # regular files of the Hub are smaller
FIRST_DAY = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)  # each later commit is a second later


@dataclass(frozen=True)
class File:
    """A file of a commit.

    Attributes
    ----------
    oid : str
        Git's name of the blob: of the content, or of the pointer to it.
    size : int
        Of the content, in bytes.
    sha256 : str
        Of the content.
    content : bytes or Path
        The bytes, or where large file storage has them.
    commit : str
        The commit that brought it.
    """

    oid: str
    size: int
    sha256: str
    content: bytes | Path
    commit: str = ""

    @classmethod
    def regular(cls, content: bytes) -> File:
        return cls(git_blob(content), len(content), hashlib.sha256(content).hexdigest(), content)

    @classmethod
    def large(cls, sha256: str, stored: Path) -> File:
        size = stored.stat().st_size
        return cls(git_blob(pointer(sha256, size)), size, sha256, stored)

    @property
    def is_lfs(self) -> bool:
        return isinstance(self.content, Path)

    def read(self) -> bytes:
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True)
class Commit:
    """What a branch looked like; ``changed`` are the paths that differ from its parent."""

    oid: str
    parent: str
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, File]
    changed: tuple[str, ...]

    def sends_to_lfs(self, path: str, size: int, sample: bytes) -> bool:
        """Tell whether the Hub takes a file as an object: by ``.gitattributes``, by size, or as it looks binary."""
        attributes = self.files[".gitattributes"].read().decode() if ".gitattributes" in self.files else ""
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line.split()]
        is_named = any(
            fnmatch.fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern) for pattern in patterns
        )
        return is_named or size >= LFS_FROM_BYTES or b"\0" in sample


@dataclass
class Repository:
    """A repository of the double.

    Attributes
    ----------
    name : str
        ``datasets/owner/name`` or, for a model, ``owner/name``.
    is_private : bool
        Only its owner's tokens see it.
    number : int
        Of the double's repositories, so that one created anew has other commits.
    commits : dict
        All commits by their oid, in the order in which they came.
    branches, tags : dict
        Commit oids by name.
    stored : set of str
        sha256 of the objects that arrived in large file storage, committed or not.
    """

    name: str
    is_private: bool
    number: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        patterns = DATASET_LFS if self.is_dataset else MODEL_LFS
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns.split())
        self.commit("main", {".gitattributes": File.regular(attributes.encode())}, "initial commit")

    @property
    def is_dataset(self) -> bool:
        return self.name.startswith("datasets/")

    @property
    def repo_id(self) -> str:
        return self.name.removeprefix("datasets/")

    @property
    def namespace(self) -> str:
        return self.repo_id.partition("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def at(self, revision: str) -> Commit:
        """Return the commit that a branch, a tag or (the beginning of) an oid names."""
        by_name = {**self.tags, **self.branches}
        by_name |= {f"refs/heads/{name}": oid for name, oid in self.branches.items()}
        by_name |= {f"refs/tags/{name}": oid for name, oid in self.tags.items()}
        if revision in by_name:
            return self.commits[by_name[revision]]
        found = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        if len(found) != 1:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[found[0]]

    def history(self, revision: str = "main") -> list[Commit]:
        """Return the commits of a revision, newest first."""
        found = [self.at(revision)]
        while found[-1].parent:
            found.append(self.commits[found[-1].parent])
        return found

    def commit(
        self, branch: str, files: Mapping[str, File], title: str, message: str = "", author: str = "system"
    ) -> Commit:
        """Make ``files`` what a branch holds; the same files again are no commit."""
        parent = self.commits.get(self.branches.get(branch, ""))
        before = parent.files if parent else {}
        changed = {
            path
            for path in {*before, *files}
            if path not in before or path not in files or before[path].oid != files[path].oid
        }
        if parent and not changed:
            return parent
        serial = len(self.commits)
        name = f"{self.name} {self.number} {serial} {parent.oid if parent else ''} {title}"
        oid = hashlib.sha1(name.encode()).hexdigest()
        date = FIRST_DAY + datetime.timedelta(seconds=serial)
        kept = {path: replace(f, commit=oid) if path in changed else f for path, f in files.items()}
        self.commits[oid] = Commit(
            oid, parent.oid if parent else "", title, message, author, as_json_date(date), kept, tuple(sorted(changed))
        )
        self.branches[branch] = oid
        return self.commits[oid]


def git_blob(content: bytes) -> str:
    """Return the sha1 by which git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """Return what git holds in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def as_json_date(date: datetime.datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def tree_entries(commit: Commit, folder: str = "", *, is_recursive: bool = True) -> list[dict]:
    """Return files and folders below a folder, by path, as the Hub's JSON has them."""
    below = f"{folder}/" if folder else ""
    files: dict[str, File] = {}
    folders: dict[str, list[str]] = {}  # the names of the blobs below, by folder
    for path, file in sorted(commit.files.items()):
        if path.startswith(below):
            parts = path.removeprefix(below).split("/")
            if is_recursive or len(parts) == 1:
                files[path] = file
            for depth in range(1, len(parts) if is_recursive else min(len(parts), 2)):
                folders.setdefault(below + "/".join(parts[:depth]), []).append(f"{path} {file.oid}")
    if folder and not files and not folders:
        raise HubError(404, f"{folder} does not exist on this revision", "EntryNotFound")
    entries = [file_entry(path, file) for path, file in files.items()]
    entries += [folder_entry(path, blobs) for path, blobs in folders.items()]
    return sorted(entries, key=lambda entry: entry["path"])


def file_entry(path: str, file: File) -> dict:
    entry: dict = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer(file.sha256, file.size))}
    return entry


def folder_entry(path: str, blobs: Iterable[str]) -> dict:
    return {"type": "directory", "oid": hashlib.sha1("\n".join(blobs).encode()).hexdigest(), "size": 0, "path": path}


def path_entries(commit: Commit, paths: Iterable[str]) -> list[dict]:
    """Return those of the paths that are there, as the Hub's JSON has them."""
    entries = []
    for path in paths:
        below = [f"{name} {file.oid}" for name, file in sorted(commit.files.items()) if name.startswith(f"{path}/")]
        if path in commit.files:
            entries.append(file_entry(path, commit.files[path]))
        elif below:
            entries.append(folder_entry(path, below))
    return entries


def with_last_commit(repository: Repository, commit: Commit, entry: dict) -> dict:
    """Return an entry with what ``expand`` asks for: the commit that changed it last, and its security scan."""
    if entry["type"] == "file":
        oid = commit.files[entry["path"]].commit
    else:
        below = f"{entry['path']}/"
        oid = next(c.oid for c in repository.history(commit.oid) if any(p.startswith(below) for p in c.changed))
    last = repository.commits[oid]
    scan = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return {
        **entry,
        "lastCommit": {"id": last.oid, "title": last.title, "date": last.date},
        **({"securityFileStatus": scan} if entry["type"] == "file" else {}),
    }
