"""XML from strangers, as a stream of events: no entity is defined by it, no element is deeper or longer than it may be.

Expat reads it in pieces and loads nothing from elsewhere. Entities of one's own, of which bombs are made, are refused
where they are declared; a mere document type, which lexicons have, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol
from xml.parsers import expat

FED_BYTES = 1 << 18  # at once: a piece of nothing but the shortest elements is 130,000 events, 20 MB
TEXT_BYTES = 1 << 16  # of a text, at once
MAX_DEPTH = 64  # a dump has five, a lexicon six
MAX_SILENT_BYTES = 16 << 20  # without an event: one tag or comment of that length, which expat holds in memory

START, END, TEXT = "start", "end", "text"
NOTHING: Mapping[str, str] = {}


class ByteStream(Protocol):
    """What can be read."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to so many bytes; none at the end."""


class Event(NamedTuple):
    """An event.

    Attributes
    ----------
    kind : {"start", "end", "text"}
    value : str
        The element's name; of a text, a piece of it.
    attributes : mapping of str to str
        Of a start.
    """

    kind: str
    value: str
    attributes: Mapping[str, str] = NOTHING


class _Events:
    """What expat calls."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self._depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"elements more than {MAX_DEPTH} deep")
        self.waiting.append(Event(START, name, attributes))

    def end(self, name: str) -> None:
        self._depth -= 1
        self.waiting.append(Event(END, name))

    def text(self, text: str) -> None:
        self.waiting.append(Event(TEXT, text))

    def entity(self, name: str, *_: object) -> None:
        raise ValueError(f"the declaration of an entity, {name[:40]!r}")


def xml_events(stream: ByteStream) -> Iterator[Event]:
    """Yield the starts and ends of elements, and the text between them, a piece at a time.

    Raises
    ------
    ValueError
        An entity is declared, elements are too deep or a tag too long.
    xml.parsers.expat.ExpatError
        No XML, or one that ends early.
    """
    events, parser = _Events(), expat.ParserCreate()
    parser.buffer_text, parser.buffer_size = True, TEXT_BYTES
    parser.StartElementHandler, parser.EndElementHandler = events.start, events.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = events.text, events.entity
    silent_bytes = 0
    while piece := stream.read(FED_BYTES):
        parser.Parse(piece, False)
        silent_bytes = 0 if events.waiting else silent_bytes + len(piece)
        if silent_bytes > MAX_SILENT_BYTES:
            raise ValueError(f"a tag or a comment of more than {MAX_SILENT_BYTES:,} bytes")
        yield from events.waiting
        events.waiting.clear()
    parser.Parse(b"", True)
    yield from events.waiting
