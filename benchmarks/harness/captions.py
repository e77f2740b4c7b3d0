"""Entries and captions drawn from a seed: words, pairs and titles as frequent as Zipf's law has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

WORDS, HAN_CHARACTERS = 300_000, 4_000
NUMBERS = 100  # "0" to "99", which the list has too
WORD_SHARE, PAIR_SHARE = 0.5, 0.2  # of the entries, about as in MetaCLIP's list of 500k; the others are titles
PHRASE_SHARE = 0.2  # of what a caption is put together of: pairs and titles of the list
MARKS = (", ", ". ", " - ", ": ", "! ", " | ", "; ")
MARK_SHARE = 0.12
_SYLLABLES = [a + b + c for a in "bcdfghjklmnprstvwz" for b in "aeiou" for c in ("", "n", "r", "s")]
_PHRASES_AT_ONCE = 4096


def entry_list(count: int, seed: int = 8) -> list[str]:
    """Return so many different entries, frequent and rare ones mixed."""
    draw, words = np.random.default_rng([seed, 1]), vocabulary()
    entries = dict.fromkeys([*map(str, range(NUMBERS)), *words[: int(WORD_SHARE * count)]])
    pairs = int((WORD_SHARE + PAIR_SHARE) * count)
    while len(entries) < count:
        is_pair = len(entries) < pairs
        lengths = draw.integers(2, 3 if is_pair else 5, _PHRASES_AT_ONCE)
        ranks = iter(zipf_ranks(draw, int(lengths.sum()), WORDS))
        phrases = (" ".join(words[rank] for rank in itertools.islice(ranks, length)) for length in lengths)
        entries.update(dict.fromkeys(phrases if is_pair else map(str.title, phrases)))
    return _mixed(list(entries)[:count], draw)


def captions(count: int, entries: list[str], characters: int = 80, seed: int = 8) -> list[str]:
    """Return so many texts of about so many characters, with punctuation and phrases of the list."""
    draw, words = np.random.default_rng([seed, 2]), vocabulary()
    phrases = [entry for entry in entries if " " in entry]
    pieces = count * (characters // 5)
    drawn = zip(
        zipf_ranks(draw, pieces, WORDS),
        zipf_ranks(draw, pieces, len(phrases)),
        draw.random(pieces) < PHRASE_SHARE,
        draw.random(pieces) < MARK_SHARE,
        draw.integers(0, len(MARKS), pieces),
        strict=True,
    )
    texts = (
        (phrases[place] if is_phrase else words[rank]) + (MARKS[mark] if is_marked else " ")
        for rank, place, is_phrase, is_marked, mark in drawn
    )
    return [_cut(texts, int(length)) for length in _lengths(draw, count, characters)]


def han_entries(count: int, seed: int = 8) -> list[str]:
    """Return so many different words of one to four Han characters."""
    draw, entries = np.random.default_rng([seed, 3]), dict[str, None]()
    while len(entries) < count:
        lengths = draw.integers(1, 5, _PHRASES_AT_ONCE)
        characters = iter(_han(draw, int(lengths.sum())))
        entries.update(dict.fromkeys("".join(itertools.islice(characters, length)) for length in lengths))
    return _mixed(list(entries)[:count], draw)


def han_captions(count: int, characters: int = 80, seed: int = 8) -> list[str]:
    """Return so many texts of about so many Han characters, without a space."""
    draw = np.random.default_rng([seed, 4])
    lengths = _lengths(draw, count, characters)
    drawn = iter(_han(draw, int(lengths.sum())))
    return ["".join(itertools.islice(drawn, int(length))) for length in lengths]


def vocabulary() -> list[str]:
    """Return words, the frequent ones short."""
    words = dict.fromkeys(["a", "the", "of", "in"])
    number, size = 0, len(_SYLLABLES)
    while len(words) < WORDS:
        word, rest = "", number if number < size else number * 7919 % size**3
        while not word or rest:
            word, rest = word + _SYLLABLES[rest % size], rest // size
        words[word] = None
        number += 1
    return list(words)


def zipf_ranks(draw: np.random.Generator, count: int, most: int) -> np.ndarray:
    """Draw ranks below ``most``, with probabilities as 1 / (rank + 1)."""
    return (np.exp(draw.random(count) * np.log(most)) - 1).astype(np.int64)


def _han(draw: np.random.Generator, count: int) -> list[str]:
    return [chr(0x4E00 + rank) for rank in zipf_ranks(draw, count, HAN_CHARACTERS)]


def _lengths(draw: np.random.Generator, count: int, characters: int) -> np.ndarray:
    return draw.integers(characters // 2, characters * 3 // 2, count)


def _mixed(entries: list[str], draw: np.random.Generator) -> list[str]:
    return [entries[place] for place in draw.permutation(len(entries))]


def _cut(pieces: Iterator[str], characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += next(pieces)
    return text[0].upper() + text[1:characters].rstrip()
