"""The sections of the dataset card that hold for any corpus: how to read it, what may be done with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mappool_assets.lib.publish.corpus import CorpusShard

DATA_FILES = "part_*/*.parquet"


def loading(repository: str, shard: CorpusShard) -> str:
    """How to read the dataset, with one of its shards as the example."""
    return f"""
## Reading it

With `datasets`, without downloading everything first:

```python
from datasets import load_dataset

maps = load_dataset("{repository}", split="train", streaming=True)
```

One file with pandas:

```python
import pandas as pd

maps = pd.read_parquet("hf://datasets/{repository}/{shard.part}/{shard.shard}.parquet")
```

With DuckDB, which fetches only the columns and rows it needs:

```sql
SELECT url, text, map_score
FROM 'hf://datasets/{repository}/{DATA_FILES}'
ORDER BY map_score DESC
LIMIT 20
```

All files, listed in `file_list.json` by part and without their suffix, as in MapPool:

```python
import json
from huggingface_hub import hf_hub_download

repository, folder = "{repository}", "maps"
with open(hf_hub_download(repository, "file_list.json", repo_type="dataset", local_dir=folder)) as file:
    file_list = json.load(file)
for part, files in file_list.items():
    for name in files:
        hf_hub_download(repository, f"{{part}}/{{name}}.parquet", repo_type="dataset", local_dir=folder)
```
"""  # noqa: S608 - text for readers, run by nobody here


def files() -> str:
    """What the files are."""
    return (
        "## Files\n\n"
        + table(
            ("file", "content"),
            [
                (f"`{DATA_FILES}`", "the maps of one shard of the pool; a file without rows is a shard without maps"),
                ("`file_list.json`", "the files of each part, without `.parquet`"),
                ("`missing_shards.json`", "known shards of the pool that are not in this corpus, and why"),
                ("`provenance/part_*.csv`", "rows, bytes, checksum and origin of each file"),
                ("`SHA256SUMS`", "checksums of all files, for `sha256sum --check SHA256SUMS`"),
            ],
        )
        + (
            "\n\nThe same pool, classifier and threshold, with the same library versions, give the same bytes: rows are"
            "\nin the pool's own order, and no file holds a date or a random number."
        )
    )


def rights(contact: str) -> str:
    """Licence, personal data and opting out."""
    return f"""
## Licence

The index, that is this dataset, is under CC BY 4.0, as is CommonPool's, from which it is taken. The images that it
links to are under their own copyrights; whoever downloads them must see to that.

## Personal data

Addresses and captions come from public web pages and may hold names and other personal data; the images may show
people. Nothing was added to what CommonPool publishes but the score.

## Opting out

Ask through {contact}
for the removal of an entry, with its `uid`, `url` or `sha256`. An image that is taken off its web page can no longer
be fetched through this index, but its entry stays until it is removed.
"""


CITATION = """
## Citation

- S. Y. Gadre et al.: *DataComp: In search of the next generation of multimodal datasets*. NeurIPS Datasets and
  Benchmarks, 2023. The pool.
- R. Schnürer: *MapPool – Bubbling up an extremely large corpus of maps for AI*.
  <https://huggingface.co/datasets/sraimund/MapPool>. The method.
- A. Radford et al.: *Learning Transferable Visual Models From Natural Language Supervision*. ICML, 2021. CLIP.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
