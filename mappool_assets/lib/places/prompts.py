"""Prompts: the words by which images of a place are looked for."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.place import NAME, NAME_KINDS, Place, RowCounts, places_of

# LAION-geo's: "grand central terminal in midtown east, united states". CLIP's tokeniser makes everything lower case.
LAION_GEO_TEMPLATE = "{name} in {admin1}, {country}"
PARTS = ("name", "admin2", "admin1", "country")

SAME_PROMPT = "same_prompt_of_place"

NAMES_SCHEMA = pa.schema([("place", pa.int64()), ("name", pa.string()), ("kind", pa.string()), ("key", pa.string())])
PROMPTS_SCHEMA = pa.schema([("of_name", pa.int64()), ("prompt", pa.string()), ("template", pa.string())])


@dataclass(frozen=True)
class Template:
    """A prompt's wording.

    Attributes
    ----------
    text : str
        ``{name}`` and, where wanted, ``{admin2}``, ``{admin1}`` and ``{country}``, each at most once.
    before, between, after : str, tuple of str, str
        The words around the parts: ``between[i]`` stands after part ``i``.
    parts : tuple of str
        The parts in their order.
    """

    text: str
    before: str
    parts: tuple[str, ...]
    between: tuple[str, ...]
    after: str

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return the template that a text says.

        Raises
        ------
        BadSetting
            No ``{name}``, another part, a part twice, or brackets, which would stand empty where a part is missing.
        """
        try:
            pieces = list(string.Formatter().parse(text))
        except ValueError as error:
            raise _bad(text) from error
        words = [literal for literal, *_ in pieces]
        parts = tuple(part for _, part, *_ in pieces if part is not None)
        has_format = any(spec or conversion for _, _, spec, conversion in pieces)
        if NAME not in parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts) or has_format:
            raise _bad(text)
        if set("()[]{}<>") & set("".join(words)):
            raise _bad(text)
        after = words[len(parts)] if len(words) > len(parts) else ""
        return cls(text, words[0], parts, tuple(words[1 : len(parts)]), after)

    def render(self, place: Place, name: str) -> str:
        """Return the prompt for one of a place's names.

        A part that is not known, or that repeats an earlier part or the name, is left out. Of the words between two
        parts that remain the first stand, so that nothing dangles.

        >>> template = Template.parse("{name} in {admin1}, {country}")
        >>> template.render(Place("", "Paris", admin1="Texas", country_name="United States"), "Paris")
        'Paris in Texas, United States'
        >>> template.render(Place("", "Nuuk", country_name="Greenland"), "Nuuk")
        'Nuuk in Greenland'
        >>> template.render(Place("", "Atlantis"), "Atlantis")
        'Atlantis'
        """
        values = {NAME: name, "admin2": place.admin2, "admin1": place.admin1, "country": place.country_name}
        said = {name.casefold()}
        prompt, pending = self.before, ""
        for position, part in enumerate(self.parts):
            value = values[part]
            if part == NAME or (value and value.casefold() not in said):
                prompt += pending + (value or "")
                said.add((value or "").casefold())
                pending = ""
            if prompt != self.before and position < len(self.between):
                pending = pending or self.between[position]
        return " ".join((prompt + self.after).split())


@dataclass(frozen=True)
class Prompts:
    """The prompts of places, in their order.

    Attributes
    ----------
    names : pyarrow.Table
        The names that are asked for: ``place`` (row of the places), ``name``, ``kind``, ``homonyms`` (int32: how many
        places have this name among those asked for, whatever its case; 1 where there is no other).
    prompts : pyarrow.Table
        ``of_name`` (row of ``names``), ``prompt``, ``template``, ``same_prompt_places`` (int32: how many places have
        exactly this prompt).
    distinct : pyarrow.Array of string
        Each prompt once, in the order of first appearance.
    distinct_of : int64 array
        For each row of ``prompts`` its position in ``distinct``.
    counts : RowCounts
        Prompts worded, and those dropped because the same place has them already.
    """

    names: pa.Table
    prompts: pa.Table
    distinct: pa.Array
    distinct_of: NDArray[np.int64]
    counts: RowCounts


def word_prompts(places: pa.Table, templates: Sequence[Template], kinds: Sequence[str]) -> Prompts:
    """Word the prompts of places: name by name, and for each name template by template.

    A further name that is the place's main name, or an earlier one, whatever its case, is not asked for again.

    Parameters
    ----------
    places : pyarrow.Table of ``PLACE_SCHEMA``
    templates : sequence of Template
    kinds : sequence of str
        Which names are asked for: ``name``, ``alternate``, ``historic``.
    """
    counts = RowCounts()
    names, prompts = _Rows(NAMES_SCHEMA), _Rows(PROMPTS_SCHEMA)
    for row, place in enumerate(places_of(places)):
        worded: set[str] = set()
        for name, kind in names_of(place, kinds):
            for template in templates:
                counts.rows_in += 1
                prompt = template.render(place, name)
                if prompt in worded:
                    counts.drop(SAME_PROMPT, [f"{place.place_id}, {prompt}"])
                    continue
                worded.add(prompt)
                prompts.add(names.length, prompt, template.text)
            names.add(row, name, kind, name.casefold())
    named, worded_rows = names.table(), prompts.table()
    codes = _codes(named["key"])[0]
    named = named.drop_columns("key").append_column("homonyms", _times(codes))
    distinct_of, distinct = _codes(worded_rows["prompt"])
    worded_rows = worded_rows.append_column("same_prompt_places", _times(distinct_of))
    return Prompts(named, worded_rows, distinct, distinct_of, counts)


def names_of(place: Place, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Return a place's names of some kinds, each once, the main name first."""
    known: set[str] = set()
    found = []
    for name, kind in ((place.name, NAME), *place.alternates):
        key = name.casefold()
        if key not in known:
            known.add(key)
            if kind in kinds:
                found.append((name, kind))
    return found


class _Rows:
    """Rows collected one by one, kept as Arrow batches: a tenth of the memory of lists."""

    BATCH = 65_536

    def __init__(self, schema: pa.Schema) -> None:
        self._schema, self.length = schema, 0
        self._columns: list[list[object]] = [[] for _ in schema]
        self._batches: list[pa.RecordBatch] = []

    def add(self, *values: object) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self.length += 1
        if len(self._columns[0]) == self.BATCH:
            self._flush()

    def _flush(self) -> None:
        self._batches.append(pa.record_batch(self._columns, schema=self._schema))
        self._columns = [[] for _ in self._schema]

    def table(self) -> pa.Table:
        self._flush()
        return pa.Table.from_batches(self._batches).combine_chunks()


def _codes(texts: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    encoded = texts.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def _times(codes: NDArray[np.int64]) -> pa.Array:
    """Return how often each code occurs, beside each of its occurrences."""
    return pa.array(np.bincount(codes, minlength=1)[codes].astype(np.int32))


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise :class:`BadSetting` unless kinds of names are known and there is one."""
    if not kinds or set(kinds) - set(NAME_KINDS):
        raise BadSetting(
            "No such kinds of names",
            where="name_kinds",
            rule=f"one or more of {', '.join(NAME_KINDS)}",
            got=", ".join(kinds) or "none",
            action="Correct the kinds of names that are asked for.",
        )


def _bad(text: str) -> BadSetting:
    return BadSetting(
        "The template cannot be used",
        where="templates",
        rule="{name} and, once each at most, {admin2}, {admin1}, {country}, with words but no brackets between them",
        got=repr(text),
        action="Correct the template.",
    )
