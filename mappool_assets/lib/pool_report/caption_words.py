"""Which words tell what the captions are about: the most frequent ones without those that every text has."""

from __future__ import annotations

from collections.abc import Iterable

WORDS = 30  # on the page

# Articles, prepositions, conjunctions and pronouns of the languages that follow English on the web; scikit-learn has a
# list for English alone.
_OTHER_STOP_WORDS = """
der die das den dem des ein eine einer eines einem einen und oder im von vom zu zum zur mit auf für aus bei nach
    über am ist sind nicht auch wie
    le la les un une du des et ou dans par pour sur avec aux au ce cette est sont en que qui
    el los las una unos del al por para con sin sobre su sus es son se como más lo
    il lo gli uno dei degli della delle dello nel nella di da per che non tra fra sono
    os um uma dos das do na no nas nos em ao aos às com sem são
    het een van voor met aan uit bij naar om te op niet ook zijn
"""


def stop_words() -> frozenset[str]:
    """Return what is left out: scikit-learn's English stop words and those above."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS | frozenset(_OTHER_STOP_WORDS.split())


def telling_words(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the first :data:`WORDS` of some words, most frequent first, that are no stop words."""
    left_out = stop_words()
    return [(word, captions) for word, captions in counted if word not in left_out][:WORDS]
