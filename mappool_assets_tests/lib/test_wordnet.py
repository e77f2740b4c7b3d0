"""Synsets of WordNet's own files and of a lexicon in LMF, against NLTK's reader; samples in the real formats."""

from __future__ import annotations

import bz2
import gzip
import warnings
from pathlib import Path

import pytest

from mappool_assets.lib.curation import wordnet
from mappool_assets.lib.curation.wordnet import DATA_FILES, synset_name, synset_names
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve

LICENCE = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 Princeton University under the following license.  \n"
)
# Kind, file number, words, gloss; as WordNet 3.0 has them.
SYNSETS = {
    "adj": [
        ("a", "00", ["able"], "(usually followed by `to') having the necessary means; \"able to swim\""),
        ("a", "00", ["galore(ip)"], "existing in abundance; \"whiskey galore\""),
        ("s", "00", ["afloat(p)", "aflutter"], "borne on the water"),
        ("a", "01", ["U.S.A."], "of the land"),
    ],
    "adv": [("r", "02", ["a_cappella"], "without musical accompaniment")],
    "noun": [
        ("n", "03", ["entity"], "that which is perceived"),
        ("n", "15", ["New_York", "New_York_City", "Greater_New_York"], "the largest city in New York State"),
        ("n", "15", ["St._Louis"], "a city in Missouri"),
        ("n", "06", ["map"], "a diagrammatic representation of the earth's surface"),
        ("n", "06", ["map"], "a function | another"),
    ],
    "verb": [("v", "36", ["map"], "make a map of; \"map the surface of Venus\"")],
}  # fmt: skip
NAMES = ["able", "galore", "afloat", "u", "a cappella", "entity", "new york", "st", "map", "map", "map"]


def write_database(folder: Path) -> Path:
    """Write WordNet's files, also those that only NLTK reads."""
    folder.mkdir(exist_ok=True)
    for name in ("cntlist.rev", "index.sense", *(f"{kind}.exc" for kind in SYNSETS)):
        (folder / name).write_text("")
    (folder / "lexnames").write_text("".join(f"{number:02}\tname{number}\t1\n" for number in range(45)))
    for kind, synsets in SYNSETS.items():
        lines, offsets = LICENCE, {}
        heads = len(LICENCE)  # a satellite's head is the first adjective
        for pos, file, words, gloss in synsets:
            offset = len(lines.encode())
            listed = " ".join(f"{word} 0" for word in words)
            pointer = f"001 & {heads:08} a 0000" if pos == "s" else "000"
            frames = " 01 + 08 00" if kind == "verb" else ""
            gloss = gloss.replace("|", "") if kind == "noun" else gloss
            lines += f"{offset:08} {file} {pos} {len(words):02x} {listed} {pointer}{frames} | {gloss}  \n"
            for word in words:
                offsets.setdefault(word.partition("(")[0].lower(), []).append((pos, offset))
        (folder / f"data.{kind}").write_text(lines)
        index = [
            f"{word} {found[0][0].replace('s', 'a')} {len(found)} 0 {len(found)} 0 "
            + " ".join(f"{offset:08}" for _, offset in found)
            for word, found in sorted(offsets.items())
        ]
        (folder / f"index.{kind}").write_text(LICENCE + "\n".join(index) + "\n")
    return folder


def read(address: Path | str) -> tuple[list[str], RowCounts, list[str]]:
    counts, versions = RowCounts(), []
    return list(synset_names(str(address), Storage(attempts=1), counts, versions)), counts, versions


def test_synsets_are_called_as_metaclip_calls_them(tmp_path, monkeypatch):
    folder = write_database(tmp_path / "dict")
    names, counts, versions = read(folder)
    assert names == NAMES
    assert (counts.rows_in, counts.dropped.total(), len(versions)) == (11, 0, 4)

    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class AloneReader(WordNetCorpusReader):
        def map_wn(self, version="wordnet"):  # to other versions, which are not there
            return None

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])  # it reads nothing elsewhere
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = AloneReader(str(folder), None)
        synsets = list(reader.all_synsets())
    assert [synset.name()[: synset.name().find(".")].replace("_", " ") for synset in synsets] == names


def test_the_database_may_lie_on_a_server(tmp_path):
    write_database(tmp_path / "dict")
    with serve(tmp_path) as server:
        assert read(f"{server.url}/dict/")[0] == NAMES
        (tmp_path / "dict" / "data.verb").unlink()
        with pytest.raises(MissingInput, match=r"data\.verb"):
            read(f"{server.url}/dict")


