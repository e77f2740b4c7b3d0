"""Images as people name them: files, folders, addresses; each is found, read and decoded, or refused with a reason."""

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from mappool_assets.lib.images import MAX_PIXELS, ImageRefused, open_image
from mappool_assets.lib.web.web_fetch import FetchRefused, WebFetcher

# An uncompressed RGB image of as many pixels as are decoded has no more; only compressed files are expected.
MAX_FILE_BYTES = 3 * MAX_PIXELS

# Read and fetched at once: enough to hide the web's latency. At most as many wait decoded, each up to 256 MiB.
READERS = 8
# A large transparent image takes 1.4 GB while it is laid on white: one at a time, and always on the same thread, as
# each thread would keep what it frees for itself (four images: 1.7 GB, on several threads 5.5).
DECODERS = 1


@dataclass(frozen=True)
class OpenedImage:
    """An image that was asked for.

    Attributes
    ----------
    source : str
        Its path or address; an image found in a folder has the folder's path before its own.
    image : PIL.Image.Image or None
        RGB; None where it could not be read.
    error : str or None
        Why not: ``not_found``, ``not_a_file``, ``unreadable``, ``too_large``, or a reason of
        :class:`~mappool_assets.lib.images.ImageRefused` or :class:`~mappool_assets.lib.web.web_fetch.FetchRefused`.
    detail : str
        A sentence for people on the error.
    """

    source: str
    image: Image | None = None
    error: str | None = None
    detail: str = ""


class _FileRefused(Exception):
    """A path under which there is no file that is read."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


_Found = tuple[str, Callable[[], bytes]]


def open_images(sources: Iterable[str | os.PathLike[str]], fetcher: WebFetcher) -> Generator[OpenedImage]:
    """Open images one after the other, in the order in which they are named; some are read ahead.

    Parameters
    ----------
    sources : iterable of str or path
        Files, folders, and addresses, which is everything with ``://``. A folder stands for all files below it, by
        name, whatever their suffix; hidden ones (a leading dot) are left out and linked folders not entered. Of a
        folder only names are held, those of one folder at each level.
    fetcher : WebFetcher
        Fetches addresses, under its rules.
    """
    found = itertools.chain.from_iterable(_found(os.fspath(source), fetcher) for source in sources)
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-image")
    decoder = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode-image")
    try:
        coming: deque[Future[OpenedImage]] = deque(
            readers.submit(_opened, *each, decoder) for each in itertools.islice(found, READERS)
        )
        while coming:
            opened = coming.popleft().result()
            coming.extend(readers.submit(_opened, *each, decoder) for each in itertools.islice(found, 1))
            yield opened
            del opened  # else it stays in memory until the next is there
    finally:
        readers.shutdown(cancel_futures=True)
        decoder.shutdown(cancel_futures=True)


def _opened(source: str, read: Callable[[], bytes], decoder: ThreadPoolExecutor) -> OpenedImage:
    try:
        return OpenedImage(source, decoder.submit(open_image, read()).result())
    except (_FileRefused, FetchRefused, ImageRefused) as refusal:
        return OpenedImage(source, error=refusal.reason, detail=refusal.detail)
    except FileNotFoundError:
        return OpenedImage(source, error="not_found", detail="there is no such file or folder")
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        return OpenedImage(source, error="unreadable", detail=str(error))


def _found(source: str, fetcher: WebFetcher) -> Iterator[_Found]:
    if "://" in source:
        yield source, functools.partial(fetcher.get, source)
    elif os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises where a name is too long or a folder closed
        yield from _files_below(Path(source))
    else:
        yield source, functools.partial(_read_file, Path(source))


def _files_below(folder: Path) -> Iterator[_Found]:
    """Yield the files below a folder by name; without recursion, which deep folders would exhaust."""
    open_folders = [_entries(folder)]
    while open_folders:
        path = next(open_folders[-1], None)
        if path is None:
            open_folders.pop()
        elif isinstance(path, OSError):
            error = path
            yield str(error.filename), functools.partial(_raise, error)
        elif not os.path.isdir(path):  # noqa: PTH112 - as above
            yield str(path), functools.partial(_read_file, path)
        elif not path.is_symlink():
            open_folders.append(_entries(path))


def _entries(folder: Path) -> Iterator[Path | OSError]:
    """Yield a folder's entries by name, or the error that it cannot be listed."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - names alone
    except OSError as error:
        yield error
        return
    for name in names:
        yield folder / name


def _raise(error: OSError) -> bytes:
    raise error


def _read_file(path: Path) -> bytes:
    # Looked at before it is opened: to open a pipe is to wait for whoever writes to it.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _FileRefused("not_a_file", "no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise _FileRefused("too_large", f"{status.st_size} bytes, more than {MAX_FILE_BYTES}")
    with path.open("rb") as file:
        return file.read(status.st_size)
