"""Texts read character by character, and matched against substrings; compiled.

Importing this module imports Numba; :mod:`~mappool_assets.lib.curation.compiled` does so when it is needed.
"""

from __future__ import annotations

import numpy as np

from mappool_assets.lib.curation.automaton_kernels import (
    CHUNK,
    NONE,
    ROOT,
    Automaton,
    Bytes,
    Flags,
    Int32,
    Int64,
    Whole,
    appended,
    follow,
    kernel,
    step,
)
from mappool_assets.lib.curation.spacing import BLANK, MARK

_SPACE = 32
_CODES = 0x110000
_MOST_A_CHARACTER = 3  # symbols: a mark and the spaces around it


@step
def _read(data: Bytes, place: Whole, end: Whole) -> tuple[Whole, Whole]:
    """Return the code of a character of UTF-8 and its bytes; of a broken one the first byte alone, as ``NONE``."""
    lead = np.int64(data[place])
    if lead < 0x80:
        return lead, 1
    size = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2
    if lead < 0xC0 or place + size > end:
        return np.int64(NONE), 1
    code = lead & (0x7F >> size)
    for following in range(1, size):
        code = code << 6 | np.int64(data[place + following]) & 0x3F
    return (code, size) if code < _CODES else (np.int64(NONE), 1)


@kernel
def number_characters(data: Bytes, offsets: Int64) -> tuple[Int32, int, Int32, Int64]:
    """Number the characters of patterns, as :func:`~mappool_assets.lib.curation.token_kernels.number_tokens` tokens.

    Returns
    -------
    numbers : int32 ndarray of shape (1,114,112,)
        By code, ``NONE`` for a character that no pattern has.
    count : int
        Of different characters.
    symbols, ends
        Those of all patterns, in turn, and where each pattern's begin.
    """
    numbers = np.full(_CODES, NONE, dtype=np.int32)
    symbols, ends = np.empty(offsets[-1] - offsets[0], dtype=np.int32), np.zeros(offsets.size, dtype=np.int64)
    count = used = 0
    for pattern in range(offsets.size - 1):
        place, end = offsets[pattern], offsets[pattern + 1]
        while place < end:
            code, size = _read(data, place, end)
            if numbers[code] == NONE:
                numbers[code] = used
                used += 1
            symbols[count] = numbers[code]
            count += 1
            place += size
        ends[pattern + 1] = count
    return numbers, used, symbols[:count].copy(), ends


@kernel
def match_characters(
    numbers: Int32, automaton: Automaton, kinds: Bytes, data: Bytes, offsets: Int64, is_there: Flags
) -> tuple[Int64, Int32]:
    """Return which patterns each spaced text contains; parameters and result as those of ``match_tokens``."""
    following, states, same = automaton
    ends, values = np.zeros(offsets.size, dtype=np.int64), np.empty(offsets.size, dtype=np.int32)
    found, seen = np.empty(same.size, dtype=np.int32), np.full(same.size, NONE, dtype=np.int32)
    symbols = np.empty(CHUNK, dtype=np.int32)
    for text in range(offsets.size - 1):
        state: Whole = ROOT
        count: Whole = 0
        start = offsets[text]
        end = offsets[text + 1] if is_there[text] else start - 2
        place = start - 1  # where the space before the text stands
        while place <= end:
            filled, place = _spaced(numbers, kinds, data, place, start, end, symbols)
            state, count = follow(following, states, same, symbols[:filled], state, text, seen, found, count)
        values = appended(values, ends[text], found[:count])
        ends[text + 1] = ends[text] + count
    return ends, values[: ends[-1]].copy()


@kernel
def _spaced(
    numbers: Int32, kinds: Bytes, data: Bytes, place: Whole, start: Whole, end: Whole, symbols: Int32
) -> tuple[Whole, Whole]:
    """Write the next symbols of a spaced text, ``CHUNK`` at most; return how many, and where to go on."""
    count = 0
    space = numbers[_SPACE]
    while place <= end and count <= CHUNK - _MOST_A_CHARACTER:
        if place < start or place == end or kinds[data[place]] == BLANK:
            symbols[count] = space
            count += 1
            place += 1
            continue
        code, size = _read(data, place, end)
        symbol = NONE if code == NONE else numbers[code]
        if kinds[data[place]] == MARK:
            symbols[count], symbols[count + 1], symbols[count + 2] = space, symbol, space
            count += 3
        else:
            symbols[count] = symbol
            count += 1
        place += size
    return count, place


@kernel
def merge(
    ends: Int64, values: Int32, names: Int32, other_ends: Int64, other_values: Int32, other_names: Int32
) -> tuple[Int64, Int32]:
    """Return the entries that two matchers found in the same texts, as one would have found them.

    Parameters
    ----------
    names, other_names : int32 ndarray
        Ascending: what each matcher's entries are called in the result. None is in both.
    """
    merged_ends, merged = ends + other_ends, np.empty(ends[-1] + other_ends[-1], dtype=np.int32)
    for text in range(ends.size - 1):
        one, other = ends[text], other_ends[text]
        for place in range(merged_ends[text], merged_ends[text + 1]):
            is_one = other == other_ends[text + 1] or (
                one < ends[text + 1] and names[values[one]] < other_names[other_values[other]]
            )
            if is_one:
                merged[place] = names[values[one]]
                one += 1
            else:
                merged[place] = other_names[other_values[other]]
                other += 1
    return merged_ends, merged
