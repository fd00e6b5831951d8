"""Items to what the network sees: each picture, or why there is none, in the order of the items.

    item ─ open ─ decode ─ letterbox ─> Boxed, or Lost

Files are opened through fsspec, wherever they lie. Frames of one film that follow one another are
read in one go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError
from sparsight.geometry import Letterbox
from sparsight.pictures import decode_picture, letterbox
from sparsight_cloud.batch.films import FILM_SUFFIXES, frame_stamps, read_frames
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.store import one_line, open_uri

Frame: TypeAlias = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Boxed:
    """A picture as the network sees it.

    Attributes:
        letterbox: How it lies there.
        image: RGB, sides multiples of 32.
        read_ms: Time of opening and decoding, in milliseconds.
        box_ms: Of the letterbox.
    """

    letterbox: Letterbox
    image: UInt8[np.ndarray, "h w 3"]
    read_ms: float
    box_ms: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A picture that has no answer.

    Attributes:
        why: In one line.
        read_ms: What finding out took, in milliseconds.
    """

    why: str
    read_ms: float


class Read:
    """Pictures from wherever they lie, one size for the network."""

    def __init__(self, long_side_px: int, max_pixels: int) -> None:
        """Pictures for a network.

        Args:
            long_side_px: Long side of its input.
            max_pixels: The most pixels a picture may have.
        """
        self._long_side_px, self._max_pixels = long_side_px, max_pixels

    def run(self, items: Sequence[Item]) -> Iterator[Boxed | Lost]:
        """Read some items, one after the other."""
        begin_s = time.perf_counter()
        for read in read_items(items, self._max_pixels):
            read_ms = ms_since(begin_s)
            yield (
                Lost(str(read), read_ms)
                if isinstance(read, PictureError)
                else self._try(read, read_ms)
            )
            begin_s = time.perf_counter()

    def _try(self, frame: Frame, read_ms: float) -> Boxed | Lost:
        begin_s = time.perf_counter()
        try:
            box = Letterbox.fit((frame.shape[0], frame.shape[1]), self._long_side_px)
            return Boxed(box, letterbox(frame, box), read_ms, ms_since(begin_s))
        except Exception as error:  # one picture's trouble is not the others'
            return Lost(said_of(error), read_ms)


def read_items(items: Sequence[Item], max_pixels: int) -> Iterator[Frame | PictureError]:
    """Read some items.

    Args:
        items: In their order.
        max_pixels: The most pixels a picture may have.

    Yields:
        One each: 8-bit RGB, upright, or the error that names it.
    """
    for (path, is_frame), group in groupby(items, lambda one: (one.path, one.frame is not None)):
        some = list(group)
        given = 0
        try:
            fs, place = open_uri(path)
            with fs.open(place, "rb") as file:
                if is_frame:
                    wanted = [(one.frame or 0, one.stamp) for one in some]
                    for frame in read_frames(file, path, wanted, max_pixels):
                        given += 1
                        yield frame
                elif PurePosixPath(path).suffix.lower() in FILM_SUFFIXES:
                    frame_stamps(file, path)
                    raise PictureError(f"{path}: could not be listed; give another --out")
                else:
                    picture = decode_picture(file, path, max_pixels)
                    given += 1
                    yield picture
        except Exception as error:  # a store in the network fails with errors of its own
            yield from (_problem(path, error) for _ in some[given:])


def _problem(path: str, error: Exception) -> PictureError:
    if isinstance(error, PictureError):
        return error
    if isinstance(error, FileNotFoundError):
        return PictureError(f"{path}: is not there (any more); fetch it again")
    return PictureError(f"{path}: can't be read: {one_line(error)}")


def ms_since(begin_s: float) -> float:
    """Milliseconds since `time.perf_counter` gave a value."""
    return (time.perf_counter() - begin_s) * 1e3


def said_of(error: Exception) -> str:
    """What went wrong with a picture, in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
