"""How the elements of a page are met by who walks over it."""

from __future__ import annotations

# What is not named is inline.
INLINE = 0
SKIPPED, SIGNAL, BLOCK, SECTION, TITLE, TABLE, HEADER_CELL, BREAK, LINK = range(1, 10)
IMAGE, SOURCE, PICTURE, PLAYER, EMBEDDING, OBJECT, NOSCRIPT = range(10, 17)
_TAGS = {
    SKIPPED: "canvas datalist frameset head input math meter noembed noframes option progress rp rt script select "
             "style svg template textarea -comment -doctype",
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
METHOD_OF = {tag: method for method, tags in _TAGS.items() for tag in tags.split()}
