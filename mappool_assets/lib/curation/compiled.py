"""The compiled loops, loaded when they are first needed: Numba alone takes half a second to import."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mappool_assets.lib.errors import BadSetting

_SOURCES = ("automaton_kernels.py", "character_kernels.py", "spacing.py", "token_kernels.py")


@dataclass(frozen=True)
class Kernels:
    """The compiled functions; see the modules that they are from."""

    build_automaton: Callable[..., Any]
    number_tokens: Callable[..., Any]
    match_tokens: Callable[..., Any]
    number_characters: Callable[..., Any]
    match_characters: Callable[..., Any]
    merge: Callable[..., Any]


@functools.cache
def kernels() -> Kernels:
    """Return the functions; each is compiled when it is first called, if it is not kept on disk."""
    from mappool_assets.lib.curation import automaton_kernels, character_kernels, token_kernels

    return Kernels(
        automaton_kernels.build_automaton,
        token_kernels.number_tokens,
        token_kernels.match_tokens,
        character_kernels.number_characters,
        character_kernels.match_characters,
        character_kernels.merge,
    )


@functools.cache
def load_kernels(folder: Path) -> None:
    """Make all functions ready, from machine code that is kept in a folder where there is any, else compiling them.

    Takes 8 seconds where they are compiled, a tenth of one where they are kept. Whoever may write to the folder decides
    what code runs, as Numba unpickles what it keeps: one that others own or may write to is refused.

    Parameters
    ----------
    folder : Path
        On any file system; one folder may serve several machines, versions and processes at the same time. Nothing is
        ever written into the package itself.

    Raises
    ------
    BadSetting
        The folder cannot be written to, or others can write to it too.
    """
    kept = folder.absolute() / _version()
    _make_private(kept)
    _keep_in(kept)
    try:
        _call_each()
    except Exception:  # a damaged file: whatever its bytes make pickle raise
        for function in vars(kernels()).values():
            if not function.signatures:  # not loaded
                for file in Path(function.stats.cache_path).glob(f"*.{function.__name__}-*"):
                    file.unlink(missing_ok=True)
        _call_each()


def _version() -> str:
    """Return a name that changes with any of the sources: Numba looks at that of the outermost function alone."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    return digest.hexdigest()[:16]


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _bad_folder(folder, "a folder that can be written to", str(error)) from error
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        got = f"owner {found.st_uid}, mode {stat.filemode(found.st_mode)}"
        raise _bad_folder(folder, f"a folder of our own (user {os.getuid()}) that nobody else can write to", got)


def _bad_folder(folder: Path, rule: str, got: str) -> BadSetting:
    return BadSetting(
        "The folder for compiled code cannot be used", where=str(folder), rule=rule, got=got, action="Name another one."
    )


def _keep_in(folder: Path) -> None:
    import numba

    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        for function in vars(kernels()).values():
            function.enable_caching()
            assert Path(function.stats.cache_path).is_relative_to(folder)  # else Numba writes into the package
    finally:
        config.CACHE_DIR = before


def _call_each() -> None:
    """Call every function with arguments of the types that it is used with."""
    data, offsets, names = as_bytes(b"a"), np.array([0, 1]), np.zeros(1, dtype=np.int32)
    kinds, is_there = np.zeros(256, dtype=np.uint8), np.ones(1, dtype=bool)
    compiled = kernels()
    vocabulary, tokens, ends = compiled.number_tokens(data, offsets)
    automaton = compiled.build_automaton(tokens, ends, 1)
    found = compiled.match_tokens(vocabulary, automaton, kinds, data, offsets, is_there)
    numbers, count, symbols, ends = compiled.number_characters(data, offsets)
    automaton = compiled.build_automaton(symbols, ends, count)
    compiled.match_characters(numbers, automaton, kinds, data, offsets, is_there)
    compiled.merge(*found, names, *found, names)


def as_bytes(buffer: Any) -> np.ndarray:
    """Return a buffer as the functions take it: read-only, for another array would make Numba compile anew."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    data.flags.writeable = False
    return data
