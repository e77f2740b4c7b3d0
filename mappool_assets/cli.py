"""The few commands that Dagster's own CLI does not cover: the demo, and questions to the lake."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mappool_assets.lib.errors import BadSetting, MappoolError


def main(arguments: list[str] | None = None) -> int:
    """Run ``mappool``; return the exit status."""
    parser = argparse.ArgumentParser(prog="mappool", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run the whole of MapPool on a small world made for it")
    demo.add_argument("--folder", type=Path, default=Path("data/demo"), help="where everything goes (data/demo)")
    demo.set_defaults(run=lambda chosen: _demo(chosen.folder))
    report = commands.add_parser("report", help="answer a question about the lake (without NAME: list the questions)")
    report.add_argument("name", nargs="?", metavar="NAME")
    report.add_argument("--lake", help="the lake to ask (MAPPOOL_LAKE of the environment or of .env, else data/lake)")
    report.set_defaults(run=lambda chosen: _report(chosen.name, chosen.lake))
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except MappoolError as error:
        print(f"mappool: {error}", file=sys.stderr)
        return 1
    return 0


def _demo(folder: Path) -> None:
    if "DAGSTER_HOME" not in os.environ:
        raise BadSetting(
            "Dagster has nowhere to record the demo's runs",
            where="DAGSTER_HOME",
            rule="a folder that holds dagster.yaml",
            got="nothing",
            action="Type `make demo`, which sets it.",
        )
    import dagster as dg

    from mappool_assets.demo.tour import run_demo

    with dg.DagsterInstance.get() as instance:
        run_demo(folder, instance, say=lambda line: print(line, flush=True))


def _report(name: str | None, root: str | None) -> None:
    from dotenv import dotenv_values

    from mappool_assets.defs.resources import SETTINGS
    from mappool_assets.lib import sql_files
    from mappool_assets.lib.lake import Lake
    from mappool_assets.lib.text_table import as_text

    if name is None:
        for each in sql_files.names("reports"):
            print(f"{each.removeprefix('reports/'):24}{sql_files.question(each)}")
        return
    settings = {**{key: each.default for key, each in SETTINGS.items()}, **dotenv_values(".env"), **os.environ}
    lake = Lake(root or settings["MAPPOOL_LAKE"] or "data/lake", settings["MAPPOOL_S3_ENDPOINT"] or None)
    print(as_text(sql_files.run(lake, f"reports/{name}")))


if __name__ == "__main__":
    sys.exit(main())
