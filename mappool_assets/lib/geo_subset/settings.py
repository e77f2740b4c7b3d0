"""Which of the images that were found are returned."""

from __future__ import annotations

from dataclasses import dataclass

from mappool_assets.lib.errors import BadSetting


@dataclass(frozen=True)
class GeoSettings:
    """What an image must be to be returned.

    Parameters
    ----------
    duplicate_similarity : float
        Least cosine of two images' embeddings from which on the less similar one to its place is a near duplicate, 0 to
        1. Default 0.94, clip-retrieval's.
    min_similarity : float, optional
        Least similarity of an image and its best prompt, -1 to 1.
    max_unsafe_score : float, optional
        Most that a safety head may give, 0 to 1; clip-retrieval takes 0.5. Without it the score is a column only.
    most_a_domain : int, optional
        Most images of one domain that a place keeps, after duplicates, the most similar ones.

    Raises
    ------
    BadSetting
        A value out of range.
    """

    duplicate_similarity: float = 0.94
    min_similarity: float | None = None
    max_unsafe_score: float | None = None
    most_a_domain: int | None = None

    def __post_init__(self) -> None:
        _check("duplicate_similarity", self.duplicate_similarity, 0, 1)
        _check("min_similarity", self.min_similarity, -1, 1)
        _check("max_unsafe_score", self.max_unsafe_score, 0, 1)
        _check("most_a_domain", self.most_a_domain, 1, None)


def _check(name: str, value: float | None, least: int, most: int | None) -> None:
    if value is None or (least <= value and (most is None or value <= most)):
        return
    raise BadSetting(
        "A setting of the geo subset is out of range",
        where=name,
        rule=f"{least} to {most}" if most is not None else f"{least} or more",
        got=f"{value}",
        action="Correct it, or leave it out.",
    )
