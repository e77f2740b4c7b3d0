"""Compiled code is kept where it is told to, never in the package, and mended where it is damaged."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mappool_assets
from mappool_assets.lib.curation import compiled
from mappool_assets.lib.curation.compiled import load_kernels
from mappool_assets.lib.errors import BadSetting
from mappool_assets_tests.small_curation import use_compiled

PROGRAM = """
import json, sys
from pathlib import Path
import pyarrow as pa
from mappool_assets.lib.curation.compiled import kernels, load_kernels
from mappool_assets.lib.curation.matcher import Matcher
load_kernels(Path(sys.argv[1]))
found = Matcher.build(["map", "old map"]).match(pa.array(["an old map, a map"]))
loaded = {name: sum(function.stats.cache_hits.values()) for name, function in vars(kernels()).items()}
print(json.dumps([found.entries.tolist(), loaded]))
"""


@pytest.fixture
def kept(tmp_path, tmp_path_factory):
    """A folder of compiled code of its own."""
    return Path(shutil.copytree(use_compiled(tmp_path_factory), tmp_path / "compiled"))


def matched_elsewhere(folder):
    printed = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True)
    return json.loads(printed.stdout)


def names_of(folder):
    return sorted(file.name for file in folder.rglob("*.nb?"))


def test_another_process_compiles_nothing(kept):
    before = names_of(kept)
    entries, loaded = matched_elsewhere(kept)
    assert entries == [0, 1]
    assert len(before) == 2 * len(loaded)
    assert (names_of(kept), set(loaded.values())) == (before, {1})


def test_damaged_files_are_made_anew(kept):
    before = names_of(kept)
    for ending, damage in (("nbi", b""), ("nbc", b"\x80\x05 no pickle")):
        (damaged,) = kept.rglob(f"character_kernels.merge*.{ending}")  # the last that is loaded
        damaged.write_bytes(damage)
        entries, loaded = matched_elsewhere(kept)
        assert (entries, loaded["merge"], loaded["match_tokens"]) == ([0, 1], 0, 1)
        assert damaged.read_bytes() != damage
    assert (names_of(kept), set(matched_elsewhere(kept)[1].values())) == (before, {1})


def test_the_folder_is_named_after_all_sources_of_the_compiled_code():
    folder = Path(compiled.__file__).parent
    for source in compiled._SOURCES:
        for node in ast.walk(ast.parse((folder / source).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mappool_assets"):
                assert f"{node.module.rpartition('.')[2]}.py" in compiled._SOURCES
    modules = {function.py_func.__module__.rpartition(".")[2] for function in vars(compiled.kernels()).values()}
    assert {f"{module}.py" for module in modules} <= set(compiled._SOURCES)


def test_nothing_is_written_into_the_package(tmp_path_factory):
    use_compiled(tmp_path_factory)
    assert names_of(Path(mappool_assets.__file__).parent) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="The folder for compiled code cannot be used"):
        load_kernels(tmp_path / "file" / "compiled")


def test_a_folder_that_others_can_write_to(kept):
    (version,) = kept.iterdir()
    version.chmod(0o770)
    with pytest.raises(BadSetting, match=r"nobody else can write to; got owner \d+, mode drwxrwx---"):
        load_kernels(kept)
