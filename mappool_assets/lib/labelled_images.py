"""Labelled images as people have them: a folder per class, a table of addresses, a dataset on the Hub.

An address is one of

``path/to/folder``
    with one sub-folder per class; the images are the files below it, at any depth. Files beside the sub-folders have
    no label and hidden ones (a leading dot) are no images; neither are rows.
``path/to/table.csv`` or ``.parquet``
    with a column ``path``, ``url`` or ``image`` (paths are relative to the table's folder, anything with ``://`` is
    fetched) and a column ``label``.
``hf://datasets/owner/name`` or ``hf://datasets/owner/name@revision``
    a dataset with one image column and one ``label``; all its splits. ``HF_ENDPOINT`` names another Hub.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from mappool_assets.lib.errors import BadSetting, BadTrainingSet, SourceUnavailable
from mappool_assets.lib.web.web_fetch import WebFetcher

ADDRESS_COLUMNS = ("path", "url", "image")  # the first of these that a table has
HUB_ADDRESS = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class LabelledImage:
    """One image and what a person said it is.

    Attributes
    ----------
    name : str
        Where it lies within its source: a path relative to the folder, the address in the table, split and row.
    label : str
        Its class.
    read : callable
        Returns the encoded bytes; raises ``OSError`` or :class:`~mappool_assets.lib.web.web_fetch.FetchRefused`.
    """

    name: str
    label: str
    read: Callable[[], bytes]


def find_labelled_images(address: str, fetcher: WebFetcher, positive_label: str) -> list[LabelledImage]:
    """List the images at an address, none of them read yet, sorted by name and label.

    Parameters
    ----------
    address : str
        One of the forms of this module.
    fetcher : WebFetcher
        Fetches what a table gives as URL.
    positive_label : str
        The class that is searched for.

    Raises
    ------
    BadTrainingSet
        No images, one class only, the positive class missing, a column missing or a row without address or label.
    BadSetting
        The address is none of these forms.
    SourceUnavailable
        The Hub does not answer.
    """
    images = sorted(_images_at(address, fetcher), key=lambda image: (image.name, image.label))
    labels = sorted({image.label for image in images})
    if not images:
        raise _bad(address, "There are no labelled images", "images of at least two classes", "none")
    got = _shortened(labels)
    if positive_label not in labels:
        raise _bad(address, "The class searched for is missing", f"a class named {positive_label!r}", got)
    if len(labels) == 1:
        rule = f"{positive_label!r} and at least one other"
        raise _bad(address, "All images are of one class", rule, got)
    return images


def _images_at(address: str, fetcher: WebFetcher) -> Iterator[LabelledImage]:
    if address.startswith("hf://"):
        return _from_hub(address)
    path = Path(address)
    if path.is_dir():
        return _from_folder(path)
    if path.suffix.lower() in (".csv", ".parquet") and path.is_file():
        return _from_table(path, fetcher)
    raise BadSetting(
        "The address of the labelled images cannot be used",
        where=address,
        rule="a folder with a sub-folder per class, a .csv or .parquet table, or hf://datasets/owner/name",
        got="a file of another kind" if path.is_file() else "nothing there",
        action="Correct the training set's source.",
    )


def _from_folder(folder: Path) -> Iterator[LabelledImage]:
    for file in folder.rglob("*"):
        inside = file.relative_to(folder)
        if len(inside.parts) > 1 and file.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield LabelledImage(inside.as_posix(), inside.parts[0], file.read_bytes)


# -- tables ---------------------------------------------------------------------------------------------------


def _from_table(file: Path, fetcher: WebFetcher) -> Iterator[LabelledImage]:
    columns = _text_columns(file)
    address_column = next((name for name in ADDRESS_COLUMNS if name in columns), None)
    if address_column is None or "label" not in columns:
        raise _bad(
            str(file),
            "The table lacks a column",
            f"a column {', '.join(ADDRESS_COLUMNS[:-1])} or {ADDRESS_COLUMNS[-1]}, and a column label",
            _shortened(list(columns)),
        )
    for row, (address, label) in enumerate(zip(columns[address_column], columns["label"], strict=True), start=1):
        if not address or not label:
            missing = "label" if address else address_column
            raise _bad(f"{file}, row {row}", "A row is incomplete", f"a value in column {missing}", "none")
        yield LabelledImage(address, label, _reader(file.parent, address, fetcher))


def _reader(folder: Path, address: str, fetcher: WebFetcher) -> Callable[[], bytes]:
    return (lambda: fetcher.get(address)) if "://" in address else (folder / address).read_bytes


def _text_columns(file: Path) -> dict[str, list[str | None]]:
    """Read a table's columns; those that matter as text (a label may be a number)."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    wanted = (*ADDRESS_COLUMNS, "label")
    try:
        if file.suffix.lower() == ".csv":
            as_text = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=True, null_values=[""]
            )
            table = pyarrow.csv.read_csv(file, convert_options=as_text)
        else:
            schema = pyarrow.parquet.read_schema(file)
            table = pyarrow.parquet.read_table(file, columns=[name for name in schema.names if name in wanted])
        present = [name for name in wanted if name in table.column_names]
        return {name: table[name].cast(pa.string()).to_pylist() for name in present}
    except (pa.ArrowException, UnicodeError) as error:
        raise _bad(str(file), "The table cannot be read", "columns of text", str(error)) from error


