"""Films whose frames can be told apart."""

from pathlib import Path

import av
import numpy as np

HW = (64, 96)


def write_film(path: Path, frames: int, codec: str = "mpeg4", gop: int = 6) -> Path:
    """Frame i has the grey of `grey_of(i)`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = HW
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if codec != "mjpeg":
            stream.codec_context.max_b_frames = 2
        stream.bit_rate = 2_000_000
        for i in range(frames):
            grey = np.full((*HW, 3), grey_of(i), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def grey_of(frame: int) -> int:
    return 40 + 6 * (frame % 30)
