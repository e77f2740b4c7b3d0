"""Made web pages, from a seed: 83 kB each in the mean, a fifth of them in legacy encodings, with 24 media each.

What they imitate: the number of elements as the Web Almanac of 2024 has it (median 594, 90th percentile 1,716) and,
roughly, its shares of them (div 29 %, a 13 %, span 11 %, li 8 %); a ``main`` on 28 % of pages and a ``base`` on 10 %
(2021); classes as WordPress, Elementor and Bootstrap write them, on nearly half of the elements and of 32 characters,
as on the one real page that is beside the repository (48 %, 31 characters). Text of about 10 kB; the rest are other
attributes, scripts, styles and JSON-LD. There are menus, cookie banners, comments, cards of related articles and
footers, in HTML5's elements or in divs with classes; lists, tables, figures with srcset, lazy images with and without a
noscript twin, pictures, trackers, a few films and sounds.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Iterator

from harness.crawl_words import LANGUAGES, SHARES, Language, invented, phrase, sentences

# Log-normal, the spread is that of the logarithm. Pages whose parts need more bytes than drawn raise the mean to 83 kB.
DRAWN_BYTES, BYTES_SPREAD = 66_000, 0.55
MEDIAN_ELEMENTS, ELEMENTS_SPREAD = 594, 0.81
MEAN_MEDIA = 24
LEGACY_SHARE = 0.19  # of pages, and so about of bytes
MAIN_SHARE, ARTICLE_SHARE, LANDMARK_SHARE, BUILDER_SHARE, BASE_SHARE = 0.28, 0.25, 0.6, 0.3, 0.1
PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_OPENED = re.compile(r"<[a-z]")


def made_pages(count: int, seed: int) -> Iterator[tuple[str, bytes, str]]:
    """Yield so many pages as (url, body, Content-Type); the first n are the same for every count."""
    for number in range(count):
        yield _Page(random.Random(f"{seed}:{number}"), number).finished()


class _Page:
    def __init__(self, draw: random.Random, number: int) -> None:
        self.draw = draw
        self.code = draw.choices(list(SHARES), list(SHARES.values()))[0]
        self.language: Language = LANGUAGES[self.code]
        self.host = f"www.{invented(draw)}{number}.example"
        self.folder = f"/{invented(draw)}/{invented(draw)}/"
        self.url = f"https://{self.host}{self.folder}{invented(draw)}-{number}.html"
        self.is_built = draw.random() < BUILDER_SHARE  # by a page builder, which wraps each block twice
        self.number_of_media = max(1, round(draw.gammavariate(3, MEAN_MEDIA / 3)))

    def finished(self) -> tuple[str, bytes, str]:
        size = math.exp(self.draw.gauss(-(BYTES_SPREAD**2) / 2, BYTES_SPREAD))
        is_legacy = self.draw.random() < LEGACY_SHARE
        charset = self.draw.choice(self.language.legacy) if is_legacy else "utf-8"
        declared_by = self.draw.choices(["header", "meta", "both", "nothing"], [30, 30, 35, 5])[0]
        title, body = self.words(8), self.body(size)
        head = self.head(title, charset if declared_by in ("meta", "both") else None)
        rest = int(size * DRAWN_BYTES) - len((head + body).encode(charset, "xmlcharrefreplace"))
        page = f"{head}<style>{self.style(rest // 3)}</style></head>{body}<script>{self.script(rest * 2 // 3)}</script>"
        content_type = "text/html; charset=" + charset if declared_by in ("header", "both") else "text/html"
        return self.url, (page + "</body></html>\n").encode(charset, "xmlcharrefreplace"), content_type

    # --- parts of a page

    def head(self, title: str, charset: str | None) -> str:
        described = {"@context": "https://schema.org", "@type": "NewsArticle", "headline": title}
        links = "".join(
            f'<link rel="{relation}" href="{self.address(ending)}">\n'
            for relation, ending in [("stylesheet", "css"), ("icon", "png"), ("alternate", "xml"), ("preload", "woff2")]
        )
        declared = f'<meta charset="{charset}">\n' if charset else ""
        base = f'<base href="{self.folder}">\n' if self.draw.random() < BASE_SHARE else ""
        return (
            f'<!DOCTYPE html>\n<html lang="{self.code}">\n<head>\n{declared}<title>{title}</title>\n{base}'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta name="description" content="{self.words(20)}">\n<meta property="og:title" content="{title}">\n'
            f'<meta property="og:image" content="{self.address("jpg")}">\n'
            f'<meta name="robots" content="index, follow">\n<link rel="canonical" href="{self.url}">\n{links}'
            f'<script type="application/ld+json">{json.dumps(described, ensure_ascii=False)}</script>\n'
            f"<script>{self.script(2000)}</script>\n"
        )

    def body(self, size: float) -> str:
        article = self.article(size**0.5)
        elements = MEDIAN_ELEMENTS * math.exp(self.draw.gauss(0, ELEMENTS_SPREAD))
        clutter = max(20, elements - len(_OPENED.findall(article)) - 60)
        menu, footer_menu = self.menu(int(clutter * 0.2 / 3.2)), self.menu(int(clutter * 0.1 / 3.2))
        cards = "".join(self.card() for _ in range(int(clutter * 0.65 / 11)))
        comments = "".join(self.comment() for _ in range(int(clutter * 0.05 / 9)))
        logo = self.link(f'<img class="logo" src="/logo.svg" alt="{self.words(2)}">')
        return (
            '<body class="page page-id-12 no-js">\n'
            f'<noscript><img height="1" width="1" style="display:none" src="{self.address("gif")}"></noscript>\n'
            f'<div id="cookie-banner" class="cookie-consent" role="dialog"><p>{self.text(25)}</p>'
            f'<button type="button" class="btn btn-primary">{self.words(2)}</button></div>\n'
            '<div id="page" class="site">'
            + self.part("header", "site-header", logo + self.part("nav", "main-menu", menu))
            + f'<ol class="breadcrumb">{"".join(f"<li>{self.link(self.words(1))}</li>" for _ in range(3))}</ol>\n'
            + self.part("main", "content", f'<div class="container"><div class="row">{article}{comments}</div></div>')
            + self.part("aside", "related-posts", f'<div class="row">{cards}</div>')
            + self.part("footer", "site-footer", f"{footer_menu}<p>© 2024 {self.words(6)}</p>")
            + f'<img src="https://pixel.tracker.example/{self.draw.getrandbits(64):x}.gif" width="1" height="1"></div>'
        )

    def part(self, tag: str, name: str, content: str) -> str:
        share = {"main": MAIN_SHARE, "article": ARTICLE_SHARE}.get(tag, LANDMARK_SHARE)
        if self.draw.random() < share:
            return f'<{tag} class="{name}">\n{content}</{tag}>\n'
        return f'<div class="{name}"><div class="{name}-inner">\n{content}</div></div>\n'

    def article(self, size: float) -> str:
        blocks: list[Callable[[], str]] = [self.paragraph] * int(self.draw.randint(7, 22) * size)
        blocks += [self.list, self.subtitle, self.subtitle, self.quotation] * max(1, int(2 * size))
        blocks += [self.table] * (self.draw.random() < 0.4)
        blocks += [self.medium] * self.number_of_media
        self.draw.shuffle(blocks)
        by = f'<div class="byline"><span class="author">{self.words(2)}</span> <time>2024-05-17</time></div>\n'
        written = "".join(self.wrapped(block()) for block in blocks)
        return self.part("article", "entry-text", f"<h1>{self.words(7)}</h1>\n{by}{written}")

    def wrapped(self, block: str) -> str:
        if not self.is_built:
            return block
        return (
            f'<div class="elementor-element elementor-element-{self.draw.getrandbits(28):x} elementor-widget" '
            f'data-element_type="widget"><div class="elementor-widget-container">{block}</div></div>\n'
        )

    def paragraph(self) -> str:
        parts = [self.text(self.draw.randint(10, 50))]
        for _ in range(self.draw.randint(0, 4)):
            mark = self.draw.choice([self.link, "<em>{}</em>".format, "<span>{}</span>".format])
            parts += [mark(self.words(3)), self.text(self.draw.randint(5, 25))]
        return f"<p>{' '.join(parts)}</p>\n"

    def subtitle(self) -> str:
        return f'<h2 id="{invented(self.draw)}" class="wp-block-heading">{self.words(5)}</h2>\n'

    def quotation(self) -> str:
        return f"<blockquote>{self.text(20)}<br>\n<cite>{self.words(3)}</cite></blockquote>\n"

    def list(self) -> str:
        return f"<ul>\n{''.join(f'  <li>{self.text(10)}</li>' for _ in range(self.draw.randint(3, 8)))}</ul>\n"

    def table(self) -> str:
        rows = ("".join(f"<td>{self.words(2)}</td>" for _ in range(4)) for _ in range(self.draw.randint(4, 14)))
        return "<table>" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>\n"

    def menu(self, entries: int) -> str:
        icon = '<svg width="16" height="16" viewBox="0 0 16 16"><path d="M3 4h10v2H3zm0 4h10v2H3z"/></svg>'
        labels = (f"{icon if entry % 8 == 0 else ''}<span>{self.words(2)}</span>" for entry in range(entries))
        types = "menu-item menu-item-type-post_type menu-item-object-page menu-item"
        items = (f'<li class="{types}-{self.draw.randint(10, 9999)}">{self.link(label)}</li>' for label in labels)
        return f'<ul class="menu">{"".join(items)}</ul>'

    def card(self) -> str:
        picture = f'<img src="{self.address("jpg")}" alt="{self.words(4)}" width="160" height="90" loading="lazy">'
        return (
            f'<div class="col-12 col-sm-6 col-lg-4 mb-4"><div class="card h-100 border-0 shadow-sm">'
            f'<div class="card-img-top position-relative overflow-hidden">{self.link(picture)}</div>'
            f'<div class="card-body d-flex flex-column"><div><span class="text-muted small">2024-05-16</span></div>'
            f'<div class="card-title h5 mb-2">{self.link(f"<span>{self.words(6)}</span>")}</div></div></div></div>\n'
        )

    def comment(self) -> str:
        return (
            f'<div class="comment even thread-even depth-1"><div class="comment-author vcard">'
            f'<span class="fn">{self.words(2)}</span><span class="says">:</span></div>'
            f'<div class="comment-meta">{self.link("<time>17.05.2024</time>")}</div>'
            f'<div class="comment-content"><p>{self.text(25)}</p></div>'
            f'<div class="reply">{self.link("↩")}</div></div>\n'
        )

    # --- media

    def medium(self) -> str:
        kinds = {
            self.image: 35, self.figure: 25, self.lazy: 15, self.lazy_with_twin: 13, self.picture: 7, self.film: 3,
            self.sound: 2,
        }  # fmt: skip
        return self.draw.choices(list(kinds), list(kinds.values()))[0]()

    def image(self) -> str:
        width, height = self.draw.randint(200, 1600), self.draw.randint(200, 1200)
        source, alt = self.address("jpg"), self.words(6)
        return f'<p><img src="{source}" alt="{alt}" width="{width}" height="{height}" class="size-full"></p>\n'

    def figure(self) -> str:
        stem = self.address("jpg")
        sizes = ", ".join(f"{stem}?w={width} {width}w" for width in (320, 640, 1024, 1600))
        return (
            f'<figure class="wp-block-image"><img src="{stem}" srcset="{sizes}" sizes="(max-width: 640px) 100vw, 640px"'
            f' alt="{self.words(7)}"><figcaption>{self.words(12)}</figcaption></figure>\n'
        )

    def lazy(self) -> str:
        return (
            f'<div class="image-wrap"><img src="{PLACEHOLDER}" data-src="{self.address("jpg")}"'
            f' alt="{self.words(5)}" class="lazyload" width="800" height="600"></div>\n'
        )

    def lazy_with_twin(self) -> str:
        source, alt = self.address("jpg"), self.words(5)
        return (
            f'<div><img class="lazy" src="{PLACEHOLDER}" data-lazy-src="{source}" alt="{alt}">'
            f'<noscript><img src="{source}" alt="{alt}"></noscript></div>\n'
        )

    def picture(self) -> str:
        stem = self.address("webp")
        return (
            f'<picture><source type="image/webp" srcset="{stem}?w=480 480w, {stem}?w=960 960w">'
            f'<img src="{self.address("jpg")}" alt="{self.words(6)}"></picture>\n'
        )

    def film(self) -> str:
        poster, source = self.address("jpg"), self.address("mp4")
        return f'<video controls poster="{poster}"><source src="{source}" type="video/mp4">{self.words(5)}</video>\n'

    def sound(self) -> str:
        return f"<p>{self.link(self.words(4), self.address('mp3') + '?download=1')} {self.words(8)}</p>\n"

    # --- pieces

    def link(self, content: str, address: str | None = None) -> str:
        return f'<a href="{address or self.address("html")}">{content}</a>'

    def address(self, ending: str) -> str:
        name = f"{invented(self.draw)}-{self.draw.getrandbits(32):08x}.{ending}"
        prefixes = ("", "/media/", "../images/", f"//cdn.{self.host}/a/", f"https://{self.host}/uploads/2024/05/")
        return self.draw.choice(prefixes) + name

    def words(self, count: int) -> str:
        return phrase(self.draw, self.language, count)

    def text(self, words: int) -> str:
        return sentences(self.draw, self.language, words)

    def script(self, size: int) -> str:
        line = "window.q=window.q||[];q.push(function(a){{if(a<{0}&&a!='{1}'){{return t['{1}']||'{2}'}}}});\n"
        return self._lines(line, size)

    def style(self, size: int) -> str:
        return self._lines(".c-{1}>.{2}{{margin:0 {0}px;color:#{1:.6}}}\n", size)

    def _lines(self, line: str, size: int) -> str:
        written: list[str] = []
        while size > 0:
            values = self.draw.randint(0, 999), f"{self.draw.getrandbits(48):x}", invented(self.draw)
            written.append(line.format(*values))
            size -= len(written[-1])
        return "".join(written)
