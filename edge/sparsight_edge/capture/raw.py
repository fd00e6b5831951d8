"""Frames as bare bytes through a pipe: on stdin, or from a program that was started.

    fd ─ read, frame by frame ─> bytes of one frame ─ layout ─> 8-bit RGB

A frame's bytes are its rows from the top without gaps, of yuv420p and nv12 plane after plane;
nothing marks where one begins, so the size must be right. Bare bytes carry no time: a frame was
taken when its last byte came, or, if a pace is given, so many periods after the first one.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError
from sparsight_edge.capture.camera import CameraLostError, Shot
from sparsight_edge.capture.grammar import PixelFormat
from sparsight_edge.capture.source import NS_PER_S

_LOOK_S = 0.05

_FORMATS: dict[PixelFormat, tuple[int, int, int | None]] = {
    "rgb24": (3, 1, None),
    "bgr24": (3, 1, cv2.COLOR_BGR2RGB),
    "gray": (1, 1, cv2.COLOR_GRAY2RGB),
    "nv12": (1, 2, cv2.COLOR_YUV2RGB_NV12),
    "yuv420p": (1, 2, cv2.COLOR_YUV2RGB_I420),
}
"""Bytes a pixel of the first plane, planes (two means half as many rows again), and how to RGB."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a frame lies in its bytes.

    Attributes:
        size_wh_px: Width and height.
        pixel_format: What a pixel is.
        align_bytes: Rows begin at multiples of this; GStreamer's at multiples of 4.
    """

    size_wh_px: tuple[int, int]
    pixel_format: PixelFormat = "rgb24"
    align_bytes: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self._rows * self._row_bytes

    def rgb(self, data: UInt8[np.ndarray, " n"]) -> UInt8[np.ndarray, "h w 3"]:
        """A frame's bytes, `frame_bytes` of them, as RGB."""
        channels, _, convert = _FORMATS[self.pixel_format]
        width = self.size_wh_px[0]
        rows = data.reshape(self._rows, self._row_bytes)[:, : width * channels]
        pixels = rows.reshape(self._rows, width, channels)
        if convert is None:
            return np.ascontiguousarray(pixels)
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), convert), np.uint8)

    @property
    def _rows(self) -> int:
        height = self.size_wh_px[1]
        return height * 3 // 2 if _FORMATS[self.pixel_format][1] == 2 else height

    @property
    def _row_bytes(self) -> int:
        wide = self.size_wh_px[0] * _FORMATS[self.pixel_format][0]
        return -(-wide // self.align_bytes) * self.align_bytes


class RawPipe:
    """Raw frames on a file descriptor that somebody else opened.

    Attributes:
        name: For people.
        returns: It does not: what ended a pipe has ended.
    """

    returns = False

    def __init__(self, name: str, fd: int, layout: Layout, fps: float | None) -> None:
        """Nothing is read yet.

        Args:
            name: For people.
            fd: Where frames come from; stays open.
            layout: How they lie there.
            fps: Their pace, which times them; None times them as they come.
        """
        self.name = name
        self._fd = fd
        self._layout = layout
        self._fps = fps

    def shots(self, ended: Callable[[], bool]) -> Iterator[Shot]:
        """Frames up to the end of the pipe."""
        first_ns = 0
        for number, data in enumerate(read_frames(self._fd, self._layout.frame_bytes, ended)):
            if isinstance(data, int):
                raise PictureError(
                    f"{self.name}: ends {data} bytes into a frame of {self._layout.frame_bytes}; "
                    "look whether size and format are right"
                )
            taken_ns = time.time_ns()
            if self._fps is not None:
                first_ns = first_ns or taken_ns
                taken_ns = first_ns + int(number * NS_PER_S / self._fps)
            yield Shot(partial(self._layout.rgb, data), taken_ns)


def read_frames(
    fd: int, frame_bytes: int, ended: Callable[[], bool], silent_s: float | None = None
) -> Iterator[UInt8[np.ndarray, " n"] | int]:
    """Pieces of a pipe, all of one size.

    Args:
        fd: The pipe.
        frame_bytes: Their size.
        ended: Whether nobody wants any more; asked while waiting.
        silent_s: The longest wait for a byte; None is for ever.

    Yields:
        Pieces, and at the end the length of half a one, if there is one.

    Raises:
        CameraLostError: Nothing came for too long.
    """
    while True:
        data = np.empty(frame_bytes, np.uint8)
        view, have, heard_s = memoryview(data.data), 0, time.monotonic()
        while have < frame_bytes:
            if ended():
                return
            if not select.select([fd], [], [], _LOOK_S)[0]:
                if silent_s is not None and time.monotonic() - heard_s > silent_s:
                    raise CameraLostError(f"no frame for {silent_s:g} s")
                continue
            count = os.readv(fd, [view[have:]])
            if not count:
                if have:
                    yield have
                return
            have, heard_s = have + count, time.monotonic()
        yield data
