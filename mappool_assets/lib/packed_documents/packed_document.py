"""A page as it is packed: its texts and images in their order, and what stood between them that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mappool_assets.lib.web_documents.canonical_url import canonical_url

File = bytes  # under another name: images have a field that is called bytes
OVER_LIMIT = "over_limit"  # the reason of a gap: the page has more images than are taken of one


class TextPart(NamedTuple):
    """A line of text: a block of the page, or as much of it as its window holds.

    Attributes
    ----------
    text : str
        Without a newline, and not blank.
    start, end : int
        Code points ``[start, end)`` of the document's text. A line that starts one after the end of the one before it
        was, in ``interleaved``, in the same part.
    token_ids : tuple of int
        Of this line alone, each below the tokenizer's vocabulary; there may be none.
    """

    text: str
    start: int
    end: int
    token_ids: tuple[int, ...]


class ImagePart(NamedTuple):
    """A place at which an image stands. An image that stands at several has one file.

    Attributes
    ----------
    image : int
        Its number among the document's images, from 0.
    position : int
        The place's, among the items of the page.
    alt : str or None
        What the page says instead of it.
    """

    image: int
    position: int
    alt: str | None


class Gap(NamedTuple):
    """A place whose image is not there.

    Attributes
    ----------
    part : int
        The number of the part before which it would stand; as many as there are parts, where it would be the last.
    position, alt
        As for :class:`ImagePart`.
    url : str
        Canonical.
    reason : str
        ``over_limit``, or what came of asking for it when the document was packed; ``packed_documents`` holds today's.
    """

    part: int
    position: int
    url: str
    alt: str | None
    reason: str


class PackedImage(NamedTuple):
    """An image of a document.

    Attributes
    ----------
    file : str
        ``"<number>.<extension>"``, the extension by content.
    url : str
        Canonical.
    mime : str
        By content.
    width, height : int
        Pixels.
    bytes : int
        Length of ``data``.
    sha256 : str
        Of ``data``, 64 hex digits.
    data : bytes
        As served.
    """

    file: str
    url: str
    mime: str
    width: int
    height: int
    bytes: int
    sha256: str
    data: File


@dataclass(frozen=True, slots=True)
class PackedDocument:
    """A page whose images are with it.

    Attributes
    ----------
    document_id, url, language : str
        The page's, as in ``documents``; the language may be None.
    tokenizer : str
        Name of the tokenizer.
    vocabulary : int
        How many ids it has; ``vocabulary + k`` is the local id of the k-th image.
    parts : tuple of TextPart and ImagePart
        In the order of the page.
    images : tuple of PackedImage
        One or more, in the order in which they first stand on the page.
    gaps : tuple of Gap
        In the order of the page.
    """

    document_id: str
    url: str
    language: str | None
    tokenizer: str
    vocabulary: int
    parts: tuple[TextPart | ImagePart, ...]
    images: tuple[PackedImage, ...]
    gaps: tuple[Gap, ...]

    def sequence(self) -> Iterator[str | bytes]:
        """Yield texts and image files in the order of the page."""
        for part in self.parts:
            yield part.text if isinstance(part, TextPart) else self.images[part.image].data


def put_in_order(
    parts: Sequence[Mapping[str, Any]],
    text: str,
    numbers: Mapping[str, int],
    reasons: Mapping[str, str],
    encode: Callable[[str], Sequence[int]],
) -> tuple[tuple[TextPart | ImagePart, ...], tuple[Gap, ...]]:
    """Return the parts of a document, and the gaps between them.

    Parameters
    ----------
    parts : sequence of mappings
        ``image_parts`` of ``interleaved``.
    text : str
        The whole document's.
    numbers : mapping
        Of the images that are there, by canonical address.
    reasons : mapping
        Why the other images that were chosen are not there, by canonical address.
    encode : callable
        Returns the token ids of a text.
    """
    ordered: list[TextPart | ImagePart] = []
    gaps = []
    for part in parts:
        if part["kind"] == "text":
            for start, line in _lines(text, part["start"], part["end"]):
                ordered.append(TextPart(line, start, start + len(line), tuple(encode(line))))
            continue
        url = canonical_url(part["url"])
        if url in numbers:
            ordered.append(ImagePart(numbers[url], part["position"], part["alt"]))
        else:
            reason = reasons.get(url, OVER_LIMIT)
            gaps.append(Gap(len(ordered), part["position"], url, part["alt"], reason))
    return tuple(ordered), tuple(gaps)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the lines of a stretch of text that are not blank, each with where it begins in the whole text."""
    for line in text[start:end].split("\n"):
        if line.strip():
            yield start, line
        start += len(line) + 1
