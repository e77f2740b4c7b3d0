"""Tokens lie where they should, in every script, and CLIP's are open_clip's own."""

from __future__ import annotations

import itertools
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.web_documents.clip_tokens import (
    PATTERN,
    byte_symbols,
    cleaned_word,
    clip_tokenizer,
    merge_pairs,
    vocabulary,
)
from mappool_assets.lib.web_documents.tokens import (
    MARK,
    MAX_WORD_CHARACTERS,
    SPACE,
    UNSPACED,
    WordTokenizer,
    _kinds_of_characters,
    tokenizer_named,
)
from mappool_assets_tests.small_documents import texts, words

OPEN_CLIP = SimpleTokenizer()
UNSPACED_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
SENTENCES = {
    "en": "The map shows Rome's walls — don't fold it! (1:25,000) www.example.org/a_b?c=d",
    "de": "Die Straßenkarte „Köln“ kostet 12,50 € & ist größer.",
    "el": "Ο χάρτης δείχνει τους δρόμους της Αθήνας.",
    "ru": "Карта показывает улицы Москвы; масштаб 1:10 000.",
    "ar": "تعرض الخريطة شوارع القاهرة.",
    "he": "המפה מראה את רחובות ירושלים.",
    "hi": "नक्शा दिल्ली की सड़कें दिखाता है।",
    "ko": "지도는 서울의 거리를 보여줍니다.",
    "ja": "地図には東京タワーと通りが示されています。ｶﾞｲﾄﾞ、１２３！",
    "zh": "地图显示了北京的街道，比例尺为1:10000。",
    "th": "แผนที่แสดงถนนในกรุงเทพมหานคร และน้ำ",
    "my": "မြေပုံသည် ရန်ကုန်မြို့ကို ပြသည်။",
    "emoji": "A 👩‍👩‍👧 in 🇩🇪 says 👍🏽!",
}


def slow_words(text: str) -> list[list[int]]:
    """One character after the other; of Unicode's own scripts, not of blocks."""
    spans: list[list[int]] = []
    is_unspaced = False  # the token under way
    for at, character in enumerate(text):
        touches = bool(spans) and spans[-1][1] == at
        kind = _kinds_of_characters()[ord(character)]
        if character.isspace():
            continue
        if touches and (kind == MARK or (not is_unspaced and kind != UNSPACED)):
            spans[-1][1] += 1
        else:
            spans.append([at, at + 1])
            is_unspaced = kind == UNSPACED
    return [
        [at, min(at + MAX_WORD_CHARACTERS, end)]
        for start, end in spans
        for at in range(start, end, MAX_WORD_CHARACTERS)
    ]


def test_white_space_is_what_python_splits_at():
    spaces = {chr(code) for code in np.flatnonzero(_kinds_of_characters() == SPACE)}
    assert spaces == {chr(code) for code in range(0x110000) if chr(code).isspace()}


def test_unspaced_scripts_are_unicodes():
    kinds = _kinds_of_characters()
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    in_script = set(regex.findall(f"[{UNSPACED_SCRIPTS}]", "".join(assigned)))
    assert {character for character in in_script if kinds[ord(character)] not in (UNSPACED, MARK)} == set()
    beside = {c for c in assigned if kinds[ord(c)] == UNSPACED} - in_script
    allowed = r"[\p{Common}\p{Inherited}\p{Bopomofo}]"  # signs that share blocks with the scripts
    assert {c for c in beside if not regex.match(allowed, c)} == set()


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_a_token_never_ends_within_a_grapheme(text):
    ends = {match.end() for match in regex.finditer(r"\X", text)}
    assert {end for _, end in WordTokenizer().spans(text).tolist()} <= ends


def test_words_of_known_texts():
    def words(text):
        return [text[start:end] for start, end in WordTokenizer().spans(text).tolist()]

    assert words("") == words(" \n\t\u3000") == []
    assert words("An old map,\nof  Rome.") == ["An", "old", "map,", "of", "Rome."]
    assert words("東京タワー2024年") == ["東", "京", "タ", "ワ", "ー", "2024", "年"]
    assert words("か\u3099x") == ["か\u3099", "x"]
    assert words("น้ำ ที่") == ["น้ำ", "ที่"]
    assert words("서울 지도") == ["서울", "지도"]
    assert words("e\u0301a \u0301東") == ["e\u0301a", "\u0301", "東"]
    assert words("x" * 130) == ["x" * 64, "x" * 64, "xx"]


@given(st.one_of(texts, st.text(max_size=200)))
def test_words_as_character_after_character(text):
    spans = WordTokenizer().spans(text)
    assert spans.dtype == np.int32
    assert spans.tolist() == slow_words(text)


