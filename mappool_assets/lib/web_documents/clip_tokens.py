"""The tokens of OpenAI's CLIP, from open_clip's vocabulary, with where in the text they lie."""

from __future__ import annotations

import functools
import gzip
import heapq
import html
import importlib.util
import itertools
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.web_documents.tokens import CLIP, MAX_WORD_CHARACTERS, Spans, WordTokenizer

# CLIP's own pattern (open_clip.tokenizer.SimpleTokenizer.pat) without its markers of start and end of text: a page that
# holds one is given its letters, not the marker.
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
END_OF_WORD = "</w>"
VOCABULARY, MERGES = "bpe_simple_vocab_16e6.txt.gz", 49_152 - 256 - 2  # of its lines, those that CLIP was trained with
REMEMBERED_WORDS = 2**16  # 20 MB; most words of a page are among those of the pages before it
MAX_PIECE_CHARACTERS = 2**14  # a longer piece is no word; merged in parts of this length, memory stays small


class _Word(NamedTuple):
    ids: tuple[int, ...]
    starts: tuple[int, ...]  # the character of the word in which each token begins, not decreasing


class ClipTokenizer:
    """CLIP's byte pair encoding, without the marks of start and end and without a context's length.

    Each word (a run without white space) is cleaned as open_clip does, lower case included, and encoded. The ids are
    those of ``SimpleTokenizer.encode`` on the whole text, save three cases: open_clip's repair of wrongly decoded
    text, which looks at more than the word; its markers ``<start_of_text>`` and ``<end_of_text>``, which are letters
    here; a word that cleaning empties (a lone zero-width character), which is encoded as it stands, so that each
    character is in a token.

    A token's span is that of the words of :class:`WordTokenizer` that it begins in and covers: tokens of one word have
    the word's span, so that no window cuts a word; in scripts without spaces a window may begin at each character.
    Where cleaning changes the length of such a text (``&amp;``, composed characters), spans inside its runs without
    white space are in proportion.

    Memory does not grow with the texts: the last ``REMEMBERED_WORDS`` words are kept.
    """

    name = CLIP

    def __init__(self) -> None:
        import regex  # type: ignore[import-untyped]  # has \p{L}, which re has not

        self._byte_symbols = byte_symbols()
        self._ranks, self._ids = vocabulary(self._byte_symbols.values())
        self._pattern = regex.compile(PATTERN, regex.IGNORECASE)
        self._remembered_word = functools.lru_cache(REMEMBERED_WORDS)(self._encoded_word)

    def ids(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text's tokens, (tokens,), as many as :meth:`spans` has rows."""
        return np.fromiter((token for word in text.split() for token in self._word(word).ids), dtype=np.int32)

    def spans(self, text: str) -> Spans:
        """Return the spans of a text's tokens, (tokens, 2); see :class:`Tokenizer`."""
        units = WordTokenizer().spans(text)
        if not len(units):
            return units
        starts = units[:, 0]
        begins_word = np.concatenate([[True], starts[1:] != units[:-1, 1]])
        token_starts = np.fromiter(  # no list: of a page of 5 MB it would take 140 MB
            (
                word_start + start
                for word_start, word in zip(starts[begins_word].tolist(), text.split(), strict=True)
                for start in self._word(word).starts
            ),
            dtype=np.int32,
        )
        unit_of_token = np.searchsorted(starts, token_starts, side="right") - 1
        is_begun = begins_word.copy()
        is_begun[unit_of_token] = True
        begun = np.flatnonzero(is_begun)
        last = np.append(begun[1:], len(units)) - 1  # a unit in which no token begins belongs to the one before it
        groups = np.stack([starts[begun], units[last, 1]], axis=1)
        return groups[np.searchsorted(begun, unit_of_token)]

    def _word(self, word: str) -> _Word:
        return self._encoded_word(word) if len(word) > MAX_WORD_CHARACTERS else self._remembered_word(word)

    def _encoded_word(self, word: str) -> _Word:
        cleaned = cleaned_word(word) or word
        ids: list[int] = []
        starts: list[int] = []
        for match in self._pattern.finditer(cleaned):
            for start in range(match.start(), match.end(), MAX_PIECE_CHARACTERS):
                piece = cleaned[start : min(start + MAX_PIECE_CHARACTERS, match.end())]
                symbols, characters = self._merged(piece)
                ids.extend(self._ids[symbol] for symbol in symbols)
                starts.extend((start + character) * len(word) // len(cleaned) for character in characters)
        return _Word(tuple(ids), tuple(starts))

    def _merged(self, piece: str) -> tuple[list[str], list[int]]:
        """Return the symbols of a piece after all merges, and the character in which each begins.

        Merges are made in the order of their ranks, equal ones from the left, as open_clip does, but from a heap: n
        bytes take n log n steps, where open_clip's take n².
        """
        encoded = [character.encode("utf-8", "surrogatepass") for character in piece]
        characters = [number for number, data in enumerate(encoded) for _ in data]
        symbols: list[str | None] = [self._byte_symbols[byte] for byte in itertools.chain.from_iterable(encoded)]
        symbols[-1] = f"{symbols[-1]}{END_OF_WORD}"
        merge_pairs(symbols, self._ranks)
        kept = [(symbol, character) for symbol, character in zip(symbols, characters, strict=True) if symbol]
        return [symbol for symbol, _ in kept], [character for _, character in kept]


def cleaned_word(word: str) -> str:
    """Return a word as open_clip cleans it before it is encoded (``get_clean_fn("lower")``)."""
    if word.isascii() and word.isprintable() and "&" not in word:
        return word.lower()  # all that cleaning does to it, in a hundredth of the time
    import ftfy

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(word))).split()).lower()


