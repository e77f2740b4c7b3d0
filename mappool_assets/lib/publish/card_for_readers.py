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

The images of a part downloaded so, with [img2dataset](https://github.com/rom1504/img2dataset) and with your project's
name in the place of `my-project`:

```bash
NO_ALBUMENTATIONS_UPDATE=1 img2dataset \\
  --url_list maps/{shard.part} --input_format parquet --url_col url --caption_col text \\
  --save_additional_columns '["uid"]' --verify_hash '["sha256","sha256"]' --compute_hash sha256 \\
  --disable_all_reencoding True --user_agent_token my-project --processes_count 1 --thread_count 32 \\
  --output_format webdataset --output_folder images
```

So each image comes byte for byte as its page holds it, and not at all where its `sha256` is no longer the index's or
the page forbids it (`X-Robots-Tag`); without `--disable_all_reencoding` it is encoded anew. All files end in `.jpg`,
whatever they are. img2dataset fetches whatever an address names, of any size, inside your own network too: run it where
that does no harm, and judge it by the counts in `images/*_stats.json`: it exits with 0 even where a shard failed.

For DataComp's own tools, `datacomp_subset.npy` holds the `uid` of each row, as `resharder.py --subset-file` takes it:

```python
import numpy as np
from huggingface_hub import hf_hub_download

subset = hf_hub_download("{repository}", "datacomp_subset.npy", repo_type="dataset")
uids = np.load(subset, mmap_mode="r")  # two 64-bit halves each, sorted
```
"""  # noqa: S608 - text for readers, run by nobody here


def files(others: Iterable[tuple[str, str]] = ()) -> str:
    """What the files are; ``others`` are those beside the maps, as patterns with what they hold."""
    return (
        "## Files\n\n"
        + table(
            ("file", "content"),
            [
                (f"`{DATA_FILES}`", "the maps of one shard of the pool; a file without rows is a shard without maps"),
                *((f"`{pattern}`", content) for pattern, content in others),
                ("`file_list.json`", "the files of each part, without `.parquet`"),
                ("`missing_shards.json`", "known shards of the pool that are not in this corpus, and why"),
                ("`datacomp_subset.npy`", "the `uid` of each row as two 64-bit integers (`u8,u8`), sorted"),
                ("`provenance/*.csv`", "rows, bytes, checksum and origin of each file"),
                ("`SHA256SUMS`", "checksums of all files, for `sha256sum --check SHA256SUMS`"),
            ],
        )
        + (
            "\n\nThe same pool, classifier, threshold and removals, with the same library versions, give the same"
            "\nbytes: rows are in the pool's own order, and no file holds a date or a random number."
        )
    )


def rights(contact: str, taken_down: int) -> str:
    """Licence, personal data and opting out; ``taken_down`` is the number of entries kept out at present."""
    kept_out = {0: "No entry is", 1: "One entry is"}.get(taken_down, f"{taken_down:,} entries are")
    return f"""
## Licence

The index, that is this dataset, is under CC BY 4.0, as is CommonPool's, from which it is taken. The images that it
links to are under their own copyrights; whoever downloads them must see to that.

## Personal data

Addresses and captions come from public web pages and may hold names and other personal data; the images may show
people. Nothing was added to what CommonPool publishes but the score.

## Opting out

Ask through {contact}
for the removal of an entry, with its `uid`, `url` or `sha256`. It leaves the files and `datacomp_subset.npy` with the
next publish and stays out; revisions and tags from before still hold it. {kept_out} kept out so at present. An image
that is taken off its web page can no longer be fetched through this index, but its entry stays until it is removed.
"""


def citation(repository: str, title: str) -> str:
    """What to cite."""
    return f"""
## Citation

- *{title}*. <https://huggingface.co/datasets/{repository}>. This dataset; name the revision that you used.
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
