"""Prompts of places with their vectors: ``geo_subset/place_queries``, and beside it prompts that name no place.

Three tables, so that each accounts for its own rows: ``geo_subset/places`` for what the sources hold, ``place_queries``
for prompts, ``geo_subset/generic_queries`` for those that an image of any place is near to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.places.place import NAME
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.places_table import Progress, read_places, write_places
from mappool_assets.lib.places.prompt_vectors import (
    PromptVectors,
    embed_prompts,
    forget_chunks,
    vector_fields,
    vector_inputs,
)
from mappool_assets.lib.places.prompts import (
    LAION_GEO_TEMPLATE,
    Prompts,
    Template,
    check_kinds,
    word_prompts,
)
from mappool_assets.lib.ranged_file.base import Storage

PLACE_QUERIES = "geo_subset/place_queries"
GENERIC_QUERIES = "geo_subset/generic_queries"
CODE_VERSION = "1"  # raised when the same places would give other prompts
EMBEDDING = "prompts embedded"
GROUP_ROWS = 4096  # of a row group: 12 MB of vectors

# Ours: what a map shows in general, and what CLIP is usually asked. An image nearer to one of these than to its place
# was not found because of the place.
GENERIC_PROMPTS = (
    "a map",
    "an old map",
    "a street map",
    "a map of a city",
    "a map of a country",
    "a map of the world",
    "a city",
    "a country",
    "a place",
    "a photo of a place",
)


@dataclass(frozen=True)
class PlaceQuerySettings:
    """Which places are asked for, and in what words.

    Attributes
    ----------
    sources : tuple of str
        Addresses as in :mod:`mappool_assets.lib.places.sources`.
    place_filter : PlaceFilter
        Which of their places.
    templates : tuple of str
        Wordings (:class:`~mappool_assets.lib.places.prompts.Template`). Default LAION-geo's.
    name_kinds : tuple of str
        ``name``, ``alternate``, ``historic``. Default the main name alone, as in LAION-geo.
    generic_prompts : tuple of str
        Prompts that name no place.

    Raises
    ------
    BadSetting
        No source, no or an unusable template, an unknown kind, or an empty generic prompt.
    """

    sources: tuple[str, ...]
    place_filter: PlaceFilter = field(default_factory=PlaceFilter)
    templates: tuple[str, ...] = (LAION_GEO_TEMPLATE,)
    name_kinds: tuple[str, ...] = (NAME,)
    generic_prompts: tuple[str, ...] = GENERIC_PROMPTS

    def __post_init__(self) -> None:
        check_kinds(self.name_kinds)
        for setting, values in (("sources", self.sources), ("templates", self.templates)):
            if not values:
                raise _bad(setting, "one, at least", "none")
        for template in self.templates:
            Template.parse(template)
        if not all(prompt.strip() for prompt in self.generic_prompts):
            raise _bad("generic_prompts", "prompts with words", "an empty one")


@dataclass(frozen=True)
class PlaceQueriesMade:
    """What was made.

    Attributes
    ----------
    places, place_queries, generic_queries : Provenance
        What made the three tables.
    embedded : int
        Prompts that were embedded in this run; all others had a vector from before.
    """

    places: Provenance
    place_queries: Provenance
    generic_queries: Provenance
    embedded: int


def make_place_queries(
    lake: Lake,
    settings: PlaceQuerySettings,
    encoder: ClipEncoder,
    *,
    storage: Storage | None = None,
    progress: Progress = lambda step, done, total: None,
) -> PlaceQueriesMade:
    """Read places, word their prompts, embed them; the tables are left alone where they were made from the same.

    Parameters
    ----------
    lake : Lake
        Gets ``geo_subset/places``, ``geo_subset/generic_queries`` and ``geo_subset/place_queries``, in this order.
    settings : PlaceQuerySettings
    encoder : ClipEncoder
        Not loaded where no prompt is new to it.
    storage : Storage, optional
        How remote files are reached.
    progress : callable
        Told ``places read`` (rows, without a total) and ``prompts embedded``.

    Raises
    ------
    BadSetting
        A source that cannot be read, or nothing is left to ask for.
    MissingInput
        A source's file is not there.
    """
    read = read_places(
        settings.sources,
        settings.place_filter,
        storage or Storage(),
        wants_alternates=set(settings.name_kinds) != {NAME},
        progress=progress,
    )
    places = write_places(lake, read, settings.place_filter)
    generic, embedded = write_generic_queries(lake, settings.generic_prompts, encoder)
    inputs = {
        "places": places.inputs["content"],
        "templates": list(settings.templates),
        "name_kinds": sorted(settings.name_kinds),
        **vector_inputs(encoder),
        "code_version": CODE_VERSION,
    }
    if not lake.is_made_from(inputs, PLACE_QUERIES):
        prompts = _prompts(read.rows, settings)
        vectors = embed_prompts(
            lake,
            prompts.distinct,
            encoder,
            known_in=(PLACE_QUERIES, GENERIC_QUERIES),
            progress=lambda done, total: progress(EMBEDDING, done, total),
        )
        embedded += vectors.embedded
        _write_queries(lake, read.rows, prompts, vectors, inputs)
    forget_chunks(lake)
    made = lake.provenance(PLACE_QUERIES)
    assert made is not None
    return PlaceQueriesMade(places, made, generic, embedded)


def _prompts(places: pa.Table, settings: PlaceQuerySettings) -> Prompts:
    templates = [Template.parse(text) for text in settings.templates]
    prompts = word_prompts(places, templates, settings.name_kinds)
    if not len(prompts.distinct):
        rule = f"a place with a name of the kinds {', '.join(settings.name_kinds)}"
        raise _bad("name_kinds", rule, f"none among {places.num_rows:,} places")
    return prompts


def write_generic_queries(lake: Lake, prompts: Sequence[str], encoder: ClipEncoder) -> tuple[Provenance, int]:
    """Write ``geo_subset/generic_queries``: ``prompt``, ``is_cut``, ``vector``, in the order given, each once.

    Returns
    -------
    Provenance
        Its inputs hold ``encoder_id``.
    int
        Prompts that were embedded now.
    """
    distinct = list(dict.fromkeys(prompts))
    inputs = {"prompts": distinct, **vector_inputs(encoder)}
    dropped = {"same_prompt": len(prompts) - len(distinct)} if len(distinct) < len(prompts) else {}
    provenance = Provenance(inputs, len(prompts), len(distinct), dropped)
    if lake.is_made_from(inputs, GENERIC_QUERIES):
        made = lake.provenance(GENERIC_QUERIES)
        assert made is not None
        return made, 0
    texts = pa.array(distinct, pa.string())
    vectors = embed_prompts(
        lake, texts, encoder, known_in=(GENERIC_QUERIES, PLACE_QUERIES), progress=lambda done, total: None
    )
    schema = pa.schema([pa.field("prompt", pa.string(), False), *vector_fields(encoder.dimension)])
    rows = pa.table([texts, *vectors.columns(np.arange(len(distinct)))], schema=schema)
    lake.write_table(GENERIC_QUERIES, rows, provenance)
    return provenance, vectors.embedded


def queries_schema(dimension: int) -> pa.Schema:
    """Return the columns of ``geo_subset/place_queries``.

    ``homonyms`` counts the places that have the name asked for, ``same_prompt_places`` those with exactly this prompt:
    two Springfields are homonyms, and tell their images apart only where the prompts differ.
    """
    return pa.schema(
        [
            pa.field("place_id", pa.string(), False),
            pa.field("place", pa.string(), False),
            pa.field("prompt", pa.string(), False),
            pa.field("prompt_kind", pa.string(), False),
            pa.field("template", pa.string(), False),
            pa.field("admin1", pa.string()),
            pa.field("country", pa.string()),
            pa.field("feature_class", pa.string()),
            pa.field("latitude", pa.float64()),
            pa.field("longitude", pa.float64()),
            pa.field("population", pa.int64()),
            pa.field("homonyms", pa.int32(), False),
            pa.field("same_prompt_places", pa.int32(), False),
            *vector_fields(dimension),
        ]
    )


def _write_queries(
    lake: Lake, places: pa.Table, prompts: Prompts, vectors: PromptVectors, inputs: dict[str, object]
) -> None:
    rows = prompts.prompts.num_rows
    schema = queries_schema(vectors.vectors.shape[1])
    with lake.table_writer(PLACE_QUERIES, schema) as writer:
        for start in range(0, rows, GROUP_ROWS):
            group = prompts.prompts.slice(start, GROUP_ROWS)
            names = prompts.names.take(group["of_name"])
            of_place = places.take(names["place"])
            is_cut, vector = vectors.columns(prompts.distinct_of[start : start + GROUP_ROWS])
            columns = {
                **{name: of_place[name] for name in of_place.column_names if name in schema.names},
                "place": of_place["name"],
                "prompt_kind": names["kind"],
                "homonyms": names["homonyms"],
                **{name: group[name] for name in ("prompt", "template", "same_prompt_places")},
                "is_cut": is_cut,
                "vector": vector,
            }
            writer.write(pa.table([columns[name] for name in schema.names], schema=schema))
        writer.provenance = Provenance(
            inputs,
            rows_in=prompts.counts.rows_in,
            rows_kept=rows,
            rows_dropped=dict(prompts.counts.dropped),
            measures=_measures(places, prompts, vectors),
        )


def _measures(places: pa.Table, prompts: Prompts, vectors: PromptVectors) -> dict[str, object]:
    homonyms = prompts.names["homonyms"].to_numpy()
    kinds, counts = np.unique(prompts.names["kind"].to_numpy(zero_copy_only=False).astype(str), return_counts=True)
    return {
        "places": places.num_rows,
        "names": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
        "names_shared_by_places": int((homonyms > 1).sum()),
        "distinct_prompts": len(prompts.distinct),
        "prompts_cut": int(vectors.is_cut.sum()),
    }


def _bad(where: str, rule: str, got: str) -> BadSetting:
    action = "Correct the settings of place queries."
    return BadSetting("The prompts cannot be worded", where=where, rule=rule, got=got, action=action)
