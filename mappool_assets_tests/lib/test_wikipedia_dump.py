"""A wiki's dump, as it is published, damaged and hostile; and its markup, against pages read by hand."""

from __future__ import annotations

import bz2
import gzip
import html
import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.curation import source_stream, wikipedia_dump
from mappool_assets.lib.curation.corpus import CorpusFile
from mappool_assets.lib.curation.wiki_markup import HIDDEN, strip_markup
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve
from mappool_assets_tests.s3_server import serve_s3

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
      <namespace key="100" case="first-letter">Portal</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"


def page(text: str, *, title: str = "A", ns: str = "0", redirect: str = "", model: str = "wikitext") -> str:
    return f"""  <page>
    <title>{html.escape(title)}</title>
    <ns>{ns}</ns>
    <id>10</id>
{f'    <redirect title="{redirect}" />' if redirect else ""}
    <revision>
      <id>1</id>
      <timestamp>2024-05-01T00:00:00Z</timestamp>
      <contributor><username>somebody &amp; others</username><id>7</id></contributor>
      <comment>no text</comment>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text)}" sha1="x" xml:space="preserve">{html.escape(text, quote=False)}</text>
      <sha1>x</sha1>
    </revision>
  </page>
"""


def dump(*pages: str) -> bytes:
    return (HEAD + "".join(pages) + TAIL).encode()


def read(path: Path | str, storage: Storage | None = None) -> tuple[list[str], CorpusFile]:
    file = CorpusFile(str(path), storage or Storage(attempts=1))
    pieces = list(file.pieces())
    assert all(is_last for _, is_last in pieces)
    return [text for text, _ in pieces], file


def texts_of(tmp_path: Path, content: bytes) -> tuple[list[str], CorpusFile]:
    (tmp_path / "pages.xml").write_bytes(content)
    return read(tmp_path / "pages.xml")


PAGES = dump(
    page("'''Maps''' &lt; [[Kategorie:Karte]]plans & charts\n", title="Map"),
    page("#REDIRECT [[Map]]", title="Maps", redirect="Map"),
    page("Talk", title="Talk:Map", ns="1"),
    page("body { }", title="Map.css", model="css"),
    page("  {{stub}} ", title="Empty"),
    page("Globe", title="Globe", model=""),
)
TEXTS = ["Maps < plans & charts\n", "Globe"]
LEFT_OUT = {"redirect": 1, "other_namespace": 1, "not_wikitext": 1, "no_text": 1}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("dewiki-latest-pages-articles.xml", bytes),
        ("dewiki-latest-pages-articles.xml.bz2", bz2.compress),
        (
            "dewiki-latest-pages-articles1.xml-p1p9.bz2",
            lambda data: bz2.compress(data[:777]) + bz2.compress(data[777:]),
        ),
        ("dewiki.xml.gz", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]) + bytes(700)),
        ("packed.xml", bz2.compress),
    ],
    ids=["plain", "bz2", "multistream", "gz", "as its bytes say"],
)
def test_articles_come_without_markup_and_the_others_are_counted(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(PAGES))
    texts, file = read(tmp_path / name)
    assert texts == TEXTS
    assert (file.counts.rows_in, file.counts.dropped) == (6, LEFT_OUT)
    assert file.counts.examples["redirect"] == ["Maps"]


def test_a_dump_may_lie_on_a_server_or_in_a_bucket(tmp_path):
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(PAGES))
    wanted, local = read(tmp_path / "a.xml.bz2")
    with serve(tmp_path) as server:
        texts, remote = read(f"{server.url}/a.xml.bz2?download=1")
        assert (texts, remote.version) == (wanted, local.version)
        with pytest.raises(MissingInput, match=r"b\.xml"):
            read(f"{server.url}/b.xml")
    with serve_s3("dumps") as endpoint:
        import boto3

        boto3.client("s3", endpoint_url=endpoint).upload_file(str(tmp_path / "a.xml.bz2"), "dumps", "a.xml.bz2")
        texts, stored = read("s3://dumps/a.xml.bz2", Storage(s3_endpoint=endpoint))
    assert (texts, stored.version) == (wanted, local.version)


def test_of_several_revisions_the_last_one_counts(tmp_path):
    older = page("Old")
    revision = re.search("<revision>.*</revision>", page("New"), re.DOTALL)[0]
    texts, _ = texts_of(tmp_path, dump(older.replace("</revision>", f"</revision>{revision}")))
    assert texts == ["New"]