# -- the Hub --------------------------------------------------------------------------------------------------


def _from_hub(address: str) -> Iterator[LabelledImage]:
    import datasets

    for split, rows in sorted(_hub_splits(address).items()):
        image_column = _hub_image_column(f"{address}, split {split}", rows.features)
        names = getattr(rows.features["label"], "names", None)
        encoded = rows.cast_column(image_column, datasets.Image(decode=False))
        for row, label in enumerate(rows["label"]):
            if label is None or (names and label < 0):  # -1: the Hub's convention for "not labelled"
                raise _bad(f"{address}, split {split}, row {row + 1}", "A row has no label", "a label", str(label))
            read = functools.partial(_read_from_hub, encoded, image_column, row)
            yield LabelledImage(f"{split}/{row:08d}", names[label] if names else str(label), read)


def _hub_splits(address: str) -> dict[str, Any]:
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    match = HUB_ADDRESS.fullmatch(address)
    if match is None:
        raise BadSetting(
            "The address on the Hub cannot be used",
            where=address,
            rule="hf://datasets/owner/name or hf://datasets/owner/name@revision",
            got=address,
            action="Correct the training set's source.",
        )
    name = match["name"]
    if Path(name).exists():
        raise _bad(address, "A local folder hides the dataset", f"no folder {name} here", "one, which would be read")
    try:
        # Asked for first, because datasets reports a Hub that does not answer as a dataset that does not exist.
        commit = huggingface_hub.HfApi().dataset_info(name, revision=match["revision"]).sha
        return dict(datasets.load_dataset(name, revision=commit))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        got = str(error).splitlines()[0]
        raise _bad(address, "There is no such dataset, or it is private", "a dataset that can be read", got) from error
    except (HfHubHTTPError, httpx2.TransportError, ConnectionError, TimeoutError) as error:
        raise SourceUnavailable(
            "The Hub does not answer",
            where=address,
            rule="a dataset that can be downloaded",
            got=f"{type(error).__name__}: {error}",
            action="Try again later; a gated dataset needs HF_TOKEN.",
        ) from error
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetsError) as error:
        got = f"{type(error).__name__}: {error}"
        raise _bad(address, "The dataset cannot be read", "an image dataset", got) from error


def _hub_image_column(where: str, features: Any) -> str:
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) != 1 or "label" not in features:
        rule, got = "one image column and a column label", str(dict(features))
        raise _bad(where, "The dataset's columns do not fit", rule, got)
    return images[0]


def _read_from_hub(rows: Any, column: str, row: int) -> bytes:
    image = rows[row][column]
    if image is None:
        raise OSError("the row has no image")
    return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()


def _bad(where: str, what: str, rule: str, got: str) -> BadTrainingSet:
    return BadTrainingSet(what, where=where, rule=rule, got=got, action="Correct the labelled images and run again.")


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
