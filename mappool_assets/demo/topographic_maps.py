"""Drawn maps of the general kind: coast, roads, streets, relief, sea charts, old maps. Each returns its caption."""

from __future__ import annotations

import numpy as np

from mappool_assets.demo import canvas
from mappool_assets.demo.canvas import INK, Colour, Field, Random, Sheet, choose, jitter, place_name, scaled

WHITE: Colour = (255, 255, 255)
WATER: Colour = (165, 205, 232)


def coast(sheet: Sheet, random: Random) -> str:
    """Land and sea with graticule, rivers and towns."""
    relief = canvas.noise(random, sheet.width, sheet.height, random.uniform(1.5, 3.5), 6)
    sea_level = float(np.quantile(relief, random.uniform(0.3, 0.65)))
    sea = jitter(random, choose(random, [WATER, (120, 170, 210), (205, 222, 235), (90, 140, 190)]), 8)
    land = jitter(random, choose(random, [(244, 236, 210), (222, 232, 196), (250, 246, 240), (228, 216, 180)]), 8)
    raster = canvas.two_tone(relief < sea_level, sea, land)
    raster[(relief > sea_level - 0.03) & (relief < sea_level)] = scaled(sea, 1.1)
    raster[canvas.edges(relief < sea_level)] = scaled(sea, 0.5)
    sheet.paint(raster)
    graticule(sheet, random, scaled(sea, 0.8))
    for _ in range(random.integers(2, 6)):
        river(sheet, random, relief, sea_level, scaled(sea, 0.8))
    towns(sheet, random, relief > sea_level + 0.02, int(random.integers(3, 9)))
    name = place_name(random)
    x, y = spot(random, relief < sea_level - 0.05)
    sheet.text(x, y, f"{name} Sea".upper(), 9, scaled(sea, 0.5))
    furniture(sheet, random, name)
    return choose(random, [f"map of the coast of {name}", f"{name} island map", f"map of {name} with towns"])


