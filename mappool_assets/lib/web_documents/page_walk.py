"""One walk over a parsed page, in document order, which gathers its items."""

from __future__ import annotations

from collections import defaultdict

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mappool_assets.lib.web_documents.block_text import block_text
from mappool_assets.lib.web_documents.boilerplate import (
    HIDDEN,
    LINKS,
    MOST_LINKED,
    MUTE,
    TELLING,
    Judge,
    LinkedBlock,
    menu_blocks,
)
from mappool_assets.lib.web_documents.item import IMAGE as IMAGE_KIND
from mappool_assets.lib.web_documents.item import TEXT, Item, item_of
from mappool_assets.lib.web_documents.late_images import LateImages
from mappool_assets.lib.web_documents.media_sources import Attributes, image, is_late, late_address, media_file
from mappool_assets.lib.web_documents.noscript_media import MEDIA_MARKUP, UNSEEN_MARKUP, noscript_media, played
from mappool_assets.lib.web_documents.page_elements import (
    BLOCK,
    BREAK,
    HEADER_CELL,
    IMAGE,
    INLINE,
    LINK,
    METHOD_OF,
    NOSCRIPT,
    NUMBERS_JUDGED,
    OBJECT,
    PICTURE,
    PLAYER,
    SECTION,
    SIGNAL,
    SOURCE,
    TABLE,
    TITLE,
    method_by_name,
)
from mappool_assets.lib.web_documents.page_signals import PageSignals

# What ends with an element.
ENDS_BLOCK, ENDS_LINK, ENDS_SECTION, ENDS_MUTE, ENDS_TITLE, ENDS_TABLE, ENDS_PICTURE = 1, 2, 4, 8, 16, 32, 64
NOT_ENTERED = -1

_MEDIA = "img, audio, video"
LONGEST_EMOJI = 12  # characters of alt: families are eleven code points, names such as ":-)" shorter


