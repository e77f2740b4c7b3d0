"""Which parts of a page are not what it is about: menus, banners, footers, share bars, related articles.

A part is left out, with all that is in it, by the first of these rules that it meets:

1. It is hidden: ``hidden``, ``display: none`` or ``visibility: hidden`` in its own style, ``<dialog>`` that is not
   open, a class for screen readers alone or for icons by name. Style sheets and scripts are not run. What has
   ``aria-hidden`` loses its text only: the attribute hides icons' names and repeated links from screen readers, while
   pictures are still seen.
2. Elements that HTML has for the purpose: ``nav``, ``aside``, ``menu``, ``search``; ``header`` and ``footer`` where
   they are the page's, not an article's or a section's (HTML Accessibility API Mappings 1.0). Of ``button`` and
   ``label`` the text is left out; pictures in them, to be enlarged, stay.
3. ARIA landmarks and widgets of the same meaning (WAI-ARIA 1.2): see ``ROLES``.
4. Words in its class or id, as whole words, also of camelCase: see ``WORDS`` and ``CONSENT``. They follow Mozilla's
   Readability and trafilatura's ``OVERALL_DISCARD_XPATH``, without those that name content as often (author, banner,
   meta, slide, widget), and with the products that ask for consent.
5. Density of links, after Kohlschütter, Fankhauser and Nejdl, "Boilerplate Detection using Shallow Text Features"
   (WSDM 2010): a block of at most 16 words of which more than a third are in links. Their classifier drops every block
   over that density, and short blocks beside one; that would lose the first paragraphs of encyclopedias, captions and
   headings. Here it takes blocks in a row, without an image between them, with at least three links together: a menu,
   not a caption. A longer block goes where more than four fifths of it are in links: a cloud of tags. ``h1`` and tables
   with ``th`` are spared: what they link is named there. Words are counted as six characters, because not all scripts
   have spaces.

Rules 2 (``header`` only) and 4 spare what holds the page's ``main`` or ``h1``, as wrappers of whole pages are named
after the menus in them; consent banners have headings too and are spared for ``main`` alone. The document's ``html``
and ``body`` and its ``main`` and ``article`` elements are never judged by words. Where ``WORDS`` cost a page more than
four fifths of a text of at least 250 words, they are taken to have misread it and are not applied (see ``page_items``).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

ELEMENTS = frozenset({"aside", "menu", "nav", "search"})
MUTE_ELEMENTS = frozenset({"button", "label"})
JUDGED_BY_NAME = ELEMENTS | MUTE_ELEMENTS | {"dialog", "footer", "header"}
TELLING = frozenset({"aria-hidden", "hidden", "id", "role", "style"})
ROLES = frozenset(
    {"alertdialog", "banner", "complementary", "contentinfo", "dialog", "menu", "menubar", "navigation",
     "search", "tablist", "toolbar", "tooltip"}
)  # fmt: skip
NEVER_BY_NAME = frozenset({"html", "body", "main", "article"})


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of a class or an id, and pairs of words in a row.
WORDS = _names(
    """ad ads addthis addtoany adsense advert adverts advertisement advertisements advertising breadcrumb breadcrumbs
    catlinks colophon dfp editsection footer jumplink login mainmenu mainnav masthead megamenu menu menubar menus modal
    nav navbar navbox navigation navmenu navs newsletter noprint offcanvas outbrain pager pagination popup postnav
    posttags printfooter promo recommendations recommended related relatedposts respond share sharebar sharedaddy
    shares sharing sidebar signin signup sitenav skiplink sociable social sponsored submenu subnav subscribe taboola
    tagcloud toc toolbar tooltip topbar topnav trending widgetarea
    bread-crumb bread-crumbs cat-links comment-form comment-respond edit-section follow-us global-header header-bar
    header-menu header-nav header-top jump-link jump-to log-in most-popular most-read most-viewed no-print off-canvas
    pop-up post-tags side-bar sign-in sign-up site-header site-info skip-content skip-link skip-nav skip-to table-of
    tag-cloud tag-links tag-list tool-tip top-bar widget-area"""
)
CONSENT = _names(
    """ccpa cky cmpbox cmpbox2 cmplz consent cookiebanner cookiebar cookiebot cookieconsent cookielaw cookienotice
    didomi gdpr iubenda onetrust usercentrics
    cc-banner cc-window cookie-alert cookie-banner cookie-bar cookie-bot cookie-box cookie-consent cookie-container
    cookie-dialog cookie-disclaimer cookie-hint cookie-info cookie-law cookie-layer cookie-message cookie-modal
    cookie-notice cookie-notification cookie-overlay cookie-policy cookie-popup cookie-settings cookie-warning
    cookie-wrapper eu-cookie qc-cmp qc-cmp2 sp-message"""
)
CONSENT_WHOLE = frozenset({"cookie", "cookies"})  # "cookie-recipe" is another matter
# For screen readers alone, and names of icons, of which a font makes pictures.
UNSEEN = _names("screen-reader screen-readers sr-only visually-hidden visuallyhidden material-icons material-symbols")
# "no-sidebar", "tag-menu" and "not-sr-only" are said of something else; Bootstrap's "blockquote-footer" is a source.
_OF_ANOTHER = frozenset({"blockquote", "category", "has", "no", "not", "tag", "with", "without"})
_ALL = WORDS | CONSENT | CONSENT_WHOLE | UNSEEN
_SINGLE = frozenset(name for name in _ALL if "-" not in name)
_ENOUGH = _SINGLE | {name.split("-")[1] for name in _ALL - _SINGLE}
_HEADS = "main, h1, [role=main]"
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

SAYS_UNSEEN, SAYS_BOILERPLATE, SAYS_CONSENT = 1, 2, 4

HIDDEN, ELEMENT, ROLE, WORDS_RULE, LINKS, MUTE = "hidden", "element", "role", "words", "links", "mute"

MOST_HARMLESS, LONGEST_HARMLESS = 4096, 200  # classes, and characters of one: some megabytes at most are remembered

MOST_LINKED = 1 / 3  # of a short block's characters, as in the paper's of words
SHORT_BLOCK = 16 * 6  # characters, for the paper's 16 words
MENU_LINKS = 3  # in a row: one or two may be a caption, a source or a heading
MOST_LINKED_OF_LONG = 4 / 5
LEAST_LEFT_BY_WORDS = 1 / 5
ARTICLE = 250 * 6  # characters, for 250 words: no footer has as many


class LinkedBlock(NamedTuple):
    """A block of text with links: its place among the items, its characters, those of them in links, and the links."""

    place: int
    characters: int
    linked: int
    links: int


class Judge:
    """Decides for the elements of one page whether they are left out.

    Parameters
    ----------
    tree : LexborHTMLParser
        The page.
    drops_boilerplate : bool
        Whether any rule but the first is applied.
    reads_words : bool
        Whether ``WORDS`` are; ``CONSENT`` always is.

    Attributes
    ----------
    harmless : set of str
        Values of ``class`` that have been seen to say nothing: an element with such a class or none, without attributes
        of ``TELLING``, and not in ``JUDGED_BY_NAME``, need not be judged, which most of them are. Sites made with the
        same software say the same, so that it outlives the page.
    """

    harmless: ClassVar[set[str | None]] = {""}

    def __init__(self, tree: LexborHTMLParser, drops_boilerplate: bool, reads_words: bool) -> None:
        self.drops_boilerplate, self._reads_words, self._tree = drops_boilerplate, reads_words, tree
        self._holding: tuple[set[int], set[int]] | None = None  # what holds the main part and the title, if asked for

    def verdict(self, node: LexborNode, attributes: Mapping[str, str | None], is_in_section: bool) -> str:
        """Return by which rule an element is left out: ``hidden``, ``element``, ``role`` or ``words``; else "".

        ``mute`` is said where its text is left out, but not the media in it.
        """
        said = self._read(attributes.get("class") or "", attributes.get("id") or "")
        tag = node.tag or ""
        if not said and tag not in JUDGED_BY_NAME and TELLING.isdisjoint(attributes):
            return ""
        if said & SAYS_UNSEEN or _is_hidden(tag, attributes):
            return HIDDEN
        if attributes.get("aria-hidden") == "true":
            return MUTE
        return self._judged(node, tag, attributes.get("role"), said, is_in_section) if self.drops_boilerplate else ""

    def _judged(self, node: LexborNode, tag: str, role: str | None, said: int, is_in_section: bool) -> str:
        if tag in ELEMENTS or (
            not is_in_section and (tag == "footer" or (tag == "header" and not any(self._holds(node))))
        ):
            return ELEMENT
        if tag in NEVER_BY_NAME:
            return ""
        if role in ROLES:
            return ROLE
        if said & SAYS_CONSENT and not self._holds(node)[0]:
            return WORDS_RULE
        if said & SAYS_BOILERPLATE and self._reads_words and not any(self._holds(node)):
            return WORDS_RULE
        return MUTE if tag in MUTE_ELEMENTS or role == "button" else ""

    def _holds(self, node: LexborNode) -> tuple[bool, bool]:
        """Whether an element holds the page's main part, and its title.

        An element without both is searched, and left out by who asks: so none is searched twice. The first with one of
        them has the whole page searched, which most pages are spared.
        """
        if self._holding is None:
            if node.css_first(_HEADS) is None:
                return False, False
            self._holding = set(), set()
            for head in self._tree.css(_HEADS):
                _add_ancestors(head, self._holding[head.tag == "h1"])
        holds_main, holds_title = self._holding
        return node.mem_id in holds_main, node.mem_id in holds_title

    def _read(self, classes: str, identifier: str) -> int:
        if classes in self.harmless and not identifier:
            return 0
        both = f"{classes} {identifier}" if identifier else classes
        said = SAYS_BOILERPLATE if identifier == "header" else 0
        # A name of two words needs its second: "widget" alone, which half of a page may be called, tells nothing.
        if not _ENOUGH.isdisjoint(_words(both)):
            said |= _remembered(both) if len(both) <= LONGEST_HARMLESS else _said(both)
        if not said and not identifier and len(classes) <= LONGEST_HARMLESS:
            if len(self.harmless) >= MOST_HARMLESS:
                self.harmless.intersection_update({""})
            self.harmless.add(classes)
        return said


def _words(both: str) -> list[str]:
    plain = both.lower()
    return (plain if plain == both else _CAMEL.sub(" ", both).lower()).replace("-", " ").replace("_", " ").split()


def _said(both: str) -> int:
    """Return what names in a class and an id say, by their words and by their parts between blanks."""
    words = _words(both)
    words += [f"{first}-{second}" for first, second in itertools.pairwise(words)]
    said = SAYS_UNSEEN if _says(UNSEEN, words) else 0
    if _says(WORDS, words):
        said |= SAYS_BOILERPLATE
    if _says(CONSENT, words) or not CONSENT_WHOLE.isdisjoint(both.lower().split()):
        said |= SAYS_CONSENT
    return said


_remembered = functools.lru_cache(MOST_HARMLESS)(_said)  # a tenth of the time for the parts that all sites have


def _is_hidden(tag: str, attributes: Mapping[str, str | None]) -> bool:
    if tag in ("html", "body"):  # often shown by a script once all has loaded
        return False
    if tag == "dialog" and "open" not in attributes:
        return True
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    style = attributes.get("style")
    return style is not None and _UNSEEN_STYLE.search(style) is not None


def _says(names: frozenset[str], said: list[str]) -> bool:
    """Whether one of the names is among n words, followed by the n - 1 pairs of them, and not of another thing."""
    if names.isdisjoint(said):
        return False
    before = ["", *said[: len(said) // 2], "", *said]  # a pair comes after the word before its first
    return any(name in names and before[place] not in _OF_ANOTHER for place, name in enumerate(said))


def menu_blocks(blocks: Iterable[LinkedBlock]) -> list[int]:
    """Return the places of those blocks that are menus by their density of links (rule 5).

    Parameters
    ----------
    blocks : iterable of LinkedBlock
        Of a page in order; those of which at most ``MOST_LINKED`` is in links may be left out.
    """
    menus: list[int] = []
    run: list[int] = []
    links_of_run = 0
    for place, length, linked, links in blocks:
        is_dense = length <= SHORT_BLOCK and linked > MOST_LINKED * length
        if run and not (is_dense and place == run[-1] + 1):
            menus += run if links_of_run >= MENU_LINKS else []
            run, links_of_run = [], 0
        if is_dense:
            run.append(place)
            links_of_run += links
        elif links >= MENU_LINKS and linked > MOST_LINKED_OF_LONG * length:
            menus.append(place)
    return menus + run if links_of_run >= MENU_LINKS else menus


def _add_ancestors(node: LexborNode, known: set[int]) -> None:
    ancestor: LexborNode | None = node
    while ancestor is not None and ancestor.mem_id not in known:
        known.add(ancestor.mem_id)
        ancestor = ancestor.parent
