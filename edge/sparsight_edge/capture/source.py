"""What every source of frames gives, and what it says of those it can't give.

files, films, cameras, stdin ──Source──> Captured, Captured, ...
                                  └────> PictureError, one line each, and the source goes on
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError
from sparsight.wire import Telemetry

Report: TypeAlias = Callable[[PictureError], None]
"""Is told of every frame that could not be had."""

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Captured:
    """One frame as it came.

    Attributes:
        frame: Upright 8-bit RGB.
        captured_unix_ns: When, in nanoseconds since 1970 by this machine's clock.
        name: Where it is from: a file's name, or a video's or camera's with the time in it.
        index: Its number in the source, from 0; over a loop it goes on counting.
        read_ms: What reading and decoding it took; of a camera, which is decoded beside the agent,
            only what making RGB of it took.
        telemetry: Where the camera was, if that is known.
    """

    frame: UInt8[np.ndarray, "h w 3"]
    captured_unix_ns: int
    name: str
    index: int
    read_ms: float = 0.0
    telemetry: Telemetry | None = None


@runtime_checkable
class Source(Protocol):
    """A stream of frames, decoded as they are asked for."""

    def frames(self, report: Report) -> Iterator[Captured]:
        """Go through the source once, from its beginning.

        Args:
            report: Told of frames that can't be had, in this thread; what is left goes on.

        Yields:
            Frames in order. An iterator that is closed lets go of its file.
        """
        ...
