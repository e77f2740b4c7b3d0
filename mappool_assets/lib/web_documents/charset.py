"""In which encoding a page is written, and its bytes in UTF-8.

The order is: a byte order mark; UTF-8 where the bytes are valid as such, whatever is declared; what is declared, by the
HTTP header, then by the page's own ``<meta>``; a detector. Valid UTF-8 goes before the declaration because it is
practically never anything else by chance, while servers declare for all their pages what is true of some. Labels mean
what the WHATWG Encoding Standard says (``latin1`` is windows-1252). A declaration is passed over where the bytes
contradict it: they are not valid in that encoding, or it is one for Latin script and they are written in another.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

DETECTOR_BYTES = 1 << 16  # of the page, from where it first is not UTF-8: 12 ms where all of them are letters
SCRIPT_BYTES = 1 << 14  # likewise, by which it is told whether the script is Latin
_FALLBACK = "windows-1252"  # of browsers, for what declares nothing and looks like nothing
_HIGH = bytes(range(0x80, 0x100))
_HIGH_OR_SPACE = b" " * 0x80 + b"x" * 0x80

# The standard's names that Python and the detector spell in another way, and wider codecs of Python's that the standard
# means by the narrow names.
_NAMES = {
    "cp866": "ibm866", "cp949": "euc-kr", "uhc": "euc-kr", "euc_jp": "euc-jp", "euc_kr": "euc-kr",
    "iso2022_jp": "iso-2022-jp", "iso8859-11": "windows-874", "mac-roman": "macintosh", "utf-16-be": "utf-16be",
    "utf-16-le": "utf-16le", "x-mac-cyrillic": "x-mac-cyrillic", "x-mac-ukrainian": "x-mac-cyrillic",
}  # fmt: skip
_CODECS = {
    "big5": "big5hkscs", "euc-kr": "cp949", "gbk": "gb18030", "ibm866": "cp866", "macintosh": "mac-roman",
    "shift_jis": "cp932", "windows-874": "cp874", "x-mac-cyrillic": "mac-cyrillic",
}  # fmt: skip
_LATIN = frozenset(
    {"windows-1250", "windows-1252", "windows-1254", "windows-1257", "windows-1258", "iso-8859-2", "iso-8859-3",
     "iso-8859-4", "iso-8859-10", "iso-8859-13", "iso-8859-14", "iso-8859-15", "iso-8859-16", "macintosh"}
)  # fmt: skip

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16le", codecs.BOM_UTF16_BE: "utf-16be"}
_IN_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)
# Bounded, as each unfinished tag is scanned to the bound.
_META = re.compile(rb"<!--.*?(?:-->|\Z)|<meta[\s/]([^>]{1,1000})>", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(rb"""([^\s=/"'>]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_XML = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([^"'>]+)["']""")


class Decoded(NamedTuple):
    """A page in UTF-8.

    Attributes
    ----------
    utf8 : bytes
        Always valid, without a byte order mark; what was not valid is U+FFFD.
    charset : str
        The WHATWG name of the encoding it was read in, in lower case.
    source : str
        How that was found: ``bom``, ``utf-8`` (the bytes are valid as such, or all but a few), ``header``, ``meta``,
        ``detected``, or ``fallback`` where nothing fits: then it is what is declared, else windows-1252.
    """

    utf8: bytes
    charset: str
    source: str


def decoded(body: bytes, content_type: str | None) -> Decoded:
    """Return a page's bytes in UTF-8; whatever they are, nothing is raised.

    Parameters
    ----------
    body : bytes
        As served; it may be cut in the middle of a character.
    content_type : str or None
        The HTTP header, of which only the charset counts.
    """
    for mark, name in _MARKS.items():
        if body.startswith(mark):
            return _lossy(body[len(mark) :], name, "bom")
    if (unmarked := _utf_16(body)) is not None:
        return _lossy(body, unmarked, "detected")
    if body.isascii():
        if b"\x1b" in body:  # by which one encoding of the standard leaves ASCII
            for source, name in _declared(body, content_type):
                if name == "iso-2022-jp":
                    return _lossy(body, name, source)
        return Decoded(body, "utf-8", "utf-8")
    if _is_utf8(body):
        return Decoded(body, "utf-8", "utf-8")
    try:
        text, length = codecs.utf_8_decode(body, "strict", False)
    except UnicodeDecodeError as error:
        return _legacy(body, content_type, error.start)
    if length < len(body) and text.isascii():  # not a character that was cut, rather a letter of another encoding
        return _legacy(body, content_type, length)
    return Decoded(body[:length], "utf-8", "utf-8")


def _is_utf8(body: bytes) -> bool:
    """Whether all of it is valid, as Arrow tells, which makes no text of it: in less than half of Python's time."""
    buffers = [None, pa.py_buffer(struct.pack("=2q", 0, len(body))), pa.py_buffer(body)]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _legacy(body: bytes, content_type: str | None, fault: int) -> Decoded:
    """Read what is not UTF-8, first at byte ``fault``."""
    if _is_nearly_utf8(body):
        return _lossy(body, "utf-8", "utf-8")
    declared: list[str] = []
    start = max(0, fault - 256)
    is_latin = not _is_in_another_script(body[start : start + SCRIPT_BYTES])
    for source, name in _declared(body, content_type):
        declared.append(name)
        if (is_latin or name not in _LATIN) and (text := _strict(body, name)) is not None:
            return Decoded(text, name, source)
    detected = _detected(body[start : start + DETECTOR_BYTES])
    if detected is not None and (text := _strict(body, detected)) is not None:
        return Decoded(text, detected, "detected")
    return _lossy(body, declared[0] if declared else _FALLBACK, "fallback")


def _strict(body: bytes, name: str) -> bytes | None:
    try:
        # A multi-byte character that is cut at the end is left out, as in UTF-8.
        text = codecs.getincrementaldecoder(_CODECS.get(name, name))("strict").decode(body)
    except (UnicodeError, LookupError):
        return None
    return text.encode("utf-8", "replace")


def _lossy(body: bytes, name: str, source: str) -> Decoded:
    text = body.decode(_CODECS.get(name, name), "replace")
    return Decoded(text.encode("utf-8", "replace"), name, source)


def _declared(body: bytes, content_type: str | None) -> Iterator[tuple[str, str]]:
    """Yield (source, WHATWG name) of each declaration that names an encoding other than UTF-8, header first."""
    if content_type and (found := _IN_HEADER.search(content_type)):
        yield from _named("header", found[1])
    for label in _meta_labels(body[:DETECTOR_BYTES]):
        yield from _named("meta", label.decode("latin-1"))


def _named(source: str, label: str) -> Iterator[tuple[str, str]]:
    name = _whatwg_name(label)
    if name is not None and not name.startswith("utf-"):  # UTF-8 is refuted by now, and UTF-16 shows by its zeros
        yield source, name


def _meta_labels(head: bytes) -> list[bytes]:
    if xml := _XML.match(head):
        return [xml[1]]
    for tag in _META.finditer(head):
        attributes = {m[1].lower(): m[2] or m[3] or m[4] or b"" for m in _ATTRIBUTE.finditer(tag[1] or b"")}
        if label := attributes.get(b"charset"):
            return [label.rstrip(b"/")]  # of <meta charset=utf-8/>
        if attributes.get(b"http-equiv", b"").lower() == b"content-type":
            content = attributes.get(b"content", b"").decode("latin-1")
            if found := _IN_HEADER.search(content):
                return [found[1].encode("latin-1")]
    return []


def _whatwg_name(label: str) -> str | None:
    plain = label.strip("\t\n\f\r ").lower()
    known = map_encoding_to_html5(plain, False) if plain.isascii() else None
    spelled = known or plain
    if spelled in _NAMES:
        return _NAMES[spelled]
    return known and re.sub("^cp(?=125)", "windows-", known.replace("iso8859", "iso-8859"))


def _detected(stretch: bytes) -> str | None:
    found = detect_encoding(stretch, html5_compatible=False)
    name = _whatwg_name(found) if found else None
    return None if name is None or name.startswith("utf-") else name


def _is_nearly_utf8(body: bytes) -> bool:
    """Whether at least nine in ten of the bytes beyond ASCII are valid UTF-8, by those up to the eighth fault."""
    view, position, faulty, valid = memoryview(body), 0, 0, 0
    while position < len(body) and faulty < 8:
        try:
            codecs.utf_8_decode(view[position:], "strict", True)
            end = next_position = len(body)
        except UnicodeDecodeError as error:
            end, next_position = position + error.start, position + error.end
            faulty += 1
        valid += _high_bytes(body[position:end])
        position = next_position
    return valid >= 9 * faulty


def _is_in_another_script(stretch: bytes) -> bool:
    """Whether most bytes beyond ASCII come four or more in a row, which in Latin script they hardly ever do."""
    lengths = [len(run) for run in stretch.translate(_HIGH_OR_SPACE).split()]
    return 2 * sum(length for length in lengths if length >= 4) > sum(lengths)


def _high_bytes(stretch: bytes) -> int:
    return 0 if stretch.isascii() else len(stretch) - len(stretch.translate(None, _HIGH))


def _utf_16(body: bytes) -> str | None:
    """Return the byte order of UTF-16 without a mark, which shows in the zeros of its ASCII characters."""
    start = body[:1024]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and max(even, odd) * 4 >= len(start) and min(even, odd) * 8 <= len(start) // 2:
        return "utf-16le" if odd > even else "utf-16be"
    return None