def test_a_deleted_text_and_one_without_an_end_tag_are_none(tmp_path):
    content = dump(re.sub("<text .*</text>", '<text bytes="0" deleted="deleted" />', page("x"), flags=re.DOTALL))
    assert texts_of(tmp_path, content)[1].counts.dropped == {"no_text": 1}


def test_a_page_that_is_too_long_is_counted_and_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(wikipedia_dump, "MAX_PAGE_CHARACTERS", 100_000)
    texts, file = texts_of(tmp_path, dump(page("a " * 60_000), page("b " * 50_000), page("c", title="d" * 5_000)))
    assert [len(text) for text in texts] == [100_000, 1]
    assert file.counts.dropped == {"too_large": 1}


# -- hostile and damaged files --------------------------------------------------------------------------------------

BOMB = """<?xml version="1.0"?><!DOCTYPE mediawiki [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>"""
OUTSIDE = '<!DOCTYPE mediawiki [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB.encode() + dump(page("&b;")).replace(b"&amp;b;", b"&b;"), "an entity, 'a'"),
        (OUTSIDE.encode() + dump(page("x")), "an entity, 'x'"),
        (dump(page("x")).replace(b">x<", b">&undefined;<"), "undefined entity"),
        (b"<mediawiki>" + b"<a>" * 100_000, "more than 64 deep"),
        (b"<mediawiki><page " + b"a" * (18 << 20) + b'=""/></mediawiki>', "a tag or a comment of more than"),
        (b"<mediawiki><!--" + b" a" * (9 << 20) + b"--></mediawiki>", "a tag or a comment of more than"),
        (PAGES[:-30], "no element found|unclosed token"),
        (PAGES + b"<more/>", "junk after document element"),
        (b"<html>" + PAGES, "the element 'html'"),
        (b"%PDF-1.7", "unclosed token"),
        (b"", "no element found"),
        (PAGES.replace(b"Globe", b"\xff\xfe"), "not well-formed"),
    ],
    ids=["bomb", "file", "undefined", "deep", "tag", "comment", "cut", "more", "html", "pdf", "empty", "no UTF-8"],
)
def test_what_is_no_dump_is_refused(tmp_path, content, told):
    with pytest.raises(BadSetting, match=told) as refused:
        texts_of(tmp_path, content)
    assert refused.value.where.endswith("pages.xml")
    assert "MediaWiki XML dump" in refused.value.rule


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (lambda data: bz2.compress(data)[:-9], "ends early"),
        (lambda data: bz2.compress(data)[:200] + b"damage!!" + bz2.compress(data)[208:], "OSError"),
        (lambda data: bz2.compress(data) + b"what follows", "OSError"),
        (lambda data: gzip.compress(data)[:-9], "ends early"),
        (lambda data: gzip.compress(data) + b"what follows", "incorrect header"),
        (lambda data: gzip.compress(data)[:-8] + bytes(8), "incorrect data check"),
    ],
)
def test_a_damaged_packed_file_is_refused(tmp_path, pack, told):
    with pytest.raises(BadSetting, match=told):
        texts_of(tmp_path, pack(PAGES))


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress])
def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(source_stream, "BOMB_BYTES", 1 << 20)
    with pytest.raises(BadSetting, match="200 times"):
        texts_of(tmp_path, pack(dump(page(" " * (32 << 20)))))


def test_a_full_disk_is_not_taken_for_a_bad_source(tmp_path):
    with pytest.raises(OSError, match="No space"), source_stream.understood("a", "b"):
        raise OSError(28, "No space left on device")


MEMORY = """
import re, sys
from pathlib import Path
from mappool_assets.lib.curation.corpus import CorpusFile
from mappool_assets.lib.ranged_file.base import Storage
print(sum(len(text) for text, _ in CorpusFile(sys.argv[1], Storage()).pieces()))
print(int(re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0]) // 1024)
"""


def test_memory_does_not_grow_with_the_dump(tmp_path):
    used = []
    for number in (20, 150):  # 1 and 7 MB of markup
        with bz2.open(tmp_path / "a.xml.bz2", "wt", compresslevel=1) as file:
            file.write(HEAD + page("[[Some]] words of a page " * 2_000) * number + TAIL)
        command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.xml.bz2")]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        characters, megabytes = map(int, run.stdout.split())
        assert characters == 42_000 * number
        used.append(megabytes)
    assert used[1] < used[0] + 15


