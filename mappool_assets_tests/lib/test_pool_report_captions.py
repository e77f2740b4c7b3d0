import socket

import pytest

from mappool_assets.lib.pool_report.caption_languages import (
    LEAST_CONFIDENCE,
    MOST_CHARACTERS,
    NAMES,
    UNKNOWN,
    count_languages,
    language_name,
)
from mappool_assets.lib.pool_report.caption_words import WORDS, stop_words, telling_words

CAPTIONS = {
    "en": "Map of the rivers and the lakes of Switzerland",
    "de": "Karte der Flüsse und Seen der Schweiz",
    "fr": "Carte des rivières et des lacs de la Suisse",
    "es": "Mapa de los ríos y lagos de España",
    "ru": "Карта рек и озёр России",
    "ja": "日本の古い地図",
    "zh": "中国地图",
    "ar": "خريطة مدينة القاهرة القديمة",
}


@pytest.fixture
def no_network(monkeypatch):
    """Fail on any socket, and on any model that is not there already."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("code", CAPTIONS)
def test_languages_are_told_without_network(no_network, code):
    assert count_languages([CAPTIONS[code]] * 3) == {code: 3}
    assert language_name(code) != code


@pytest.mark.parametrize("caption", ["", " ", "1234", "IMG_0001.jpg", "\x00\ufffd", "~ " * 50_000])
def test_what_is_no_language_is_unknown(caption):
    assert count_languages([caption]) == {UNKNOWN: 1}


@pytest.mark.parametrize("caption", ["Karte der Schweiz\nund\r\nÖsterreichs", "KARTE DER SCHWEIZ UND ÖSTERREICHS"])
def test_lines_and_capitals_do_not_matter(caption):
    assert count_languages([caption]) == {"de": 1}


def test_no_caption_is_lost():
    captions = [*CAPTIONS.values(), *["?"] * 4]
    assert count_languages(captions).total() == len(captions)
    assert count_languages([]) == {}


def test_only_the_beginning_of_a_long_caption_counts():
    beginning = (CAPTIONS["de"] + " ") * (MOST_CHARACTERS // len(CAPTIONS["de"]) + 1)
    assert count_languages([beginning + CAPTIONS["fr"] * 1000]) == {"de": 1}


def test_names_are_those_of_codes():
    assert all(code.islower() and code.isalpha() and len(code) in (2, 3) for code in NAMES)
    assert len(set(NAMES.values())) == len(NAMES)
    assert 0 < LEAST_CONFIDENCE < 1


def test_stop_words_are_left_out_and_the_order_kept():
    counted = [("the", 90), ("map", 80), ("der", 70), ("karte", 60), ("de", 50), ("mapa", 40)]
    assert telling_words(counted) == [("map", 80), ("karte", 60), ("mapa", 40)]
    assert len(telling_words((f"w{n}", 1) for n in range(100))) == WORDS
    assert {"the", "und", "des", "los", "della", "dos", "het"} <= stop_words()
    assert all(word == word.lower() and " " not in word for word in stop_words())
