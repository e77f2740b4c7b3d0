"""How fast captions are matched with a list of entries, as MetaCLIP matches them.

    python benchmarks/matching.py [--entries 500000] [--texts 100000] [--repeats 3]

Every method has a process of its own and one core, and is measured in CPU seconds; all must find the same. Rivals get
texts as Python strings, made beforehand; this project's get them as Arrow arrays, which is how they are stored.
pyahocorasick is used as MetaCLIP's fast path uses it. MetaCLIP's loop over all entries is run on a few texts, from
which its rate is extrapolated. Compiling is measured by itself: it is done once, and kept.

A second table has entries and texts of Han characters too, matched as by MetaCLIP 2.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness.captions import captions, entry_list, han_captions, han_entries
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

from mappool_assets.lib.curation.spacing import padded, padded_unspaced, spaced

OURS, AHOCORASICK, DAACHORSE, LOOP = "token automaton", "pyahocorasick", "daachorse, by characters", "MetaCLIP's loop"
OURS_UNSPACED, AHOCORASICK_UNSPACED = "tokens and characters", "pyahocorasick, MetaCLIP 2's entries"
LOOP_TEXTS = 20
HAN_SHARE = 0.3  # of entries and texts of the second table

LEAST_AGAINST_AHOCORASICK = 4.0
LEAST_AGAINST_LOOP = 5_000
MOST_BUILD_SECONDS, MOST_INDEX_MEGABYTES = 2.0, 200.0
LEAST_UNSPACED = 4.0

Work = Callable[[], Any]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as name:
        folder = Path(name)
        entries = entry_list(arguments.entries)
        write(folder / "spaced", entries, captions(arguments.texts, entries))
        of_han = int(HAN_SHARE * arguments.entries), int(HAN_SHARE * arguments.texts)
        some = entries[of_han[0] :]
        mixed = captions(arguments.texts - of_han[1], some) + han_captions(of_han[1])
        write(folder / "mixed", [*some, *han_entries(of_han[0])], mixed)
        compiled, loaded = (measure(prepare_load, folder / "compiled") for _ in range(2))
        rates, builds = compare(folder / "spaced", SPACED, arguments.repeats)
        unspaced, _ = compare(folder / "mixed", MIXED, arguments.repeats)
    print(f"\ncompiling: {compiled.cpu_seconds:.1f} CPU s once, {loaded.cpu_seconds:.1f} s where it is kept")
    conclude(
        Claim("matching_build", MOST_BUILD_SECONDS / builds[OURS].cpu_seconds, 1.0),
        Claim("matching_index_memory", MOST_INDEX_MEGABYTES * 1e6 / builds[OURS].result, 1.0),
        Claim("matching_unspaced", unspaced[OURS_UNSPACED] / unspaced[AHOCORASICK_UNSPACED], LEAST_UNSPACED),
        Claim("matching_against_the_loop", rates[OURS] / rates[LOOP], LEAST_AGAINST_LOOP),
        Claim("matching", rates[OURS] / rates[AHOCORASICK], LEAST_AGAINST_AHOCORASICK),
    )


def compare(
    folder: Path, builders: dict[str, Callable[[list[str], Path], Any]], repeats: int
) -> tuple[dict[str, float], dict[str, Measured]]:
    """Print and return the texts a CPU second of each method, and the building of its index (result: bytes)."""
    builds: dict[str, list[Measured]] = {method: [] for method in builders}
    runs: dict[str, list[Measured]] = {method: [] for method in builders}
    for _ in range(repeats):  # in turn, so that a busy minute of the machine hits all
        for method in builders:
            builds[method].append(measure(prepare_build, folder, method))
            runs[method].append(measure(prepare_match, folder, method))
    built, ran = ({method: median(of) for method, of in measured.items()} for measured in (builds, runs))
    first, *others = (run.result[1:] for run in ran.values())
    for method, found in zip(list(builders)[1:], others, strict=True):
        check_equal(first, found, method)
    texts = {method: run.result[0] for method, run in ran.items()}
    rates = {method: texts[method] / run.cpu_seconds for method, run in ran.items()}
    best = next(iter(rates.values()))
    rows = [
        [
            method + (f", extrapolated from {texts[method]} texts" if method == LOOP else ""),
            f"{built[method].cpu_seconds:.2f}",
            f"{built[method].result / 1e6:,.0f}",
            f"{rate:,.0f}",
            f"{best / rate:,.1f}",
        ]
        for method, rate in rates.items()
    ]
    counts = first[0]
    title = f"{folder.name}: {max(texts.values()):,} texts, {counts.mean():.1f} matches each, median of {repeats}"
    print_table(title, ["", "build CPU s", "index MB", "texts/CPU s", "ours is faster by"], rows)
    return rates, built


def median(runs: list[Measured]) -> Measured:
    return sorted(runs, key=lambda run: run.cpu_seconds)[len(runs) // 2]


def check_equal(one: Sequence[np.ndarray], other: Sequence[np.ndarray], method: str) -> None:
    """Fail where two methods, one of which may have had the first texts only, do not find the same."""
    counts, found = other
    if not (np.array_equal(one[0][: len(counts)], counts) and np.array_equal(one[1][: len(found)], found)):
        raise AssertionError(f"{method} finds other entries")


def write(folder: Path, entries: list[str], texts: list[str]) -> None:
    folder.mkdir()
    (folder / "entries.json").write_text(json.dumps(entries))
    (folder / "texts.json").write_text(json.dumps(texts))


def read(folder: Path, name: str) -> list[str]:
    return json.loads((folder / f"{name}.json").read_text())


def prepare_load(folder: Path) -> Work:
    """Compile, or load what is compiled, with Numba's own import."""
    from mappool_assets.lib.curation.compiled import load_kernels

    return lambda: load_kernels(folder)