@given(st.one_of(texts, st.text(max_size=60)))
def test_every_character_is_in_a_token_of_either_kind(text):
    for name in ("words", "clip"):
        tokenizer = tokenizer_named(name)
        spans = tokenizer.spans(text).tolist()
        assert tokenizer.name == name
        assert all(a == b or a[1] <= b[0] for a, b in itertools.pairwise(spans))
        covered = {at for start, end in spans for at in range(start, end)}
        assert covered == {at for at, character in enumerate(text) if not character.isspace()}


@given(st.one_of(texts, st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)))
def test_clip_has_an_id_a_span_and_spans_are_those_of_words(text):
    clip = clip_tokenizer()
    spans = clip.spans(text)
    assert len(clip.ids(text)) == len(spans)
    words = WordTokenizer().spans(text).tolist()
    assert {start for start, _ in spans.tolist()} <= {start for start, _ in words}
    assert {end for _, end in spans.tolist()} <= {end for _, end in words}


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_clip_ids_are_open_clips(text):
    assert clip_tokenizer().ids(text).tolist() == OPEN_CLIP.encode(text)
    both = f"{text}\n{text} &amp; &lt;b&gt;"
    assert clip_tokenizer().ids(both).tolist() == OPEN_CLIP.encode(both)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="<", exclude_categories=["Cc"])))
def test_clip_ids_of_plain_text_are_open_clips(text):
    assert clip_tokenizer().ids(text).tolist() == OPEN_CLIP.encode(text)


def test_clip_takes_no_marker_from_a_page():
    clip = clip_tokenizer()
    ids = clip.ids("a <end_of_text> <start_of_text> b").tolist()
    assert not set(ids) & set(OPEN_CLIP.all_special_ids)
    assert OPEN_CLIP.decode(ids) == "a < end _ of _ text > < start _ of _ text > b "


def test_clip_has_open_clips_pattern_and_vocabulary():
    markers = ["<start_of_text>", "<end_of_text>"]
    assert OPEN_CLIP.pat.pattern == "|".join([*markers, PATTERN])
    assert byte_symbols() == OPEN_CLIP.byte_encoder
    ranks, ids = vocabulary(OPEN_CLIP.byte_encoder.values())
    assert ranks == OPEN_CLIP.bpe_ranks
    assert ids == {symbol: number for symbol, number in OPEN_CLIP.encoder.items() if symbol not in markers}


@given(words | st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_word_is_cleaned_as_by_open_clip(word):
    assert cleaned_word(word) == OPEN_CLIP.clean_fn(word)


def test_no_symbol_of_the_vocabulary_is_made_in_two_ways():
    merges = OPEN_CLIP.bpe_ranks
    assert len({left + right for left, right in merges}) == len(merges)


@given(st.text(alphabet="abcentrsioh", min_size=2, max_size=40))
def test_merging_is_open_clips(word):
    symbols = [*word[:-1], word[-1] + "</w>"]
    merge_pairs(symbols, OPEN_CLIP.bpe_ranks)
    assert " ".join(filter(None, symbols)) == OPEN_CLIP.bpe(word)


def test_clip_spans_of_scripts_without_spaces_follow_their_characters():
    clip, text = clip_tokenizer(), "東京タワー&海"
    spans = clip.spans(text).tolist()
    assert [text[start:end] for start, end in dict.fromkeys(map(tuple, spans))] == [
        "東",
        "京",
        "タ",
        "ワ",
        "ー",
        "&",
        "海",
    ]
    assert clip.ids(text).tolist() == OPEN_CLIP.encode(text)


@pytest.mark.parametrize("blob", ["x" * 500_000, "東" * 100_000, "a\u0301" * 100_000, "😀" * 50_000])
def test_a_blob_is_no_burden(blob):
    # With merges as open_clip makes them, whose time grows with the square, the first takes hours.
    for name in ("words", "clip"):
        spans = tokenizer_named(name).spans(blob)
        assert spans[0, 0] == 0
        assert spans[-1, 1] == len(blob)
        assert (spans[:, 1] - spans[:, 0]).max() <= MAX_WORD_CHARACTERS


def test_tokens_are_had_without_torch():
    code = (
        "import sys; from mappool_assets.lib.web_documents.tokens import tokenizer_named;"
        "print(*(tokenizer_named(name).spans('a b').tolist() for name in ('words', 'clip')), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[[0, 1], [2, 3]] [[0, 1], [2, 3]] False"


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(BadSetting, match="words or clip"):
        tokenizer_named("gpt")
