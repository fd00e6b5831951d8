"""Frames of a film, found by their time stamps, so that any part of it can be read on its own.

    packets ─ demux ─> stamps of all frames        (once, when items are listed; nothing is decoded)
    stamps wanted ─ seek to the key frame before ─ decode on ─> those frames, upright

A film whose packets carry no stamps has its frames counted from the start instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError
from sparsight.pictures import BinaryFile
from sparsight_cloud.batch.store import one_line

FILM_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm"}
)
"""Endings, in lower case, of the files that are taken for films."""

_READ_ERRORS = (av.FFmpegError, OSError, ValueError)


def frame_stamps(file: BinaryFile, name: str) -> list[int | None]:
    """Time stamps of a film's frames, in the order of showing.

    Args:
        file: The film, open at its beginning.
        name: What errors call it.

    Returns:
        One a frame; all None if some frame has none of its own.

    Raises:
        PictureError: It is no film, or can't be read to its end.
    """
    try:
        with av.open(file, "r") as container:
            stream = _video_of(container, name)
            found = [
                packet.pts
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
    except _READ_ERRORS as error:
        raise PictureError(f"{name}: can't be read as a film: {one_line(error)}") from error
    if not found:
        raise PictureError(f"{name}: no frame in it")
    stamps = [stamp for stamp in found if stamp is not None]
    if len(set(stamps)) < len(found):
        return [None] * len(found)
    return [*sorted(stamps)]


def read_frames(
    file: BinaryFile, name: str, wanted: Sequence[tuple[int, int | None]], max_pixels: int
) -> Iterator[UInt8[np.ndarray, "h w 3"] | PictureError]:
    """Some frames of a film.

    Args:
        file: The film, open at its beginning.
        name: What errors call it.
        wanted: Place and time stamp of each, rising.
        max_pixels: The most pixels a frame may have.

    Yields:
        Each frame as 8-bit RGB, or why it can't be had; as many as are wanted.
    """
    given = 0
    try:
        for count, frame in enumerate(_frames_from(file, name, wanted[0][1])):
            while given < len(wanted) and _missed(wanted[given], count, frame.pts):
                yield _lost(name, wanted[given][0])
                given += 1
            if given == len(wanted):
                return
            if _is(wanted[given], count, frame.pts):
                yield _upright(frame, f"{name}, frame {wanted[given][0]}", max_pixels)
                given += 1
    except (*_READ_ERRORS, PictureError) as error:
        why = f"{name}: can't be read as a film: {one_line(error)}"
        yield from (PictureError(why) for _ in wanted[given:])
        return
    yield from (_lost(name, place) for place, _ in wanted[given:])


def _frames_from(file: BinaryFile, name: str, stamp: int | None) -> Iterator[Any]:
    """Frames from a key frame before a stamp on; all of them where seeking lands behind it."""
    if stamp is not None:
        with av.open(file, "r") as container:
            stream = _video_of(container, name)
            container.seek(stamp, stream=stream)
            frames = _decoded(container, stream)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= stamp:
                yield first
                yield from frames
                return
        file.seek(0)
    with av.open(file, "r") as container:
        yield from _decoded(container, _video_of(container, name))


def _video_of(container: Any, name: str) -> Any:
    if not container.streams.video:
        raise PictureError(f"{name}: holds no video stream; expected a film")
    return container.streams.video[0]


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame that can be decoded from here on."""
    stream.codec_context.thread_count = 1  # the other cores have films of their own
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # a broken packet: frames that need it are missed
            continue
        yield from frames


def _missed(wanted: tuple[int, int | None], count: int, stamp: int | None) -> bool:
    place, its_stamp = wanted
    if its_stamp is None:
        return count > place
    return stamp is not None and stamp > its_stamp


def _is(wanted: tuple[int, int | None], count: int, stamp: int | None) -> bool:
    place, its_stamp = wanted
    return count == place if its_stamp is None else stamp == its_stamp


def _lost(name: str, place: int) -> PictureError:
    return PictureError(f"{name}, frame {place}: can't be decoded; the film is damaged there")


def _upright(frame: Any, name: str, max_pixels: int) -> UInt8[np.ndarray, "h w 3"] | PictureError:
    if frame.width * frame.height > max_pixels:
        return PictureError(
            f"{name}: {frame.width}x{frame.height} is over the limit of "
            f"{max_pixels / 1e6:g} Mpx (--max-pixels)"
        )
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