class PageWalk:
    """The items of a page.

    Parameters
    ----------
    judge : Judge
        What is left out.
    signals : PageSignals
        Of the page. What stands in the body but belongs in the head is added; after a new base, the walk is of no use.

    Attributes
    ----------
    items : list of Item
        In document order.
    characters : int
        Of all texts.
    dropped_media, dropped_parts : dict
        By reason and by rule (see ``page_items.Page``).
    """

    def __init__(self, judge: Judge, signals: PageSignals) -> None:
        self.items: list[Item] = []
        self.characters = 0
        self.dropped_media: defaultdict[str, int] = defaultdict(int)
        self.dropped_parts: defaultdict[str, int] = defaultdict(int)
        self._judge, self._harmless, self._signals, self._base = judge, judge.harmless, signals, signals.base
        self._linked_blocks: list[LinkedBlock] = []
        self._parts: list[str] = []  # text of the block that is being read
        self._files: list[Item] = []  # sounds and films that it links to: they come after it
        self._linked_here = self._links_here = 0
        self._link_start: int | None = None  # in parts, of the link that is being read
        self._link_address: str | None = None
        self._mute = self._sections = 0  # how many such elements are around
        self._is_title = False
        self._has_headers: list[bool] = []  # of the tables around: whether a <th> has been met
        self._picture: list[Attributes] | None = None  # the sources of the one that is being read
        self._late_images = LateImages()

    def walk(self, tree: LexborHTMLParser) -> None:
        """Gather the items of a page; once only."""
        frames: list[tuple[LexborNode, int]] = []
        parts = self._parts
        root = tree.body or tree.root
        node = root.first_child if root is not None else None
        while node is not None:
            if (text := node.text_content) is not None:
                if (parts or not text.isspace()) and not self._mute:  # at the start of a block, space is nothing
                    parts.append(text)
            else:
                ends = self._enter(node)
                if ends != NOT_ENTERED:
                    if (child := node.first_child) is not None:
                        frames.append((node, ends))
                        node = child
                        continue
                    if ends:
                        self._leave(ends)
            following = node.next
            while following is None and frames:
                node, ends = frames.pop()
                if ends == ENDS_BLOCK:
                    if parts or self._links_here or self._files:
                        self._end_block()
                elif ends == ENDS_LINK:
                    self._end_link()
                elif ends:
                    self._leave(ends)
                following = node.next
            node = following
        self._finish()

    def _enter(self, node: LexborNode) -> int:
        """Begin an element, and return what ends with it, or ``NOT_ENTERED``."""
        number = node.tag_id
        try:
            method = METHOD_OF[number]
        except KeyError:
            method = method_by_name(node)
        if method < INLINE:
            if method == SIGNAL:
                self._signals.note(node)
            return NOT_ENTERED
        attributes, rule = node.attributes, ""
        if number in NUMBERS_JUDGED or (
            attributes and (attributes.get("class", "") not in self._harmless or not TELLING.isdisjoint(attributes))
        ):
            rule = self._judge.verdict(node, attributes, self._sections > 0)
            if rule and rule != MUTE:
                self._drop(node, method, rule)
                return NOT_ENTERED
        if method == IMAGE:
            self._meet_image(attributes)
            return 0  # amp-img may hold a noscript
        if method > LINK:
            return self._enter_medium(node, method, attributes)
        ends = 0
        if method == LINK:
            if self._link_start is None:
                self._link_start, self._link_address, ends = len(self._parts), attributes.get("href"), ENDS_LINK
                self._links_here += 1
        elif method:
            if self._parts or self._links_here or self._files:
                self._end_block()
            ends = ENDS_BLOCK if method == BLOCK else self._begin(method)
        if rule:
            self._mute += 1
            self.dropped_parts[MUTE] += 1
            ends |= ENDS_MUTE
        return ends

    def _leave(self, ends: int) -> None:
        if ends & ENDS_LINK:
            self._end_link()
        if ends & ENDS_BLOCK:
            self._end_block()
        if ends & ENDS_SECTION:
            self._sections -= 1
        if ends & ENDS_TITLE:
            self._is_title = False
        if ends & ENDS_TABLE:
            self._has_headers.pop()
        if ends & ENDS_PICTURE:
            self._picture = None
        if ends & ENDS_MUTE:
            self._mute -= 1

    def _drop(self, node: LexborNode, method: int, rule: str) -> None:
        if BLOCK <= method <= BREAK:
            self._end_block()
        self.dropped_parts[rule] += 1
        if media := len(node.css(_MEDIA)):
            self.dropped_media[HIDDEN if rule == HIDDEN else "boilerplate"] += media

    def _begin(self, method: int) -> int:
        """Begin a block that is more than one, and return what ends with it."""
        if method == SECTION:
            self._sections += 1
            return ENDS_BLOCK | ENDS_SECTION
        if method == TITLE:
            self._is_title = True
            return ENDS_BLOCK | ENDS_TITLE
        if method == TABLE:
            self._has_headers.append(False)
            return ENDS_BLOCK | ENDS_TABLE
        if method == HEADER_CELL and self._has_headers:
            self._has_headers[-1] = True
        return ENDS_BLOCK

    def _end_block(self) -> None:
        if self._parts:
            if self._link_start is not None:
                self._count_linked()
                self._link_start = 0
            if text := block_text("".join(self._parts)):
                if self._linked_here and self._linked_here > MOST_LINKED * len(text) and not self._is_spared():
                    menu = LinkedBlock(len(self.items), len(text), self._linked_here, self._links_here)
                    self._linked_blocks.append(menu)
                self.items.append(item_of((TEXT, text, None, None, (), None, None)))
                self.characters += len(text)
            self._parts.clear()
            self._linked_here = 0
        self._links_here = 0 if self._link_start is None else 1
        if self._files:
            self.items += self._files
            self._files.clear()

    def _is_spared(self) -> bool:
        return self._is_title or (bool(self._has_headers) and self._has_headers[-1])

    def _count_linked(self) -> str:
        said = "".join(self._parts[self._link_start :]).strip()
        self._linked_here += len(said)
        return said

    def _end_link(self) -> None:
        said = self._count_linked()
        self._link_start = None
        if (file := media_file(self._link_address, self._base)) is not None:
            self._files.append(file._replace(alt=block_text(said) or None))

    def _enter_medium(self, node: LexborNode, method: int, attributes: Attributes) -> int:
        if method == SOURCE:
            if self._picture is not None:
                self._picture.append(attributes)
        elif method == PICTURE:
            self._picture = []
            return ENDS_PICTURE
        elif method == NOSCRIPT:
            self._meet_noscript(node.text())
        elif method == PLAYER:
            self._meet(played(node, attributes, self._base))
        else:
            file = media_file(attributes.get("src") or attributes.get("data"), self._base)
            if file is not None:
                self._meet(file)
            elif method == OBJECT:  # what is in it stands in for it
                self._mute += 1
                return ENDS_MUTE
        return NOT_ENTERED

    def _meet(self, met: Item | str) -> bool:
        if isinstance(met, str):
            self.dropped_media[met] += 1
            return False
        if self._parts or self._links_here or self._files:
            self._end_block()
        self.items.append(met)
        return True

    def _meet_image(self, attributes: Attributes) -> None:
        if sources := self._picture:
            self._picture = []
        if (classes := attributes.get("class")) and ("moji" in classes or "emoticon" in classes or "smil" in classes):
            if not self._mute and len(alt := attributes.get("alt") or "") <= LONGEST_EMOJI:
                self._parts.append(alt)
            self.dropped_media["emoji"] += 1
            return
        if self._meet(image(attributes, sources or (), self._base)) and is_late(attributes):
            self._late_images.see(len(self.items) - 1, late_address(attributes))

    def _meet_noscript(self, markup: str) -> None:
        media = len(MEDIA_MARKUP.findall(markup))
        if media == 1 and not self._parts and self._late_images.is_twin_markup(len(self.items), markup):
            self.dropped_media["twin"] += 1  # without parsing it, which would cost three times as much
            return
        if media == 1 and UNSEEN_MARKUP.search(markup):  # likewise: most pages have one, to count visits
            self.dropped_media[HIDDEN] += 1
            return
        for met in noscript_media(markup, self._judge, self._base) if media else ():
            if isinstance(met, str) or met.kind != IMAGE_KIND:
                self._meet(met)
            elif self._late_images.is_twin(self.items, met, not "".join(self._parts).strip()):
                self.dropped_media["twin"] += 1
            else:
                self._meet(met)
                self._late_images.early.add(len(self.items) - 1)

    def _finish(self) -> None:
        self._end_block()
        if dropped := set(self._late_images.early_twins(self.items)):
            self.dropped_media["twin"] += len(dropped)
        if self._judge.drops_boilerplate and (menus := menu_blocks(self._linked_blocks)):
            self.dropped_parts[LINKS] += len(menus)
            dropped.update(menus)
        if dropped:
            self.items = [item for place, item in enumerate(self.items) if place not in dropped]
