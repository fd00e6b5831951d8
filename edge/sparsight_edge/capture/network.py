"""A camera that PyAV opens: RTSP, MJPEG or HLS over HTTP, Video4Linux.

    av.open ─ demux ─> packets ─ keep up ─> decode ─> Shot (still YUV), stamped by `StreamClock`

A stream's own time stamps count, but for MJPEG, which has none: there a frame was taken when it
came. What can't be decoded is passed over: after a lost packet all is broken up to a key frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import av

from sparsight.errors import PictureError
from sparsight_edge.capture.camera import CameraLostError, CameraSettings, Shot
from sparsight_edge.capture.clock import KeepUp, StreamClock
from sparsight_edge.capture.grammar import Spec
from sparsight_edge.capture.source import NS_PER_S
from sparsight_edge.capture.video import over_the_limit, reason, upright

_WITHOUT_TIME = frozenset({"mpjpeg", "mjpeg", "h264", "hevc"})
"""Formats whose time stamps ffmpeg makes up."""

_LOOK_US = 1_000_000  # how much of a stream ffmpeg looks at to find out what is in it


class NetworkCamera:
    """A camera behind a URL, or a device of Video4Linux.

    Attributes:
        name: Its address, without a password.
        returns: It does.
    """

    returns = True

    def __init__(
        self,
        spec: Spec,
        max_pixels: int,
        settings: CameraSettings,
        *,
        latest: bool,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """A camera that is not opened yet.

        Args:
            spec: Of kind `network` or `v4l2`.
            max_pixels: The most pixels a frame may have; checked before one is decoded.
            settings: How long to wait for an answer.
            latest: Pass frames over that can't be decoded in time.
            now_ns: The clock.
        """
        self.name = spec.shown
        self._address = spec.address
        self._format = "v4l2" if spec.kind == "v4l2" else None
        self._options = _options(spec, latest)
        self._max_pixels = max_pixels
        self._silent_s = settings.silent_s
        self._latest = latest
        self._now_ns = now_ns

    def shots(self, ended: Callable[[], bool]) -> Iterator[Shot]:
        """Frames of one connection, as they are decoded."""
        begin_s = time.monotonic()
        try:
            container = av.open(
                self._address,
                format=self._format,
                options=self._options,
                timeout=(self._silent_s, self._silent_s),
            )
        except (av.FFmpegError, OSError) as error:
            raise CameraLostError(self._why(error, begin_s)) from error
        with container:
            if not container.streams.video:
                raise CameraLostError("no video in its stream")
            stream = container.streams.video[0]
            # As for films: the device's other core has work.
            stream.codec_context.thread_count = 1
            self._check(stream.codec_context.width, stream.codec_context.height)
            timed = container.format.name not in _WITHOUT_TIME
            yield from self._decoded(container, stream, timed, ended)

    def _decoded(
        self,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        timed: bool,
        ended: Callable[[], bool],
    ) -> Iterator[Shot]:
        # Packets come in another order than frames, so each has a clock.
        clock, packet_clock, keep_up, passed = StreamClock(), StreamClock(), KeepUp(), 0
        packets = container.demux(stream)
        while not ended():
            begin_s = time.monotonic()
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                raise CameraLostError(self._why(error, begin_s)) from error
            if packet is None or packet.size == 0:
                return
            arrived_ns = self._now_ns()
            if self._latest and timed and packet.pts is not None and packet.time_base:
                taken_ns = packet_clock.unix_ns(float(packet.pts * packet.time_base), arrived_ns)
                if not keep_up.takes((arrived_ns - taken_ns) / NS_PER_S, packet.is_keyframe):
                    passed += 1
                    continue
            try:
                frames = packet.decode()
            except (av.FFmpegError, OSError):
                continue
            for frame in frames:
                self._check(frame.width, frame.height)
                taken_ns = clock.unix_ns(frame.time if timed else None, arrived_ns)
                yield Shot(partial(upright, frame), taken_ns, passed)
                passed = 0

    def _check(self, width: int, height: int) -> None:
        if problem := over_the_limit(width, height, self._max_pixels):
            raise PictureError(f"{self.name}: {problem}")

    def _why(self, error: Exception, begin_s: float) -> str:
        # Not by the error: a time-out inside of ffmpeg's opening comes out as any of several.
        if time.monotonic() - begin_s >= self._silent_s:
            return f"no answer for {self._silent_s:g} s"
        return reason(error)


def _options(spec: Spec, latest: bool) -> dict[str, str]:
    """What ffmpeg is told."""
    options = {}
    if spec.kind == "v4l2":
        if spec.size_wh_px is not None:
            options["video_size"] = "{}x{}".format(*spec.size_wh_px)
        if spec.fps is not None:
            options["framerate"] = f"{spec.fps:g}"
        if spec.pixel_format:
            options["input_format"] = spec.pixel_format
        return options
    options["analyzeduration"] = str(_LOOK_US)
    if spec.address.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # UDP loses packets just when the link is busy
    if latest:
        options["fflags"] = "nobuffer"
    return options