# -- markup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''', ''italic'' and '''''both'''''", "Bold, italic and both"),
        ("[[New York]]s [[London|the city]] [[a|b|c]] [[#Section|here]]", "New Yorks the city b|c here"),
        ("a [[File:A.png|thumb|left|A [[map|chart]] of [[Rome]]]] b", "a  b"),
        ("a [[Datei:A.png]][[image:b.gif|x]][[Category:Maps]] b", "a  b"),
        ("[[:File:A.png]] [[:Category:Maps|all maps]]", "File:A.png all maps"),
        ("a {{Infobox|name={{nested|x=[[y]]}}|b}} c", "a  c"),
        ("a {{t|b|}} c", "a  c"),
        ("a\n{| class=\"x\"\n! h\n|-\n| [[b]] || {{c}}\n{|\n| inner\n|}\n|}\nd", "a\n\nd"),
        ("a<ref>note {{cite|x}}</ref> b<ref name=\"n\" /> c<REF group=x>y</REF>", "a b c"),
        ("a <!-- {{ hidden [[ --> b", "a  b"),
        ("a <!-- never closed", "a "),
        ("x<math>\\frac{{a}}{b}</math>y<br>z<span style='a'>w</span>", "xy\nzw"),
        ("[https://maps.example/a?b=c&d the map] http://x.example/|y", "[ the map] |y"),
        ("&lt;b&gt; &nbsp;|&#8211;|&#x41;|&unknown;|&amp;lt;", "<b> \xa0|–|A|&unknown;|&lt;"),
        ("&#99999999999999999999; &#xD800; &#1114112;", "&#99999999999999999999; \ufffd \ufffd"),
        ("__NOTOC__text __init__", "text __init__"),
        ("a {{ b [[ c <ref> d '' e", "a {{ b [[ c   d  e"),
        ("a }} b ]] c |} d </ref> e", "a }} b ]] c |} d   e"),
        ("{{ [[ a }} b ]] c", " b ]] c"),
        ("[[ {{ a ]] b }} c", "{{ a  b }} c"),
        ("a|b||c", "a|b||c"),
        ("[[]] [[|a]] [[ ]]", " a "),
        ("a < b and c > d; 1<2", "a < b and c > d; 1<2"),
    ],
)  # fmt: skip
def test_markup_goes_and_words_stay(wikitext, text):
    assert strip_markup(wikitext, frozenset({"file", "image", "category", "datei"})) == text


MARKS = ["{{", "}}", "[[", "]]", "|", "\n{|", "\n|}", "<ref>", "</ref>", "<ref/>", "File:", ":", "'", "a", " ", "b c"]


@given(st.lists(st.sampled_from(MARKS), max_size=40))
def test_words_outside_of_all_marks_stay(marks):
    text = strip_markup(f"before {''.join(marks)}" + "}}]]\n|}</ref>" * len(marks) + " after")
    assert text.startswith("before ")
    assert text.endswith(" after")


@given(st.text())
def test_any_text_is_read(text):
    assert isinstance(strip_markup(text), str)


HOSTILE = ["{{", "[[", "[[a|", "<ref>", "{{[[", "\n{|", "<a ", "''", "[http://a", "&#", "<!--", "__A", "[[File:", "|"]


@pytest.mark.parametrize("mark", HOSTILE)
def test_time_grows_with_the_page_alone(mark):
    def seconds(number: int) -> float:
        hostile = mark * number + "}}" * number + "]]" * number
        began = time.process_time()
        strip_markup(hostile)
        return time.process_time() - began

    # Ten times the page; were it squared, a hundred times. The least of three, as a collection of garbage may hit one.
    assert min(seconds(40_000) for _ in range(3)) < 40 * (seconds(4_000) + 0.005)


def test_every_hidden_element_is_hidden():
    for name in sorted(HIDDEN):
        assert strip_markup(f"a<{name} x=y>hidden</{name}>b") == "ab"


def test_an_event_is_a_piece_of_text(tmp_path):
    pages = wikipedia_dump.article_texts(io.BytesIO(dump(page("x" * 300_000))), CorpusFile("", Storage()).counts)
    assert [len(text) for text in pages] == [300_000]
