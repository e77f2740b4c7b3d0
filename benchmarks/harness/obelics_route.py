"""The route of OBELICS from a WARC to interleaved texts and images, re-implemented from its published code.

Steps and their order are those of ``HtmlExtractor``, ``DOMTreeSimplificator``, ``PreExtractionSimplificator`` and
``html_to_web_documents`` (https://github.com/huggingface/OBELICS), written anew. Where that code walks the tree again
from its root after each change, so does this. Differences, all in its favour or none: selectolax' engine is lexbor (the
other, Modest, is gone since selectolax 1.0); the WARC is read once, not once for each page by a ranged request; rows
are written as one parquet file, with no copy through ``datasets``; its later filters are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

INLINE = """a abbr acronym b bdi bdo big cite code data dfn em font i ins kbd mark q s samp shadow small span strike
    strong sub sup time tt u var wbr""".split()  # noqa: SIM905
MEDIA = set("audio embed figure iframe img object picture video source".split())  # noqa: SIM905
STRUCTURE = set(
    """address article aside blink blockquote body br caption center dd dl dt div figcaption h hgroup html legend main
    marquee ol p section summary title ul""".split()  # noqa: SIM905
)
BREAKS = {
    **dict.fromkeys("blockquote dl h1 h2 h3 h4 h5 h6 ol p ul".split(), "\n\n"),  # noqa: SIM905
    **dict.fromkeys(
        "address article aside center dd dt div figcaption hgroup legend main marquee section summary".split(),  # noqa: SIM905
        "\n",
    ),
}
PARTS_OF_SITES = {"footer", "header", "navigation", "nav", "navbar", "menu"}
SOURCES = ("src", "data-src", "data-src-fg", "data-scroll-image", "srcset", "data-lateloadsrc", "data-img-src",
           "data-original", "data-gt-lazy-src", "data-lazy", "data-lazy-src", "src2")  # fmt: skip
LINE_BREAK = "#BR_TAG#"
ADDRESS = re.compile(
    r"^(?:http|ftp)s?://(?:(?:[A-Z0-9](?:[A-Z0-9-]{0,61}[A-Z0-9])?\.)+(?:[A-Z]{2,6}\.?|[A-Z0-9-]{2,}\.?))(?:/?|[/?]\S+)$",
    re.IGNORECASE,
)
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("images", pa.list_(pa.string())),
        ("metadata", pa.string()),
    ]
)
Row = tuple[str, list[str | None], list[str], str]


def documents(warc: Path, most_pages: int, target: Path) -> int:
    """Write the documents of a WARC's first pages to a parquet file; return how many there are."""
    rows = list(_rows(warc, most_pages))
    columns = zip(*rows, strict=True)
    pq.write_table(pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    ), target, compression="zstd")  # fmt: skip
    return len(rows)


def _rows(warc: Path, most_pages: int) -> Iterator[Row]:
    from warcio.archiveiterator import ArchiveIterator

    with warc.open("rb") as stream:
        pages = 0
        for record in ArchiveIterator(stream):
            if record.rec_type != "response":
                continue
            yield _row(record.content_stream().read(), record.rec_headers["WARC-Target-URI"])
            pages += 1
            if pages == most_pages:
                return


def _row(body: bytes, url: str) -> Row:
    nodes = list_nodes(simplified(markup(body)), url)
    texts = [node.text if node.tag == "-text" else None for node in nodes if node.tag in ("-text", "img")]
    media = [node.media for node in nodes if node.tag in ("-text", "img")]
    return url, texts, [found["src"] if found else "" for found in media], json.dumps(media)


def markup(body: bytes) -> str:
    """Return a page's HTML, decoded and written anew by Beautiful Soup."""
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    encoding = next(iter(EncodingDetector(body, is_html=True).encodings), None)
    return BeautifulSoup(body, "html.parser", from_encoding=encoding).decode_contents(formatter="html")


# -- the tree, simplified -------------------------------------------------------------------------------------------


def simplified(html: str):
    """Return a tree without styles, site parts, dates, empty leaves and needless nesting."""
    html = re.sub(r"\n{2,}", "\n", html)
    html = re.sub(r" {2,}", " ", html)
    html = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
    html = re.sub("<br>|<br/>|<br />|</br>", LINE_BREAK, html)
    tree = _parsed(html)
    tree.unwrap_tags(INLINE)
    tree.strip_tags(INLINE)
    uninteresting = {node.tag for node in tree.root.traverse() if not _is_interesting(node.tag)}
    tree.strip_tags(list(uninteresting))
    while _removes_a_part_of_the_site(tree):
        pass
    _remove_dates(tree)
    while _removes_empty_leaves(tree):
        pass
    while _unnests_a_node(tree):
        pass
    return _parsed(tree.html)


def _parsed(html: str):
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(html)


def _is_interesting(tag: str) -> bool:
    return re.sub(r"\d+", "", tag) in STRUCTURE | MEDIA


def _removes_a_part_of_the_site(tree) -> bool:
    for node in tree.root.traverse():
        if node.tag == "div" and any(node.attributes.get(name) in PARTS_OF_SITES for name in ("id", "class", "title")):
            node.decompose()
            return True
    return False


def _remove_dates(tree) -> None:
    dated = [
        child
        for node in tree.root.traverse()
        if node.tag == "div" and "date" in (node.attributes.get("class") or "")
        for child in node.iter(include_text=True)
        if child.tag == "-text"
    ]
    for node in dated:
        node.decompose()


