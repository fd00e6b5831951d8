"""Small films for the tests, made with PyAV."""

from pathlib import Path

import av
import numpy as np


def write_film(
    path: Path,
    frames: int = 30,
    *,
    fps: int = 10,
    hw: tuple[int, int] = (96, 128),
    codec: str = "mpeg4",
    rotation: int = 0,
) -> None:
    """A film whose frames get brighter, with a dark stripe along the top."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = hw[1], hw[0]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 5
        if rotation:
            stream.set_display_rotation(rotation)
        for i in range(frames):
            frame = np.full((*hw, 3), grey_of(i, frames), np.uint8)
            frame[: hw[0] // 4] = 0
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def grey_of(index: int, frames: int) -> int:
    """How bright a frame of a film is."""
    return 60 + 180 * index // frames