def test_malformed_lines_are_counted(tmp_path):
    folder = write_database(tmp_path / "dict")
    lines = (folder / "data.noun").read_bytes()
    (folder / "data.noun").write_bytes(
        lines + b"00001740 03 n zz entity 0 000 | x\n\nmap\n00001740 03 x 01 a 0 000 |\n"
    )
    names, counts, _ = read(folder)
    assert names == NAMES
    assert (counts.rows_in, counts.dropped) == (15, {"malformed_line": 4})


@pytest.mark.parametrize(
    "content",
    [b"", LICENCE.encode(), b"a\tb\n", b"x" * (3 << 20), b"\0" * 100],
    ids=["empty", "licence", "tabs", "one line", "zeros"],
)
def test_what_is_no_database_is_refused(tmp_path, content):
    folder = write_database(tmp_path / "dict")
    (folder / "data.adv").write_bytes(content)
    with pytest.raises(BadSetting, match=r"data\.adv.*no such line"):
        read(folder)


def test_a_word_that_is_no_utf8_is_refused(tmp_path):
    folder = write_database(tmp_path / "dict")
    (folder / "data.adv").write_bytes((folder / "data.adv").read_bytes().replace(b"a_cappella", b"\xe0_cappella"))
    with pytest.raises(BadSetting, match="UnicodeDecodeError"):
        read(folder)


LMF = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
  <Lexicon id="oewn" label="Open English WordNet" language="en" email="e@example.com" license="CC-BY" version="2024">
    <LexicalEntry id="oewn-Big_Apple-n">
      <Lemma writtenForm="Big Apple" partOfSpeech="n"/>
      <Sense id="oewn-Big_Apple__1.15.00.." synset="oewn-09138750-n"/>
    </LexicalEntry>
    <LexicalEntry id="oewn-New_York-n">
      <Lemma writtenForm="New York" partOfSpeech="n"><Pronunciation>nu jork</Pronunciation></Lemma>
      <Sense id="oewn-New_York__1.15.00.." synset="oewn-09138750-n">
        <SenseRelation relType="derivation" target="x"/>
      </Sense>
      <Sense id="oewn-New_York__1.15.01.." synset="oewn-09137869-n"/>
    </LexicalEntry>
    <LexicalEntry id="oewn-map-n">
      <Lemma writtenForm="Map &amp; chart" partOfSpeech="n"/>
      <Form writtenForm="maps"/>
      <Sense id="oewn-map-1" synset="oewn-1-n"/>
    </LexicalEntry>
    <Synset id="oewn-09138750-n" ili="i83611" members="oewn-New_York-n oewn-Big_Apple-n" partOfSpeech="n">
      <Definition>the largest city in New York State</Definition>
    </Synset>
    <Synset id="oewn-09137869-n" ili="i1" partOfSpeech="n"/>
    <Synset id="oewn-1-n" ili="i2" members="oewn-map-1" partOfSpeech="n"/>
    <Synset id="oewn-2-n" ili="i3" members="oewn-unknown-n" partOfSpeech="n"/>
  </Lexicon>
</LexicalResource>
"""


@pytest.mark.parametrize(("name", "pack"), [("a.xml", bytes), ("a.xml.gz", gzip.compress), ("a.xml.bz2", bz2.compress)])
def test_a_lexicon_says_which_word_is_the_first(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(LMF.encode()))
    names, counts, versions = read(tmp_path / name)
    assert names == ["new york", "new york", "map & chart"]
    assert (counts.rows_in, counts.dropped, len(versions)) == (4, {"no_word": 1}, 1)
    assert counts.examples == {"no_word": ["oewn-2-n"]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (LMF.replace('1.1.dtd">', "1.1.dtd\" [<!ENTITY a 'b'>]>"), "an entity, 'a'"),
        (LMF[:900], "no element found|unclosed"),
        ("<LexicalResource/>", "no Synset"),
        ("able", "not well-formed|syntax"),
    ],
    ids=["entity", "cut", "none", "no XML"],
)
def test_what_is_no_lexicon_is_refused(tmp_path, content, told):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(BadSetting, match=told):
        read(tmp_path / "a.xml")


def test_a_lexicon_of_too_many_entries_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "MAX_LEXICAL_ENTRIES", 2)
    (tmp_path / "a.xml").write_text(LMF)
    with pytest.raises(BadSetting, match="more than 2"):
        read(tmp_path / "a.xml")


def test_names_are_cut_as_nltks():
    assert [synset_name(word) for word in ("Washington_D.C.", "out(p)", "F(x)_y", "A.D.", ".22", "")] == [
        "washington d", "out", "f(x) y", "a", "", "",
    ]  # fmt: skip
    assert DATA_FILES == ("data.adj", "data.adv", "data.noun", "data.verb")
