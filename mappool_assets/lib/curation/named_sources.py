"""Sources of the metadata list as people name them: ``numbers``, ``wordnet:folder``, ``places:geonames:file``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappool_assets.lib.errors import BadSetting

# As people write them, with the field of EntrySettings that they are.
SWITCHES = {"numbers": "has_numbers", "cartography": "has_cartography"}
SINGLE = {"given": "given", "wordnet": "wordnet"}
SEVERAL = {"corpus": "corpora", "page_views": "page_views", "places": "places"}


def source_fields(named: Iterable[str]) -> dict[str, Any]:
    """Return the fields of :class:`~.entry_settings.EntrySettings` that some sources are.

    Raises
    ------
    BadSetting
        There is no such source, it lacks its address or has one too many, or one of which there can be one alone is
        named twice.

    Examples
    --------
    >>> source_fields(["numbers", "corpus:one.xml.bz2", "corpus:two.txt"])
    {'has_numbers': True, 'corpora': ('one.xml.bz2', 'two.txt')}
    """
    fields: dict[str, Any] = {}
    for source in named:
        kind, colon, address = source.partition(":")
        if kind in SWITCHES and not colon:
            fields[SWITCHES[kind]] = True
        elif kind in SINGLE and address and SINGLE[kind] not in fields:
            fields[SINGLE[kind]] = address
        elif kind in SEVERAL and address:
            fields[SEVERAL[kind]] = (*fields.get(SEVERAL[kind], ()), address)
        else:
            raise BadSetting(
                "A source of the metadata list cannot be used",
                where=source,
                rule=f"{', '.join(SWITCHES)}; or, once, {', '.join(SINGLE)}, or {', '.join(SEVERAL)}, each with "
                "a colon and its address",
                got=repr(source),
                action="Correct the setting.",
            )
    return fields
