"""A publish target by its address: a folder, ``hf://datasets/user/name`` or, for a model, ``hf://user/name``."""

from __future__ import annotations

import re
from pathlib import Path

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets.lib.publish.publish_target import FolderTarget, PublishTarget
from mappool_assets.lib.published_model import MODEL_ADDRESS

DATASET = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)/?")
MODEL = re.compile(rf"{MODEL_ADDRESS}/?")


def dataset_target(address: str, *, hub_endpoint: str | None = None, is_private: bool = True) -> PublishTarget:
    """Return where a dataset goes.

    Parameters
    ----------
    address : str
        A folder, or ``hf://datasets/user/name``, which is created at the first publish.
    hub_endpoint : str, optional
        Address of a Hub other than the client's own choice.
    is_private : bool
        Whether a repository that is created is private.

    Raises
    ------
    BadSetting
        An address of another form.
    """
    return _target(address, DATASET, "hf://datasets/user/name", "dataset", hub_endpoint, is_private)


def model_target(address: str, *, hub_endpoint: str | None = None, is_private: bool = True) -> PublishTarget:
    """Return where a model goes: a folder or ``hf://user/name``; otherwise as :func:`dataset_target`."""
    return _target(address, MODEL, "hf://user/name", "model", hub_endpoint, is_private)


def dataset_name(address: str) -> str | None:
    """Return the ``user/name`` of a dataset's address on the Hub; None for a folder."""
    found = DATASET.fullmatch(address)
    return found["name"] if found else None


def _target(
    address: str, form: re.Pattern[str], rule: str, repo_type: str, hub_endpoint: str | None, is_private: bool
) -> PublishTarget:
    if address.strip() and "://" not in address:
        return FolderTarget(Path(address))
    found = form.fullmatch(address)
    if found is None:
        raise BadSetting(
            f"A {repo_type} cannot be published there",
            where="publishing",
            rule=f"a folder or {rule}",
            got=repr(address),
            action="Correct MAPPOOL_PUBLISH_TO (dataset) or MAPPOOL_PUBLISH_MODEL_TO (model).",
        )
    return HubTarget(found["name"], endpoint=hub_endpoint, is_private=is_private, repo_type=repo_type)
