"""What the README says is so: its commands exist, its settings are the settings, its demo is the demo."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mappool_assets.cli import main
from mappool_assets.definitions import defs
from mappool_assets.defs.settings import SETTINGS
from mappool_assets.demo.tour import run_demo
from mappool_assets.demo.world import build_world
from mappool_assets.lib.shard_filter import DROP_REASONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_command_is_one_that_this_test_knows():
    assert set(commands()) == {
        "make demo",
        "make ui",
        "make test",
        "make lint",
        ".venv/bin/mappool serve",
        ".venv/bin/mappool report",
        ".venv/bin/mappool report funnel",
        ".venv/bin/mappool classify scans/ picture.png --csv",
    }


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make")])
def test_make_knows_its_targets(command):
    found = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout


def test_ci_runs_the_readmes_test_command():
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "make test"


def test_settings_are_documented_as_they_are():
    rows = {f"| `{n}` | {f'`{s.default}`' if s.default else 'empty'} | {s.meaning} |" for n, s in SETTINGS.items()}
    assert rows == {line for line in README.splitlines() if line.startswith("| `MAPPOOL_")}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name, setting in SETTINGS.items():
        value = f"'{setting.default}'" if " " in setting.default else setting.default
        assert f"# {setting.meaning}\n#{name}={value}\n" in f"{example}\n"


def test_named_assets_jobs_and_reasons_exist():
    names = {key.path[-1] for key in defs.resolve_all_asset_keys()}
    names |= {job.name for job in defs.resolve_all_job_defs()}
    names |= {schedule.name for schedule in defs.schedules or []} | {sensor.name for sensor in defs.sensors or []}
    for name in ("training_set", "pool_shards", "shard_maps", "published_dataset", "train", "publish_daily"):
        assert name in names
        assert f"`{name}`" in README
    assert "new_pool_shards" in names
    for reason in DROP_REASONS:
        assert f"`{reason}`" in README


def test_named_paths_exist():
    for path in re.findall(r"^\| `([a-z_/]+/)` \|", README, flags=re.MULTILINE):
        assert (ROOT / path).is_dir()


def test_the_demo_runs_and_its_second_run_does_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "mappool_assets.demo.tour.build_world",
        lambda folder, progress: build_world(
            folder, training_per_class=60, shards=2, rows_per_shard=120, progress=progress
        ),
    )
    lines = []
    with dg.DagsterInstance.ephemeral() as instance:
        run_demo(tmp_path, instance, lines.append)
        first = "\n".join(lines)
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "published").glob("part_*/*.parquet")}
        assert len(written) == 2
        for told in ("not_a_map", "SVM, polynomial, degree 3", "What to type next", str(tmp_path / "published")):
            assert told in first
        assert "already done" not in first
        lines.clear()
        run_demo(tmp_path, instance, lines.append)
    second = "\n".join(lines)
    assert second.count("made: nothing") == 13
    assert "already done, inputs unchanged: published_dataset" in second
    assert {path: path.stat().st_mtime_ns for path in written} == written

    monkeypatch.setenv("MAPPOOL_LAKE", str(tmp_path / "lake"))
    capsys.readouterr()
    assert main(["report"]) == 0
    assert "funnel" in capsys.readouterr().out
    assert main(["report", "funnel"]) == 0
    assert "mappool/shard_maps" in capsys.readouterr().out
    assert main(["report", "absent"]) == 1
    assert "one of" in capsys.readouterr().err


def test_the_demo_without_an_instance_says_what_to_type(monkeypatch, capsys):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert main(["demo"]) == 1
    assert "make demo" in capsys.readouterr().err


def test_the_console_command_is_installed():
    found = subprocess.run(
        [Path(sys.executable).with_name("mappool"), "--help"], capture_output=True, text=True, check=True
    )
    assert "demo" in found.stdout
