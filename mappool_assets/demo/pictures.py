"""Drawn pictures that are no maps: scenes, people, goods, food, patterns, art. Each returns its caption."""

from __future__ import annotations

import numpy as np

from mappool_assets.demo import canvas
from mappool_assets.demo.canvas import INK, Colour, Random, Sheet, any_colour, choose, jitter, scaled
from mappool_assets.demo.topographic_maps import WHITE, blot

Outline = list[tuple[float, float]]
SKIES: list[list[Colour]] = [
    [(90, 150, 220), (200, 225, 245)],
    [(60, 50, 110), (230, 110, 80), (255, 210, 120)],
    [(150, 160, 175), (215, 220, 225)],
    [(15, 20, 50), (50, 60, 120), (120, 90, 150)],
    [(110, 190, 230), (250, 240, 220)],
]


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _disc(x: float, y: float, radius: float) -> Outline:
    angles = np.linspace(0, 2 * np.pi, 40)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).tolist()


# Goods as parts: an outline in units of the picture's scale, and how bright it is.
GOODS: dict[str, list[tuple[Outline, float]]] = {
    "bottle": [(_box(-0.12, -1.2, 0.12, 0), 1), (_box(-0.38, -0.4, 0.38, 1), 1), (_box(-0.38, 0, 0.38, 0.55), 2.5)],
    "mug": [(_disc(0.65, 0.35, 0.4), 1), (_disc(0.65, 0.35, 0.25), 2.5), (_box(-0.6, -0.1, 0.6, 1), 1)],
    "gift box": [(_box(-1, -0.5, 1, 1), 1), (_box(-0.12, -0.5, 0.12, 1), 2), (_box(-1, 0.1, 1, 0.3), 2)],
    "lamp": [(_box(-0.05, -0.9, 0.05, 1), 0.3), ([(-0.4, -1), (0.4, -1), (0.8, 0), (-0.8, 0)], 1)],
    "ball": [(_disc(-0.4 * (1 - r), -0.4 * (1 - r), r), 1.6 - 0.7 * r) for r in np.linspace(1, 0.1, 12)],
    "T-shirt": [
        (_box(-0.6, -0.9, 0.6, 1), 1),
        ([(-0.6, -0.9), (-1.2, -0.3), (-0.9, 0), (-0.6, -0.3)], 0.9),
        ([(0.6, -0.9), (1.2, -0.3), (0.9, 0), (0.6, -0.3)], 0.9),
    ],
}


def landscape(sheet: Sheet, random: Random) -> str:
    """Hills in layers under a sky, perhaps a sun and a lake."""
    sky = choose(random, SKIES)
    columns = np.arange(sheet.width)
    clouds = canvas.noise(random, sheet.width, sheet.height, 3, 5)
    raster = canvas.tint(np.linspace(0, 1, sheet.height, dtype=np.float32)[:, None] + 0.25 * (clouds - 0.5), sky)
    sheet.paint(raster)
    if random.random() < 0.6:
        size = random.uniform(8, 22)
        x, y = random.uniform(20, sheet.width - 20), sheet.height * random.uniform(0.15, 0.45)
        sheet.ellipse(x, y, size, size, (255, 244, 200))
    base, layers = any_colour(random, 30, 130), int(random.integers(3, 6))
    for layer in range(layers):
        nearness = (layer + 1) / layers
        ridge = canvas.noise(random, sheet.width, 8, 3 + 3 * nearness, 5)[4]
        top = sheet.height * (0.3 + 0.55 * nearness) - ridge * sheet.height * 0.35
        outline = np.stack([np.r_[columns, sheet.width, 0], np.r_[top, sheet.height, sheet.height]], 1)
        haze = [int(b * nearness + s * (1 - nearness)) for b, s in zip(base, sky[-1], strict=True)]
        sheet.polygon(outline, (haze[0], haze[1], haze[2]))
    if random.random() < 0.4:
        for tx in random.uniform(0, sheet.width, random.integers(3, 12)):
            y, size = sheet.height * random.uniform(0.75, 1), random.uniform(10, 26)
            sheet.polygon(np.array([(tx, y - size), (tx - size / 3, y), (tx + size / 3, y)]), (25, 50, 35))
    return choose(random, ["sunset over the hills", "mountain panorama at dawn", "holiday view of the valley"])


