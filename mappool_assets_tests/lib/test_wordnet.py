"""Synsets of WordNet's own files, against the rule spelt out; samples in the real format, whole and damaged."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import nltk
import pytest

from mappool_assets.lib.curation import wordnet
from mappool_assets.lib.curation.wordnet import FILES, KINDS, synset_names
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.range_server import serve

LICENCE = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 Princeton University under the following license.  \n"
)
Synset = tuple[str, str, list[str], str]  # kind, file number, words, gloss
# As WordNet 3.0 has them.
SYNSETS: dict[str, list[Synset]] = {
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
        ("n", "06", ["map"], "a function"),
    ],
    "verb": [("v", "36", ["map"], "make a map of; \"map the surface of Venus\"")],
}  # fmt: skip
NAMES = ["able", "galore", "afloat", "u", "a cappella", "entity", "new york", "st", "map", "map", "map"]


def unmarked(word: str) -> str:
    return re.sub(r"\([^()]*\)$", "", word).lower()


def metaclips_name(word: str) -> str:
    """NLTK calls a synset ``word.n.01``, of which MetaCLIP takes what is before the first full stop."""
    name = f"{unmarked(word)}.n.01"
    return name[: name.find(".")].replace("_", " ")


def write_database(folder: Path, synsets: Mapping[str, Iterable[Synset]] = SYNSETS) -> Path:
    """Write WordNet's files."""
    folder.mkdir(exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind}.exc").write_text(f"{kind}s {kind}\n")
    (folder / "lexnames").write_text("".join(f"{number:02}\tname{number}\t1\n" for number in range(45)))
    for kind in KINDS:
        lines: list[str] = [LICENCE]
        offsets: dict[str, list[int]] = {}
        offset = len(LICENCE)
        for pos, file, words, gloss in synsets[kind]:
            listed = " ".join(f"{word} 0" for word in words)
            pointer = f"001 & {len(LICENCE):08} a 0000" if pos == "s" else "000"  # the head is the first adjective
            frames = " 01 + 08 00" if kind == "verb" else ""
            lines.append(f"{offset:08} {file} {pos} {len(words):02x} {listed} {pointer}{frames} | {gloss}  \n")
            for word in words:
                offsets.setdefault(unmarked(word), []).append(offset)
            offset += len(lines[-1].encode())
        (folder / f"data.{kind}").write_text("".join(lines), "utf-8")
        letter = {"adj": "a", "adv": "r"}.get(kind, kind[0])
        index = (
            f"{word} {letter} {len(at)} 0 {len(at)} 0 {' '.join(f'{o:08}' for o in at)}  \n"
            for word, at in sorted(offsets.items())
        )
        (folder / f"index.{kind}").write_text(LICENCE + "".join(index), "utf-8")
    return folder


def zipped(folder: Path, *members: tuple[str, str]) -> Path:
    """Write a folder as NLTK's downloads have it: the members (name, file), or all files in a folder ``wordnet``."""
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, name in members or [(f"wordnet/{path.name}", path.name) for path in sorted(folder.iterdir())]:
            archive.write(folder / name, member)
    return file


def read(address: Path | str) -> tuple[list[str], list[str]]:
    versions: list[str] = []
    return synset_names(str(address), Storage(attempts=1), versions), versions


def test_synsets_are_called_as_metaclip_calls_them(tmp_path, monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])  # nothing is read where NLTK keeps its own
    folder = write_database(tmp_path / "dict")
    names, versions = read(folder)
    assert names == NAMES == [metaclips_name(words[0]) for kind in KINDS for _, _, words, _ in SYNSETS[kind]]
    assert len(versions) == len(set(FILES)) == 13
    (folder / "README").write_text("Not read.")
    (folder / "index.sense").write_text("Nor this.")
    assert read(folder) == (names, versions)
    names, versions = read(zipped(folder))
    assert names == NAMES
    assert len(versions) == 1


LETTERS = "abcXYZéßİŁ図'-/0279,!%~"


