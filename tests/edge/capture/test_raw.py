from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.grammar import PixelFormat
from sparsight_edge.capture.raw import Layout, RawPipe

ENDED = threading.Event().is_set


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "gray", "nv12", "yuv420p"])
def test_each_format_as_ffmpeg_writes_it(pixel_format: PixelFormat) -> None:
    picture = np.zeros((6, 10, 3), np.uint8)
    picture[..., 0], picture[:, 4:, 1] = 200, 90
    if pixel_format == "gray":
        picture[...] = picture[..., :1]
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    data = frame.to_ndarray(format=pixel_format).reshape(-1)
    layout = Layout((10, 6), pixel_format)
    assert layout.frame_bytes == data.size
    rgb = layout.rgb(data)
    assert rgb.shape == (6, 10, 3) and rgb.flags.c_contiguous
    # Colour has half the resolution in YUV, so the edge between columns 3 and 4 stays sharp.
    assert np.abs(rgb.astype(int) - picture).max() <= (6 if pixel_format[-1] in "2p" else 0)


def test_rows_may_be_padded() -> None:
    layout = Layout((3, 2), "rgb24", 4)
    data = np.arange(layout.frame_bytes, dtype=np.uint8)
    assert layout.frame_bytes == 24
    assert layout.rgb(data)[1, 0].tolist() == [12, 13, 14]


def test_frames_from_stdin_with_their_pace_and_half_a_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.pipe()
    frames = [np.full((4, 6, 3), i, np.uint8) for i in range(3)]
    os.write(theirs, b"".join(frame.tobytes() for frame in frames) + b"cut")
    os.close(theirs)
    said: list[str] = []
    with open(ours) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        source = open_source("-?size=6x4&fps=10", threading.Event())
        taken = list(source.frames(lambda error: said.append(str(error))))
    assert [one.index for one in taken] == [0, 1, 2]
    for one, frame in zip(taken, frames, strict=True):
        np.testing.assert_array_equal(one.frame, frame)
    assert np.diff([one.captured_unix_ns for one in taken]).tolist() == [100_000_000] * 2
    (line,) = said
    assert "ends 3 bytes into a frame of 72" in line


def test_a_pipe_waits_and_loses_nothing() -> None:
    ours, theirs = os.pipe()
    pipe = RawPipe("stdin", ours, Layout((64, 64)), None)
    count = 50  # six times what the pipe holds

    def write() -> None:
        with open(theirs, "wb") as out:  # noqa: PTH123
            for i in range(count):
                out.write(bytes([i]) * 64 * 64 * 3)

    threading.Thread(target=write, daemon=True).start()
    assert [shot.rgb()[0, 0, 0] for shot in pipe.shots(ENDED)] == list(range(count))
    os.close(ours)


def test_what_can_t_be_read_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=r"65535x65535 is over the limit of 200 Mpx"):
        open_source("-?size=65535x65535", threading.Event())

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageError, match="stdin is a terminal"):
        open_source("-?size=6x4", threading.Event())


def test_the_whole_program_takes_a_pipe(tmp_path: Path) -> None:
    code = (
        "import threading, sys\n"
        "from sparsight_edge.capture.choose import open_source\n"
        "for one in open_source('-?size=8x8&format=gray', threading.Event()).frames(print):\n"
        "    print(one.index, one.frame[0, 0].tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=bytes([7]) * 64 + bytes([9]) * 64,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stdout.decode().splitlines() == ["0 [7, 7, 7]", "1 [9, 9, 9]"], done.stderr
