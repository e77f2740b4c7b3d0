"""Which pages are natural language: enough words, mostly letters, in a language that can be told."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.languages import LANGUAGES, LEAST_CONFIDENCE, most_likely_language
from mappool_assets.lib.web_documents.tokens import WordTokenizer

SLICES, SLICE_CHARACTERS = 8, 125  # see sampled()


@dataclass(frozen=True)
class LanguageSettings:
    """What counts as natural language.

    Attributes
    ----------
    least_words : int
        Of a page; OBELICS' lower bound (``number_words_doc_level_min_cutoff``).
    least_score : float
        How sure the language must be, from 0 to 1. CCNet's 0.5 and not OBELICS' 0.8, which was set for English: of 985
        sections of a book in 23 languages 0.5 loses 1 %, 0.8 20 %, among them four fifths of the Norwegian and nearly
        three quarters of the Indonesian ones, whose near relations share the score. Either lets none through under
        another language's name. The score is a column: who wants more can ask for it.
    least_letters : float
        Share of letters, with the marks upon them, among the characters that are no space, from 0 to 1. Our choice:
        none of those 985 has less (1 % have under 0.8); tables of numbers have 0.43, half of all JavaScript under 0.63.
    languages : tuple of str
        ISO 639 codes of the languages that are wanted; empty wants all.
    """

    least_words: int = 10
    least_score: float = LEAST_CONFIDENCE
    least_letters: float = 0.6
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.languages) - LANGUAGES)
        if unknown:
            raise _bad_setting("A language is not among those that are told apart", "ISO 639 codes, as en", unknown)
        if self.least_words < 1:
            raise _bad_setting("The least number of words cannot be used", "1 or more", self.least_words)
        for name in ("least_score", "least_letters"):
            if not 0 <= getattr(self, name) <= 1:
                raise _bad_setting(f"{name} cannot be used", "0 to 1", getattr(self, name))


class NaturalLanguage(NamedTuple):
    """A text that is natural language: its ISO 639 code, how sure that is (0 to 1), and its words."""

    language: str
    score: float
    words: int


class NoLanguage(NamedTuple):
    """A text that is not, or in a language that is not wanted: the reason, and its detail for people."""

    reason: str
    detail: str


def judge(text: str, settings: LanguageSettings) -> NaturalLanguage | NoLanguage:
    """Tell whether a page's text is natural language.

    The first rule that it breaks is the reason: ``no_text``, ``too_few_words``, ``not_natural_language`` (too few
    letters), ``language_unsure``, ``other_language``. Letters and language are judged by a sample of the text
    (:func:`sampled`). Words are counted as windows measure them
    (:class:`~mappool_assets.lib.web_documents.tokens.WordTokenizer`): in scripts without spaces each character is one.
    """
    words = len(WordTokenizer().spans(text))
    if not words:
        return NoLanguage("no_text", "")
    if words < settings.least_words:
        return NoLanguage("too_few_words", f"{words} of {settings.least_words}")
    sample = sampled(text)
    letters = letter_share(sample)
    if letters < settings.least_letters:
        return NoLanguage("not_natural_language", f"letters are {letters:.2f} of the characters")
    language, score = most_likely_language(sample)
    if score < settings.least_score:
        return NoLanguage("language_unsure", f"{language} {score:.2f}")
    if settings.languages and language not in settings.languages:
        return NoLanguage("other_language", f"{language} {score:.2f}")
    return NaturalLanguage(language, score, words)


def sampled(text: str) -> str:
    """Return 1,000 characters of a text, or all of one that has no more: eight slices, spread evenly.

    Pages often begin in a language that is not theirs, with names and menus. Of 985 sections of a book in 23 languages
    (13,000 characters in the mean) eight slices of 125 characters told 99.6 % to be of the language of the whole, their
    first 1,000 characters 93.6 %, their first 2,000 94.1 %.
    """
    if len(text) <= SLICES * SLICE_CHARACTERS:
        return text
    last = len(text) - SLICE_CHARACTERS
    starts = (last * number // (SLICES - 1) for number in range(SLICES))
    return " ".join(text[start : start + SLICE_CHARACTERS] for start in starts)


def letter_share(text: str) -> float:
    """Return the share of letters and combining marks among the characters that are no space, from 0 to 1.

    >>> letter_share("Maßstab 1:500"), letter_share("हिन्दी"), letter_share(" ")
    (0.5833333333333334, 1.0, 0.0)
    """
    characters = "".join(text.split())
    if not characters:
        return 0.0
    return len(characters.translate(_ONLY_LETTERS)) / len(characters)


class _OnlyLetters(dict[int, int | None]):
    """A translation that keeps letters and marks; learns each character when it is first met."""

    def __missing__(self, code: int) -> int | None:
        kept = code if unicodedata.category(chr(code))[0] in "LM" else None
        self[code] = kept
        return kept


_ONLY_LETTERS = _OnlyLetters()


def _bad_setting(what: str, rule: str, got: object) -> BadSetting:
    return BadSetting(what, where="the language of web documents", rule=rule, got=str(got), action="Correct it.")
