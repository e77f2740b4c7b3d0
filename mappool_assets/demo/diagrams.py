"""Drawn graphics that are no maps, some of them close to maps: charts, pages, plans, circuits, aerial pictures."""

from __future__ import annotations

import itertools

import numpy as np

from mappool_assets.demo import canvas
from mappool_assets.demo.canvas import INK, Colour, Random, Sheet, any_colour, choose, jitter, place_name
from mappool_assets.demo.topographic_maps import WHITE, blot

WORDS = [
    "the",
    "of",
    "and",
    "market",
    "data",
    "report",
    "growth",
    "year",
    "new",
    "people",
    "first",
    "sales",
    "time",
    "about",
    "more",
    "which",
    "their",
    "value",
]
GREY: Colour = (225, 225, 225)


def chart(sheet: Sheet, random: Random) -> str:
    """Bars, lines, points or a pie, with axes."""
    kind = choose(random, ["bar", "line", "scatter", "pie"])
    left, right, top, bottom = 32, sheet.width - 14, 30, sheet.height - 26
    sheet.text(sheet.width / 2, 14, f"{choose(random, WORDS)} {choose(random, WORDS)}".title(), 12)
    if kind == "pie":
        shares = np.r_[0, np.cumsum(random.dirichlet(np.full(random.integers(3, 8), 2.0)))] * 360
        radius = (bottom - top) / 2
        for start, end in itertools.pairwise(shares):
            sheet.slice(sheet.width / 2, top + radius, radius, (start, end), any_colour(random, 40, 240))
        return "pie chart of market shares"
    for y in np.linspace(top, bottom, 6):
        sheet.line(np.array([(left, y), (right, y)]), GREY, 0.5)
        sheet.text(left - 4, y, str(int(bottom - y)), 7, anchor="rm")
    sheet.line(np.array([(left, top), (left, bottom), (right, bottom)]), INK)
    for _ in range(1 if kind == "bar" else random.integers(1, 5)):
        colour, count = any_colour(random, 20, 210), int(random.integers(5, 14))
        x = np.linspace(left + 8, right - 8, count)
        y = bottom - (bottom - top) * np.clip(0.5 + 0.2 * random.standard_normal(count).cumsum() / 2, 0.05, 0.97)
        if kind == "bar":
            for bx, by in zip(x, y, strict=True):
                sheet.rectangle((bx - 5, by, bx + 5, bottom), colour)
        elif kind == "line":
            sheet.line(np.stack([x, y], 1), colour, 1.5)
        else:
            for bx, by in zip(x, y, strict=True):
                sheet.ellipse(bx, by, 2.5, 2.5, colour)
    return f"{kind} chart: {choose(random, WORDS)} per year"


def text_page(sheet: Sheet, random: Random) -> str:
    """A page in one or two columns."""
    paper = choose(random, [WHITE, (250, 246, 235), (240, 232, 210)])
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), paper)
    columns, size = int(random.integers(1, 3)), random.uniform(6.5, 10)
    width = (sheet.width - 24) / columns
    sheet.text(12, 16, f"{choose(random, WORDS)} {choose(random, WORDS)} {place_name(random)}".title(), 14, anchor="lm")
    for column in range(columns):
        for y in np.arange(34, sheet.height - 10, size * 1.45):
            if random.random() < 0.9:
                count = int(width * random.choice([1, 1, 1, 0.6]) / (size * 3.1))
                line = " ".join(choose(random, WORDS) for _ in range(count))
                sheet.text(12 + column * width, y, line, size, anchor="lm")
    return choose(random, ["scan of a page", "annual report, page 12", "poem of the day"])


