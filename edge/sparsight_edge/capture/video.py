"""A video file as a source: PyAV decodes, one frame is held at a time.

    file ─demux─> packets ─decode─> frames ─ one a period (fps) ─ upright RGB ─> Captured

A frame's time is the file's opening plus its place in the film, which also finds its telemetry: a
film's own subtitles, if a drone wrote them, or what else was given. A file that ends before its
header says, or with packets that can't be decoded, gives what can be had and one error at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import av
import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError, UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight_edge.capture.source import NS_PER_S, Captured, Report
from sparsight_edge.telemetry.srt import read_srt, subtitles_of
from sparsight_edge.telemetry.track import Track

_SILENT_S = 30.0  # how long a web server may be silent


class VideoSource:
    """The first video stream of a file.

    Attributes:
        address: The file, or the URL of one.
        shown: Its name for people.
        fps: Frames to take of a second of film, those between left out; None takes all.
        max_pixels: The most pixels a frame may have; checked before one is decoded.
        track: Where the camera was; None is what the subtitles beside the film say.
    """

    def __init__(
        self,
        address: str,
        fps: float | None = None,
        max_pixels: int = MAX_PIXELS,
        shown: str | None = None,
        track: Track | None = None,
    ) -> None:
        """A source of this file, which is not touched yet."""
        self.address = address
        self.shown = shown or address
        self.fps = fps
        self.max_pixels = max_pixels
        self.track = track

    def frames(self, report: Report) -> Iterator[Captured]:
        """Frames in the order of showing, turned upright."""
        opened_unix_ns = time.time_ns()
        try:
            # By its protocol, or a colon in a file's name would be taken for one.
            remote = "://" in self.address
            container = av.open(
                self.address if remote else f"file:{self.address}",
                timeout=_SILENT_S if remote else None,
            )
        except (av.FFmpegError, OSError) as error:
            report(PictureError(f"{self.shown}: can't be opened as a video: {reason(error)}"))
            return
        with container:
            if not container.streams.video:
                report(PictureError(f"{self.shown}: holds no video stream; expected a video file"))
                return
            seen, track = _Seen(), self._track(report)
            stem = PurePath(self.shown).name
            index, due_s, begin_s = 0, 0.0, time.perf_counter()
            for frame in self._decode(container, seen):
                # A codec that changes its size in the middle is held to the limit as well.
                if problem := over_the_limit(frame.width, frame.height, self.max_pixels):
                    seen.problem = problem
                    break
                at_s = seen.place(frame)
                # Half a frame's grace, or rounded time stamps would skip every other frame.
                if self.fps is not None:
                    if at_s + 0.5 * seen.frame_s < due_s:
                        continue
                    due_s = max(due_s + 1 / self.fps, at_s)
                name = f"{stem}@{at_s:.3f}s"
                rgb = upright(frame)
                read_ms = (time.perf_counter() - begin_s) * 1e3
                captured_unix_ns = opened_unix_ns + int(at_s * NS_PER_S)
                telemetry = None if track is None else track.at(at_s)
                yield Captured(rgb, captured_unix_ns, name, index, read_ms, telemetry)
                index, begin_s = index + 1, time.perf_counter()
            problem = seen.verdict()
        if problem:
            report(PictureError(f"{self.shown}: {problem}; {seen.frames} frames could be decoded"))

    def _track(self, report: Report) -> Track | None:
        if self.track is not None or "://" in self.address:
            return self.track
        beside = subtitles_of(Path(self.address))
        try:
            return None if beside is None else read_srt(beside)
        except UsageError as error:  # nobody asked for them by name: the film is still good
            report(PictureError(str(error)))
            return None

    def _decode(
        self, container: av.container.InputContainer, seen: _Seen
    ) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded, with notes of what could not."""
        stream = container.streams.video[0]
        # Idle threads would hold frames of their own, and the device's other core has work.
        stream.codec_context.thread_count = 1
        seen.expect(container, stream)
        size = stream.codec_context
        if problem := over_the_limit(size.width, size.height, self.max_pixels):
            seen.problem = problem
            return
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                seen.problem = f"can't be read to its end ({reason(error)})"
                return
            if packet is None:
                return
            try:
                decoded = packet.decode()
            except (av.FFmpegError, OSError) as error:
                seen.broken += 1
                seen.broken_why = reason(error)
                continue
            for frame in decoded:
                seen.frames += 1
                yield frame


@dataclass(slots=True)
class _Seen:
    """How far a film was seen, against what its header promised.

    Attributes:
        frames: Decoded so far.
        broken: Packets that could not be decoded.
        broken_why: What the decoder said of the last of them.
        frame_s: Length of a frame, by the header.
        promised_s: Length of the film, by the header; 0 if it doesn't say.
        end_s: Where the last frame ended.
        problem: What ended the film early.
    """

    frames: int = 0
    broken: int = 0
    broken_why: str = ""
    frame_s: float = 0.0
    promised_s: float = 0.0
    end_s: float = 0.0
    problem: str = ""
    _start_s: float | None = None

    def expect(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream
    ) -> None:
        """Take down what the header promises."""
        rate = stream.average_rate or stream.guessed_rate
        self.frame_s = 1 / float(rate) if rate else 0.0
        if stream.duration is not None and stream.time_base is not None:
            self.promised_s = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            self.promised_s = container.duration / av.time_base

    def place(self, frame: av.VideoFrame) -> float:
        """A frame's time in the film, in seconds from its first frame; never running back."""
        stamp_s = frame.time
        if stamp_s is None:
            at_s = self.end_s
        else:
            if self._start_s is None:
                self._start_s = stamp_s
            at_s = max(stamp_s - self._start_s, self.end_s - self.frame_s, 0.0)
        self.end_s = at_s + self.frame_s
        return at_s

    def verdict(self) -> str:
        """What was wrong with the film, or nothing."""
        wrong = [self.problem] if self.problem else []
        if self.broken:
            wrong.append(f"damaged: {self.broken} packets can't be decoded ({self.broken_why})")
        # Two frames and a hundredth: time stamps are rounded, and edit lists cut a little.
        end_s = self.promised_s - 2 * self.frame_s - 0.01 * self.promised_s
        if not self.problem and self.frames and self.end_s < end_s:
            wrong.append(f"truncated: ends after {self.end_s:.2f} s of {self.promised_s:.2f} s")
        if not wrong and not self.frames:
            wrong.append("no frame in it")
        return ", ".join(wrong)


def over_the_limit(width: int, height: int, max_pixels: int) -> str:
    """What is wrong with a frame's size, or nothing."""
    if width * height <= max_pixels:
        return ""
    return f"{width}x{height} is over the limit of {max_pixels / 1e6:g} Mpx (--max-pixels)"


def upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """A decoded frame as 8-bit RGB, turned as its container says."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def reason(error: Exception) -> str:
    """What ffmpeg says of an error, without the address, which may hold a password."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