def test_any_word_is_called_by_the_rule(tmp_path):
    rng = random.Random(8)

    def word() -> str:
        parts = ["".join(rng.choices(LETTERS, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
        return rng.choice(["", "", "."]) + "".join(part + rng.choice("_.()") for part in parts) + parts[0]

    def some(kind: str) -> list[Synset]:
        letters = ["a", *rng.choices("as", k=249)] if kind == "adj" else [{"adv": "r"}.get(kind, kind[0])] * 250
        marks = ["(p)", "(ip)", "(a)", "", ""] if kind == "adj" else [""]
        return [
            (
                letter,
                "07",
                [word() + rng.choice(marks) for _ in range(rng.randint(1, 5))],
                rng.choice(['"a"', 'é "', ""]),
            )
            for letter in letters
        ]

    synsets = {kind: some(kind) for kind in KINDS}
    names, _ = read(write_database(tmp_path / "dict", synsets))
    assert names == [metaclips_name(words[0]) for kind in KINDS for _, _, words, _ in synsets[kind]]


def test_the_database_may_lie_on_a_server(tmp_path):
    zipped(write_database(tmp_path / "dict"))
    with serve(tmp_path) as server:
        assert read(f"{server.url}/dict/")[0] == NAMES
        assert read(f"{server.url}/dict.zip?token=secret")[0] == NAMES
        (tmp_path / "dict" / "data.verb").unlink()
        with pytest.raises(MissingInput, match=r"data\.verb"):
            read(f"{server.url}/dict")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_told(tmp_path, name):
    folder = write_database(tmp_path / "dict")
    (folder / name).unlink()
    with pytest.raises(MissingInput, match=re.escape(name)):
        read(folder)
    with pytest.raises(BadSetting, match=f"0 files {re.escape(name)}"):
        read(zipped(folder))


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("data.adv", lambda _: b"", "no synset of the kinds r"),
        ("data.adv", lambda _: LICENCE.encode(), "no synset of the kinds r"),
        ("data.adv", lambda _: b"a\tb\n", "ValueError"),
        ("data.adv", lambda _: b"x" * (3 << 20), "ValueError"),
        ("data.adv", lambda _: b"\0" * 100, "ValueError"),
        ("data.adv", lambda was: was.replace(b"a_cappella", b"\xe0_cappella"), "UnicodeDecodeError"),
        ("data.noun", lambda was: was[:-30], "WordNetError"),
        ("data.noun", lambda was: was + b"\n00001740 03 n zz entity 0 000 | x\n", "WordNetError"),
        ("data.noun", lambda was: was.replace(b"01 entity 0 000", b"01 entity 0 001"), "StopIteration"),
        ("data.noun", lambda was: was.replace(b"03 n 01 entity 0", b"99 n 01 entity 0"), "IndexError"),
        ("data.noun", lambda was: was.replace(b" n 01 entity 0", b" x 01 entity 0"), "KeyError"),
        ("data.noun", lambda was: was.replace(b" n 01 entity 0", b" n 00 "), "IndexError"),
        ("data.verb", lambda was: was.replace(b"01 + 08 00", b"01 + 99 00"), "IndexError"),
        ("data.verb", lambda was: was.replace(b"01 + 08 00", b"01 - 08 00"), "AssertionError"),
        ("data.adj", lambda was: was.replace(b"& 00000", b"& 99999"), "AttributeError"),
        ("data.adj", lambda was: was.replace(b"& ", b"& " + b"9" * 40), "AttributeError"),
        ("index.noun", lambda was: was.replace(b"entity", b"entities"), "KeyError"),
        ("index.noun", lambda was: was.replace(b"entity n 1 0 1", b"entity n 1 0 2"), "index.noun, line"),
        ("index.noun", lambda was: was.replace(b"entity n 1 0 1 0 0", b"entity n 1 0 1 0 1"), "ValueError"),
        ("lexnames", lambda _: b"one two\n", "ValueError"),
        ("noun.exc", lambda _: b"\n", "IndexError"),
    ],
)
def test_a_damaged_database_is_refused(tmp_path, name, change: Change, told):
    folder = write_database(tmp_path / "dict")
    was = (folder / name).read_bytes()
    (folder / name).write_bytes(change(was))
    assert (folder / name).read_bytes() != was
    with pytest.raises(BadSetting, match=told) as refused:
        read(folder)
    assert refused.value.where == str(folder)


def test_satellites_of_one_another_are_refused(tmp_path):
    folder = write_database(tmp_path / "dict", {**SYNSETS, "adj": [("s", "00", ["able"], "its own head")]})
    with pytest.raises(BadSetting, match="RecursionError"):
        read(folder)


def test_a_zip_that_is_none_is_refused(tmp_path):
    folder = write_database(tmp_path / "dict")
    file = zipped(folder)
    whole = file.read_bytes()
    inside = whole.index(b"data.noun") + 20
    flipped = whole[:inside] + bytes(byte ^ 0xFF for byte in whole[inside : inside + 9]) + whole[inside + 9 :]
    for damaged, told in (
        (b"", "BadZipFile"),
        (whole[:-100], "BadZipFile"),
        (b"PK\3\4" + b"x" * 1000, "BadZipFile"),
        (flipped, "data.noun|error: Error"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(BadSetting, match=told):
            read(file)
    encrypted = whole.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(b"\x14\0\0\0\x08", b"\x14\0\1\0\x08")
    file.write_bytes(encrypted)
    with pytest.raises(BadSetting, match="password"):
        read(file)
    twice = [(f"{version}/{name}", name) for version in ("3.0", "3.1") for name in FILES]
    with pytest.raises(BadSetting, match=r"2 files data\.adj"):
        read(zipped(folder, *twice))


@pytest.mark.parametrize("pack", [lambda folder: folder, zipped], ids=["folder", "zip"])
def test_files_that_are_too_large_together_are_refused(tmp_path, monkeypatch, pack):
    folder = write_database(tmp_path / "dict")
    size = sum(path.stat().st_size for path in folder.iterdir())
    address = pack(folder)
    monkeypatch.setattr(wordnet, "MAX_BYTES", size + 2048)  # also room for the headers of a zip that saves little
    assert read(address)[0] == NAMES
    monkeypatch.setattr(wordnet, "MAX_BYTES", size - 1)
    with pytest.raises(BadSetting, match="more than"):
        read(address)


def test_nltk_is_loaded_only_to_read_a_database():
    code = "import sys, mappool_assets.lib.curation.entries; print('nltk' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
