"""Pictures through a video encoder, one out for one in, and back: H.264 and H.265 by PyAV.

    pictures ─ sides made even ─ YUV 4:2:0 ─ encoder ─> a packet each ─ decoder ─> pictures

Low delay means that a frame leaves when it came: no frames that wait for later ones. The first
frame of a stream stands alone, the others say what changed. One thread, and no notes by the encoder
about itself in the stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from sparsight.errors import UsageError

if TYPE_CHECKING:
    import av

Picture: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
"""RGB, in [0, 255]; of any size, lists of them of several."""

_X265 = "info=0:log-level=none:pools=none:frame-threads=1"


@dataclass(frozen=True, slots=True)
class Coding:
    """How an encoder is set.

    Attributes:
        encoder: FFmpeg's name of it.
        decoder: And of its decoder.
        options: Of the encoder, but for its quality (CRF: less is better).
    """

    encoder: str
    decoder: str
    options: tuple[tuple[str, str], ...]


H265_INTRA = Coding("libx265", "hevc", (("preset", "medium"), ("x265-params", f"keyint=1:{_X265}")))
H265_LOW_DELAY = Coding(
    "libx265", "hevc", (("preset", "medium"), ("tune", "zerolatency"), ("x265-params", _X265))
)
H264_LOW_DELAY = Coding("libx264", "h264", (("preset", "medium"), ("tune", "zerolatency")))


@dataclass(frozen=True, slots=True)
class Streamed:
    """One frame of a stream.

    Attributes:
        data: Its packet.
        picture: As it is decoded.
        encode_ms: CPU time of its encoding, all threads.
    """

    data: bytes
    picture: Picture
    encode_ms: float


def streamed(
    pictures: Iterable[Picture], coding: Coding, crf: int, fps: float
) -> Iterator[Streamed]:
    """Send pictures of one size as video.

    Args:
        pictures: In their order; at least 1x1 px.
        coding: The encoder.
        crf: Its constant rate factor, 0 to 51, less is better.
        fps: Frames a second.

    Raises:
        UsageError: PyAV is not installed, or has no such encoder.
    """
    encoder: Any = None
    decoder: Any = None
    waiting: deque[tuple[bytes, float]] = deque()
    hw = (0, 0)
    for picture in pictures:
        if encoder is None:
            hw = (picture.shape[0], picture.shape[1])
            encoder, decoder = _open(coding, crf, fps, hw)
        start_s = time.process_time()
        packets = [bytes(packet) for packet in encoder.encode(_frame(picture))]
        waiting.append((b"".join(packets), (time.process_time() - start_s) * 1e3))
        yield from _ready(decoder, packets, waiting, hw)
    if encoder is not None:
        packets = [bytes(packet) for packet in encoder.encode(None)]
        yield from _ready(decoder, packets, waiting, hw)
        yield from (Streamed(*_first(waiting, one, hw)) for one in decoder.decode(None))


def encode_one(picture: Picture, coding: Coding, crf: int) -> bytes:
    """One picture alone.

    Raises:
        UsageError: PyAV is not installed, or has no such encoder.
    """
    encoder, _ = _open(coding, crf, 1.0, (picture.shape[0], picture.shape[1]))
    packets = [*encoder.encode(_frame(picture)), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def decode_one(data: bytes, coding: Coding, frame_hw: tuple[int, int]) -> Picture:
    """And back."""
    av = _av()
    decoder = av.CodecContext.create(coding.decoder, "r")
    decoder.thread_count = 1
    frames: list[Any] = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    return _picture(frames[0], frame_hw)


def _open(
    coding: Coding, crf: int, fps: float, frame_hw: tuple[int, int]
) -> tuple[av.VideoCodecContext, av.VideoCodecContext]:
    av = _av()
    try:
        encoder = av.CodecContext.create(coding.encoder, "w")
    except (av.error.FFmpegError, ValueError) as error:
        raise UsageError(
            f"{coding.encoder}: this PyAV was built without it; install PyAV's wheel from PyPI"
        ) from error
    rate = Fraction(fps).limit_denominator(1000)
    encoder.height, encoder.width = (side + side % 2 for side in frame_hw)
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", 1 / rate, rate
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), **dict(coding.options)}
    decoder = av.CodecContext.create(coding.decoder, "r")
    decoder.thread_count = 1
    return encoder, decoder


def _frame(picture: Picture) -> av.VideoFrame:
    odd = [(0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)]
    even = np.pad(picture, odd, mode="edge") if any(more for _, more in odd) else picture
    made = _av().VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    out: av.VideoFrame = made.reformat(format="yuv420p")
    return out


def _ready(
    decoder: Any,
    packets: list[bytes],
    waiting: deque[tuple[bytes, float]],
    frame_hw: tuple[int, int],
) -> Iterator[Streamed]:
    for packet in packets:
        for frame in decoder.decode(_av().Packet(packet)):
            yield Streamed(*_first(waiting, frame, frame_hw))


def _first(
    waiting: deque[tuple[bytes, float]], frame: Any, frame_hw: tuple[int, int]
) -> tuple[bytes, Picture, float]:
    data, ms = waiting.popleft()
    return data, _picture(frame, frame_hw), ms


def _picture(frame: Any, frame_hw: tuple[int, int]) -> Picture:
    whole: Picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(whole[: frame_hw[0], : frame_hw[1]])


def _av() -> Any:
    """PyAV, loaded when video is first needed."""
    try:
        import av  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("video: needs PyAV; pip install 'sparsight[cloud]'") from error
    return av
