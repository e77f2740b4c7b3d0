"""Drawn maps with a theme: choropleth, political, transit, weather, dots and routes. Each returns its caption."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mappool_assets.demo import canvas
from mappool_assets.demo.canvas import INK, Colour, Random, Sheet, choose, jitter, place_name, scaled
from mappool_assets.demo.topographic_maps import WATER, WHITE, furniture, graticule, spot

SEQUENTIAL: list[list[Colour]] = [  # in the manner of ColorBrewer
    [(239, 243, 255), (189, 215, 231), (107, 174, 214), (49, 130, 189), (8, 81, 156)],
    [(254, 237, 222), (253, 190, 133), (253, 141, 60), (230, 85, 13), (166, 54, 3)],
    [(237, 248, 233), (186, 228, 179), (116, 196, 118), (49, 163, 84), (0, 109, 44)],
    [(254, 240, 217), (253, 204, 138), (252, 141, 89), (227, 74, 51), (179, 0, 0)],
    [(242, 240, 247), (203, 201, 226), (158, 154, 200), (117, 107, 177), (84, 39, 143)],
]
PASTELS: list[Colour] = [
    (251, 180, 174), (179, 205, 227), (204, 235, 197), (222, 203, 228), (254, 217, 166), (255, 255, 204),
    (229, 216, 189), (253, 218, 236), (190, 224, 220), (214, 226, 160),
]  # fmt: skip
LINE_COLOURS: list[Colour] = [
    (220, 36, 31), (0, 25, 168), (0, 120, 42), (255, 211, 41), (0, 160, 226), (155, 0, 88), (238, 118, 35),
]  # fmt: skip


def choropleth(sheet: Sheet, random: Random) -> str:
    """Regions shaded in classes, with a legend."""
    ramp = choose(random, SEQUENTIAL)
    land, regions, seeds = _regions(sheet, random, int(random.integers(24, 70)))
    trend = seeds @ random.standard_normal(2) / 150 + random.standard_normal(len(seeds)) * 0.7
    classes = np.argsort(np.argsort(trend)) * 5 // len(seeds)
    raster = np.array(ramp, np.uint8)[classes][regions]
    raster[canvas.edges(regions)] = choose(random, [WHITE, (90, 90, 90)])
    raster[~land] = choose(random, [WHITE, (225, 236, 245), (205, 225, 240), (236, 240, 240)])
    raster[canvas.edges(land)] = (90, 90, 90)
    sheet.paint(raster)
    for x, y in seeds[:6]:
        sheet.text(x, y, place_name(random), 7, halo=WHITE)
    theme = choose(random, ["Population", "Unemployment", "Rainfall", "Election turnout", "Income"])
    if random.random() < 0.8:
        _legend(sheet, ramp, theme)
    name = place_name(random)
    return f"{theme.lower()} in {name} by district, map"


def political(sheet: Sheet, random: Random) -> str:
    """Countries in different colours with names and capitals."""
    land, regions, seeds = _regions(sheet, random, int(random.integers(5, 14)))
    colours = np.array(PASTELS, np.uint8)[random.permutation(len(seeds)) % len(PASTELS)]
    raster = colours[regions]
    raster[canvas.edges(regions)] = (130, 90, 110)
    sea = jitter(random, choose(random, [WATER, (220, 235, 245), (150, 190, 220)]))
    raster[~land] = sea
    raster[canvas.edges(land)] = (80, 120, 160)
    sheet.paint(raster)
    if random.random() < 0.5:
        graticule(sheet, random, (150, 175, 200))
    for x, y in seeds:
        if 15 < x < sheet.width - 15 and 8 < y < sheet.height - 8 and land[int(y), int(x)]:
            sheet.text(x, y, place_name(random).upper(), random.uniform(7, 11))
            sheet.ellipse(x + random.uniform(-9, 9), y + 9, 1.5, 1.5, (200, 40, 40))
    name = place_name(random)
    furniture(sheet, random, name)
    return choose(random, [f"political map of {name}", f"{name} and its neighbours", f"countries of {name}"])


def transit(sheet: Sheet, random: Random) -> str:
    """A schematic network: lines at multiples of 45°, stations, names, fare zones, a river or the shore."""
    ground = choose(random, [WHITE, (240, 240, 235), (248, 246, 238), (30, 40, 60)])
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), ground)
    x, y = random.uniform(0.35, 0.65, 2) * (sheet.width, sheet.height)
    for zone in (0.95, 0.7, 0.45, 0.2):
        reach = zone * max(sheet.width, sheet.height) * 0.6
        sheet.ellipse(x, y, reach, reach * 0.8, scaled(ground, 1.25 if ground[0] < 100 else 0.91 + 0.09 * zone))
    course = canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.2)
    sheet.line(course, (60, 95, 140) if ground[0] < 100 else (170, 210, 238), random.uniform(9, 22))
    ink = WHITE if ground[0] < 100 else INK
    compass = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
    for _ in range(random.integers(6, 11)):
        colour = jitter(random, choose(random, LINE_COLOURS))
        heading = int(random.integers(8))
        point = random.uniform(0.2, 0.8, 2) * (sheet.width, sheet.height)
        stops = [point - compass[heading] * random.uniform(60, 130)]
        for _ in range(6):
            stops.append(stops[-1] + compass[heading % 8] * random.uniform(25, 60))
            heading += int(random.integers(-1, 2))
        line = np.array(stops)
        sheet.line(line, colour, 4.5)
        for x, y in np.concatenate([line[1:-1], (line[1:] + line[:-1]) / 2]):
            sheet.ellipse(x, y, 2.6, 2.6, WHITE, ink if ground[0] > 100 else colour)
            if random.random() < 0.3:
                sheet.text(x + 5, y - 5, place_name(random), 7, ink, "lm")
    name = place_name(random)
    if random.random() < 0.4:
        sheet.text(8, 12, f"{name} Metro", 12, ink, "lm")
    return choose(random, [f"{name} metro map", f"tram network of {name}", f"subway lines, {name}"])


def weather(sheet: Sheet, random: Random) -> str:
    """Isobars over an outline, highs and lows, a front or a temperature field."""
    land = canvas.noise(random, sheet.width, sheet.height, 2.5, 5) > random.uniform(0.4, 0.6)
    pressure = canvas.noise(random, sheet.width, sheet.height, 1.5, 2)
    if random.random() < 0.4:
        raster = canvas.tint(pressure, [(90, 60, 160), (80, 160, 220), (150, 215, 150), (250, 225, 110), (225, 80, 50)])
        raster[~land] = (raster[~land] * 0.75 + 50).astype(np.uint8)
    else:
        raster = canvas.two_tone(land, (225, 228, 205), (205, 225, 240))
    raster[canvas.edges(land)] = (120, 120, 120)
    canvas.draw_contours(raster, pressure, random.uniform(0.05, 0.1), (70, 70, 110))
    sheet.paint(raster)
    for mask, letter, colour in ((pressure > 0.8, "H", (190, 40, 40)), (pressure < 0.2, "L", (40, 60, 180))):
        x, y = spot(random, mask)
        sheet.text(x, y, letter, 22, colour, halo=WHITE)
    front = canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.25)
    sheet.line(front, (30, 70, 190), 1.6)
    for a, b in zip(front[2:-2:3], front[3:-1:3], strict=False):
        middle, step = (a + b) / 2, b - a
        sheet.polygon(np.array([a, b, middle + np.array([step[1], -step[0]]) * 0.7]), (30, 70, 190))
    for _ in range(random.integers(2, 9)):
        x, y = spot(random, land)
        sheet.text(x, y, f"{random.integers(-9, 35)}°", 9, halo=WHITE)
    name = place_name(random)
    return choose(random, [f"weather map of {name}", f"surface pressure chart over {name}", f"forecast for {name}"])


def routes(sheet: Sheet, random: Random) -> str:
    """A base map in muted colours with proportional dots or a journey with pins."""
    land, regions, seeds = _regions(sheet, random, int(random.integers(8, 20)))
    ground, sea = choose(
        random,
        [((242, 242, 238), (204, 214, 219)), ((70, 75, 85), (40, 44, 52)), ((240, 236, 225), (200, 220, 232))],
    )
    raster = canvas.two_tone(land, ground, sea)
    raster[canvas.edges(regions) & land] = scaled(ground, 0.85)
    raster[canvas.edges(land)] = (140, 150, 155)
    sheet.paint(raster)
    graticule(sheet, random, scaled(sea, 0.93))
    for x, y in seeds[:6]:
        sheet.text(x, y, place_name(random), 8, scaled(ground, 0.6 if ground[0] > 100 else 2.2))
    accent = choose(random, [(220, 50, 50), (240, 150, 30), (30, 130, 200), (120, 60, 160)])
    stops = np.array([spot(random, land) for _ in range(random.integers(4, 9))])
    if random.random() < 0.5:
        for a, b in itertools.pairwise(stops):
            sheet.dashed_line(canvas.wander(random, a, b, 0.2), accent, 1.6)
        for x, y in stops:
            sheet.polygon(np.array([(x, y), (x - 4, y - 9), (x + 4, y - 9)]), accent)
            sheet.ellipse(x, y - 10, 4.2, 4.2, accent, WHITE)
    else:
        for x, y in np.concatenate([stops, stops + random.normal(0, 25, stops.shape)]):
            radius = random.exponential(5) + 1.5
            sheet.ellipse(x, y, radius, radius, accent, WHITE)
    name = place_name(random)
    furniture(sheet, random, name)
    return choose(random, [f"our route through {name}", f"map of cases reported in {name}", f"where we work: {name}"])


def _regions(
    sheet: Sheet, random: Random, count: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], canvas.Points]:
    shore = canvas.noise(random, sheet.width, sheet.height, random.uniform(1.2, 2.2), 5)
    land = shore > np.quantile(shore, random.uniform(0.15, 0.5))
    seeds = random.uniform(0, (sheet.width, sheet.height), (count, 2))
    warp = canvas.noise(random, sheet.width, sheet.height, 7, 3) * random.uniform(5, 35)
    return land, canvas.nearest_seed(seeds, sheet.width, sheet.height, warp), seeds


def _legend(sheet: Sheet, ramp: Sequence[Colour], title: str) -> None:
    left, top = sheet.width - 78, sheet.height - 74
    sheet.rectangle((left, top, sheet.width - 5, sheet.height - 5), WHITE, (150, 150, 150))
    sheet.text(left + 5, top + 8, title, 8, anchor="lm")
    for row, colour in enumerate(ramp):
        y = top + 16 + 10 * row
        sheet.rectangle((left + 5, y, left + 19, y + 8), colour, (120, 120, 120))
        sheet.text(left + 23, y + 4, f"{row * 20}-{row * 20 + 20} %", 7, anchor="lm")
