"""From what was typed after `--source` to the source that is meant.

text ─ grammar ─> Spec ─┬─ files ──> pictures, films, lists of both ─ loop ─ pace ─┐
                        └─ camera ─> LiveSource ────────────────────────────────────┴─> Source
"""

from __future__ import annotations

import glob
import itertools
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
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
from sparsight_edge.telemetry.srt import SUFFIX, read_srt
from sparsight_edge.telemetry.table import LiveTable, read_film, read_names

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
    telemetry: Path | None = None,
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
        telemetry: Where the camera was, as `telemetry.table` has it, or a film's subtitles.

    Raises:
        UsageError: There is nothing there, or the pace or the telemetry is none.
    """
    if fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise UsageError(f"fps: expected {FPS_RANGE[0]} to {FPS_RANGE[1]:g}, got {fps}")
    spec = parse_source(given)
    if spec.kind in ("path", "film"):
        source = _files(spec, _Options(fps, max_pixels, telemetry))
        if loop:
            source = Looped(source)
        return source if fps is None else Paced(source, fps, stop)
    if loop:
        raise UsageError(f"--loop is for files; {spec.shown} can't begin anew")
    newest = spec.live if latest is None else latest
    patience = camera or CameraSettings()
    opened = _camera(spec, max_pixels, newest, patience)
    return LiveSource(
        opened,
        stop,
        outages or Outages(),
        latest=newest,
        fps=fps,
        settings=patience,
        table=None if telemetry is None else LiveTable(telemetry),
    )


@dataclass(frozen=True, slots=True)
class _Options:
    """How files are to be read."""

    fps: float | None
    max_pixels: int
    telemetry: Path | None

    def pictures(self, paths: Sequence[Path]) -> Source:
        """A source of these pictures."""
        named = None if self.telemetry is None else read_names(self.telemetry)
        return PictureSource(paths, self.max_pixels, named)

    def film(self, address: str, shown: str | None = None) -> Source:
        """A source of this film."""
        track = None
        if self.telemetry is not None:
            subtitles = self.telemetry.suffix.lower() == SUFFIX
            track = read_srt(self.telemetry) if subtitles else read_film(self.telemetry)
        return VideoSource(address, self.fps, self.max_pixels, shown, track)


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


def _files(spec: Spec, options: _Options) -> Source:
    given = spec.address
    if spec.kind == "film":
        return options.film(given, spec.shown)
    path = Path(given)
    if path.is_dir():
        inside = sorted(filter(is_picture, path.iterdir()))
        if not inside:
            raise UsageError(f"the folder {given} holds no picture; give one with some, or a video")
        return options.pictures(inside)
    if path.exists():
        if path.suffix.lower() == LIST_SUFFIX:
            return _listed(path, options)
        return options.pictures([path]) if is_picture(path) else options.film(str(path))
    if glob.has_magic(given):
        # Not `Path.glob`, which takes no absolute patterns.
        found = sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
        if matches := list(filter(is_picture, found)):
            return options.pictures(matches)
        raise UsageError(f"no picture matches {given}; quote the pattern, and look at its folder")
    raise UsageError(f"{given} is neither a file nor a folder; expected pictures or a video")


def _listed(file: Path, options: _Options) -> Source:
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
    films = [path for path in paths if not is_picture(path)]
    if options.telemetry is not None and films and len(paths) > 1:
        raise UsageError(
            f"{file}: one table of telemetry is for pictures or for one film; lay subtitles "
            "(.SRT) beside each film instead"
        )
    parts: list[Source] = []
    for pictures, some in itertools.groupby(paths, is_picture):
        if pictures:
            parts.append(options.pictures(list(some)))
        else:
            parts.extend(options.film(str(path)) for path in some)
    return parts[0] if len(parts) == 1 else Chained(parts)
