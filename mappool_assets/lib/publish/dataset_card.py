"""The dataset card (README.md): what the corpus is, how it was made, how far to trust it, how to read it.

Everything it states comes from the lake; what the lake does not know it does not state.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

import pyarrow as pa

from mappool_assets.lib.evaluation import Evaluation, accuracy_markdown
from mappool_assets.lib.publish.card_for_readers import DATA_FILES, citation, files, loading, rights, table
from mappool_assets.lib.publish.configurations import DEFAULT, ConfigurationCard, header_entry
from mappool_assets.lib.publish.corpus import Corpus, CorpusShard
from mappool_assets.lib.publish.published_files import COLUMN_MEANINGS

# The Hub's size categories: an upper bound below which its name holds.
SIZE_CATEGORIES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)

DTYPES = {"float": "float32", "double": "float64"}  # as NumPy and `datasets` name Arrow's types


@dataclass(frozen=True)
class CardSettings:
    """What the card says that the lake does not know.

    Attributes
    ----------
    repository : str
        ``user/name`` on the Hub, used in the loading snippets.
    pretty_name : str
        The dataset's title.
    contact : str
        Where people ask for the removal of an entry.
    """

    repository: str = "user/name"
    pretty_name: str = "Maps from CommonPool"
    contact: str = "the Community tab of this dataset's page on the Hub"


def dataset_card(
    corpus: Corpus,
    schema: pa.Schema,
    bytes_total: int,
    settings: CardSettings,
    configurations: Sequence[ConfigurationCard] = (),
) -> str:
    """Return the card as Markdown with the Hub's YAML header; the same corpus gives the same text.

    Parameters
    ----------
    corpus : Corpus
        What is published.
    schema : pyarrow.Schema
        Of its files.
    bytes_total : int
        Size of its files.
    settings : CardSettings
        The rest.
    configurations : sequence of ConfigurationCard
        What else is published beside the maps.
    """
    example = next((shard for shard in corpus.shards if shard.rows_published), corpus.shards[0])
    sections = (
        _header(corpus, schema, settings, configurations),
        _summary(corpus, bytes_total, settings),
        _coverage(corpus),
        _method(corpus),
        _screen(corpus),
        _accuracy(corpus),
        _columns(schema),
        loading(settings.repository, example),
        files([(more.data_files, more.content) for more in configurations]),
        *(more.section for more in configurations),
        rights(settings.contact, corpus.taken_down_count),
        citation(settings.repository, settings.pretty_name),
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _header(
    corpus: Corpus, schema: pa.Schema, settings: CardSettings, configurations: Sequence[ConfigurationCard]
) -> str:
    from huggingface_hub import DatasetCardData

    size = next((name for bound, name in SIZE_CATEGORIES if corpus.row_count < bound), "n>1B")
    header = DatasetCardData(
        license="cc-by-4.0",
        pretty_name=settings.pretty_name,
        size_categories=[size],
        tags=["maps", "cartography", "geospatial", "image-text", "clip", "embeddings", "commonpool", "datacomp"],
        configs=[header_entry(DEFAULT, DATA_FILES), *(header_entry(m.name, m.data_files) for m in configurations)],
        # Features only: had it the number of rows, `datasets` would refuse to load what lies there between the commit
        # of new maps and that of this card (NonMatchingSplitsSizesError).
        dataset_info=[
            {"config_name": DEFAULT, **_features(schema)},
            *({"config_name": more.name, **_features(more.schema)} for more in configurations),
        ]
        if configurations
        else _features(schema),
    )
    return f"---\n{header.to_yaml()}\n---"


def _features(schema: pa.Schema) -> dict[str, list[dict[str, object]]]:
    return {"features": [_feature(field) for field in schema]}


def _feature(field: pa.Field) -> dict[str, object]:
    if pa.types.is_fixed_size_list(field.type):
        return {"name": field.name, "list": "float16", "length": field.type.list_size}
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": _type_name(field.type.value_type)}
    return {"name": field.name, "dtype": _type_name(field.type)}


def _summary(corpus: Corpus, bytes_total: int, settings: CardSettings) -> str:
    return f"""
# {settings.pretty_name}