def screenshot(sheet: Sheet, random: Random) -> str:
    """A table or a list in a window."""
    accent = any_colour(random, 20, 180)
    sheet.rectangle((0, 0, sheet.width, 18), accent)
    sheet.text(8, 9, f"{choose(random, WORDS)} {choose(random, WORDS)}".title(), 9, WHITE, "lm")
    sheet.rectangle((0, 18, sheet.width * 0.22, sheet.height), (240, 240, 243))
    row_height, left = random.uniform(13, 22), sheet.width * 0.26
    for row, y in enumerate(np.arange(28, sheet.height, row_height)):
        sheet.text(6, y, choose(random, WORDS), 7, anchor="lm")
        if row % 2:
            sheet.rectangle((left, y - row_height / 2, sheet.width - 6, y + row_height / 2), (245, 247, 250))
        for x in np.linspace(left + 4, sheet.width - 40, 4):
            sheet.text(x, y, choose(random, [*WORDS, "42", "3.1", "yes"]), 7, anchor="lm")
    return "screenshot of the dashboard"


def floor_plan(sheet: Sheet, random: Random) -> str:
    """Near to a map: walls, doors and room names of a flat."""
    sheet.rectangle(
        (-2, -2, sheet.width + 2, sheet.height + 2), choose(random, [WHITE, (240, 245, 250), (250, 245, 235)])
    )
    rooms = [(14.0, 14.0, sheet.width - 14.0, sheet.height - 14.0)]
    for _ in range(random.integers(3, 8)):
        rooms.sort(key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        left, top, right, bottom = rooms.pop()
        cut = random.uniform(0.35, 0.65)
        if right - left > bottom - top:
            middle = left + cut * (right - left)
            rooms += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = top + cut * (bottom - top)
            rooms += [(left, top, right, middle), (left, middle, right, bottom)]
    tinted, wall = random.random() < 0.4, random.uniform(1.5, 4)
    for left, top, right, bottom in rooms:
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        fill = jitter(random, choose(random, [(245, 230, 200), (220, 235, 245), (230, 240, 215)])) if tinted else None
        sheet.polygon(corners, fill, INK, wall)
        sheet.line(np.array([(left + 8, bottom), (left + 24, bottom)]), WHITE, wall + 1)
        sheet.arc(left + 8, bottom, 16, (270, 360), (120, 120, 120))
        sheet.text((left + right) / 2, (top + bottom) / 2, choose(random, ["Bedroom", "Kitchen", "Bath", "Living"]), 8)
        sheet.text((left + right) / 2, (top + bottom) / 2 + 10, f"{random.integers(4, 30)} sq m", 7)
    return f"floor plan, {random.integers(2, 6)} rooms, 2nd floor"


def aerial(sheet: Sheet, random: Random) -> str:
    """Near to a map: fields, woods and a road from above, as a camera sees them."""
    seeds = random.uniform(0, (sheet.width, sheet.height), (random.integers(8, 35), 2))
    fields = canvas.nearest_seed(seeds, sheet.width, sheet.height)
    soil: list[Colour] = [(110, 120, 70), (140, 130, 90), (90, 105, 60), (165, 150, 105), (75, 90, 55)]
    colours = np.array([jitter(random, choose(random, soil)) for _ in seeds], np.float32)
    raster = colours[fields]
    woods = canvas.noise(random, sheet.width, sheet.height, 4, 6)
    raster[woods > 0.6] = (45, 62, 38)
    raster[woods < 0.16] = (40, 60, 75)
    grain = canvas.noise(random, sheet.width, sheet.height, 60, 3)[..., None]
    sheet.paint(np.clip(raster * (0.75 + 0.5 * grain), 0, 255).astype(np.uint8))
    for _ in range(random.integers(0, 3)):
        course = canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.15)
        sheet.line(course, (175, 170, 160), 2)
    for _ in range(random.integers(0, 25)):
        x, y = random.normal(0.5, 0.15, 2) * (sheet.width, sheet.height)
        sheet.rectangle((x, y, x + 4, y + 3), choose(random, [(170, 90, 70), (190, 190, 190), (120, 110, 105)]))
    return choose(random, ["satellite image", "drone shot of the fields", "aerial view of the farm"])