def roads(sheet: Sheet, random: Random) -> str:
    """A road map: woods, lakes, casings in three ranks, towns."""
    ground = jitter(random, choose(random, [(247, 243, 232), (240, 240, 236), (252, 250, 240)]), 6)
    woods = canvas.noise(random, sheet.width, sheet.height, random.uniform(3, 6))
    lakes = canvas.noise(random, sheet.width, sheet.height, 3)
    raster = canvas.two_tone(woods > 0.58, (205, 226, 180), ground)
    raster[lakes > 0.84] = WATER
    sheet.paint(raster)
    sheet.line(canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.3), WATER, 3)
    centres = random.uniform(0.08, 0.92, (random.integers(5, 11), 2)) * (sheet.width, sheet.height)
    for a in centres:
        for b in centres[np.argsort(((centres - a) ** 2).sum(1))[1:4]]:
            sheet.cased_line(canvas.wander(random, a, b, 0.12), (150, 150, 150), WHITE, 1.2)
    main: Colour = choose(random, [(250, 205, 90), (236, 110, 90), (250, 160, 60)])
    for _ in range(random.integers(2, 4)):
        route = canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.15)
        sheet.cased_line(route, (120, 70, 40), main, 2.6)
        shield(sheet, random, route[len(route) // 2])
    for x, y in centres:
        blot(sheet, random, x, y, random.uniform(4, 11), (214, 205, 200))
        sheet.ellipse(x, y, 1.8, 1.8, WHITE, INK)
        sheet.text(x + 4, y - 5, place_name(random), random.uniform(7, 12), anchor="lm", halo=ground)
    name = place_name(random)
    furniture(sheet, random, name)
    return choose(random, [f"road map of {name} county, 1:50 000", f"driving directions around {name}"])


def streets(sheet: Sheet, random: Random) -> str:
    """A city plan: a bent street grid with blocks, parks, a river and street names."""
    block = jitter(random, choose(random, [(236, 228, 218), (226, 226, 226), (245, 240, 225), (214, 206, 200)]), 6)
    street: Colour = choose(random, [WHITE, WHITE, (255, 244, 190)])
    casing = jitter(random, (188, 182, 176), 8)
    sheet.rectangle((-2, -2, sheet.width + 2, sheet.height + 2), block)
    for _ in range(random.integers(1, 5)):
        x, y = random.uniform(0, (sheet.width, sheet.height))
        blot(sheet, random, x, y, random.uniform(15, 45), (186, 220, 165))
    angle, bend = random.uniform(0, np.pi / 2), random.uniform(-0.0012, 0.0012)
    main, reach = int(random.integers(3, 6)), max(sheet.width, sheet.height)
    lines = []
    for turn in (angle, angle + np.pi / 2):
        offsets = np.cumsum(random.uniform(11, 26, 80)) - reach
        for rank, offset in enumerate(offsets[np.abs(offsets) < reach * 0.75]):
            along = np.linspace(-reach, reach, 30)
            aside = offset + bend * along**2
            x = sheet.width / 2 + along * np.cos(turn) - aside * np.sin(turn)
            y = sheet.height / 2 + along * np.sin(turn) + aside * np.cos(turn)
            lines.append((np.stack([x, y], 1), 4.0 if rank % main == 0 else 1.8))
    if random.random() < 0.6:
        lines.append((canvas.wander(random, *canvas.across(random, sheet.width, sheet.height), 0.2), 12.0))
    for points, width in lines:
        sheet.line(points, casing, width + 1.4)
    for points, width in lines:
        colour = WATER if width == 12 else (250, 214, 120) if width == 4 and street == WHITE else street
        sheet.line(points, colour, width)
    for _ in range(random.integers(3, 8)):
        x, y = random.uniform(10, (sheet.width - 10, sheet.height - 10))
        sheet.text(x, y, f"{place_name(random)} {choose(random, ['St', 'Ave', 'Sq', 'Park'])}", 8, halo=WHITE)
    name = place_name(random)
    furniture(sheet, random, name)
    return choose(random, [f"city map of {name}", f"street plan, {name} old town", f"hotel location in {name}"])


def relief(sheet: Sheet, random: Random) -> str:
    """Contour tints, contour lines, hill shading, streams and spot heights."""
    height = canvas.noise(random, sheet.width, sheet.height, random.uniform(1.5, 3), 4)
    ramp = choose(
        random,
        [
            [(130, 175, 130), (190, 210, 150), (240, 230, 170), (220, 180, 120), (180, 130, 90), (245, 240, 235)],
            [(250, 248, 240), (246, 238, 220), (236, 220, 190)],
            [(220, 235, 205), (236, 240, 215), (250, 245, 225), (240, 225, 200)],
        ],
    )
    raster = canvas.bands(height, ramp) if random.random() < 0.5 else canvas.tint(height, ramp)
    if random.random() < 0.6:
        slope = np.gradient(height, axis=1) + np.gradient(height, axis=0)
        raster = np.clip(raster * (1 + np.clip(slope * 9, -0.3, 0.2))[..., None], 0, 255).astype(np.uint8)
    brown = jitter(random, (165, 115, 75))
    interval = random.uniform(0.025, 0.06)
    canvas.draw_contours(raster, height, interval, brown)
    canvas.draw_contours(raster, height, interval * 5, (110, 70, 40))
    sheet.paint(raster)
    for _ in range(random.integers(1, 5)):
        river(sheet, random, height, 0.1, (70, 140, 200))
    for _ in range(random.integers(2, 6)):
        x, y = spot(random, height > 0.6)
        sheet.polygon(np.array([(x, y - 3), (x - 3, y + 2), (x + 3, y + 2)]), INK)
        sheet.text(x + 5, y, str(int(height[int(y), int(x)] * 3_000)), 7, anchor="lm", halo=(250, 245, 230))
    name = place_name(random)
    furniture(sheet, random, name)
    return choose(random, [f"topographic map of {name}", f"{name} hiking map 1:25 000", f"relief map of {name}"])


def sea_chart(sheet: Sheet, random: Random) -> str:
    """A nautical chart: buff land, blue shallows, soundings, a compass rose."""
    depth = canvas.noise(random, sheet.width, sheet.height, random.uniform(1.5, 3), 5)
    land = jitter(random, (240, 220, 160), 8)
    raster = canvas.bands(depth, [land, land, land, (165, 205, 235), (205, 228, 242), WHITE, WHITE, WHITE])
    canvas.draw_contours(raster, np.maximum(depth, 0.36), 0.125, (90, 130, 170))
    raster[canvas.edges(depth < 0.375)] = (40, 40, 40)
    sheet.paint(raster)
    for _ in range(random.integers(35, 70)):
        x, y = spot(random, depth > 0.4)
        sheet.text(x, y, str(int(depth[int(y), int(x)] * 60)), 7, (70, 70, 80))
    x, y = spot(random, depth > 0.5)
    rose(sheet, x, y, random.uniform(18, 30), (190, 60, 140))
    name = place_name(random)
    furniture(sheet, random, name)
    return f"nautical chart of {name} harbour, soundings in fathoms"


def antique(sheet: Sheet, random: Random) -> str:
    """An old map on parchment: hatched coast, rhumb lines, a cartouche."""
    paper = canvas.tint(
        canvas.noise(random, sheet.width, sheet.height, 4), [(196, 164, 112), (228, 204, 158), (240, 222, 182)]
    )
    shore = canvas.noise(random, sheet.width, sheet.height, random.uniform(1.5, 3), 6)
    sea_level = float(np.quantile(shore, random.uniform(0.35, 0.6)))
    ink: Colour = jitter(random, (80, 52, 30), 10)
    for step in range(4):
        paper[canvas.edges(shore < sea_level - 0.025 * step)] = [c + 22 * step for c in ink]
    if random.random() < 0.5:
        near_coast = (shore > sea_level) & (shore < sea_level + 0.05)
        paper[near_coast] = (paper[near_coast] * (0.95, 0.8, 0.7)).astype(np.uint8)
    sheet.paint(paper)
    x, y = spot(random, shore < sea_level - 0.05)
    for angle in np.arange(0, 2 * np.pi, np.pi / 8):
        end = np.array([np.cos(angle), np.sin(angle)]) * 600 + (x, y)
        sheet.line(np.array([(x, y), end]), (176, 138, 92), 0.5)
    rose(sheet, x, y, random.uniform(10, 22), ink)
    for _ in range(random.integers(4, 14)):
        mx, my = spot(random, shore > sea_level + 0.05)
        sheet.line(np.array([(mx - 4, my + 3), (mx, my - 4), (mx + 4, my + 3)]), ink)
    towns(sheet, random, shore > sea_level, int(random.integers(3, 7)), ink)
    name = place_name(random)
    sheet.rectangle((8, 8, 100, 32), (236, 214, 166), ink, 6)
    sheet.text(54, 20, f"Terra {name}"[:16], 10, ink)
    return choose(random, [f"antique map of {name}, 1642", f"old engraved chart of the isles of {name}"])


# -- map elements ---------------------------------------------------------------------------------------------------


def graticule(sheet: Sheet, random: Random, colour: Colour) -> None:
    """Draw bent meridians and parallels."""
    step, bend = random.uniform(35, 70), random.uniform(-18, 18)
    for along, across, flip in ((sheet.width, sheet.height, False), (sheet.height, sheet.width, True)):
        for offset in np.arange(step / 2, along, step):
            t = np.linspace(0, 1, 12)
            lean = offset + bend * np.sin(np.pi * t) * (2 * offset / along - 1)
            points = np.stack([t * across, lean] if flip else [lean, t * across], 1)
            sheet.line(points, colour, 0.5)


def river(sheet: Sheet, random: Random, relief: Field, mouth: float, colour: Colour) -> None:
    """Draw a line that runs downhill to the level of the mouth."""
    point = np.array(spot(random, relief > 0.5 + mouth / 2))
    gy, gx = np.gradient(relief, axis=0), np.gradient(relief, axis=1)
    course, heading, lowest = [point], random.standard_normal(2), 1.0
    for _ in range(60):
        x, y = point.astype(int)
        if not (0 <= x < sheet.width and 0 <= y < sheet.height) or not mouth < relief[y, x] < lowest + 0.03:
            break
        lowest = min(lowest, relief[y, x])
        downhill = -np.array([gx[y, x], gy[y, x]])
        downhill /= np.hypot(*downhill) + 1e-9
        heading = 0.6 * heading + 0.5 * downhill + 0.25 * random.standard_normal(2)
        point = point + 4 * heading / np.hypot(*heading)
        course.append(point)
    if len(course) > 2:
        sheet.line(np.array(course), colour, 1.3)


def towns(sheet: Sheet, random: Random, where: np.ndarray, count: int, ink: Colour = INK) -> None:
    """Draw circles with names at random places of a mask."""
    for rank in range(count):
        x, y = spot(random, where)
        sheet.ellipse(x, y, 2.2 - 0.1 * rank, 2.2 - 0.1 * rank, (200, 60, 50) if rank == 0 else WHITE, ink)
        sheet.text(x + 4, y - 4, place_name(random), 11 if rank == 0 else 8, ink, "lm")


def spot(random: Random, where: np.ndarray) -> tuple[float, float]:
    """Return a random place of a mask, or the middle where the mask is all but empty."""
    height, width = where.shape
    for _ in range(20):
        x, y = int(random.integers(width)), int(random.integers(height))
        if where[y, x]:
            return x, y
    return width / 2, height / 2


def blot(sheet: Sheet, random: Random, x: float, y: float, radius: float, colour: Colour) -> None:
    """Draw a rounded irregular patch."""
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    waves = sum(random.uniform(-0.3, 0.3) * np.sin(k * angle + random.uniform(0, 7)) for k in (2, 3, 5))
    reach = radius * (1 + waves)
    sheet.polygon(np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1), colour)


def shield(sheet: Sheet, random: Random, at: np.ndarray) -> None:
    """Draw a road number."""
    sheet.rectangle((at[0] - 8, at[1] - 5, at[0] + 8, at[1] + 5), (40, 90, 170), WHITE, 2)
    sheet.text(at[0], at[1], f"{choose(random, 'AEBM')}{random.integers(1, 99)}", 7, WHITE)


def rose(sheet: Sheet, x: float, y: float, radius: float, colour: Colour) -> None:
    """Draw a compass rose."""
    sheet.ellipse(x, y, radius, radius, None, colour)
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        reach = radius * (1.15 if round(angle / (np.pi / 4)) % 2 == 0 else 0.6)
        tip = (x + reach * np.cos(angle), y + reach * np.sin(angle))
        side = (x + 3 * np.cos(angle + np.pi / 2), y + 3 * np.sin(angle + np.pi / 2))
        sheet.polygon(np.array([tip, side, (x, y)]), colour)
    sheet.text(x, y - radius - 6, "N", 8, colour)


def furniture(sheet: Sheet, random: Random, name: str) -> None:
    """Draw some of: frame, scale bar, north arrow, title."""
    if random.random() < 0.35:
        sheet.rectangle((3, 3, sheet.width - 4, sheet.height - 4), None, INK)
    if random.random() < 0.4:
        x, y = 12, sheet.height - 14
        sheet.rectangle((x - 4, y - 10, x + 66, y + 7), WHITE)
        for part in range(4):
            fill = INK if part % 2 == 0 else WHITE
            sheet.rectangle((x + 14 * part, y, x + 14 * part + 14, y + 3), fill, INK)
        sheet.text(x, y - 5, f"0      {random.integers(1, 50)} km", 7, anchor="lm")
    if random.random() < 0.3:
        rose(sheet, sheet.width - 24, 30, 11, INK)
    if random.random() < 0.3:
        sheet.rectangle((8, 8, 30 + 7 * len(name), 28), WHITE, INK)
        sheet.text(14, 18, name.upper(), 11, anchor="lm")
