"""An index whose images can be seen: some in the lake, some on a site, some gone, one with a hostile caption."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.serve.settings import ServiceSettings
from mappool_assets_tests.loopback_server import LoopbackServer
from mappool_assets_tests.serve.small_index import WIDTH, SmallIndex, vector_column
from mappool_assets_tests.small_images import write_images
from mappool_assets_tests.small_lake import A, B, write_maps

ROWS = 130
HOSTILE_CAPTION = '<img src=x onerror="document.title=\'broken\'"><script>document.title="broken"</script> A map'
HEBREW_CAPTION = "מפת ירושלים, 1912!"
CAPTIONS = (
    "Plan of the city of Köln and its surroundings, with the fortifications of the last century",
    "Subway map", "Nautical chart of the harbour, soundings in fathoms", "Carte géologique de la France au millionième",
    "Map of Midtown East, New York", "地図 東京都心部", HEBREW_CAPTION, "",
)  # fmt: skip
SIZES = ((800, 600), (1200, 500), (500, 800), (640, 640), (300, 900), (1600, 700), (900, 650))


def drawn_map(seed: int, size: tuple[int, int]) -> bytes:
    """Land, water, roads: something that looks like a map in a screenshot."""
    random = np.random.default_rng(seed)
    width, height = size[0] // 2, size[1] // 2
    paper = tuple(int(value) for value in random.integers(215, 245, 3))
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    points = [(x, height * (0.3 + 0.25 * random.random())) for x in range(0, width + 40, 40)]
    draw.polygon([(0, height), *points, (width, height)], fill=(170, 205, 226))
    for _ in range(9):
        x, y = random.integers(0, width), random.integers(0, height)
        draw.polygon([(x, y), (x + 60, y + 10), (x + 45, y + 55), (x - 20, y + 40)], fill=(198, 220, 178))
    for _ in range(12):
        ends = [(int(random.integers(0, width)), int(random.integers(0, height))) for _ in range(3)]
        draw.line(ends, fill=(208, 120, 80) if random.random() < 0.3 else (255, 255, 255), width=4)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def build_picture_world(folder: Path, small: SmallIndex, web: LoopbackServer) -> ServiceSettings:
    lake = Lake(str(folder / "lake"))
    for shard in (A, B):
        random = np.random.default_rng([7, *shard.encode()])
        sizes = [SIZES[row % len(SIZES)] for row in range(ROWS)]
        urls = [web.url + f"/{shard[0]}{row}.png" for row in range(ROWS)]
        captions = [CAPTIONS[row % len(CAPTIONS)] for row in range(ROWS)]
        if shard == A:
            captions[0], urls[1] = HOSTILE_CAPTION, "javascript:document.title='broken'"
        columns = {
            "l14_img": vector_column(random.standard_normal((ROWS, WIDTH))), "text": captions, "url": urls,
            "original_width": [width for width, _ in sizes], "original_height": [height for _, height in sizes],
        }  # fmt: skip
        write_maps(lake, shard, ROWS, dimension=WIDTH, rows_a_group=64, columns=columns)
        for row in range(ROWS):
            if row % 5:
                web.serve(f"/{shard[0]}{row}.png", drawn_map(row, sizes[row]))
    write_images(
        lake, B, [("ok", "http_404")[row % 2] for row in range(ROWS)],
        image=lambda row: drawn_map(1000 + row, SIZES[row % len(SIZES)]),
    )  # fmt: skip
    build_image_index(lake, encoder_id=small.encoder.encoder_id)
    uids = [uid for shard in (A, B) for uid in lake.read_table("mappool/shard_maps", shard)["uid"].to_pylist()[::3]]
    place = {"place_id": "p", "place": "Midtown East", "country": "US", "latitude": 40.754, "longitude": -73.968}
    places = {"uid": uids, **{name: [value] * len(uids) for name, value in place.items()}}
    lake.write_table("geo_subset/geo_images", pa.table(places), Provenance({}, len(uids), len(uids)))
    return ServiceSettings({"maps": lake}, small.encoder, loads_at_start=False)