{corpus.row_count:,} links to images that a classifier takes for maps, with captions, sizes, checksums and CLIP
embeddings of image and caption. They were found among {corpus.rows_in:,} image–text pairs of
[CommonPool](https://www.datacomp.ai/), by the method of MapPool. The images themselves are not part of this dataset:
it is an index. Its files take {bytes_total / 1e6:,.1f} MB.
"""


def _coverage(corpus: Corpus) -> str:
    known = corpus.known_shard_count
    lines = [
        "## Coverage of the pool",
        "",
        f"{len(corpus.shards):,} of {known:,} known shards of the pool are in it ({len(corpus.shards) / known:.1%}).",
        "The others, each with its reason, are in `missing_shards.json`.",
        "",
        table(
            ("rows of the pool", "number", "share"),
            [
                ("looked at", f"{corpus.rows_in:,}", ""),
                ("kept as maps", f"{corpus.row_count:,}", _share(corpus.row_count, corpus.rows_in)),
                *(
                    (f"dropped: {reason.replace('_', ' ')}", f"{count:,}", _share(count, corpus.rows_in))
                    for reason, count in corpus.rows_dropped.items()
                ),
            ],
        ),
    ]
    return "\n".join(lines)


def _method(corpus: Corpus) -> str:
    made_by = Counter[tuple[str, ...]]()
    rows = Counter[tuple[str, ...]]()
    for shard in corpus.shards:
        made_by[_maker(shard)] += 1
        rows[_maker(shard)] += shard.rows_published
    makers = [(*maker, f"{made_by[maker]:,}", f"{rows[maker]:,}") for maker in sorted(made_by)]
    several = (
        ""
        if len(makers) == 1
        else "\nThe shards were not all filtered alike: some still await filtering as the newest were.\n"
    )
    return f"""
## How it was made

CommonPool holds CLIP ViT-L/14 embeddings (OpenAI's weights) of all its images. A classifier trained on the same
embeddings of labelled images, maps and others, scores each row of the pool; rows that score over the threshold are
kept. Rows that break a rule (no address, no caption, a broken embedding, an identifier seen before) are dropped and
counted above. For each shard a sample of rows must reproduce the pool's own similarity of image and caption, which
proves that its two files belong together.
{several}
{table(("source", "revision", "classifier", "threshold", "shards", "maps"), makers)}
"""


def _maker(shard: CorpusShard) -> tuple[str, ...]:
    return (
        f"`{public_address(shard.source)}`",
        f"`{shard.revision}`" if shard.revision else "an earlier one",
        f"`{shard.classifier_id}`",
        f"{shard.threshold:g}",
    )


def public_address(source: str) -> str:
    """Return a pool's address without what is nobody's business: local folders, passwords, signatures.

    >>> public_address("https://me:secret@pool.org/small?signature=1"), public_address("/home/me/pool")
    ('https://pool.org/small', 'local folder pool')
    """
    address = urlsplit(source)
    if address.scheme in ("", "file"):
        return f"local folder {PurePath(address.path).name}"
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _screen(corpus: Corpus) -> str:
    heading = "## What the screen may have cost\n\n"
    audits = corpus.by_screen()
    if set(audits) == {None}:
        return heading + "There was no screen: the classifier itself scored every row that broke no rule."
    lines = [
        (
            f"`{screen}`" if screen else "no screen",
            f"{shards:,}",
            f"{audit.refused:,}",
            f"{audit.sampled:,}",
            f"{audit.missed:,}",
            f"{100 * audit.miss_rate_upper:.3g} %",
            f"{math.ceil(audit.miss_rate_upper * audit.refused):,}",
        )
        for screen, (shards, audit) in sorted(audits.items(), key=lambda item: item[0] or "")
    ]
    head = ("screen", "shards", "refused", "of these sampled", "maps in the sample", "maps at most", "missed at most")
    return f"""
{heading}Not every row was scored by the classifier: a screen, an upper bound of its score that costs a fraction of it,
refused most. Of what it refused a random sample was scored all the same, and maps among them were kept. Of all refused
rows not more than the share below are maps, with 95 % confidence (Clopper and Pearson, 1934):

{table(head, lines)}
"""


def _accuracy(corpus: Corpus) -> str:
    classifiers = {shard.classifier_id for shard in corpus.shards}
    chosen = [e for e in corpus.evaluations if e.classifier_id in classifiers]
    return "## How accurate it is\n\n" + (
        _accuracy_known(corpus, corpus.evaluations, chosen[0])
        if chosen
        else "No evaluation of the classifier that made this corpus is recorded: take its accuracy as unknown."
    )


def _accuracy_known(corpus: Corpus, evaluations: Sequence[Evaluation], chosen: Evaluation) -> str:
    maps = chosen.true_positives + chosen.false_negatives
    made = f"{sum(shard.classifier_id == chosen.classifier_id for shard in corpus.shards):,}"
    return f"""
On {chosen.rows:,} labelled images that were not trained on, of which {maps:,} are maps; the method in bold made
{made} of the {len(corpus.shards):,} shards, the paper's figures are for its own images:

{accuracy_markdown(evaluations, chosen=chosen.method)}

What this does not tell: among the evaluation images {_share(maps, chosen.rows)} are maps, among the pool's
{_share(corpus.row_count, corpus.rows_in)} were taken for maps. Where maps are that rare, a small share of others taken
for maps weighs far more, so precision in this corpus can be well below the table's, and the intervals do not cover
that: they hold for images like the labelled ones. How many maps of the pool were missed, and how mixed cases (a map on
a bag, a globe, a floor plan) were decided, has not been measured. Use `map_score` to be stricter.
"""


def _columns(schema: pa.Schema) -> str:
    rows = [(f"`{field.name}`", _type_name(field.type), COLUMN_MEANINGS[field.name]) for field in schema]
    return "## Columns\n\n" + table(("column", "type", "meaning"), rows)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"float16 × {kind.list_size}"
    return DTYPES.get(str(kind), str(kind))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "–"
