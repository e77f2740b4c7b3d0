import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.charset import decoded

SENTENCES = {
    "windows-1252": "Straßen, Flüsse und Gebirge: die Karte zeigt „Österreich“, das Königreich Böhmen, größer als je. ",
    "iso-8859-2": "Województwo małopolskie leży na południu, a jego główną rzeką jest Wisła; źródło leży w Beskidzie. ",
    "windows-1251": "Карта показывает город, реку и горы; население области живёт главным образом на юге страны. ",
    "koi8-r": "Карта показывает город, реку и горы; население области живёт главным образом на юге страны. ",
    "iso-8859-7": "Ο χάρτης δείχνει την πόλη, τον ποταμό και τα βουνά της περιοχής στον βορρά της χώρας. ",
    "windows-1255": "המפה מראה את העיר, את הנהר ואת ההרים של האזור בצפון המדינה. ",
    "windows-1256": "تظهر الخريطة المدينة والنهر والجبال في شمال البلاد وجنوبها. ",
    "shift_jis": "この地図は東京の川と山と町を示しています。新しい写真と古い写真があります。",
    "euc-jp": "この地図は東京の川と山と町を示しています。新しい写真と古い写真があります。",
    "gbk": "这个地图是北京的，我们可以看到城市和河流，也可以看到山。历史和文化。",
    "big5": "這個地圖是臺北的，我們可以看到城市和河流，也可以看到山。歷史和文化。",
    "euc-kr": "이 지도는 서울의 강과 산을 보여 준다. 새로운 도시와 오래된 도시가 있다. ",
}  # fmt: skip


def page(charset, declared=None, repeat=12):
    meta = f'<meta charset="{declared}">' if declared else ""
    text = f"<!DOCTYPE html><head>{meta}<title>t</title></head><p>" + SENTENCES[charset] * repeat
    return text, text.encode({"gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}.get(charset, charset))


@pytest.mark.parametrize("charset", SENTENCES)
@pytest.mark.parametrize("how", ["header", "meta"])
def test_a_declared_encoding_is_read(charset, how):
    text, body = page(charset, declared=charset if how == "meta" else None)
    found = decoded(body, f"text/html; charset={charset.upper()}" if how == "header" else "text/html")
    assert found == (text.encode(), charset, how)


@pytest.mark.parametrize("charset", SENTENCES)
def test_an_undeclared_encoding_is_detected(charset):
    text, body = page(charset)
    found = decoded(body, None)
    assert (found.utf8.decode(), found.source) == (text, "detected")


@pytest.mark.parametrize("charset", ["windows-1251", "koi8-r", "iso-8859-7", "shift_jis", "gbk", "euc-kr"])
@pytest.mark.parametrize("wrong", ["iso-8859-1", "utf-8", "iso-8859-2"])
def test_a_declaration_that_the_bytes_contradict_is_passed_over(charset, wrong):
    text, body = page(charset, declared=wrong)
    found = decoded(body, f"text/html; charset={wrong}")
    assert (found.utf8.decode(), found.source) == (text, "detected")


def test_the_page_s_own_declaration_is_heard_where_the_server_is_wrong():
    text, body = page("windows-1251", declared="windows-1251")
    assert decoded(body, "text/html; charset=ISO-8859-1") == (text.encode(), "windows-1251", "meta")


@pytest.mark.parametrize("declared", ["iso-8859-1", "shift_jis", "utf-16", "nonsense", None])
def test_what_is_valid_utf8_is_utf8_whatever_is_declared(declared):
    text = f'<meta charset="{declared}"><p>Größe, 地図, карта'
    assert decoded(text.encode(), f"text/html; charset={declared}") == (text.encode(), "utf-8", "utf-8")


@pytest.mark.parametrize(
    ("mark", "codec", "name"),
    [
        (b"\xef\xbb\xbf", "utf-8", "utf-8"),
        (b"\xff\xfe", "utf-16-le", "utf-16le"),
        (b"\xfe\xff", "utf-16-be", "utf-16be"),
    ],
)
def test_a_byte_order_mark_goes_before_everything(mark, codec, name):
    body = mark + "<p>карта".encode(codec)
    assert decoded(body, "text/html; charset=windows-1252") == ("<p>карта".encode(), name, "bom")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_shows_without_a_mark(codec):
    text = "<!DOCTYPE html><html><body><p>карта</p></body></html>"
    assert decoded(text.encode(codec), None) == (text.encode(), codec.replace("16-", "16"), "detected")


def test_seven_bits_may_be_japanese():
    text = '<meta charset="iso-2022-jp"><p>日本の地図'
    assert decoded(text.encode("iso-2022-jp"), None) == (text.encode(), "iso-2022-jp", "meta")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("latin1", "windows-1252"),
        ("ISO-8859-1", "windows-1252"),
        ("us-ascii", "windows-1252"),
        (" Windows-1252 ", "windows-1252"),
        ("x-sjis", "shift_jis"),
        ("gb2312", "gbk"),
        ("ks_c_5601-1987", "euc-kr"),
        ("iso-8859-9", "windows-1254"),
        ("tis-620", "windows-874"),
        ("cp866", "ibm866"),
        ("x-mac-cyrillic", "x-mac-cyrillic"),
        ("macintosh", "macintosh"),
        ("koi", "koi8-r"),
    ],
)
def test_labels_mean_what_the_encoding_standard_says(label, name):
    body = b"<p>\xc4\xc8 and \xc4\xc8 again"  # valid in all of them
    assert decoded(body, f'text/html; charset="{label}"').charset == name


