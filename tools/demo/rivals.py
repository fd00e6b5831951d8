"""The same frames as whole pictures: how many bytes they take as JPEG and as AVIF.

JPEG is at quality 75, the usual one. AVIF is at quality 60, where a detector on whole VisDrone
frames lost what it lost at JPEG 75 (0.87 and 0.85 AP, measured with another detector), so that both
stand for the same accuracy. Both are coded as small as that quality allows.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from PIL import Image, features

JPEG_QUALITY, AVIF_QUALITY = 75, 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """One picture.

    Attributes:
        jpeg_bytes: As JPEG.
        avif_bytes: As AVIF; None where Pillow can't write it.
    """

    jpeg_bytes: int
    avif_bytes: int | None


def sizes_of(picture: Path) -> Sizes:
    """Code a picture both ways."""
    with Image.open(picture) as opened:
        frame = opened.convert("RGB")
    avif = None
    if features.check("avif"):
        avif = _size(frame, "AVIF", quality=AVIF_QUALITY, speed=6, subsampling="4:2:0")
    jpeg = _size(frame, "JPEG", quality=JPEG_QUALITY, optimize=True, subsampling="4:2:0")
    return Sizes(jpeg, avif)


class Rivals:
    """Codes pictures in a thread, while the cloud starts; left early, it codes no more."""

    def __init__(self, pictures: Sequence[Path]) -> None:
        """Begin."""
        self._thread = ThreadPoolExecutor(1, "rivals")
        self._sizes: dict[Path, Future[Sizes]] = {
            picture: self._thread.submit(sizes_of, picture) for picture in pictures
        }

    def __enter__(self) -> Rivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)

    def sizes(self) -> dict[Path, Sizes]:
        """Those of all pictures, once they are known."""
        return {picture: future.result() for picture, future in self._sizes.items()}


def _size(frame: Image.Image, format_: str, **options: int | str | bool) -> int:
    coded = io.BytesIO()
    frame.save(coded, format_, **options)
    return coded.tell()
