"""How the elements of a page are met by who walks over it."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mappool_assets.lib.web_documents.boilerplate import JUDGED_BY_NAME

# What is not named is inline. What comes before that is not walked into.
SKIPPED, SIGNAL, INLINE, BLOCK, SECTION, TITLE, TABLE, HEADER_CELL, BREAK, LINK = range(-2, 8)
IMAGE, SOURCE, PICTURE, PLAYER, EMBEDDING, OBJECT, NOSCRIPT = range(8, 15)
_TAGS = {
    SKIPPED: "canvas datalist frameset head input math meter noembed noframes option progress rp rt script select "
             "style svg template textarea -comment -doctype",
    INLINE: "abbr b big cite code del em font i ins label mark q s small span strong sub sup time u",
    SIGNAL: "base link meta title",
    BLOCK: "address blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption figure "
           "footer form h2 h3 h4 h5 h6 header hgroup html legend li listing menu ol p plaintext pre search summary "
           "tbody td tfoot thead tr ul xmp",
    SECTION: "article aside main nav section",  # what HTML's accessibility mappings take for one
    TITLE: "h1",
    TABLE: "table",
    HEADER_CELL: "th",
    BREAK: "br hr",
    LINK: "a",
    IMAGE: "img amp-img amp-anim",
    SOURCE: "source",
    PICTURE: "picture",
    PLAYER: "audio video amp-audio amp-video",
    EMBEDDING: "iframe embed",
    OBJECT: "object",
    NOSCRIPT: "noscript",
}  # fmt: skip
_METHOD_OF_NAME = {tag: method for method, tags in _TAGS.items() for tag in tags.split()}


def known_numbers() -> dict[str, int]:
    """Return the parser's number (``tag_id``) of comments and of the elements named here, the same in all documents."""
    document = LexborHTMLParser("<body><!---->")
    assert document.body is not None
    assert document.body.first_child is not None
    numbers = {name: document.create_node(name).tag_id for name in _METHOD_OF_NAME if "-" not in name}
    return {"-comment": document.body.first_child.tag_id, **numbers}


# The parser writes a name anew for each element that is asked for it: numbers spare a fortieth of a page's time.
_NUMBER_OF = known_numbers()
METHOD_OF = {number: _METHOD_OF_NAME[name] for name, number in _NUMBER_OF.items()}
NUMBERS_JUDGED = frozenset(_NUMBER_OF[name] for name in JUDGED_BY_NAME)


def method_by_name(node: LexborNode) -> int:
    """Return how a node is met whose number is not in ``METHOD_OF``."""
    return _METHOD_OF_NAME.get(node.tag or "-comment", INLINE)