def prepare_build(folder: Path, method: str) -> Work:
    """Build a method's index; the work returns how many bytes the process grew by."""
    entries, build = read(folder, "entries"), METHODS[method]
    build(entries[:10], folder.parent)  # imports, and loads what is compiled
    gc.collect()
    before = resident_bytes()
    kept = []

    def work() -> int:
        kept.append(build(entries, folder.parent))
        return resident_bytes() - before

    return work


def prepare_match(folder: Path, method: str) -> Work:
    """Match; the work returns how many texts it was given, how many entries match each, and which, in turn."""
    texts = read(folder, "texts")
    match = METHODS[method](read(folder, "entries"), folder.parent)
    if method == LOOP:
        texts = texts[:LOOP_TEXTS]
    given = texts
    if method in (OURS, OURS_UNSPACED):
        import pyarrow as pa

        given = pa.array(texts)

    def work() -> tuple[int, np.ndarray, np.ndarray]:
        found = match(given)
        if method in (OURS, OURS_UNSPACED):
            return len(texts), np.diff(found.offsets), found.entries
        counts = np.array([len(entries) for entries in found])
        return len(texts), counts, np.array([entry for entries in found for entry in sorted(entries)])

    return work


def build_tokens(entries: list[str], folder: Path) -> Any:
    from mappool_assets.lib.curation.compiled import load_kernels
    from mappool_assets.lib.curation.matcher import Matcher

    load_kernels(folder / "compiled")
    return Matcher.build(entries).match


def build_unspaced(entries: list[str], folder: Path) -> Any:
    from mappool_assets.lib.curation.compiled import load_kernels
    from mappool_assets.lib.curation.matcher_unspaced import UnspacedMatcher

    load_kernels(folder / "compiled")
    return UnspacedMatcher.build(entries).match


def build_ahocorasick(entries: list[str], folder: Path) -> Any:
    return _ahocorasick([padded(entry) for entry in entries])


def build_ahocorasick_unspaced(entries: list[str], folder: Path) -> Any:
    return _ahocorasick([padded_unspaced(entry) for entry in entries])


def _ahocorasick(patterns: list[str]) -> Any:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for number, pattern in enumerate(patterns):
        automaton.add_word(pattern, (number, pattern))
    automaton.make_automaton()
    return lambda texts: [list({number for _, (number, _) in automaton.iter(spaced(text))}) for text in texts]


def build_daachorse(entries: list[str], folder: Path) -> Any:
    import daachorse

    automaton = daachorse.CharwiseDoubleArrayAhoCorasick([padded(entry) for entry in entries])
    return lambda texts: [list({number for *_, number in automaton.find_overlapping(spaced(text))}) for text in texts]


def build_loop(entries: list[str], folder: Path) -> Any:
    patterns = [padded(entry) for entry in entries]

    def match(texts: list[str]) -> list[list[int]]:
        return [[number for number, pattern in enumerate(patterns) if pattern in text] for text in map(spaced, texts)]

    return match


SPACED = {OURS: build_tokens, AHOCORASICK: build_ahocorasick, DAACHORSE: build_daachorse, LOOP: build_loop}
MIXED = {OURS_UNSPACED: build_unspaced, AHOCORASICK_UNSPACED: build_ahocorasick_unspaced}
METHODS = {**SPACED, **MIXED}


def resident_bytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
