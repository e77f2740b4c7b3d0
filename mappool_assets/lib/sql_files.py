"""The statements under ``sql/``: one a file, its first line a comment with the question it answers."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SQL_FOLDER


def statement(name: str) -> str:
    """Return the text of ``sql/<name>.sql``, for instance ``"reports/funnel"``."""
    file = SQL_FOLDER / f"{name}.sql"
    if not file.is_file():
        known = sorted(str(f.relative_to(SQL_FOLDER).with_suffix("")) for f in SQL_FOLDER.glob("*/*.sql"))
        raise BadSetting(
            "There is no such SQL file",
            where=f"sql/{name}.sql",
            rule=f"one of {', '.join(known)}",
            got=name,
            action="Use one of these names.",
        )
    return file.read_text(encoding="utf-8")


def question(name: str) -> str:
    """Return the question that a statement answers: its first line, without the comment's dashes."""
    return statement(name).splitlines()[0].removeprefix("--").strip()


def names(folder: str) -> list[str]:
    """Return the statements of a folder, ``"checks"`` or ``"reports"``, sorted: ``["checks/…", …]``."""
    return sorted(f"{folder}/{file.stem}" for file in (SQL_FOLDER / folder).glob("*.sql"))


def parameters(name: str) -> set[str]:
    """Return the names of the ``$parameters`` that a statement binds."""
    code = re.sub(r"--.*", "", re.sub(r"'[^']*'", "''", statement(name)))
    return set(re.findall(r"\$([a-z_]+)", code))


def run(lake: Lake, name: str, **bound: Any) -> pa.Table:
    """Run ``sql/<name>.sql``; parameters left out are NULL, which the statements read as "all".

    For a check the result is the offending rows: none means that the rule holds.
    """
    unknown = bound.keys() - parameters(name)
    if unknown:
        raise BadSetting(
            "An SQL statement was given a parameter that it does not have",
            where=f"sql/{name}.sql",
            rule=f"parameters {sorted(parameters(name))}",
            got=f"{sorted(unknown)}",
            action="Leave it out, or name the parameter as the file does.",
        )
    return lake.query(statement(name), {p: bound.get(p) for p in parameters(name)})
