"""From what was typed after `--source` to the source that is meant."""

from __future__ import annotations

import glob
import threading
from pathlib import Path

from sparsight.errors import UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight_edge.capture.pacing import Looped, Paced
from sparsight_edge.capture.pictures import PictureSource, is_picture
from sparsight_edge.capture.source import Source
from sparsight_edge.capture.video import VideoSource

FPS_RANGE = (0.001, 1000.0)


def open_source(
    given: str,
    stop: threading.Event,
    *,
    fps: float | None = None,
    loop: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Choose the source for a file, a folder or a pattern.

    Args:
        given: A picture, a video, a folder of pictures or a pattern (`*`, `?`, `[...]`, `**`);
            pictures come in the order of their names.
        stop: Ends a paced source's waiting.
        fps: Behave as a camera of so many frames a second; None is as fast as they are taken.
        loop: Begin anew at the end.
        max_pixels: The most pixels a frame may have.

    Raises:
        UsageError: There is nothing there, or the pace is none.
    """
    if fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise UsageError(f"fps: expected {FPS_RANGE[0]} to {FPS_RANGE[1]:g}, got {fps}")
    source = _unpaced(given, fps, max_pixels)
    if loop:
        source = Looped(source)
    return source if fps is None else Paced(source, fps, stop)


def _unpaced(given: str, fps: float | None, max_pixels: int) -> Source:
    path = Path(given)
    if path.is_dir():
        inside = sorted(filter(is_picture, path.iterdir()))
        if not inside:
            raise UsageError(f"the folder {given} holds no picture; give one with some, or a video")
        return PictureSource(inside, max_pixels)
    if path.exists():
        return (
            PictureSource([path], max_pixels)
            if is_picture(path)
            else VideoSource(path, fps, max_pixels)
        )
    if glob.has_magic(given):
        # Not `Path.glob`, which takes no absolute patterns.
        found = sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
        if matches := list(filter(is_picture, found)):
            return PictureSource(matches, max_pixels)
        raise UsageError(f"no picture matches {given}; quote the pattern, and look at its folder")
    raise UsageError(f"{given} is neither a file nor a folder; expected pictures or a video")
