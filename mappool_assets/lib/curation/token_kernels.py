"""Texts cut into the tokens between single spaces, and matched against runs of tokens; compiled.

Importing this module imports Numba; :mod:`~mappool_assets.lib.curation.compiled` does so when it is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mappool_assets.lib.curation.automaton_kernels import (
    CHUNK,
    FIRST_SLOTS,
    FREE,
    NONE,
    ONE,
    ROOT,
    Automaton,
    Bytes,
    Flags,
    Int32,
    Int64,
    Whole,
    Words,
    appended,
    first_place,
    follow,
    kernel,
    place_after,
    put,
    step,
    with_room,
)
from mappool_assets.lib.curation.spacing import BLANK, INNER, MARK

_SPACE = 32
_SHORT = 7  # bytes of a token that are its key themselves, with their number in the eighth
_LENGTH_PLACE = np.uint64(56)
_LONG = np.uint64(0xFF) << _LENGTH_PLACE  # the eighth byte of a longer token's key, which is a hash
_HASH_START, _HASH_PRIME = np.uint64(0xCBF2_9CE4_8422_2325), np.uint64(0x100_0000_01B3)  # FNV-1a's


class Vocabulary(NamedTuple):
    """The tokens of the entries, numbered in the order in which they are met.

    Attributes
    ----------
    slots : uint64 ndarray of shape (2 × slots,)
        A hash table from tokens to their numbers: keys and values in turn, 0 a free slot.
    data : uint8 ndarray
        The bytes of the entries.
    places : int64 ndarray of shape (tokens, 2)
        Where each token begins and ends in them.
    """

    slots: Words
    data: Bytes
    places: Int64


@step
def _token_key(data: Bytes, start: Whole, stop: Whole) -> np.uint64:
    """Return the token itself, or a hash of a long one; never 0."""
    if stop - start <= _SHORT:
        key = np.uint64(stop - start + 1) << _LENGTH_PLACE
        for place in range(stop - start):
            key |= np.uint64(data[start + place]) << np.uint64(8 * place)
        return key
    key = _HASH_START
    for place in range(start, stop):
        key = (key ^ np.uint64(data[place])) * _HASH_PRIME
    return key | _LONG


@step
def _is_token(token_data: Bytes, token_places: Int64, token: Whole, data: Bytes, start: Whole, stop: Whole) -> bool:
    begin = token_places[token, 0]
    if token_places[token, 1] - begin != stop - start:
        return False
    for place in range(stop - start):  # noqa: SIM110  Numba compiles no generator
        if token_data[begin + place] != data[start + place]:
            return False
    return True


@step
def _number_of(
    slots: Words, token_data: Bytes, token_places: Int64, key: np.uint64, data: Bytes, start: Whole, stop: Whole
) -> Whole:
    """Return the number of a token, or ``NONE``."""
    place = first_place(slots, key)
    while True:
        found = slots[place]
        if found == FREE:
            return np.int64(NONE)
        if found == key:
            token = np.int64(slots[place + ONE])
            if key < _LONG or _is_token(token_data, token_places, token, data, start, stop):
                return token
        place = place_after(slots, place)


@kernel
def number_tokens(data: Bytes, offsets: Int64) -> tuple[Vocabulary, Int32, Int64]:
    """Number the tokens of entries, which are cut at single spaces; no byte stands for another here.

    Parameters
    ----------
    data : uint8 ndarray
        UTF-8 of all entries, in turn.
    offsets : int64 ndarray of shape (entries + 1,)
        Where each entry's begins.

    Returns
    -------
    vocabulary : Vocabulary
    tokens : int32 ndarray
        Those of all entries, in turn.
    ends : int64 ndarray of shape (entries + 1,)
        Where each entry's begin.
    """
    most = np.sum(data[offsets[0] : offsets[-1]] == _SPACE) + offsets.size - 1
    tokens, ends = np.empty(most, dtype=np.int32), np.zeros(offsets.size, dtype=np.int64)
    slots, places = np.zeros(2 * FIRST_SLOTS, dtype=np.uint64), np.empty((most, 2), dtype=np.int64)
    used = count = 0
    for entry in range(offsets.size - 1):
        start, end = offsets[entry], offsets[entry + 1]
        slots = with_room(slots, used + end - start + 1)  # as if each byte were a space
        for stop in range(start, end + 1):
            if stop == end or data[stop] == _SPACE:
                key = _token_key(data, start, stop)
                token = _number_of(slots, data, places, key, data, start, stop)
                if token == NONE:
                    put(slots, key, used)
                    places[used, 0], places[used, 1] = start, stop
                    token, used = used, used + 1
                tokens[count] = token
                count += 1
                start = stop + 1
        ends[entry + 1] = count
    return Vocabulary(slots, data, places[:used].copy()), tokens, ends


@kernel
def match_tokens(
    vocabulary: Vocabulary, automaton: Automaton, kinds: Bytes, data: Bytes, offsets: Int64, is_there: Flags
) -> tuple[Int64, Int32]:
    """Return which entries match each text.

    Parameters
    ----------
    kinds : uint8 ndarray of shape (256,)
        What a byte of a text is: see :func:`~mappool_assets.lib.curation.spacing.byte_kinds`.
    data, offsets
        The texts, as entries in :func:`number_tokens`.
    is_there : bool ndarray of shape (texts,)
        False for a text that is null.

    Returns
    -------
    ends : int64 ndarray of shape (texts + 1,)
        Where each text's entries begin.
    values : int32 ndarray
        The entries of all texts, in turn, those of one text ascending.
    """
    slots, token_data, token_places = vocabulary
    following, states, same = automaton
    ends, values = np.zeros(offsets.size, dtype=np.int64), np.empty(offsets.size, dtype=np.int32)
    found, seen = np.empty(same.size, dtype=np.int32), np.full(same.size, NONE, dtype=np.int32)
    keys, places = np.empty(CHUNK, dtype=np.uint64), np.empty((CHUNK, 2), dtype=np.int64)
    tokens = np.empty(CHUNK, dtype=np.int32)
    for text in range(offsets.size - 1):
        state: Whole = ROOT
        count: Whole = 0
        start: Whole = offsets[text]
        place: Whole = start
        end = offsets[text + 1] if is_there[text] else place - 1
        while place <= end:
            cut, start, place = _cut(kinds, data, start, place, end, keys, places)
            for token in range(cut):
                begin, behind = places[token, 0], places[token, 1]
                tokens[token] = _number_of(slots, token_data, token_places, keys[token], data, begin, behind)
            state, count = follow(following, states, same, tokens[:cut], state, text, seen, found, count)
        values = appended(values, ends[text], found[:count])
        ends[text + 1] = ends[text] + count
    return ends, values[: ends[-1]].copy()


@kernel
def _cut(
    kinds: Bytes, data: Bytes, start: Whole, place: Whole, end: Whole, keys: Words, places: Int64
) -> tuple[Whole, Whole, Whole]:
    """Cut the next tokens of a text, as spaces around marks and in place of blanks would cut it.

    Parameters
    ----------
    start, place, end : int
        Where the token under way begins, what is to be read next, and where the text ends.
    keys, places
        Filled with the keys of the tokens and where they begin and end; ``CHUNK`` at most.

    Returns
    -------
    count, start, place
        The number of tokens, and where to go on; ``place`` is behind ``end`` when all is cut.
    """
    count = 0
    while place <= end and count <= CHUNK - 2:
        kind = BLANK if place == end else kinds[data[place]]
        if kind != INNER:
            keys[count] = _token_key(data, start, place)
            places[count, 0], places[count, 1] = start, place
            count += 1
            if kind == MARK:
                keys[count] = _token_key(data, place, place + 1)
                places[count, 0], places[count, 1] = place, place + 1
                count += 1
            start = place + 1
        place += 1
    return count, start, place
