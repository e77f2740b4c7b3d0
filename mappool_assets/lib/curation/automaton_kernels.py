"""An Aho–Corasick automaton over numbered symbols, compiled: which entries end where, in time linear in the text.

Importing this module imports Numba; :mod:`~mappool_assets.lib.curation.compiled` does so when it is needed.

A state is a run of symbols with which an entry begins. State ``s`` below the number of symbols is the run of symbol
``s`` alone; ``ROOT`` is the empty run. Where nothing continues a run, the longest of its endings that is a state takes
over (``FALL``), so that no symbol of a text is read again.

Arrays are handed over one by one: of tuples of arrays, Numba counts references in every call (three times slower).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

ROOT = NONE = -1
FALL, ENTRY, SHORTER, IS_CONTINUED = range(4)  # the columns of a state
CHUNK = 256  # symbols looked up one after the other, so that their cache misses overlap: twice as fast as one by one

FREE, ONE, TWO = np.uint64(0), np.uint64(1), np.uint64(2)
FIRST_SLOTS = 1 << 12
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2^64 ÷ the golden ratio: Fibonacci hashing
_HALF = np.uint64(32)
_FEW = 64  # entries that are sorted by insertion

Whole = int | np.signedinteger[Any]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

kernel = numba.njit(nogil=True, error_model="numpy")
step = numba.njit(nogil=True, error_model="numpy", forceinline=True)  # of a loop over symbols


class Automaton(NamedTuple):
    """The arrays of an automaton.

    Attributes
    ----------
    following : uint64 ndarray of shape (2 × slots,)
        A hash table from (state, symbol) to the next state: keys and values in turn, 0 a free slot.
    states : int32 ndarray of shape (states, 4)
        The state that takes over, the last entry that is this run, the longest proper ending of it that is an entry
        (each ``NONE`` where there is none), and whether anything continues it.
    same : int32 ndarray of shape (entries,)
        Another entry of the same symbols, or ``NONE``.
    """

    following: Words
    states: Int32
    same: Int32


@step
def first_place(slots: Words, key: np.uint64) -> np.uint64:
    """Return where the search for a key begins, in a table of keys and values in turn."""
    mixed = key * _MIX
    return ((mixed ^ (mixed >> _HALF)) << ONE) & np.uint64(slots.size - 1)


@step
def place_after(slots: Words, place: np.uint64) -> np.uint64:
    """Return where the search goes on."""
    return (place + TWO) & np.uint64(slots.size - 1)


@step
def put(slots: Words, key: np.uint64, value: Whole) -> None:
    """Add a key that is not there."""
    place = first_place(slots, key)
    while slots[place] != FREE:
        place = place_after(slots, place)
    slots[place], slots[place + ONE] = key, np.uint64(value)


@kernel
def with_room(slots: Words, used: Whole) -> Words:
    """Return the table, or a larger one where it would be more than half full."""
    size = slots.size
    while 4 * used > size:
        size *= 2
    if size == slots.size:
        return slots
    larger = np.zeros(size, dtype=np.uint64)
    for old in range(0, slots.size, 2):
        if slots[old] != FREE:
            put(larger, slots[old], slots[old + 1])
    return larger


@step
def _key(state: Whole, symbol: Whole) -> np.uint64:
    return ((np.uint64(state) + ONE) << _HALF) | np.uint64(symbol)


@step
def _value_of(slots: Words, key: np.uint64) -> Whole:
    place = first_place(slots, key)
    while True:
        found = slots[place]
        if found == key:
            return np.int64(slots[place + ONE])
        if found == FREE:
            return np.int64(NONE)
        place = place_after(slots, place)


@step
def _next_state(following: Words, states: Int32, state: Whole, symbol: Whole) -> Whole:
    while state != ROOT:
        if states[state, IS_CONTINUED]:
            longer = _value_of(following, _key(state, symbol))
            if longer != NONE:
                return longer
        state = np.int64(states[state, FALL])
    return np.int64(symbol)


@kernel
def build_automaton(symbols: Int32, offsets: Int64, symbol_count: Whole) -> Automaton:
    """Build the automaton of entries, level by level: what a state falls back to is shorter, and so there before it.

    Parameters
    ----------
    symbols : int32 ndarray
        Those of all entries, in turn, below ``symbol_count``.
    offsets : int64 ndarray of shape (entries + 1,)
        Where each entry's begin; none is without symbols.
    """
    entries = offsets.size - 1
    states = np.full((symbol_count + symbols.size - entries, 4), NONE, dtype=np.int32)
    states[:, IS_CONTINUED] = 0
    same = np.full(entries, NONE, dtype=np.int32)
    following = np.zeros(2 * FIRST_SLOTS, dtype=np.uint64)
    reached = np.empty(entries, dtype=np.int64)  # the state of each entry's first symbols
    longer = np.arange(entries)  # the entries that have more
    count, level = symbol_count, 0
    while longer.size:
        following = with_room(following, count - symbol_count + longer.size)
        left = 0
        for entry in longer:
            symbol = symbols[offsets[entry] + level]
            if level:
                count = _extend(following, states, reached, count, entry, symbol)
            else:
                reached[entry] = symbol
            if offsets[entry] + level + 1 < offsets[entry + 1]:
                longer[left] = entry
                left += 1
            else:
                same[entry] = states[reached[entry], ENTRY]
                states[reached[entry], ENTRY] = entry
        longer = longer[:left]
        level += 1
    return Automaton(following, states[:count].copy(), same)


@kernel
def _extend(following: Words, states: Int32, reached: Int64, count: Whole, entry: Whole, symbol: Whole) -> Whole:
    """Take an entry one symbol further, to a new state where there is none; return how many states there are."""
    state = reached[entry]
    longer = _value_of(following, _key(state, symbol))
    if longer != NONE:
        reached[entry] = longer
        return count
    fall = _next_state(following, states, np.int64(states[state, FALL]), symbol)
    states[count, FALL] = fall
    states[count, SHORTER] = fall if states[fall, ENTRY] != NONE else states[fall, SHORTER]
    states[state, IS_CONTINUED] = 1
    put(following, _key(state, symbol), count)
    reached[entry] = count
    return count + 1


@kernel
def follow(
    following: Words,
    states: Int32,
    same: Int32,
    symbols: Int32,
    state: Whole,
    text: Whole,
    seen: Int32,
    found: Int32,
    count: Whole,
) -> tuple[Whole, Whole]:
    """Take some symbols of a text, and note the entries that end in the states they lead to, each once.

    Parameters
    ----------
    symbols : int32 ndarray
        ``NONE`` for a symbol that no entry has.
    seen : int32 ndarray of shape (entries,)
        The last text in which each entry was found. Where one was, so were all that are endings of it.
    found : int32 ndarray of shape (entries,)
        Of which ``count`` are entries of this text.

    Returns
    -------
    state, count
        As they are after these symbols.
    """
    for symbol in symbols:
        if symbol == NONE:
            state = np.int64(ROOT)
            continue
        state = _next_state(following, states, state, symbol)
        ending = state
        while ending != NONE:
            entry = states[ending, ENTRY]
            if entry != NONE and seen[entry] == text:
                break
            while entry != NONE:
                seen[entry] = text
                found[count] = entry
                count += 1
                entry = same[entry]
            ending = np.int64(states[ending, SHORTER])
    return state, count


@kernel
def appended(values: Int32, used: Whole, entries: Int32) -> Int32:
    """Sort some entries, and return the values with these behind the used ones, in a larger array where need be."""
    if entries.size > _FEW:
        entries = np.sort(entries)
    else:
        for place in range(1, entries.size):
            entry, left = entries[place], place
            while left > 0 and entries[left - 1] > entry:
                entries[left] = entries[left - 1]
                left -= 1
            entries[left] = entry
    if used + entries.size > values.size:
        larger = np.empty(2 * (used + entries.size), dtype=np.int32)
        larger[:used] = values[:used]
        values = larger
    for place in range(entries.size):  # an assignment of slices costs more, for a dozen
        values[used + place] = entries[place]
    return values