def camouflage(sheet: Sheet, random: Random) -> str:
    """Near to a map: blotches with edges like coasts - camouflage, marble, a cow's hide, an agate."""
    blotches = canvas.noise(random, sheet.width, sheet.height, random.uniform(2, 6), 5)
    kind = choose(random, ["camouflage", "marble", "hide", "agate"])
    if kind == "camouflage":
        ramp: list[Colour] = [(60, 65, 45), (100, 110, 65), (150, 140, 95), (70, 55, 40)]
        raster = canvas.bands(blotches, [jitter(random, c) for c in ramp])
    elif kind == "marble":
        vein = np.abs(blotches - 0.5) * 6
        raster = canvas.tint(vein, [any_colour(random, 60, 160), (235, 232, 228), (250, 250, 248)])
    elif kind == "hide":
        raster = canvas.bands(blotches, [(245, 240, 232), any_colour(random, 20, 100)])
    else:
        raster = canvas.tint((blotches * 7) % 1, [any_colour(random), any_colour(random), any_colour(random)])
    sheet.paint(raster)
    return f"{kind} print, seamless"


def circuit(sheet: Sheet, random: Random) -> str:
    """Near to a transit map: traces at multiples of 45°, pads and chips."""
    board = choose(random, [(20, 95, 60), (25, 60, 120), (30, 30, 35), (230, 230, 220)])
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), board)
    trace = jitter(random, choose(random, [(90, 170, 110), (200, 175, 90), (140, 160, 210)]))
    compass = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
    for _ in range(random.integers(12, 30)):
        heading = int(random.integers(8))
        points = [random.uniform(0, (sheet.width, sheet.height))]
        for _ in range(random.integers(2, 5)):
            points.append(points[-1] + compass[heading % 8] * random.uniform(10, 50))
            heading += int(random.integers(-1, 2))
        sheet.line(np.array(points), trace, 1.2)
        for x, y in (points[0], points[-1]):
            sheet.ellipse(x, y, 2.6, 2.6, (215, 200, 150), board)
    for _ in range(random.integers(1, 5)):
        x, y = random.uniform(0, (sheet.width - 50, sheet.height - 40))
        sheet.rectangle((x, y, x + random.uniform(20, 50), y + random.uniform(15, 40)), (25, 25, 28), (90, 90, 95), 2)
    return "circuit board, rev. B"


def mind_map(sheet: Sheet, random: Random) -> str:
    """Near to a map by name: boxes and arrows, a flow chart or family tree."""
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), choose(random, [WHITE, (245, 248, 250)]))
    nodes = random.uniform(0.12, 0.88, (random.integers(5, 12), 2)) * (sheet.width, sheet.height)
    for a, b in itertools.pairwise(nodes):
        sheet.line(np.array([a, (b[0], a[1]), b]), (110, 110, 120), 1.2)
    fill = any_colour(random, 150)
    for x, y in nodes:
        sheet.rectangle((x - 24, y - 9, x + 24, y + 9), jitter(random, fill), INK, choose(random, [0, 5]))
        sheet.text(x, y, choose(random, WORDS), 8)
    return choose(random, ["mind map of the project", "flow chart of the process", "family tree"])


def doodle(sheet: Sheet, random: Random) -> str:
    """A child's drawing or a logo: a few blobs and strokes on white."""
    for _ in range(random.integers(2, 6)):
        x, y = random.uniform(0.2, 0.8, 2) * (sheet.width, sheet.height)
        blot(sheet, random, x, y, random.uniform(15, 60), any_colour(random))
    for _ in range(random.integers(0, 8)):
        a, b = random.uniform(0, (sheet.width, sheet.height), (2, 2))
        sheet.line(canvas.wander(random, a, b, 0.5), any_colour(random, 0, 150), random.uniform(1, 4))
    if random.random() < 0.4:
        sheet.text(sheet.width / 2, sheet.height * 0.85, place_name(random), 26, any_colour(random, 0, 150))
    return choose(random, ["drawing by our daughter", "logo design", "clip art"])
