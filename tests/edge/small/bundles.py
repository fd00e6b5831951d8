"""A small bundle whose device half is a real graph that averages (see `graphs`)."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from tests.shared.codec.frames import NOTHING, some_context

from sparsight.bundle import EDGE, TABLES, WEIGHTS, Manifest, Rate, write_bundle
from sparsight.codec.marks import CONTEXTS
from sparsight.codec.tables import Tables
from sparsight.settings import CodecSettings, DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings

from .graphs import write_graph

CHANNELS = 4
LONG_SIDE_PX = 256
RATES = (1.0, 4.0)
"""Steps of zone 0."""

ZONE_STEPS = (1.0, 2.0, 4.0, 5.0)
"""Steps of each zone, in those of zone 0."""


def write_small_bundle(folder: Path) -> Manifest:
    """A bundle with two rates; where a picture is bright red, there is something."""
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(folder / EDGE, CHANNELS)
    contexts = [some_context(CHANNELS, seed) for seed in range(len(RATES))]
    Tables.fit(contexts, NOTHING, np.ones((CONTEXTS, 2), np.int64)).save(folder / TABLES)
    (folder / WEIGHTS).write_bytes(b"the cloud's business")
    return write_bundle(
        folder,
        ModelSettings(classes=("car", "van"), codec=CodecSettings(channels=CHANNELS)),
        DetectSettings(
            long_side_px=LONG_SIDE_PX,
            mark=0.5,
            halo=2,
            slicer=SlicerSettings((8, 8), threshold=0.6),
        ),
        name="averages",
        card="made by a test",
        rates=tuple(
            Rate(steps=tuple((step * wider,) * CHANNELS for wider in ZONE_STEPS)) for step in RATES
        ),
    )


def draw_pictures(folder: Path, count: int, hw: tuple[int, int] = (144, 256)) -> list[str]:
    """Dark pictures with a few red squares each; no two the same."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(count):
        rng = np.random.default_rng(zlib.crc32(b"%d" % i))
        picture = rng.integers(0, 40, (*hw, 3), np.uint8)
        for _ in range(i % 4):
            y, x = rng.integers(0, hw[0] - 16), rng.integers(0, hw[1] - 16)
            picture[y : y + 16, x : x + 16] = (255, 20, 20)
        names.append(f"{i:04d}.png")
        Image.fromarray(picture).save(folder / names[-1])
    return names