def _removes_empty_leaves(tree) -> bool:
    empty = [node for node in tree.root.traverse() if _is_empty(node)]
    for node in empty:
        node.decompose(recursive=False)
    return bool(empty)


def _is_empty(node) -> bool:
    if node.tag in MEDIA:
        return not _source(node)
    return not list(node.iter()) and not node.text().strip() and node.tag != "html"


def _unnests_a_node(tree) -> bool:
    for node in tree.root.traverse():
        children = list(node.iter())
        if len(children) == 1 and children[0].tag == node.tag and not node.text(deep=False).strip():
            node.replace_with(children[0])
            return True
    return False


# -- its nodes in order ---------------------------------------------------------------------------------------------


class Node:
    """A text or a medium and the tags above it."""

    def __init__(self, path: list[tuple[str, int]], media: dict | None, text: str) -> None:
        self.path, self.media, self.text = path, media, text

    @property
    def tag(self) -> str:
        return self.path[-1][0]


def list_nodes(tree, url: str) -> list[Node]:
    """Return texts, consecutive ones joined, and images in document order."""
    nodes: list[Node] = []
    _collect(tree.root, url, [], nodes, [0])
    nodes = [node for node in nodes if node.tag in ("-text", "figure") or (node.tag == "img" and node.media)]
    for node in nodes:
        node.text = _formatted(node.text)
    nodes = [node for node in nodes if node.tag != "-text" or node.text]
    _join_texts(nodes)
    return [node for node in nodes if node.tag != "-text" or node.text.strip()]


def _collect(found, url: str, path: list[tuple[str, int]], nodes: list[Node], numbers: list[int]) -> None:
    path = [*path, (found.tag, numbers[0])]
    numbers[0] += 1
    if found.tag in MEDIA:
        nodes.append(Node(path, _described(found, url), ""))
        return
    nodes.append(Node(path, None, found.text(deep=False) if found.tag == "-text" else ""))
    if found.tag != "-text":
        for child in found.iter(include_text=True):
            _collect(child, url, path, nodes, numbers)


def _formatted(text: str) -> str:
    if not text:
        return text
    text = re.sub(r" {2,}", " ", text.replace("\n", " ").replace("\t", " "))
    begins, ends = text[0] == " ", text[-1] == " " and len(text) > 1
    return " " * begins + "\n".join(line.strip() for line in text.split(LINE_BREAK)) + " " * ends


def _join_texts(nodes: list[Node]) -> None:
    index = 0
    while index < len(nodes):
        node = nodes[index]
        if node.tag != "-text":
            index += 1
        elif index + 1 == len(nodes) or nodes[index + 1].tag != "-text":
            node.path, node.text = [("-text", 0)], node.text.strip()
            index += 1
        else:
            following = nodes[index + 1]
            node.text, node.path = _joined(node, following), following.path
            del nodes[index + 1]


def _joined(node: Node, following: Node) -> str:
    before, after, separators = node.text, following.text, set()
    for separator in ("\n\n", "\n", " "):
        if before.endswith(separator):
            before, _ = before[: -len(separator)], separators.add(separator)
        if after.startswith(separator):
            after, _ = after[len(separator) :], separators.add(separator)
    pairs = zip(node.path, following.path, strict=False)
    start = next((depth for depth, (one, other) in enumerate(pairs) if one != other), 0)
    separators |= {BREAKS[tag] for tag, _ in node.path[start:] + following.path[start:] if tag in BREAKS}
    return before + next((separator for separator in ("\n\n", "\n", " ") if separator in separators), "") + after


# -- media ----------------------------------------------------------------------------------------------------------


def _source(node) -> str | None:
    attributes = node.attributes
    if node.tag == "img":
        given = (attributes.get(name) for name in SOURCES)
        return next((value for value in given if value and "," not in value and " " not in value), None)
    if node.tag not in ("video", "audio"):
        return None
    inner = (child.attributes.get("src") for child in node.iter() if child.tag == "source")
    source = attributes.get("src") or next(filter(None, inner), None)
    return None if source is None or "," in source or " " in source else source


def _described(node, page_url: str) -> dict | None:
    given = _source(node)
    if not given:
        return None
    source = given if given.startswith("http") else _absolute(page_url, given)
    if ADDRESS.match(source) is None:
        return None
    described = {"document_url": page_url, "src": source}
    attributes = node.attributes
    if node.tag == "img":
        described |= {"unformatted_src": given, "formatted_filename": _file_words(source)}
        if attributes.get("alt"):
            described["alt_text"] = attributes["alt"]
        described |= {f"rendered_{side}": attributes[side] for side in ("width", "height") if attributes.get(side)}
    return described


def _absolute(page_url: str, path: str) -> str:
    """Resolve against the root of the host, as published."""
    if path.startswith("//"):
        return f"http:{path}"
    path = re.sub(r"\.+/", "", path) if "./" in path else path
    return f"https://{urlsplit(page_url).netloc}{'' if path.startswith('/') else '/'}{path}"


def _file_words(source: str) -> str:
    name = source.rpartition("/")[2].split(".")[0]
    if re.search(r"\?[A-Za-z0-9]+=", name):
        return ""
    for pattern in (r"[_-]", r"%20*", r"\d+x\d+", r"\d+", r" {2,}", r"[\n+%]"):
        name = re.sub(pattern, " ", name)
    return name.strip() if len(name.strip()) > 1 else ""
