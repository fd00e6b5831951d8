"""From what was typed after `--source` to the source that is meant.

text ─ grammar ─> Spec ─┬─ files ──> pictures, films, lists of both ─ loop ─ pace ─┐
                        └─ camera ─> LiveSource ────────────────────────────────────┴─> Source
"""

from __future__ import annotations

import glob
import itertools
import sys
import threading
from pathlib import Path
from typing import cast

from sparsight.errors import UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight_edge.capture.camera import Camera, CameraSettings
from sparsight_edge.capture.grammar import FPS_RANGE, PixelFormat, Spec, parse_source
from sparsight_edge.capture.gstreamer import GstCamera
from sparsight_edge.capture.live import LiveSource
from sparsight_edge.capture.network import NetworkCamera
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.pacing import Chained, Looped, Paced
from sparsight_edge.capture.pictures import PictureSource, is_picture
from sparsight_edge.capture.raw import Layout, RawPipe
from sparsight_edge.capture.source import Source
from sparsight_edge.capture.video import VideoSource, over_the_limit

LIST_SUFFIX = ".txt"
LIST_BYTES_MAX = 64 << 20
"""Largest list of paths: a million of them."""


def open_source(
    given: str,
    stop: threading.Event,
    *,
    fps: float | None = None,
    loop: bool = False,
    latest: bool | None = None,
    max_pixels: int = MAX_PIXELS,
    outages: Outages | None = None,
    camera: CameraSettings | None = None,
) -> Source:
    """Choose the source for what was typed.

    Args:
        given: As `capture.grammar` has it; pictures come in the order of their names.
        stop: Ends a source that waits.
        fps: Frames a second: files behave as such a camera, of a camera so many are taken. None is
            as fast as they are taken, and all.
        loop: Begin anew at the end; for files.
        latest: A camera's newest frame wins; None is the grammar's default.
        max_pixels: The most pixels a frame may have.
        outages: Told how a camera fares.
        camera: How patient to be with one.

    Raises:
        UsageError: There is nothing there, or the pace is none.
    """
    if fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise UsageError(f"fps: expected {FPS_RANGE[0]} to {FPS_RANGE[1]:g}, got {fps}")
    spec = parse_source(given)
    if spec.kind in ("path", "film"):
        source = _files(spec, fps, max_pixels)
        if loop:
            source = Looped(source)
        return source if fps is None else Paced(source, fps, stop)
    if loop:
        raise UsageError(f"--loop is for files; {spec.shown} can't begin anew")
    newest = spec.live if latest is None else latest
    patience = camera or CameraSettings()
    return LiveSource(
        _camera(spec, max_pixels, newest, patience),
        stop,
        outages or Outages(),
        latest=newest,
        fps=fps,
        settings=patience,
    )


def _camera(spec: Spec, max_pixels: int, latest: bool, patience: CameraSettings) -> Camera:
    if spec.kind in ("csi", "gst"):
        return GstCamera(spec, max_pixels, patience, latest=latest)
    if spec.kind == "stdin":
        return _stdin(spec, max_pixels)
    return NetworkCamera(spec, max_pixels, patience, latest=latest)


def _stdin(spec: Spec, max_pixels: int) -> RawPipe:
    assert spec.size_wh_px is not None
    if problem := over_the_limit(*spec.size_wh_px, max_pixels):
        raise UsageError(f"source: {problem}")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("source: stdin is a terminal; pipe raw frames into it")
    layout = Layout(spec.size_wh_px, cast("PixelFormat", spec.pixel_format))
    return RawPipe("stdin", sys.stdin.fileno(), layout, spec.fps)


def _files(spec: Spec, fps: float | None, max_pixels: int) -> Source:
    given = spec.address
    if spec.kind == "film":
        return VideoSource(given, fps, max_pixels, spec.shown)
    path = Path(given)
    if path.is_dir():
        inside = sorted(filter(is_picture, path.iterdir()))
        if not inside:
            raise UsageError(f"the folder {given} holds no picture; give one with some, or a video")
        return PictureSource(inside, max_pixels)
    if path.exists():
        if path.suffix.lower() == LIST_SUFFIX:
            return _listed(path, fps, max_pixels)
        return _file(path, fps, max_pixels)
    if glob.has_magic(given):
        # Not `Path.glob`, which takes no absolute patterns.
        found = sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
        if matches := list(filter(is_picture, found)):
            return PictureSource(matches, max_pixels)
        raise UsageError(f"no picture matches {given}; quote the pattern, and look at its folder")
    raise UsageError(f"{given} is neither a file nor a folder; expected pictures or a video")


def _file(path: Path, fps: float | None, max_pixels: int) -> Source:
    if is_picture(path):
        return PictureSource([path], max_pixels)
    return VideoSource(str(path), fps, max_pixels)


def _listed(file: Path, fps: float | None, max_pixels: int) -> Source:
    """The pictures and films of a list, in its order; empty lines and `# ...` say nothing."""
    try:
        if (size := file.stat().st_size) > LIST_BYTES_MAX:
            raise UsageError(f"{file}: expected at most {LIST_BYTES_MAX} bytes, got {size}")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: can't be read as a list of paths: {error}") from error
    names = (line.strip() for line in lines)
    paths = [file.parent / name for name in names if name and not name.startswith("#")]
    if not paths:
        raise UsageError(f"{file}: expected one path a line, got none")
    parts: list[Source] = []
    for pictures, some in itertools.groupby(paths, is_picture):
        if pictures:
            parts.append(PictureSource(list(some), max_pixels))
        else:
            parts.extend(VideoSource(str(path), fps, max_pixels) for path in some)
    return parts[0] if len(parts) == 1 else Chained(parts)
