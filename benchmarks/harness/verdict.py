"""How a benchmark reports: a table, and a line of JSON for each claim, with an exit status that CI can use."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mappool_assets.lib.workers import available_cores


@dataclass(frozen=True)
class Claim:
    """A measured ratio and the least that it must be."""

    name: str
    figure: float
    at_least: float


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title, the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


def conclude(*claims: Claim) -> NoReturn:
    """Print each claim as a line of JSON, the script's main one last; exit with 1 where a bound is not reached."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nload average after 1, 5, 15 minutes: {load}")
    for claim in claims:
        line = {
            "claim": claim.name,
            "figure": round(claim.figure, 3),
            "unit": "ratio",
            "at_least": claim.at_least,
            "machine": machine(),
        }
        print(json.dumps(line))
    sys.exit(any(claim.figure < claim.at_least for claim in claims))


def machine() -> str:
    """Return cores and processor."""
    return f"{available_cores()} cores, {_processor()}, {platform.system()}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