def byte_symbols() -> dict[int, str]:
    """Return the character that stands for each byte: itself where it can be seen, else one from 256 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = (byte for byte in range(256) if byte not in seen)
    return {byte: chr(byte) for byte in sorted(seen)} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def vocabulary(symbols: Collection[str]) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Return the ranks of CLIP's merges and the ids of its symbols, from open_clip's file, without loading open_clip.

    Importing open_clip loads PyTorch: 800 MB and seconds in every worker, of which no token needs anything.
    """
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    lines = gzip.decompress(Path(package.origin).with_name(VOCABULARY).read_bytes()).decode().split("\n")
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : MERGES + 1])]
    all_symbols = [*symbols, *(symbol + END_OF_WORD for symbol in symbols), *(left + right for left, right in merges)]
    return {pair: rank for rank, pair in enumerate(merges)}, {symbol: id_ for id_, symbol in enumerate(all_symbols)}


def merge_pairs(symbols: list[str | None], ranks: dict[tuple[str, str], int]) -> None:
    """Merge neighbours in place, least rank first: the left one becomes both, the right one None.

    A merge makes only pairs of greater rank (no symbol of CLIP's vocabulary has two ways to be made), so that taking
    the least from a heap is the same as open_clip's passes over the word.
    """
    after = list(range(1, len(symbols) + 1))
    before = list(range(-1, len(symbols) - 1))

    def rank_at(left: int) -> int | None:
        right = after[left]
        return None if right == len(symbols) else ranks.get((symbols[left], symbols[right]))  # type: ignore[arg-type]

    heap = [(rank, left) for left in range(len(symbols)) if (rank := rank_at(left)) is not None]
    heapq.heapify(heap)
    while heap:
        rank, left = heapq.heappop(heap)
        if symbols[left] is None or rank_at(left) != rank:
            continue  # one of both was merged since
        right = after[left]
        symbols[left] = f"{symbols[left]}{symbols[right]}"
        symbols[right] = None
        after[left] = after[right]
        if after[right] < len(symbols):
            before[after[right]] = left
        for changed in (before[left], left):
            if changed >= 0 and (rank_now := rank_at(changed)) is not None:
                heapq.heappush(heap, (rank_now, changed))


@functools.cache
def clip_tokenizer() -> ClipTokenizer:
    """Return the process's tokenizer; its words are remembered."""
    return ClipTokenizer()