def portrait(sheet: Sheet, random: Random) -> str:
    """A head and shoulders before a soft background."""
    sheet.paint(
        canvas.tint(canvas.noise(random, sheet.width, sheet.height, 2, 3), [any_colour(random), any_colour(random)])
    )
    skin = choose(random, [(240, 205, 175), (225, 180, 145), (190, 140, 105), (140, 95, 70), (95, 65, 50)])
    hair = choose(random, [(40, 30, 25), (90, 60, 35), (200, 165, 95), (120, 120, 120), (150, 60, 30)])
    x, y, size = (
        sheet.width * random.uniform(0.35, 0.65),
        sheet.height * 0.42,
        sheet.height * random.uniform(0.18, 0.28),
    )
    sheet.ellipse(x, y + size * 2.5, size * 1.7, size * 1.3, any_colour(random))
    sheet.ellipse(x, y - size * 0.15, size * 0.92, size * 1.15, hair)
    if random.random() < 0.5:
        sheet.rectangle((x - size * 0.9, y, x + size * 0.9, y + size * 1.3), hair, radius=9)
    sheet.rectangle((x - size * 0.3, y + size * 0.6, x + size * 0.3, y + size * 1.5), scaled(skin, 0.9))
    sheet.ellipse(x, y + size * 0.1, size * 0.72, size * 0.95, skin)
    for side in (-1, 1):
        sheet.ellipse(x + side * size * 0.3, y, size * 0.12, size * 0.07, WHITE)
        sheet.ellipse(x + side * size * 0.3, y, size * 0.06, size * 0.06, INK)
    sheet.arc(x, y + size * 0.4, size * 0.25, (20, 160), (160, 60, 60), 2)
    return choose(random, ["portrait of a smiling person", "our new colleague", "profile picture", "singer on stage"])


def product(sheet: Sheet, random: Random) -> str:
    """One of :data:`GOODS` on a plain ground with a shadow, perhaps with a price."""
    ground = choose(random, [WHITE, WHITE, (245, 245, 245), (225, 215, 205), any_colour(random, 150)])
    shade = np.linspace(1, 0.86, sheet.height)[:, None, None] * np.ones((1, sheet.width, 1))
    sheet.paint((np.array(ground) * shade).astype(np.uint8))
    x, y, size = sheet.width / 2, sheet.height * 0.55, min(sheet.width, sheet.height) * random.uniform(0.2, 0.32)
    sheet.ellipse(x, y + size, size * 0.9, size * 0.14, scaled(ground, 0.78))
    name = choose(random, list(GOODS))
    colour = any_colour(random, 20, 230)
    for outline, factor in GOODS[name]:
        sheet.polygon(np.array(outline) * size + np.array([x, y]), scaled(colour, factor))
    if name == "mug":
        sheet.ellipse(x, y - size * 0.1, size * 0.6, size * 0.14, scaled(colour, 0.6))
    if random.random() < 0.4:
        sheet.text(sheet.width - 8, 14, f"${random.integers(5, 200)}.99", 15, (200, 30, 30), "rm")
    return f"{choose(random, ['new', 'vintage', 'handmade', 'discounted'])} {name}, free shipping"


def food(sheet: Sheet, random: Random) -> str:
    """A plate on a table, seen from above."""
    wood = canvas.noise(random, sheet.width, 12, 3, 3)[6][None, :].repeat(sheet.height, 0)
    table = any_colour(random, 60, 220)
    sheet.paint(canvas.tint(wood, [scaled(table, 0.8), table]))
    x, y, size = sheet.width / 2, sheet.height / 2, min(sheet.width, sheet.height) * random.uniform(0.35, 0.48)
    for ring, colour in ((1.0, (250, 250, 248)), (0.78, (232, 232, 230)), (0.75, (246, 246, 244))):
        sheet.ellipse(x, y, size * ring, size * ring, colour)
    for _ in range(random.integers(12, 40)):
        angle, reach = random.uniform(0, 2 * np.pi), size * 0.6 * np.sqrt(random.random())
        colour = choose(random, [(200, 60, 40), (110, 150, 50), (225, 175, 70), (140, 90, 50), (245, 235, 200)])
        at = (x + reach * np.cos(angle), y + reach * np.sin(angle))
        blot(sheet, random, *at, random.uniform(4, 15), jitter(random, colour))
    return choose(random, ["fresh salad recipe", "dinner for two in 20 minutes", "the best pasta in town"])


