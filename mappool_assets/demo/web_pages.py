"""Web pages about journeys and maps, in three languages, whose images are the demo's pictures; and some odd ones."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mappool_assets.demo.canvas import Random, choose, place_name
from mappool_assets.demo.crawl import MadePage

HTML = "text/html; charset=utf-8"
FIGURES = (2, 9)  # a page; more than five are there so that the limit of packed documents shows

_TITLES = {
    "en": ["A walk from {a} to {b}", "The old maps of {a}", "Three days in {a}", "How {a} was surveyed"],
    "de": ["Eine Wanderung von {a} nach {b}", "Die alten Karten von {a}", "Drei Tage in {a}"],
    "fr": ["Une promenade de {a} à {b}", "Les anciennes cartes de {a}", "Trois jours à {a}"],
}
_SENTENCES = {
    "en": [
        "We left {a} early in the morning and followed the river until the road turned towards {b}.",
        "The map that hung in the station was older than the railway itself, and nobody had ever corrected it.",
        "Surveyors from {a} measured the whole valley in a single summer, carrying their instruments on mules.",
        "On the second day it rained, so we stayed inside and compared the sheets that we had bought in {b}.",
        "If you look closely at the contour lines, you can see where the quarry used to be.",
        "Most visitors come for the harbour, but the library of {a} holds a far greater treasure.",
        "The first edition shows only two houses here; the one printed ten years later shows a whole village.",
    ],
    "de": [
        "Wir verließen {a} früh am Morgen und folgten dem Fluss, bis die Straße nach {b} abbog.",
        "Die Karte, die im Bahnhof hing, war älter als die Eisenbahn selbst, und niemand hatte sie je berichtigt.",
        "Die Vermesser aus {a} nahmen das ganze Tal in einem einzigen Sommer auf mit Geräten auf Maultieren.",
        "Am zweiten Tag regnete es, also blieben wir im Haus und verglichen die Blätter, die wir in {b} kauften.",
        "Wer die Höhenlinien genau ansieht, erkennt noch heute, wo früher der Steinbruch lag.",
    ],
    "fr": [
        "Nous avons quitté {a} tôt le matin et suivi la rivière jusqu'à ce que la route tourne vers {b}.",
        "La carte accrochée dans la gare était plus ancienne que le chemin de fer, et personne ne l'avait corrigée.",
        "Les géomètres de {a} ont mesuré toute la vallée en un seul été, leurs instruments portés par des mulets.",
        "Le deuxième jour il pleuvait, alors nous sommes restés à comparer les feuilles achetées à {b}.",
        "En regardant bien les courbes de niveau, on devine encore l'emplacement de l'ancienne carrière.",
    ],
}
_NAVIGATION = '<nav><ul><li><a href="/">Home</a></li><li><a href="/maps">Maps</a></li></ul></nav>'
_COOKIES = '<div class="cookie-banner">We use cookies. <button>Accept all</button></div>'
_FOOTER = '<footer>All rights reserved. <a href="/imprint">Imprint</a></footer>'


@dataclass(frozen=True)
class Picture:
    """A picture that pages show."""

    url: str
    caption: str
    width: int
    height: int


def made_pages(pictures: Sequence[Picture], pages: int, random: Random) -> Iterator[MadePage]:
    """Yield pages that show pictures by chance, then the odd pages that any crawl holds."""
    for number in range(pages):
        yield MadePage(f"https://journeys-{number % 7}.example/{number}.html", _article(pictures, random))
    yield from _odd_pages(pictures, random)


def _article(pictures: Sequence[Picture], random: Random) -> bytes:
    language = choose(random, ["en", "en", "de", "fr"])
    title = _filled(choose(random, _TITLES[language]), random)
    parts = [_paragraph(language, random)]
    for _ in range(random.integers(*FIGURES)):
        parts.append(_figure(choose(random, pictures)))
        if random.random() < 0.8:
            parts.append(_paragraph(language, random))
    if random.random() < 0.2:
        parts.append('<p><a href="/sounds/bells.mp3">The bells</a></p>')
    if random.random() < 0.2:
        parts.append('<video controls><source src="/films/harbour.mp4" type="video/mp4"></video>')
    body = "".join(parts)
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
        f"<body>{_COOKIES}{_NAVIGATION}<main><article><h1>{html.escape(title)}</h1>{body}</article></main>{_FOOTER}"
        "</body></html>"
    ).encode()


def _paragraph(language: str, random: Random) -> str:
    sentences = [_filled(choose(random, _SENTENCES[language]), random) for _ in range(random.integers(2, 6))]
    return f"<p>{html.escape(' '.join(sentences))}</p>"


def _filled(template: str, random: Random) -> str:
    return template.format(a=place_name(random), b=place_name(random))


def _figure(picture: Picture) -> str:
    url, caption = html.escape(picture.url), html.escape(picture.caption)
    return (
        f'<figure><img src="{url}" alt="{caption}" width="{picture.width}" height="{picture.height}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _odd_pages(pictures: Sequence[Picture], random: Random) -> Iterator[MadePage]:
    article = _article(pictures, random)
    images = "".join(_figure(choose(random, pictures)) for _ in range(3)).replace("figcaption", "template")
    yield MadePage("https://odd.example/empty.html", b"")
    yield MadePage("https://odd.example/only-images.html", f"<html><body>{images}</body></html>".encode())
    yield MadePage("https://odd.example/gone.html", article, status=404)
    yield MadePage("https://odd.example/plain.txt", b"No page at all.", headers=(("Content-Type", "text/plain"),))
    yield MadePage("https://odd.example/latin.html", "<p>Ein Fluß.</p>".encode("latin-1"))
    yield MadePage(
        "https://odd.example/private.html", article, headers=(("Content-Type", HTML), ("X-Robots-Tag", "noai, noindex"))
    )
