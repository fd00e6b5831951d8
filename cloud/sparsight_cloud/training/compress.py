"""Pictures as they come over a small uplink: coded with loss, and back.

    crop ─ JPEG or AVIF at a quality drawn by chance ─ bytes ─ decoder ─> crop

A detector that has learned from such pictures loses less on them (`CropConfig.compress`), so a
comparison of bytes at equal accuracy with it leaves nobody starved; it also is an augmentation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from sparsight_cloud.rates.encoders import opened, saved

QUALITIES = {"JPEG": (15, 90), "AVIF": (20, 80)}
"""Lowest and highest quality drawn of each codec."""

AVIF_SPEED = 9
"""A crop in a few milliseconds; finer searches change the bytes more than the look."""


def compressed(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """One picture through a codec and a quality drawn by chance."""
    codec = str(rng.choice(list(QUALITIES)))
    low, high = QUALITIES[codec]
    extra = {"speed": AVIF_SPEED, "max_threads": 1} if codec == "AVIF" else {}
    quality = int(rng.integers(low, high + 1))
    return opened(saved(image, codec, quality=quality, **extra), (image.shape[0], image.shape[1]))