def test_a_page_that_is_cut_within_a_character_loses_that_alone():
    assert decoded("Größe und Länge".encode()[:-1] + "ä".encode()[:1], None).utf8.decode() == "Größe und Läng"
    text, body = page("shift_jis", declared="shift_jis")
    cut = decoded(body + "地".encode("shift_jis")[:1], None)
    assert cut == (text.encode(), "shift_jis", "meta")


def test_a_last_letter_of_latin_is_not_a_cut_character():
    assert decoded("café".encode("latin-1"), "text/html; charset=latin1") == ("café".encode(), "windows-1252", "header")


def test_utf8_with_a_few_foreign_bytes_stays_utf8():
    body = "Größe und Länge, ".encode() * 20 + b"caf\xe9" + " schöne Städte".encode() * 20
    found = decoded(body, "text/html; charset=iso-8859-1")
    assert found.charset == "utf-8"
    assert found.utf8.decode() == "Größe und Länge, " * 20 + "caf�" + " schöne Städte" * 20


def test_a_page_of_two_encodings_is_read_in_the_one_that_holds_it():
    # All of the bytes are valid in windows-1252, which is declared; in UTF-8 half of them are not.
    body = b'<meta charset="windows-1252">' + ("Größe " * 30).encode("cp1252") + ("Größe " * 30).encode()
    found = decoded(body, None)
    assert found.charset == "windows-1252"
    assert found.utf8.decode().count("Größe") == 30


@pytest.mark.parametrize(
    "head",
    [
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
        "<meta content='text/html;charset=windows-1251' http-equiv=content-type />",
        '<META CHARSET="windows-1251">',
        "<meta charset=windows-1251/>",
        "<!-- <meta charset=koi8-r> --><meta charset=windows-1251>",
        '<meta name="description" content="charset=koi8-r"><meta charset=windows-1251>',
        "<script>" + "x" * 5000 + "</script><meta charset=windows-1251>",
    ],
)
def test_meta_is_found_in_all_its_forms(head):
    body = (head + SENTENCES["windows-1251"]).encode("windows-1251")
    assert decoded(body, None)[1:] == ("windows-1251", "meta")


def test_the_declaration_of_xml_counts():
    body = ('<?xml version="1.0" encoding="windows-1251"?><html>' + SENTENCES["windows-1251"]).encode("windows-1251")
    assert decoded(body, None)[1:] == ("windows-1251", "meta")


def test_bytes_that_are_nothing_are_read_in_the_fallback():
    found = decoded(b"\x81\x8d\x00\xff\xfe\x81", "text/html; charset=windows-1252")
    assert (found.charset, found.source) == ("windows-1252", "fallback")


@given(st.binary(max_size=300), st.none() | st.text(max_size=30) | st.builds("text/html; charset={}".format, st.text()))
@example(b"<meta charset=x-user-defined>\xff", None)
@example(b"<meta charset=replacement>\xff", "charset=hz-gb-2312")
@example(b"<meta charset=idna>\xff", "charset=rot13")
@example(b"\xff\xfe\x00\xd8", "charset=utf-16")
@example(b"\x1b$B", "charset=iso-2022-jp")
def test_no_bytes_and_no_header_raise_and_the_result_is_valid(body, content_type):
    found = decoded(body, content_type)
    found.utf8.decode()
    assert found.charset == found.charset.lower()
    assert found.source in ("bom", "utf-8", "header", "meta", "detected", "fallback")


@given(st.text())
def test_utf8_passes_unchanged(text):
    body = text.encode("utf-8", "ignore")
    found = decoded(body, "text/html; charset=shift_jis")
    if found.source == "utf-8":
        assert found.utf8 == body
