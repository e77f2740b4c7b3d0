"""A packed document as a tar: its images, and three small files that say in which order text and images come.

``0.jpg 1.png …``
    The images as served; number and extension as in ``page.json``.
``page.json``
    Whose it is, each part's place on the page, each image's address, size and checksum, and the gaps: places whose
    image is not there, with the reason.
``page.txt``
    The texts, one line each, in UTF-8; every line ends with a newline.
``token.ids``
    A line for each part, in the order of the page: of a text its token ids, separated by spaces (there may be none); of
    a place at which an image stands ``vocabulary + k`` alone, k being the image's number. No token of a text has such
    an id, so that no page can feign an image, whatever its text says.

Format USTAR, owner 0, modification time 0, mode 0644: the same document, the same bytes. For webdataset a tar of such
tars has one sample a document, with the field ``tar``, and such a tar one sample an image, one with ``page.json`` and
``page.txt`` and one with ``token.ids``.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.packed_documents.packed_document import Gap, ImagePart, PackedDocument, PackedImage, TextPart

JSON, TEXT, TOKENS = "page.json", "page.txt", "token.ids"


def to_tar(document: PackedDocument) -> bytes:
    """Return the tar of a document."""
    texts = [part.text for part in document.parts if isinstance(part, TextPart)]
    members = {image.file: image.data for image in document.images}
    members[JSON] = json.dumps(_record(document), ensure_ascii=False, sort_keys=True).encode()
    members[TEXT] = _file_of([text.encode() for text in texts])
    members[TOKENS] = _file_of([_token_line(document, part) for part in document.parts])
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def from_tar(data: bytes, where: str) -> PackedDocument:
    """Return the document of a tar; ``where`` names it in errors.

    Raises
    ------
    BadShard
        The tar is damaged, or its files contradict each other.
    """
    try:
        return _document(_members(data))
    except (tarfile.TarError, ValueError, LookupError, TypeError) as error:
        raise BadShard(
            "A packed document cannot be read",
            where=where,
            rule=f"a whole tar in which {JSON}, {TEXT}, {TOKENS} and the images agree",
            got=f"{type(error).__name__}: {error}",
            action="Fetch the file anew, or materialise web_documents/packed_documents with force.",
        ) from error


def member(name: str, size: int) -> tarfile.TarInfo:
    """Return the header of a tar's member."""
    header = tarfile.TarInfo(name)  # owner 0, modification time 0
    header.size, header.mode = size, 0o644
    return header


def _record(document: PackedDocument) -> dict[str, Any]:
    return {
        **{name: getattr(document, name) for name in ("document_id", "url", "language", "tokenizer", "vocabulary")},
        "parts": [
            {"start": part.start, "end": part.end} if isinstance(part, TextPart) else part._asdict()
            for part in document.parts
        ],
        "images": [{name: value for name, value in image._asdict().items() if name != "data"}
                   for image in document.images],
        "gaps": [gap._asdict() for gap in document.gaps],
    }  # fmt: skip


def _token_line(document: PackedDocument, part: TextPart | ImagePart) -> bytes:
    ids = part.token_ids if isinstance(part, TextPart) else (document.vocabulary + part.image,)
    return b" ".join(b"%d" % token for token in ids)


def _file_of(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _members(data: bytes) -> dict[str, bytes]:
    with tarfile.TarFile(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for header in tar:
            content = tar.extractfile(header)
            if content is None:
                raise ValueError(f"{header.name!r} is no file")
            found[header.name] = content.read()
    return found


def _document(members: Mapping[str, bytes]) -> PackedDocument:
    record = json.loads(members[JSON])
    images = tuple(PackedImage(**image, data=members[image["file"]]) for image in record["images"])
    if any(image.bytes != len(image.data) for image in images):
        raise ValueError("an image is not as long as the record says")
    texts = iter(_lines_of(members[TEXT].decode()))
    parts = tuple(
        _part(place, [int(token) for token in line.split()], texts, record["vocabulary"], len(images))
        for place, line in zip(record["parts"], _lines_of(members[TOKENS].decode("ascii")), strict=True)
    )
    if next(texts, None) is not None:
        raise ValueError("there are more texts than parts that are text")
    return PackedDocument(
        **{name: record[name] for name in ("document_id", "url", "language", "tokenizer", "vocabulary")},
        parts=parts,
        images=images,
        gaps=tuple(Gap(**gap) for gap in record["gaps"]),
    )


def _part(
    place: Mapping[str, Any], ids: Sequence[int], texts: Iterator[str], vocabulary: int, images: int
) -> TextPart | ImagePart:
    """Return a part: what it is, a text or an image, is known by its ids alone."""
    if len(ids) == 1 and vocabulary <= ids[0] < vocabulary + images:
        if place["image"] != ids[0] - vocabulary:
            raise ValueError(f"image {ids[0] - vocabulary} stands where the record has another")
        return ImagePart(**place)
    if any(not 0 <= token < vocabulary for token in ids):
        raise ValueError("an id is neither a token's nor an image's")
    text = next(texts, None)
    if text is None:
        raise ValueError("there are more parts that are text than texts")
    return TextPart(text, place["start"], place["end"], tuple(ids))


def _lines_of(text: str) -> list[str]:
    *lines, rest = text.split("\n")
    if rest:
        raise ValueError("the last line has no end")
    return lines
