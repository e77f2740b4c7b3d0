"""The lake's quantisers: each in two files, itself and what was measured with it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.calibration import Calibrated
from mappool_assets.lib.retrieval.index_ledger import FOLDER
from mappool_assets.lib.retrieval.quantiser import Quantiser, damaged, quantiser_from_bytes


@dataclass(frozen=True)
class IndexFigures:
    """What an index was like when its quantiser was new.

    Attributes
    ----------
    rows : int
        Rows that could be found.
    imbalance_factor : float
        See :func:`~mappool_assets.lib.retrieval.inverted_lists.imbalance_factor`.
    calibrated : tuple of Calibrated
        How to search, by ascending k.
    """

    rows: int
    imbalance_factor: float
    calibrated: tuple[Calibrated, ...]


def quantiser_paths(quantiser_id: str) -> tuple[str, str]:
    """Return where the quantiser and the figures lie in the lake."""
    return f"{FOLDER}/quantiser-{quantiser_id}.safetensors", f"{FOLDER}/quantiser-{quantiser_id}.json"


def store_quantiser(lake: Lake, quantiser: Quantiser) -> None:
    """Write the quantiser."""
    with lake.writing(quantiser_paths(quantiser.quantiser_id)[0]) as file:
        file.write_bytes(quantiser.content)


def read_quantiser(lake: Lake, quantiser_id: str) -> Quantiser:
    """Read a quantiser.

    Raises
    ------
    MissingInput
        It is not there.
    BadIndex
        It is damaged.
    """
    path = quantiser_paths(quantiser_id)[0]
    return quantiser_from_bytes(lake.read_bytes(path), quantiser_id, lake.url(path))


def store_figures(lake: Lake, quantiser_id: str, figures: IndexFigures) -> None:
    """Write what was measured."""
    with lake.writing(quantiser_paths(quantiser_id)[1]) as file:
        file.write_text(json.dumps(dataclasses.asdict(figures), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_figures(lake: Lake, quantiser_id: str) -> IndexFigures | None:
    """Read what was measured, None where nothing was.

    Raises
    ------
    BadIndex
        The file is damaged.
    """
    path = quantiser_paths(quantiser_id)[1]
    if not lake.exists(path):
        return None
    try:
        fields = json.loads(lake.read_bytes(path))
        calibrated = tuple(Calibrated(**entry) for entry in fields["calibrated"])
        return IndexFigures(int(fields["rows"]), float(fields["imbalance_factor"]), calibrated)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(
            lake.url(path), "what was measured with the quantiser", f"{type(error).__name__}: {error}"
        ) from error
