"""Words and pairs of a corpus, against Python's counters, NLTK's measure and fractions."""

from __future__ import annotations

import gzip
import math
import random
import re
import string
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.collocations import BigramAssocMeasures, BigramCollocationFinder
from nltk.probability import FreqDist

from mappool_assets.lib.curation import corpus, ngrams, words
from mappool_assets.lib.curation.corpus import CorpusFile
from mappool_assets.lib.curation.entry_settings import NgramSettings
from mappool_assets.lib.curation.ngrams import NgramCounts, bigrams, count_ngrams, unigrams
from mappool_assets.lib.curation.source_stream import files_of
from mappool_assets.lib.curation.words import LONGEST_WORD, PUNCTUATION, WordCounter, tokens
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import LocalFile
from mappool_assets_tests.range_server import serve

ALL = NgramSettings(min_unigram_count=1, min_bigram_pmi=-64)


def slow_counts(texts: list[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Count character by character, as MetaCLIP 2's tokenizer goes."""
    found, pairs = Counter[str](), Counter[tuple[str, str]]()
    for text in texts:
        sequence, word = [], ""
        for character in [*text, " "]:
            alone = character in PUNCTUATION or re.match(f"[{words.UNSPACED}]", character)
            if alone or character.isspace():
                sequence += [word] if word else []
                word = ""
            if alone:
                sequence.append(None if character in PUNCTUATION else character)
            elif not character.isspace():
                word += character
        sequence = [None if word is None or len(word) > LONGEST_WORD else word for word in sequence]
        found.update(word for word in sequence if word is not None)
        pairs.update(pair for pair in pairwise(sequence) if None not in pair)
    return found, pairs


def counted(tmp_path: Path, files: dict[str, str], rule: NgramSettings = ALL, **given_limits) -> NgramCounts:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    lake = Lake(str(tmp_path / "lake"))
    limits = SqlLimits(given_limits.get("memory", "256MB"), 1, scratch)
    addresses = [str(tmp_path / name) for name in files]
    return count_ngrams(lake, addresses, Storage(), rule, limits, scratch, given_limits.get("workers", 1))


def rows_of(counts: NgramCounts) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    rows = pq.read_table(counts.file).to_pylist()
    found = {row["first"]: row["n"] for row in rows if not row["second"]}
    pairs = {(row["first"], row["second"]): row["n"] for row in rows if row["second"]}
    assert len(found) + len(pairs) == len(rows), "each once"
    return found, pairs


def entries_of(tmp_path: Path, counts: NgramCounts, rule: NgramSettings) -> tuple[list[str], list[str]]:
    lake, limits = Lake(str(tmp_path / "lake")), SqlLimits("256MB", 1, tmp_path)
    read = (part(lake, counts, rule, limits) for part in (unigrams, bigrams))
    one, two = ([entry for batch in batches for entry in batch.to_pylist()] for batches in read)
    return one, two


CHARACTERS = st.sampled_from([*"abc AB\n\t.,-'é図地ก。\xa0\u3000\x1c\ufffd\u200b"])


def taken(counter: WordCounter) -> tuple[Counter[str], Counter[tuple[str, str]], int]:
    table, too_long = counter.take()
    found, pairs = Counter[str](), Counter[tuple[str, str]]()
    for row in table.to_pylist():
        if row["second"]:
            pairs[row["first"], row["second"]] += row["n"]
        else:
            found[row["first"]] += row["n"]
    assert len(found) + len(pairs) == len(table), "each once"
    assert all(table["n"].to_numpy() > 0)
    return found, pairs, too_long


@given(st.lists(st.text(CHARACTERS, max_size=60), max_size=4), st.lists(st.integers(0, 60), max_size=5), st.integers(0))
def test_words_and_pairs_are_those_of_the_slow_count_wherever_a_text_is_cut(texts, cuts, take_at):
    counter = WordCounter()
    found, pairs = Counter[str](), Counter[tuple[str, str]]()
    for text in texts:
        edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
        pieces = [text[start:end] for start, end in pairwise(edges)] or [""]
        for number, piece in enumerate(pieces):
            counter.add(piece, is_last=number == len(pieces) - 1)
            if take_at >> number & 1:
                early = taken(counter)
                found, pairs = found + early[0], pairs + early[1]
    last = taken(counter)
    assert (found + last[0], pairs + last[1]) == slow_counts(texts)
    assert counter.held == 0
    assert taken(counter) == ({}, {}, 0)


@given(st.lists(st.integers(250, 262), max_size=4), st.sampled_from([1, 7, 255, 256, 257, 300]))
def test_words_that_are_too_long_are_counted_apart(lengths, piece):
    text = " x ".join("a" * length for length in lengths)
    counter = WordCounter()
    for start in range(0, len(text), piece):
        counter.add(text[start : start + piece], is_last=False)
    counter.add("", is_last=True)
    assert taken(counter) == (*slow_counts([text]), sum(length > LONGEST_WORD for length in lengths))


def test_what_follows_a_word_is_known_after_white_space_alone():
    counter = WordCounter()
    for text in ("a ", " ", "\n", "b"):
        counter.add(text, is_last=text == "b")
        pairs = taken(counter)[1]
    assert pairs == {("a", "b"): 1}


def test_a_word_without_end_takes_no_memory():
    counter = WordCounter()
    for _ in range(20):
        counter.add("a" * (1 << 20), is_last=False)
        assert len(counter._unfinished) <= LONGEST_WORD + 1
    counter.add(" b", is_last=True)
    assert taken(counter) == ({"b": 1}, {}, 1)


def test_words_end_at_punctuation_and_no_pair_reaches_over_it():
    text = "A map of New York, by J. Smith (1776) – O'Brien's; naïve_ca­fé"
    assert " ".join(tokens(text)) == "A map of New York . by J . Smith . 1776 . – O . Brien . s . naïve . ca­fé"
    assert all(tokens(mark) == ["."] for mark in PUNCTUATION)
    assert set(string.punctuation) <= set(PUNCTUATION)


def test_all_parts_of_a_corpus_are_added_up(tmp_path):
    draw = random.Random(5)
    vocabulary = [f"w{number}" for number in range(60)]
    texts = [" ".join(draw.choices(vocabulary, range(60, 0, -1), k=400)).replace("w3 ", "w3, ") for _ in range(6)]
    files = {f"{number}.txt": text for number, text in enumerate(texts)}
    one = counted(tmp_path, files)
    wanted = slow_counts(texts)
    assert rows_of(one) == wanted
    assert (one.words, one.unigrams, one.bigrams) == (wanted[0].total(), len(wanted[0]), len(wanted[1]))
    assert (one.texts.rows_in, one.too_long, len(one.versions)) == (6, 0, 6)
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["ngrams.parquet"]
    entries = entries_of(tmp_path, one, ALL)
    # The order of files, flushes and workers has no effect.
    for change in ({"workers": 2}, {}):
        again = counted(tmp_path, dict(reversed(files.items())), **change)
        assert rows_of(again) == wanted
        assert (again.versions, entries_of(tmp_path, again, ALL)) == (one.versions, entries)


def test_counts_that_are_written_early_are_added_up(tmp_path, monkeypatch):
    monkeypatch.setattr(ngrams, "HELD", 50)
    monkeypatch.setattr(corpus, "READ_BYTES", 17)
    draw = random.Random(6)
    text = " ".join(draw.choices("abcdefghijklmnop", k=3_000))
    assert rows_of(counted(tmp_path, {"a.txt": text})) == slow_counts([text])


WORDS = st.lists(st.sampled_from("abcde."), min_size=1, max_size=60).map(" ".join)


@settings(max_examples=15)
@given(text=WORDS, pmi=st.integers(-8, 12).map(lambda n: n / 2), least=st.integers(1, 3))
def test_pairs_tell_as_nltk_measures_it(tmp_path_factory, text, pmi, least):
    tmp_path = tmp_path_factory.mktemp("pmi")
    rule = NgramSettings(min_unigram_count=least, min_bigram_pmi=pmi, min_bigram_count=least)
    counts = counted(tmp_path, {"a.txt": text}, rule)
    found, pairs = slow_counts([text])
    one, two = entries_of(tmp_path, counts, rule)
    assert one == sorted((word for word in found if found[word] >= least), key=lambda word: (-found[word], word))

    finder = BigramCollocationFinder(FreqDist(found), FreqDist(pairs))
    scores = dict(finder.score_ngrams(BigramAssocMeasures.pmi))
    lift = {pair: Fraction(n * found.total(), found[pair[0]] * found[pair[1]]) for pair, n in pairs.items()}
    assert all(math.isclose(2 ** scores[pair], lift[pair]) for pair in pairs)
    wanted = [pair for pair in pairs if pairs[pair] >= least and lift[pair] ** 2 >= Fraction(2) ** round(2 * pmi)]
    assert two == [" ".join(pair) for pair in sorted(wanted, key=lambda pair: (-lift[pair], pair))]
    assert counts.rare_bigrams == sum(n < least for n in pairs.values())


def test_no_pair_of_a_small_corpus_reaches_metaclips_pmi(tmp_path):
    rule = NgramSettings()
    assert (rule.min_unigram_count, rule.min_bigram_pmi, rule.min_bigram_count) == (100, 30, 1)
    counts = counted(tmp_path, {"a.txt": "new york " * 100 + "once together"}, rule)
    assert entries_of(tmp_path, counts, rule) == (["new", "york"], [])
    assert counts.most_pmi == math.log2(202)
    most = NgramSettings(min_bigram_pmi=math.log2(202) - 1e-9)
    assert entries_of(tmp_path, counts, most)[1] == ["once together"]


def test_pairs_are_not_counted_where_none_are_wanted(tmp_path):
    rule = NgramSettings(min_unigram_count=1, min_bigram_pmi=None)
    counts = counted(tmp_path, {"a.txt": "a b a"}, rule)
    assert counts.bigrams == 0
    assert entries_of(tmp_path, counts, rule) == (["a", "b"], [])


def test_more_than_memory_is_spilled(tmp_path):
    draw = random.Random(3)
    text = " ".join(f"{draw.randrange(1 << 60):x}" for _ in range(150_000))
    counts = counted(tmp_path, {"a.txt": text}, memory="24MB")  # 300,000 groups of 100 bytes
    assert (counts.unigrams, counts.bigrams, counts.words) == (150_000, 149_999, 150_000)
    with pytest.raises(BadSetting, match="1MB of memory"):
        counted(tmp_path, {"a.txt": text}, memory="1MB")


MEMORY = """
import re, sys
from pathlib import Path
from mappool_assets.lib.curation import ngrams
from mappool_assets.lib.curation.entry_settings import NgramSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.ranged_file.base import Storage
ngrams.HELD = 1 << 19
folder = Path(sys.argv[1])
limits = SqlLimits("64MB", 1, folder)
counts = ngrams.count_ngrams(Lake(""), [str(folder / "a.txt")], Storage(), NgramSettings(), limits, folder)
print(counts.words, file=sys.stderr)
print(int(re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0]) // 1024, file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    draw, used = random.Random(4), []
    vocabulary = [f"{draw.randrange(1 << 50):x}" for _ in range(100_000)]
    for number in (50_000, 400_000):  # 0.6 and 5 MB, of which nearly every pair is another
        (tmp_path / "a.txt").write_text(" ".join(draw.choices(vocabulary, k=number)))
        command = [sys.executable, "-c", MEMORY, str(tmp_path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        words, megabytes = map(int, run.stderr.split())
        assert words == number
        used.append(megabytes)
    assert used[1] < used[0] + 90, used  # of which DuckDB may take 64


# -- files of a corpus ----------------------------------------------------------------------------------------------


def pieces(path: Path | str, **options) -> tuple[list[tuple[str, bool]], CorpusFile]:
    file = CorpusFile(str(path), Storage(attempts=1), **options)
    return [tuple(piece) for piece in file.pieces()], file


def test_plain_text_is_one_text_whatever_its_line_ends(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\ufeffNew\r\nYork\ncity".encode()))
    found, file = pieces(tmp_path / "a.txt.gz")
    assert found == [("New\r\nYork\ncity", False), ("", True)]
    assert file.counts.rows_in == 1
    assert rows_of(counted(tmp_path, {"b.txt": "New\r\nYork\ncity"}))[1] == {("New", "York"): 1, ("York", "city"): 1}


def test_at_bytes_that_are_no_text_words_end(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 bar " + "é".encode()[:1])
    found, _ = pieces(tmp_path / "a.txt")
    assert "".join(text for text, _ in found) == "caf\ufffd bar \ufffd"
    assert tokens("caf\ufffd bar") == ["caf", ".", "bar"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_rows_of_parquet_are_texts(tmp_path, kind):
    texts = pa.array(["a b", None, "", "c d"], kind)
    pq.write_table(
        pa.table({"title": ["1", "2", "3", "4"], "article": texts}), tmp_path / "a.parquet", row_group_size=2
    )
    found, file = pieces(tmp_path / "a.parquet", text_column="article")
    assert found == [("a b", True), ("", True), ("c d", True)]
    assert (file.counts.rows_in, file.counts.dropped) == (4, {"no_text": 1})
    with serve(tmp_path) as server:
        found, remote = pieces(f"{server.url}/a.parquet", text_column="article")
    assert found == [("a b", True), ("", True), ("c d", True)]
    assert file.version.startswith("sha256:")
    assert remote.version


def test_long_texts_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PIECE_CHARACTERS", 3)
    pq.write_table(pa.table({"text": ["abcdefg", "abc", ""]}), tmp_path / "a.parquet")
    found, _ = pieces(tmp_path / "a.parquet")
    assert found == [("abc", False), ("def", False), ("g", True), ("abc", True), ("", True)]


def test_what_is_no_corpus_is_refused(tmp_path):
    pq.write_table(pa.table({"text": [1]}), tmp_path / "number.parquet")
    pq.write_table(pa.table({"other": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "damaged.parquet").write_bytes((tmp_path / "other.parquet").read_bytes()[:-9])
    (tmp_path / "folder.txt").mkdir()
    for name, told in (("number", "of type int64"), ("other", "'other'"), ("damaged", "Parquet")):
        with pytest.raises(BadSetting, match=told):
            pieces(tmp_path / f"{name}.parquet")
    with pytest.raises(BadSetting, match="IsADirectoryError"):
        pieces(tmp_path / "folder.txt")
    with pytest.raises(MissingInput, match=r"none\.txt"):
        pieces(tmp_path / "none.txt")
    with pytest.raises(MissingInput, match=r"none\.txt"):
        count_ngrams(Lake(""), [str(tmp_path / "none.txt")], Storage(), ALL, SqlLimits(), tmp_path)


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a b c " * 1_000_000)
    read = LocalFile._read

    def grown(file: LocalFile, start: int, length: int) -> bytes:
        if start:
            with (tmp_path / "a.txt").open("a") as more:
                more.write("d")
        return read(file, start, length)

    monkeypatch.setattr(LocalFile, "_read", grown)
    with pytest.raises(SourceChanged, match=r"a\.txt"):
        pieces(tmp_path / "a.txt")


def test_a_folder_stands_for_its_files(tmp_path):
    from mappool_assets.lib.curation.corpus import CORPUS_FILE, RULE

    names = ["b.txt", "a.xml.bz2", "enwiki-latest-pages-articles1.xml-p1p41242.bz2", "c.parquet"]
    for name in [*names, "README", "a.xml.bz2.part", "d.csv"]:
        (tmp_path / name).touch()
    assert [Path(file).name for file in files_of(str(tmp_path), CORPUS_FILE, RULE)] == sorted(names)
    assert files_of("https://host/b.txt?key=secret", CORPUS_FILE, RULE) == ["https://host/b.txt?key=secret"]
    (tmp_path / "empty").mkdir()
    for address, told in ((str(tmp_path / "empty"), "no file"), ("https://me:secret@host/a.csv?key=secret", "another")):
        with pytest.raises(BadSetting, match=told) as refused:
            files_of(address, CORPUS_FILE, RULE)
        assert "secret" not in str(refused.value)
