"""What may be typed after `--source`: the one grammar of sources.

    flight1/  a.jpg  "flight1/*.jpg"  list.txt  film.mp4                        files
    rtsp://HOST/PATH  rtsps://  http://  https://                               network cameras
    v4l2:///dev/video0?size=1280x720&fps=30&format=mjpeg                        a USB camera
    csi://0?size=1920x1080&fps=30   gst://PIPELINE                              through GStreamer
    -?size=1920x1080&format=rgb24&fps=30                                        raw frames on stdin

Text to a value, and nothing is touched: whether a file is there is found out when it is opened.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from sparsight.errors import UsageError

SOURCES_HELP = """
What --source takes:

- `a.jpg`, `flight1/`, `"flight1/*.jpg"`: pictures, in the order of their names

- `list.txt`: pictures and films, one path a line, relative to the list

- `film.mp4`, `https://HOST/film.mp4`: a film

- `rtsp://USER:PASSWORD@HOST/PATH`, `rtsps://...`: a network camera, over TCP

- `http://HOST/PATH`, `https://...`: a network camera that sends MJPEG, or HLS

- `v4l2:///dev/video0?size=1280x720&fps=30&format=mjpeg`: a USB camera, each option if need be

- `csi://0?size=1920x1080&fps=30`: a Jetson's camera

- `"gst://PIPELINE"`: GStreamer's elements up to the one that gives frames, as for gst-launch-1.0

- `"-?size=1920x1080&format=rgb24&fps=30"`: raw frames on stdin; rgb24, bgr24, gray, nv12 or yuv420p

Of files and of stdin every frame is taken, of cameras the latest; --every-frame and --latest change
that. A camera that is lost is opened again and again. Certificates of cameras are not checked.
"""
"""The grammar as `sparsight edge run --help` shows it."""

FILM_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
"""Endings of what is a film, and no camera, on a web server."""

FPS_RANGE = (0.001, 1000.0)
SIDE_MAX_PX = 65_535
"""Longest side of a frame that the wire carries."""

Kind: TypeAlias = Literal["path", "film", "network", "v4l2", "csi", "gst", "stdin"]
PixelFormat: TypeAlias = Literal["rgb24", "bgr24", "gray", "nv12", "yuv420p"]

_SCHEMES: dict[str, Kind] = {
    "file": "path",
    "rtsp": "network",
    "rtsps": "network",
    "http": "network",
    "https": "network",
    "v4l2": "v4l2",
    "csi": "csi",
    "gst": "gst",
}
_OPTIONS = {
    "v4l2": ("size", "fps", "format"),
    "csi": ("size", "fps"),
    "stdin": ("size", "fps", "format"),
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_NAME = re.compile(r"[a-z0-9_]{1,32}")


@dataclass(frozen=True, slots=True)
class Spec:
    """A source as it was typed.

    Attributes:
        kind: Which of the ways to get frames.
        address: A path, pattern or URL; of `v4l2` the device, of `csi` the sensor's number, of
            `gst` the pipeline, of `stdin` nothing.
        shown: What people are shown: as typed, without a password.
        size_wh_px: Width and height that are asked for; None is what comes.
        pixel_format: Of stdin a `PixelFormat`; of v4l2 a name that ffmpeg knows, or empty.
        fps: Frames a second that are asked for; None is what comes.
    """

    kind: Kind
    address: str
    shown: str
    size_wh_px: tuple[int, int] | None = None
    pixel_format: str = ""
    fps: float | None = None

    @property
    def live(self) -> bool:
        """Whether it is a camera: what is not taken in time is gone, and it never ends."""
        return self.kind in ("network", "v4l2", "csi", "gst")


def parse_source(given: str) -> Spec:
    """Understand what was typed.

    Raises:
        UsageError: It is none of the forms above; names the nearest.
    """
    if given == "-" or given.startswith("-?"):
        return _with_options("stdin", "", given, given[2:])
    match = _SCHEME.fullmatch(given)
    if match is None:
        if not given:
            raise UsageError("source: expected a file, a folder or a camera's address, got nothing")
        return Spec("path", given, given)
    scheme, rest = match[1].lower(), match[2]
    kind = _SCHEMES.get(scheme)
    if kind is None:
        near = difflib.get_close_matches(scheme, _SCHEMES, 1, 0.0)[0]
        known = " ".join(f"{name}://" for name in _SCHEMES)
        raise UsageError(f"source: {scheme}:// is not known, the nearest is {near}://; of {known}")
    if kind == "path":
        return Spec("path", unquote(rest.removeprefix("localhost")), given)
    if kind == "gst":
        if not rest.strip():
            raise UsageError(
                "source: gst:// wants a pipeline, as in 'gst://videotestsrc ! videoconvert'"
            )
        return Spec("gst", rest, given)
    if kind == "network":
        return _network(scheme, given)
    address, _, query = rest.partition("?")
    if kind == "v4l2" and not address.startswith("/"):
        raise UsageError(f"source: expected v4l2:///dev/video0 (three strokes), got {given}")
    if kind == "csi" and not (address.isascii() and address.isdigit()):
        raise UsageError(f"source: expected csi://0, the number of a camera, got {given}")
    return _with_options(kind, address, given, query)


def _network(scheme: str, given: str) -> Spec:
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"source: {scheme}://: no address ({error})") from error
    if not host:
        raise UsageError(f"source: expected {scheme}://HOST/PATH, got no host")
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    film = scheme.startswith("http") and PurePosixPath(parts.path).suffix.lower() in FILM_SUFFIXES
    return Spec("film" if film else "network", given, shown)


def _with_options(kind: Kind, address: str, given: str, query: str) -> Spec:
    known = _OPTIONS[kind]
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise UsageError(f"source: expected ?NAME=VALUE&NAME=VALUE, got ?{query}") from error
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.0)[0]
            raise UsageError(
                f"source: {name} is no option of {given}, the nearest is {near}; of "
                f"{', '.join(known)}"
            )
    size = _size(options["size"]) if "size" in options else None
    pixel_format = options.get("format", "")
    if kind == "stdin":
        if size is None:
            raise UsageError(
                "source: raw frames on stdin need their size, as in -?size=1920x1080&format=rgb24"
            )
        pixel_format = pixel_format or "rgb24"
        if pixel_format not in get_args(PixelFormat):
            raise UsageError(
                f"source: format: expected one of {', '.join(get_args(PixelFormat))}, "
                f"got {pixel_format}"
            )
        if pixel_format in ("nv12", "yuv420p") and (size[0] % 2 or size[1] % 2):
            raise UsageError(f"source: {pixel_format} wants even sides, got {size[0]}x{size[1]}")
    elif pixel_format and not _NAME.fullmatch(pixel_format):
        raise UsageError(f"source: format: expected a name such as mjpeg, got {pixel_format!a}")
    fps = _fps(options["fps"]) if "fps" in options else None
    return Spec(kind, address, given, size, pixel_format, fps)


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= SIDE_MAX_PX and 1 <= height <= SIDE_MAX_PX):
        raise UsageError(
            f"source: size: expected WIDTHxHEIGHT, each 1 to {SIDE_MAX_PX}, got {text!a}"
        )
    return width, height


def _fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise UsageError(f"source: fps: expected {FPS_RANGE[0]} to {FPS_RANGE[1]:g}, got {text!a}")
    return fps