def pattern(sheet: Sheet, random: Random) -> str:
    """A checkerboard, stripes, dots or a tartan."""
    first, second = any_colour(random), any_colour(random)
    y, x = np.mgrid[: sheet.height, : sheet.width].astype(np.float32)
    angle, step = random.uniform(0, np.pi / 2), random.uniform(8, 40)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = choose(random, ["checkerboard", "stripes", "dots", "tartan", "waves"])
    mask = {
        "checkerboard": lambda: (u // step + v // step) % 2,
        "stripes": lambda: (u // step) % 2,
        "dots": lambda: ((u % step - step / 2) ** 2 + (v % step - step / 2) ** 2 < step**2 / 9) * 1.0,
        "tartan": lambda: 0.5 * ((u // step) % 2) + 0.5 * ((v // (step / 2)) % 3 == 0),
        "waves": lambda: ((u + 8 * np.sin(v / step)) // (step / 2)) % 2,
    }[kind]()
    sheet.paint(canvas.tint(mask, [first, second]))
    return f"seamless {kind} pattern, fabric by the metre"


def bokeh(sheet: Sheet, random: Random) -> str:
    """Blurred lights at night or petals of a flower."""
    dark = any_colour(random, 0, 60)
    sheet.paint(canvas.tint(canvas.noise(random, sheet.width, sheet.height, 2, 2), [dark, scaled(dark, 2.5)]))
    if random.random() < 0.5:
        for _ in range(random.integers(15, 50)):
            x, y = random.uniform(0, (sheet.width, sheet.height))
            colour, radius = any_colour(random, 90), random.uniform(4, 20)
            sheet.ellipse(x, y, radius, radius, scaled(colour, 0.7), colour)
        return "city lights at night, bokeh"
    x, y = random.uniform(0.35, 0.65, 2) * (sheet.width, sheet.height)
    petal, count, size = any_colour(random, 120), int(random.integers(5, 14)), random.uniform(40, 75)
    blade = np.linspace(0, 2 * np.pi, 24)
    outline = size * np.stack([(1 - np.cos(blade)) / 2, 0.22 * np.sin(blade)], 1)
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        sheet.polygon(outline @ turn + np.array([x, y]), jitter(random, petal))
    sheet.ellipse(x, y, size * 0.22, size * 0.22, (235, 190, 60))
    return "flower in our garden, macro"


def texture(sheet: Sheet, random: Random) -> str:
    """Something photographed close: sand, fur, clouds, water."""
    height = canvas.noise(random, sheet.width, sheet.height, random.uniform(2, 25), 6)
    low, high = any_colour(random, 0, 160), any_colour(random, 100, 256)
    grain = random.normal(0, random.uniform(2, 14), (sheet.height, sheet.width, 1))
    sheet.paint(np.clip(canvas.tint(height, [low, high]) + grain, 0, 255).astype(np.uint8))
    return choose(random, ["sand texture", "stormy clouds", "fur close-up", "water surface", "concrete wall"])


def abstract(sheet: Sheet, random: Random) -> str:
    """Modern art: circles and lines, or coloured rectangles."""
    ground = choose(random, [(245, 240, 225), (235, 235, 235), (250, 220, 160), (40, 45, 60)])
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), ground)
    size = max(sheet.width, sheet.height)
    for _ in range(random.integers(8, 25)):
        x, y = random.uniform(0, (sheet.width, sheet.height))
        reach, colour = random.uniform(0.03, 0.2) * size, any_colour(random)
        form = int(random.integers(4))
        if form == 0:
            sheet.ellipse(x, y, reach, reach, colour, choose(random, [None, INK]))
        elif form == 1:
            sheet.polygon(random.uniform(-reach, reach, (3, 2)) + np.array([x, y]), colour)
        elif form == 2:
            sheet.line(canvas.wander(random, (x, y), random.uniform(0, (sheet.width, sheet.height)), 0.3), INK, 2)
        else:
            sheet.rectangle((x, y, x + reach, y + reach * random.uniform(0.3, 2)), colour, INK)
    return choose(random, ["abstract painting, acrylic on canvas", "composition no. 7", "modern wall art print"])
