"""A block of text or a medium of a page: what documents are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

TEXT, IMAGE, AUDIO, VIDEO = "text", "image", "audio", "video"


class Item(NamedTuple):
    """A block of text or a medium, in its place on a page.

    Attributes
    ----------
    kind : str
        ``text``, ``image``, ``audio`` or ``video``; of a text, only the text is set.
    text : str or None
        Without line ends; white space is collapsed.
    url : str or None
        Absolute (see ``canonical_url.resolved``).
    alt : str or None
        What the page says for it: ``alt`` of an image (empty where the page says that it is decoration), ``title`` or
        ``aria-label`` of a sound or a film, or the text of the link to it.
    candidates : tuple of (url, descriptor)
        Of ``srcset`` in order, descriptors as in ``640w``, ``2x`` or empty; then those of the ``<picture>``. Of a sound
        or a film, its ``<source>`` elements, the descriptor their type. Those that lead nowhere are left out.
    width, height : int or None
        As the element states them, in CSS pixels.
    """

    kind: str
    text: str | None = None
    url: str | None = None
    alt: str | None = None
    candidates: tuple[tuple[str, str], ...] = ()
    width: int | None = None
    height: int | None = None


# From a tuple of all fields: the constructor with its defaults takes three times as long, 90 times a page.
item_of: Callable[[tuple[Any, ...]], Item] = functools.partial(tuple.__new__, Item)
