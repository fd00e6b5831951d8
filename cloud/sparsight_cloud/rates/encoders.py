"""Still pictures to bytes and back: JPEG, WebP, AVIF through Pillow, H.265 intra through PyAV.

    picture [h, w, 3] ─ encode at a quality ─> bytes ─ decode ─> picture of the same size

Each is set to what makes it small at the speed that a device could bear: chroma at half size,
optimised tables, no metadata, one thread.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sparsight.errors import UsageError
from sparsight_cloud.rates.streams import H265_INTRA, Picture, decode_one, encode_one

AVIF_SPEED = 6
"""Of 0 to 10; the library's default, about five times the time of the stem."""

PROGRESSIVE_PX = 256 * 256
"""Pixels from which a JPEG of several scans is the smaller one; below, their headers cost more."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A codec of pictures.

    Attributes:
        name: For people and files.
        encode: A picture and a quality to bytes.
        decode: Bytes, and the picture's height and width, to the picture.
    """

    name: str
    encode: Callable[[Picture, int], bytes]
    decode: Callable[[bytes, tuple[int, int]], Picture]


def encoder(name: str) -> Encoder:
    """An encoder by its name: `jpeg`, `webp`, `avif` (quality: more is better) or `h265` (CRF).

    Raises:
        UsageError: There is none of that name.
    """
    match name:
        case "jpeg":
            return Encoder(name, _jpeg, opened)
        case "webp":
            return Encoder(name, lambda p, q: saved(p, "WEBP", quality=q, method=4), opened)
        case "avif":
            return Encoder(name, _avif, opened)
        case "h265":
            return Encoder(
                name,
                lambda p, q: encode_one(p, H265_INTRA, q),
                lambda data, hw: decode_one(data, H265_INTRA, hw),
            )
    raise UsageError(f"encoder: expected jpeg, webp, avif or h265, got {name!r}")


def _jpeg(picture: Picture, quality: int) -> bytes:
    progressive = picture.shape[0] * picture.shape[1] >= PROGRESSIVE_PX
    return saved(
        picture,
        "JPEG",
        quality=quality,
        optimize=True,
        progressive=progressive,
        subsampling="4:2:0",
    )


def _avif(picture: Picture, quality: int) -> bytes:
    return saved(
        picture, "AVIF", quality=quality, speed=AVIF_SPEED, subsampling="4:2:0", max_threads=1
    )


def saved(picture: Picture, format_: str, **options: Any) -> bytes:
    """A picture in one of Pillow's formats.

    Raises:
        UsageError: This Pillow can't write it.
    """
    packed = io.BytesIO()
    try:
        Image.fromarray(picture).save(packed, format_, **options)
    except KeyError as error:
        raise UsageError(
            f"{format_}: this Pillow can't write it; install Pillow 11.3 or newer from PyPI"
        ) from error
    return packed.getvalue()


def opened(data: bytes, frame_hw: tuple[int, int]) -> Picture:
    """And back.

    Raises:
        UsageError: It has another size.
    """
    with Image.open(io.BytesIO(data)) as image:
        picture = np.array(image.convert("RGB"))
    if picture.shape[:2] != frame_hw:
        raise UsageError(f"picture: expected {frame_hw}, the coded one is {picture.shape[:2]}")
    return picture
