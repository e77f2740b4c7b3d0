from selectolax.lexbor import LexborHTMLParser

from mappool_assets.lib.web_documents.page_elements import (
    BLOCK,
    INLINE,
    METHOD_OF,
    SKIPPED,
    known_numbers,
    method_by_name,
)

MOST_KNOWN = 1 << 10  # an element that the parser does not know has its place in memory for a number


def test_the_numbers_of_elements_are_the_parsers_own_and_so_the_same_in_each_document():
    assert max(known_numbers().values()) < MOST_KNOWN
    assert LexborHTMLParser("<p>x</p><!--y-->").body.last_child.tag_id == known_numbers().pop("-comment")
    for name, number in list(known_numbers().items())[1:]:
        assert LexborHTMLParser("<p>x").create_node(name).tag_id == number


def test_what_has_no_number_of_its_own_is_met_by_its_name():
    page = LexborHTMLParser("<body><a-b></a-b><amp-img></amp-img><!--x--><u></u><wbr><search></search></body>")
    methods, node = {}, page.body.first_child
    while node is not None:
        methods[node.tag] = method_by_name(node)
        assert METHOD_OF.get(node.tag_id, methods[node.tag]) == methods[node.tag]
        node = node.next
    assert methods.pop("amp-img") not in (INLINE, SKIPPED, BLOCK)
    assert methods == {"a-b": INLINE, "-comment": SKIPPED, "u": INLINE, "wbr": INLINE, "search": BLOCK}
